//! YAML as upstream reads it: YAML 1.1 scalars, converted to what JSON can say.

use super::FieldValidation;
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error, Options};

/// Nodes that all aliases of a document may stand for together. More is refused: a few lines of aliases of aliases can mean
/// more than any memory holds.
const ALIASED_NODES_MAX: usize = 100_000;

/// Reads one document for who minds neither duplicate keys nor types.
///
/// # Errors
/// What is wrong, for people.
pub fn read_yaml(body: &[u8]) -> Result<Value, String> {
    parse(body, FieldValidation::Ignore).map(|document| document.value)
}

/// A YAML document as JSON.
#[derive(Debug)]
pub struct Document {
    /// Its value.
    pub value: Value,
    /// Keys that are there twice, worded for a warning; only looked for where they matter.
    pub duplicates: Vec<String>,
}

/// Reads one document.
///
/// # Errors
/// What is wrong, for people.
pub fn parse(body: &[u8], fields: FieldValidation) -> Result<Document, String> {
    check_characters(body)?;
    // Hardly any document has a key twice, so one reading is enough.
    let strict = match read(body, DuplicateKeyPolicy::Error) {
        Ok(value) => return Ok(Document { value, duplicates: Vec::new() }),
        Err(error @ Error::DuplicateMappingKey { .. }) => error,
        Err(error) => return Err(format!("yaml: {error}")),
    };
    let value = read(body, DuplicateKeyPolicy::LastWins).map_err(|e| format!("yaml: {e}"))?;
    let noted = fields != FieldValidation::Ignore;
    let duplicates = noted.then(|| format!("yaml: unmarshal errors:\n  {strict}")).into_iter().collect();
    Ok(Document { value, duplicates })
}

fn read(body: &[u8], duplicates: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let mut options = Options::default();
    options.duplicate_keys = duplicates;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
    let mut value: Value = serde_saphyr::from_slice_with_options(body, options)?;
    whole_numbers(&mut value);
    Ok(value)
}

/// Looks for what is no character, or none that may stand in YAML: the first of them is told.
fn check_characters(body: &[u8]) -> Result<(), String> {
    let mut chunks = body.utf8_chunks();
    let first = chunks.next();
    if first.as_ref().is_some_and(|chunk| chunk.valid().contains(is_control)) {
        return Err("yaml: control characters are not allowed".to_owned());
    }
    match first.filter(|chunk| !chunk.invalid().is_empty()) {
        Some(chunk) => Err(format!("yaml: {}", no_character(&body[chunk.valid().len()..]))),
        None => Ok(()),
    }
}

/// Whether a character may stand nowhere in YAML, not even in quotes.
fn is_control(c: char) -> bool {
    !matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// What is wrong with bytes that begin with no character, in upstream's words.
fn no_character(bytes: &[u8]) -> &'static str {
    let (length, least) = match bytes.first() {
        Some(0xc0..=0xdf) => (2, 0x80),
        Some(0xe0..=0xef) => (3, 0x800),
        Some(0xf0..=0xf7) => (4, 0x1_0000),
        _ => return "invalid leading UTF-8 octet",
    };
    let Some(octets) = bytes.get(..length) else { return "incomplete UTF-8 octet sequence" };
    if octets[1..].iter().any(|octet| octet & 0xc0 != 0x80) {
        return "invalid trailing UTF-8 octet";
    }
    let first = u32::from(octets[0]) & (0x7f >> length);
    let code = octets[1..].iter().fold(first, |code, octet| code << 6 | u32::from(octet & 0x3f));
    if code < least { "invalid length of a UTF-8 sequence" } else { "invalid Unicode character" }
}

/// Makes integers of all numbers that are, as `1e3`: upstream writes YAML as JSON before it reads it, and loses the difference.
pub fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            // Beyond, they are written with an exponent; those that no integer holds stay as they are.
            let whole = n.as_f64().filter(|f| f.trunc() == *f && f.abs() < 1e21);
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            if let Some(whole) = whole.and_then(|f| i64::try_from(f as i128).ok()) {
                *n = whole.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_read_as_yaml_1_1() {
        let text = "a: 0777\nb: yes\nc: off\nd: '1'\ne: 1e3\nf: ~\ng: 12:30\nh: y\n";
        let got = parse(text.as_bytes(), FieldValidation::Ignore).unwrap().value;
        assert_eq!(
            got,
            json!({"a": 511, "b": true, "c": false, "d": "1", "e": 1000, "f": null, "g": "12:30", "h": true})
        );
    }

    #[test]
    fn bytes_that_are_no_characters_are_told_as_upstream_tells_them() {
        for (bytes, why) in [
            (b"a: \"\xff\"".as_slice(), "invalid leading UTF-8 octet"),
            (b"a: \x80", "invalid leading UTF-8 octet"),
            (b"a: \xe2\x82", "incomplete UTF-8 octet sequence"),
            (b"a: \xe2(\x82", "invalid trailing UTF-8 octet"),
            (b"a: \xc1\x81", "invalid length of a UTF-8 sequence"),
            (b"a: \xed\xa0\x80", "invalid Unicode character"),
            (b"a: \xf5\x80\x80\x80", "invalid Unicode character"),
            (b"a: \"\x7f\"", "control characters are not allowed"),
            (b"a: \0", "control characters are not allowed"),
            (b"a: \xc2\x80 \xff", "control characters are not allowed"),
            (b"a: \xff \x1b", "invalid leading UTF-8 octet"),
            (b"a: \xef\xbf\xbf", "control characters are not allowed"),
        ] {
            let got = parse(bytes, FieldValidation::Warn).map(|document| document.value);
            assert_eq!(got, Err(format!("yaml: {why}")), "{}", bytes.escape_ascii());
        }
        assert!(parse(br#"{"a": "\ud800"}"#, FieldValidation::Warn).is_err());
    }

    #[test]
    fn whole_numbers_are_integers() {
        let read = |text: &str| parse(text.as_bytes(), FieldValidation::Warn).map(|document| document.value);
        assert_eq!(read("[1e3, 1e18, -1.0, 0.5]"), Ok(json!([1000, 1_000_000_000_000_000_000_i64, -1, 0.5])));
        assert_eq!(read("[1e19, 1e21]"), Ok(json!([1e19, 1e21])));
    }

    /// As upstream's do: JSON has neither of these limits.
    #[test]
    fn zeros_have_no_sign_and_keys_end() {
        let read = |text: &str| parse(text.as_bytes(), FieldValidation::Strict).map(|document| document.value);
        assert_eq!(read("[-0, 0]").unwrap().to_string(), "[0,0]");
        let keyed = |length: usize| format!("{{\"{}\": 1}}", "k".repeat(length));
        assert!(read(&keyed(1000)).is_ok());
        assert!(read(&keyed(1100)).is_err());
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_and_is_noted() {
        let got = parse(b"a: 1\na: 2\n", FieldValidation::Warn).unwrap();
        assert_eq!(got.value, json!({"a": 2}));
        assert_eq!(got.duplicates.len(), 1);
    }

    #[test]
    fn a_document_is_neither_too_deep_nor_larger_than_it_looks() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let read = |text: &str| parse(text.as_bytes(), FieldValidation::Strict);
        assert!(read(&nested(60)).is_ok());
        assert!(read(&nested(100_000)).is_err());
        let aliases = |n: usize| vec![format!("*a{n}"); 9].join(",");
        let levels: Vec<String> = (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", aliases(n - 1))).collect();
        assert!(read(&format!("a0: &a0 x\n{}", levels[..4].concat())).is_ok());
        assert!(read(&format!("a0: &a0 x\n{}", levels.concat())).is_err());
    }
}
