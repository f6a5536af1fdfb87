//! How one change of one key is written: a checksum, its history, the key and the value.
//!
//! `crc32 (4, little endian) | flags (1) | create (8) | version (8) | lease (8) | key length (4) | key | value`.
//! The checksum also covers the record's place (revision and sub-revision), so that a record that ended up in
//! another's place is found out.

use bytes::Bytes;

use crate::contract::{KeyValue, Revision};

/// Place of a record: the revision, and the position among the changes of that revision.
pub(super) type Place = (Revision, u32);

const HEADER_BYTES: usize = 4 + 1 + 8 + 8 + 8 + 4;
const TOMBSTONE: u8 = 1;

/// A change of a key: its new state, or (a tombstone) that it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) tombstone: bool,
    pub(super) kv: KeyValue,
}

impl Record {
    pub(super) fn tombstone(key: Bytes, revision: Revision) -> Self {
        let kv =
            KeyValue { key, value: Bytes::new(), create_revision: 0, mod_revision: revision, version: 0, lease: 0 };
        Self { tombstone: true, kv }
    }

    /// Size when written.
    pub(super) fn bytes(&self) -> u32 {
        let bytes = HEADER_BYTES + self.kv.key.len() + self.kv.value.len();
        u32::try_from(bytes).expect("a request is smaller than 4 GiB")
    }

    pub(super) fn encode(&self, place: Place) -> Vec<u8> {
        let kv = &self.kv;
        let mut out = Vec::with_capacity(HEADER_BYTES + kv.key.len() + kv.value.len());
        out.extend_from_slice(&[0; 4]);
        out.push(if self.tombstone { TOMBSTONE } else { 0 });
        out.extend_from_slice(&kv.create_revision.to_le_bytes());
        out.extend_from_slice(&kv.version.to_le_bytes());
        out.extend_from_slice(&kv.lease.to_le_bytes());
        let key_bytes = u32::try_from(kv.key.len()).expect("a request is smaller than 4 GiB");
        out.extend_from_slice(&key_bytes.to_le_bytes());
        out.extend_from_slice(&kv.key);
        out.extend_from_slice(&kv.value);
        let sum = checksum(place, &out[4..]);
        out[..4].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// `Err` says what is wrong with the bytes.
    pub(super) fn decode(place: Place, bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("record is shorter than its header");
        }
        if checksum(place, &bytes[4..]) != u32::from_le_bytes(array(bytes, 0)) {
            return Err("record does not have the checksum it was written with");
        }
        let key_bytes = u32::from_le_bytes(array(bytes, HEADER_BYTES - 4)) as usize;
        let rest = &bytes[HEADER_BYTES..];
        if key_bytes > rest.len() {
            return Err("key is longer than its record");
        }
        let rest = Bytes::copy_from_slice(rest);
        Ok(Self {
            tombstone: bytes[4] & TOMBSTONE != 0,
            kv: KeyValue {
                key: rest.slice(..key_bytes),
                value: rest.slice(key_bytes..),
                create_revision: i64::from_le_bytes(array(bytes, 5)),
                mod_revision: place.0,
                version: i64::from_le_bytes(array(bytes, 13)),
                lease: i64::from_le_bytes(array(bytes, 21)),
            },
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has that length")
}

fn checksum(place: Place, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.0.to_le_bytes());
    hasher.update(&place.1.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let kv = KeyValue {
            key: Bytes::from_static(b"/registry/a"),
            value: Bytes::from_static(b"{\"x\":1}"),
            create_revision: 7,
            mod_revision: 9,
            version: 3,
            lease: 5,
        };
        let record = Record { tombstone: false, kv };
        let bytes = record.encode((9, 1));
        assert_eq!(Record::decode((9, 1), &bytes), Ok(record));
        assert!(Record::decode((9, 2), &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode((9, 1), &damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Record::decode((9, 1), &bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
