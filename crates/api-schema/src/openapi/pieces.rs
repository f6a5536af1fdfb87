//! Documents that are put together of parts which are compressed already.
//!
//! A part is a run of deflate blocks that ends at a byte and looks back at nothing before it, so that any parts one after the
//! other, between a head and a tail, are a gzip file. A change of one part costs that part.

use super::Document;
use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};

const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The last block, which is empty.
const LAST: [u8; 2] = [3, 0];

/// A part of a document.
#[derive(Debug, Default)]
pub struct Piece {
    deflated: Bytes,
    crc: Crc,
}

impl Piece {
    /// The part that is this text.
    ///
    /// # Panics
    /// Never: memory can be written.
    pub fn new(text: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(text);
        let mut compress = Compress::new(Compression::fast(), false);
        // What cannot be compressed gets a little longer.
        let mut out = Vec::with_capacity(text.len() + text.len() / 256 + 64);
        loop {
            let read = usize::try_from(compress.total_in()).expect("a text in memory");
            compress.compress_vec(&text[read..], &mut out, FlushCompress::Sync).expect("memory can be written");
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len());
        }
        Self { deflated: Bytes::copy_from_slice(&out), crc }
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.deflated.len()
    }
}

impl Document {
    /// The document of these parts. Its hash is given: of whatever the parts are made of.
    pub fn joined<'p>(pieces: impl IntoIterator<Item = &'p Piece>, hash: String) -> Self {
        let pieces: Vec<&Piece> = pieces.into_iter().collect();
        let size: usize = pieces.iter().map(|piece| piece.size()).sum();
        let mut gzip = Vec::with_capacity(HEAD.len() + size + LAST.len() + 8);
        gzip.extend_from_slice(&HEAD);
        let mut crc = Crc::new();
        for piece in pieces {
            gzip.extend_from_slice(&piece.deflated);
            crc.combine(&piece.crc);
        }
        gzip.extend_from_slice(&LAST);
        gzip.extend_from_slice(&crc.sum().to_le_bytes());
        gzip.extend_from_slice(&crc.amount().to_le_bytes());
        Self { gzip: gzip.into(), hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_compressed_alone_are_one_document() {
        let long: String = (0..20_000).map(|i| format!("{i},")).collect();
        let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let texts: [&[u8]; 5] = [b"{\"a\":", b"", long.as_bytes(), &noise, b"}"];
        let pieces: Vec<Piece> = texts.iter().map(|text| Piece::new(text)).collect();
        let document = Document::joined(&pieces, "H".into());
        assert!(document.gzip.len() < texts.concat().len());
        assert_eq!(document.bytes(), texts.concat());
        assert_eq!(Document::joined([&pieces[2], &pieces[2]], String::new()).bytes(), [&long[..], &long].concat());
        assert!(Document::joined([], String::new()).bytes().is_empty());
    }
}
