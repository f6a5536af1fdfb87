//! Query parameters, decoded once.

use std::borrow::Cow;

/// The parameters of a URL, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes the part of a URL after `?`.
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key).into_owned(), decode(value).into_owned())
        });
        Self(pairs.collect())
    }

    /// The first value of `key`; empty if it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream reads one from a URL: present and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key).to_ascii_lowercase().as_str(), "false" | "0")
    }
}

/// Decodes `%XX` and `+`; what is malformed stays as it is.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text);
    }
    decode_bytes(text, true)
}

/// Decodes `%XX` of a path segment, where `+` is itself.
pub fn decode_segment(text: &str) -> Cow<'_, str> {
    if text.contains('%') { decode_bytes(text, false) } else { Cow::Borrowed(text) }
}

/// The bytes that a text with `%XX` stands for; what is malformed stays as it is.
pub(crate) fn unescaped(text: &str, plus_is_space: bool) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let byte = escaped(rest);
        rest = if byte.is_some() { &rest[3..] } else { after };
        out.push(match byte {
            Some(byte) => byte,
            None if plus_is_space && *first == b'+' => b' ',
            None => *first,
        });
    }
    out
}

/// Whether each `%` begins an escape.
pub(crate) fn is_well_escaped(text: &str) -> bool {
    text.match_indices('%').all(|(at, _)| escaped(&text.as_bytes()[at..]).is_some())
}

fn decode_bytes(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    match String::from_utf8(unescaped(text, plus_is_space)) {
        Ok(text) => Cow::Owned(text),
        Err(e) => Cow::Owned(String::from_utf8_lossy(e.as_bytes()).into_owned()),
    }
}

/// The byte that `%XX` stands for. Digits only: `%+1` is no escape.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let q = Query::parse(Some("labelSelector=a%3Db%2Cc+in+%28d%29&watch=1&watch=0&x"));
        assert_eq!(q.get("labelSelector"), "a=b,c in (d)");
        assert!(q.flag("watch") && q.flag("x") && !q.flag("y"));
        assert_eq!(q.all("watch").collect::<Vec<_>>(), ["1", "0"]);
        assert_eq!(decode("100%"), "100%");
        assert_eq!((decode("%+1"), decode_segment("%+1%-1%zz%4")), ("% 1".into(), "%+1%-1%zz%4".into()));
        assert_eq!(decode_segment("a+b%2Fc"), "a+b/c");
    }
}
