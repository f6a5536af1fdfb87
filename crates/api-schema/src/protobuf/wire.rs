//! The wire format of protobuf: varints, tags, and how to get past what is not known.

use super::{DEPTH_MAX, Error};

/// How the bytes of a field are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    StartGroup = 3,
    EndGroup = 4,
    Fixed32 = 5,
}

impl Kind {
    fn of(bits: u8) -> Result<Self, Error> {
        Ok(match bits {
            0 => Self::Varint,
            1 => Self::Fixed64,
            2 => Self::Bytes,
            3 => Self::StartGroup,
            4 => Self::EndGroup,
            5 => Self::Fixed32,
            _ => return Err(Error::IllegalWireType(bits)),
        })
    }
}

/// A place in the bytes of a message.
pub struct Cursor<'a, 'n> {
    rest: &'a [u8],
    /// Name of the message, for errors.
    name: &'n str,
}

impl<'a, 'n> Cursor<'a, 'n> {
    pub fn new(bytes: &'a [u8], name: &'n str) -> Self {
        Self { rest: bytes, name }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Number and kind of the next field; `None` at the end.
    pub fn tag(&mut self) -> Result<Option<(u32, Kind)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let bits = (tag & 7) as u8;
        // As Go's `int32(wire >> 3)`.
        #[expect(clippy::cast_possible_truncation, reason = "upstream cuts it off too")]
        let number = (tag >> 3) as i32;
        if bits == Kind::EndGroup as u8 {
            return Err(Error::Group(self.name.to_owned()));
        }
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(Some((number, Kind::of(bits)?))),
            _ => Err(Error::Tag(self.name.to_owned(), number.into(), bits)),
        }
    }

    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().enumerate() {
            if i == 10 {
                return Err(Error::Overflow);
            }
            value |= u64::from(byte & 0x7f).wrapping_shl(7 * i as u32);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() >= 10 { Error::Overflow } else { Error::Truncated })
    }

    pub fn fixed64(&mut self) -> Result<u64, Error> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// The bytes of a length-delimited field.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = i64::from_ne_bytes(self.varint()?.to_ne_bytes());
        let length = usize::try_from(length).map_err(|_| Error::Length)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The bytes of a field that must be length-delimited.
    pub fn bytes_of(&mut self, kind: Kind, field: &str) -> Result<&'a [u8], Error> {
        if kind == Kind::Bytes { self.bytes() } else { Err(wrong(kind, field)) }
    }

    /// Gets past a field that is not known.
    pub fn skip(&mut self, kind: Kind) -> Result<(), Error> {
        if kind != Kind::StartGroup {
            return self.skip_plain(kind);
        }
        let mut depth = 1;
        while depth > 0 {
            let tag = self.varint()?;
            match Kind::of((tag & 7) as u8)? {
                Kind::StartGroup => depth += 1,
                Kind::EndGroup => depth -= 1,
                kind => self.skip_plain(kind)?,
            }
            if depth > DEPTH_MAX {
                return Err(Error::Depth);
            }
        }
        Ok(())
    }

    fn skip_plain(&mut self, kind: Kind) -> Result<(), Error> {
        match kind {
            Kind::Varint => drop(self.varint()?),
            Kind::Fixed64 => drop(self.fixed64()?),
            Kind::Bytes => drop(self.bytes()?),
            Kind::Fixed32 => {
                self.rest = self.rest.get(4..).ok_or(Error::Truncated)?;
            }
            Kind::StartGroup | Kind::EndGroup => return Err(Error::Group(self.name.to_owned())),
        }
        Ok(())
    }
}

/// A known field of another kind.
pub fn wrong(kind: Kind, field: &str) -> Error {
    let mut name = field.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Error::WireType(kind as u8, name)
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

pub fn put_tag(out: &mut Vec<u8>, number: u32, kind: Kind) {
    put_varint(out, u64::from(number) << 3 | kind as u64);
}

/// A length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, Kind::Bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A field that is a number.
pub fn put_int(out: &mut Vec<u8>, number: u32, value: i64) {
    put_tag(out, number, Kind::Varint);
    put_varint(out, u64::from_ne_bytes(value.to_ne_bytes()));
}

/// Bytes that [`put_bytes`] takes for `length` bytes.
pub fn size_of_bytes(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(Cursor::new(&out, "").varint(), Ok(value));
        }
        assert_eq!(Cursor::new(&[0x80; 3], "").varint(), Err(Error::Truncated));
        assert_eq!(Cursor::new(&[0x80; 11], "").varint(), Err(Error::Overflow));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        let tag = |bytes: &'static [u8]| Cursor::new(bytes, "Pod").tag().map_err(|e| e.to_string());
        assert_eq!(tag(&[0]).unwrap_err(), "proto: Pod: illegal tag 0 (wire type 0)");
        assert_eq!(tag(&[0x0c]).unwrap_err(), "proto: Pod: wiretype end group for non-group");
        assert_eq!(tag(&[0x0f]).unwrap_err(), "proto: illegal wireType 7");
        let group = [0x0b, 0x08, 1, 0x13, 0x14, 0x0c, 0x10];
        let mut cursor = Cursor::new(&group, "Pod");
        let (_, kind) = cursor.tag().unwrap().unwrap();
        cursor.skip(kind).unwrap();
        assert_eq!(cursor.tag(), Ok(Some((2, Kind::Varint))));
        let deep = vec![0x0b; 1000];
        assert_eq!(Cursor::new(&deep, "Pod").skip(Kind::StartGroup), Err(Error::Depth));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "").bytes(),
            Err(Error::Length)
        );
        assert_eq!(Cursor::new(&[5, 1], "").bytes(), Err(Error::Truncated));
    }
}
