//! Numbers as upstream writes them: a double without a fraction has none, and exponents start where Go starts them.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// Below this and from [`EXPONENT_FROM`] on, Go writes an exponent.
const EXPONENT_BELOW: f64 = 1e-6;
const EXPONENT_FROM: f64 = 1e21;

/// Writes compact JSON, with numbers as Go writes them.
///
/// # Errors
/// If the value cannot be written as JSON.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(out, GoNumbers))
}

struct GoNumbers;

impl Formatter for GoNumbers {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(EXPONENT_BELOW..EXPONENT_FROM).contains(&size) {
            let sign = if size < 1.0 { "" } else { "+" };
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            return write!(writer, "{digits}e{sign}{exponent}");
        }
        write!(writer, "{value}")
    }

    /// What does not fit into 64 bits with a sign is a double to upstream.
    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        match i64::try_from(value) {
            Ok(value) => self.write_i64(writer, value),
            #[expect(clippy::cast_precision_loss, reason = "that is what upstream loses")]
            Err(_) => self.write_f64(writer, value as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn written(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        let mut out = Vec::new();
        write(&mut out, &value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (given, expected) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1.10", "1.1"),
            ("1e3", "1000"),
            ("-2.5E1", "-25"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("-12.5e-12", "-1.25e-11"),
            ("0.0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854776000"),
            ("12345678901234567890", "12345678901234567000"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(written(given), expected, "{given}");
            assert_eq!(written(&written(given)), written(given), "{given}");
        }
    }
}
