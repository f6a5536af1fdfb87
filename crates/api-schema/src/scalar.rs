//! Values with a syntax of their own, read and written as upstream does.

use crate::schema::Shape;
use api_core::quantity::Quantity;
use api_core::time;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};
use std::str::FromStr;

/// Go's standard encoding: padded, and bits after the last byte do not matter.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A quantity in its canonical form.
pub fn quantity(text: &str) -> Result<Value, String> {
    // Upstream trims the text as it stands in JSON, where most other white space is escaped.
    match Quantity::from_str(text.trim_matches(' ')) {
        Ok(quantity) => Ok(Value::String(quantity.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

/// A time in UTC and whole seconds.
pub fn time(text: String) -> Result<Value, String> {
    let read = time::parse(&text).map_err(|e| e.0)?;
    Ok(Value::String(if text.len() == 20 { text } else { time::format(read) }))
}

/// A time in UTC with microseconds.
pub fn micro_time(text: String) -> Result<Value, String> {
    let read = time::parse_micro(&text).map_err(|e| e.0)?;
    Ok(Value::String(if text.len() == 27 { text } else { time::format_micro(read) }))
}

/// Base64 as Go writes it; line ends are skipped.
pub fn bytes(mut text: String) -> Result<Value, String> {
    if text.contains(['\r', '\n']) {
        text.retain(|c| c != '\r' && c != '\n');
    }
    match BASE64.decode(&text) {
        Ok(bytes) => Ok(Value::String(BASE64.encode(bytes))),
        Err(_) => Err(format!("illegal base64 data at input byte {}", first_bad_byte(text.as_bytes()))),
    }
}

/// Where Go's decoder stops.
fn first_bad_byte(text: &[u8]) -> usize {
    let data = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let end = text.iter().position(|b| !data(b)).unwrap_or(text.len());
    if end == text.len() {
        return end - end % 4;
    }
    if text[end] != b'=' || end % 4 < 2 {
        return end;
    }
    let padded = end - end % 4 + 4;
    match text[end..padded.min(text.len())].iter().position(|b| *b != b'=') {
        Some(bad) => end + bad,
        None => padded.min(text.len()),
    }
}

/// A double; a whole one has no fraction.
pub fn number(n: Number) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    let whole = n.as_f64().filter(|f| n.is_f64() && f.fract() == 0.0 && f.abs() < 9.0e15).map(|f| f as i64);
    Value::Number(whole.map_or(n, Number::from))
}

/// A number of no given type. Go writes a negative zero as `-0`, which it reads as the integer 0.
pub fn any_number(n: Number) -> Value {
    let is_negative_zero = n.is_f64() && n.as_f64().is_some_and(|f| f == 0.0 && f.is_sign_negative());
    Value::Number(if is_negative_zero { 0.into() } else { n })
}

/// All numbers of a value, so that it is read back as it is.
pub fn any_numbers(value: &mut Value) {
    match value {
        Value::Number(n) => *value = any_number(n.clone()),
        Value::Array(items) => items.iter_mut().for_each(any_numbers),
        Value::Object(fields) => fields.values_mut().for_each(any_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A number as Go converts it to an integer that is no wider than 64 bits: a double without a fraction counts as an integer,
/// and what does not fit loses its high bits.
pub fn converted(shape: &Shape, n: Number) -> Number {
    #[expect(clippy::cast_precision_loss, reason = "2^63 is a double")]
    const PAST: f64 = i64::MAX as f64;
    if !matches!(shape, Shape::Int32 | Shape::Int64 | Shape::IntOrString) {
        return n;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    let whole = n.as_i64().or_else(|| match n.as_f64().filter(|f| f.trunc() == *f)? {
        f if (-PAST..PAST).contains(&f) => Some(f as i64),
        _ => Some(i64::MIN),
    });
    #[expect(clippy::cast_possible_truncation, reason = "as Go does")]
    match (shape, whole) {
        (_, None) => n,
        (Shape::Int32, Some(whole)) => (whole as i32).into(),
        // It is written as JSON, and read from it.
        (Shape::IntOrString, Some(_)) if n.as_f64().is_some_and(|f| f.abs() >= 1e21) => n,
        (_, Some(whole)) => whole.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_zero_is_read_as_zero() {
        for (given, read) in [("-0.0", "0"), ("-0", "0"), ("0.0", "0.0"), ("-0.5", "-0.5"), ("0", "0"), ("-1", "-1")] {
            let n = serde_json::from_str(given).expect("a number");
            assert_eq!(any_number(n).to_string(), read, "{given}");
        }
    }

    #[test]
    fn numbers_are_converted_as_go_converts_them() {
        let read = |text: &str| -> Number { serde_json::from_str(text).expect("a number") };
        for (shape, from, to) in [
            (Shape::Int32, "1000.0", "1000"),
            (Shape::Int32, "1.5", "1.5"),
            (Shape::Int32, "2147483648", "-2147483648"),
            (Shape::Int32, "-2147483649", "2147483647"),
            (Shape::Int32, "9223372036854775807", "-1"),
            (Shape::Int32, "1e300", "0"),
            (Shape::Int64, "1e3", "1000"),
            (Shape::Int64, "9223372036854775808", "-9223372036854775808"),
            (Shape::IntOrString, "80.0", "80"),
            (Shape::IntOrString, "80.5", "80.5"),
            (Shape::Number, "1.0", "1.0"),
        ] {
            assert_eq!(converted(&shape, read(from)).to_string(), to, "{from}");
        }
    }

    #[test]
    fn base64_is_read_as_go_reads_it() {
        assert_eq!(bytes("QUJD".into()), Ok("QUJD".into()));
        assert_eq!(bytes("QU\nJD".into()), Ok("QUJD".into()));
        assert_eq!(bytes("QR==".into()), Ok("QQ==".into()));
        for (text, at) in [("Not_Valid Name!", 3), ("other", 4), ("x", 0), ("QQ=", 3), ("QQ=x", 3), ("=", 0)] {
            assert_eq!(bytes(text.into()), Err(format!("illegal base64 data at input byte {at}")), "{text}");
        }
    }

    #[test]
    fn quantities_are_written_canonically() {
        assert_eq!(quantity("0.5"), Ok("500m".into()));
        assert_eq!(quantity("1024Mi"), Ok("1Gi".into()));
        assert_eq!(quantity(" 1 "), Ok("1".into()));
        for text in ["x", "1\t", "\u{a0}1"] {
            assert!(quantity(text).unwrap_err().starts_with("quantities must match"), "{text:?}");
        }
    }
}
