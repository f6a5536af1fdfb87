//! Names with their values in one piece of memory: an object has a dozen of them, most of a few bytes, and there are many
//! objects. Knows not what they mean.

use std::fmt;

/// What one character of a length counts to; two of them make a length.
const BASE: usize = 0x8000;

/// Names with their values, in order. What comes out is what was put in, whatever characters it has.
#[derive(Clone, PartialEq, Eq)]
pub struct Pairs {
    /// For each pair the length of the name, that of the value, the name and the value.
    packed: Box<str>,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { packed: Box::from("") }
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Pairs {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.packed;
        std::iter::from_fn(move || {
            let lengths = (take_length(&mut rest)?, take_length(&mut rest)?);
            Some((take(&mut rest, lengths.0)?, take(&mut rest, lengths.1)?))
        })
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut packed = String::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            put_length(&mut packed, name.len());
            put_length(&mut packed, value.len());
            packed.push_str(name);
            packed.push_str(value);
        }
        Self { packed: packed.into() }
    }
}

/// A length below 2^30, far above that of any object. Short ones take two bytes.
fn put_length(out: &mut String, length: usize) {
    for digit in [length / BASE, length % BASE] {
        out.push(u32::try_from(digit).ok().and_then(char::from_u32).expect("an object is smaller than 1 GiB"));
    }
}

fn take_length(rest: &mut &str) -> Option<usize> {
    let mut chars = rest.chars();
    let (high, low) = (chars.next()? as usize, chars.next()? as usize);
    *rest = chars.as_str();
    Some(high * BASE + low)
}

fn take<'a>(rest: &mut &'a str, length: usize) -> Option<&'a str> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_was_put_in() {
        let long = "long ".repeat(20_000);
        let pairs = [("app", "web"), ("", ""), ("a\0b", "ü\0\u{1}"), ("long", &long), ("app", "second"), ("last", "")];
        let packed: Pairs = pairs.into_iter().collect();
        assert_eq!(packed.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(packed.get("app"), Some("web"));
        assert_eq!(packed.get("long"), Some(long.as_str()));
        assert_eq!((packed.get("last"), packed.get("lost")), (Some(""), None));
        for length in [BASE - 1, BASE, BASE + 1, 3 * BASE] {
            let value = "x".repeat(length);
            let one: Pairs = [("n", &value)].into_iter().collect();
            assert_eq!(one.get("n"), Some(value.as_str()), "{length}");
        }
        assert_eq!(Pairs::default().iter().count(), 0);
    }
}
