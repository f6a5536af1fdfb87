//! Text in JSON that is no Unicode, made what Go's decoder makes of it: each byte that is no part of a character, and each
//! half of a surrogate pair, becomes U+FFFD. What reads JSON here refuses such text; upstream's clients were never refused.
//!
//! Looks only into strings: what is broken outside of them stays broken.

use std::str;

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Bytes of `\uXXXX`.
const ESCAPE_BYTES: usize = 6;

/// The document with such text replaced; `None` if it has none.
///
/// ```
/// use api_core::unicode::mended;
/// assert_eq!(mended(b"{\"a\": \"x\xff\"}").as_deref(), Some("{\"a\": \"x\u{fffd}\"}".as_bytes()));
/// assert_eq!(mended(br#"{"a": "\ud83d\ude00"}"#), None);
/// ```
pub fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let surrogate = |w: &[u8]| matches!(w, [b'\\', b'u', b'd' | b'D']);
    let has_surrogates = json.contains(&b'\\') && json.windows(3).any(surrogate);
    if !has_surrogates && str::from_utf8(json).is_ok() {
        return None;
    }
    let (mut out, mut rest, mut in_string) = (Vec::with_capacity(json.len() + 16), json, false);
    while let Some(first) = rest.first() {
        let (length, text) = match first {
            b'\\' if in_string => escape(rest),
            0x80.. if in_string => character(rest),
            _ => (1, &rest[..1]),
        };
        in_string ^= *first == b'"';
        out.extend_from_slice(text);
        rest = &rest[length..];
    }
    (out != json).then_some(out)
}

/// Length of the escape at the start, and what it becomes.
fn escape(text: &[u8]) -> (usize, &[u8]) {
    let low = |text: &[u8]| matches!(code_unit(text), Some(0xdc00..=0xdfff));
    let length = match code_unit(text) {
        Some(0xd800..=0xdbff) if low(&text[ESCAPE_BYTES..]) => 2 * ESCAPE_BYTES,
        Some(0xd800..=0xdfff) => return (ESCAPE_BYTES, REPLACEMENT),
        Some(_) => ESCAPE_BYTES,
        None => text.len().min(2),
    };
    (length, &text[..length])
}

/// What `\uXXXX` at the start stands for.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, digit| {
        let digit = char::from(*digit).to_digit(16).and_then(|d| u16::try_from(d).ok())?;
        Some(code << 4 | digit)
    })
}

/// Length of the character at the start, and what it becomes.
fn character(text: &[u8]) -> (usize, &[u8]) {
    let is_one = |length: &usize| text.get(..*length).is_some_and(|bytes| str::from_utf8(bytes).is_ok());
    match (2..=4).find(is_one) {
        Some(length) => (length, &text[..length]),
        None => (1, REPLACEMENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_unicode_becomes_what_go_makes_of_it() {
        for (json, expected) in [
            (b"\"\xff\"".as_slice(), Some("\"\u{fffd}\"")),
            (b"\"\xe2\x82\"", Some("\"\u{fffd}\u{fffd}\"")),
            (b"\"\xe2\x82\xac\xed\xa0\x80\"", Some("\"\u{20ac}\u{fffd}\u{fffd}\u{fffd}\"")),
            (br#""\ud800""#, Some("\"\u{fffd}\"")),
            (br#""\uDC00\ud800\n""#, Some("\"\u{fffd}\u{fffd}\\n\"")),
            (br#""\ud800\ud83d\ude00""#, Some("\"\u{fffd}\\ud83d\\ude00\"")),
            (br#""\\ud800""#, None),
            (br#""\ud8""#, None),
            ("\"\u{e9}\"".as_bytes(), None),
            (b"{\"a\": 1}", None),
            // Broken, and left so.
            (b"\xff", None),
            (br#"\ud800""#, None),
            (br#""\ud800"#, Some("\"\u{fffd}")),
            (b"\"\\", None),
            (b"\"\xff\\", Some("\"\u{fffd}\\")),
        ] {
            let got = mended(json);
            assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{}", json.escape_ascii());
            assert_eq!(got.and_then(|mended_once| mended(&mended_once)), None, "{}", json.escape_ascii());
        }
    }
}
