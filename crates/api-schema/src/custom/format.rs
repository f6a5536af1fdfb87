//! Formats of strings that a schema may ask for; an unknown format holds for everything.

use base64::Engine;
use regex::Regex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// A label with one hyphen at most, or labels of a domain whose last has letters only. Letters and symbols of any script.
static HOST: LazyLock<Regex> = LazyLock::new(|| {
    let c = r"[a-zA-Z0-9\p{S}\p{L}]";
    let label = format!(r"{c}(?:(?:{c}|-){{0,61}}{c})?");
    Regex::new(&format!(r"^(?:{c}(?:-?{c}{{0,62}})?|(?:{label}\.)+[a-zA-Z\p{{L}}]{{2,63}})$")).expect("a pattern")
});

/// Formats that are checked, their hyphens gone.
const CHECKED: [&str; 24] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
];

/// The format, if it is one that is checked; else nothing.
pub(super) fn checked(format: &str) -> String {
    if CHECKED.contains(&format.replace('-', "").as_str()) { format.to_owned() } else { String::new() }
}

/// Whether `text` has the format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "date" => api_core::time::parse(&format!("{text}T00:00:00Z")).is_ok() && text.len() == 10,
        "datetime" => api_core::time::parse(text).is_ok(),
        "byte" => !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(ip, bits)| {
            let max = match ip.parse() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|b| b <= max)
        }),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "hostname" => text.len() <= 255 && text.split('.').all(|label| label.len() <= 63) && HOST.is_match(text),
        "mac" => text.split([':', '-']).count() == 6 && text.split([':', '-']).all(|b| b.len() == 2 && hex(b)),
        "uri" => {
            text.starts_with('/')
                || text.split_once(':').is_some_and(|(scheme, rest)| scheme_fits(scheme) && !rest.is_empty())
        }
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && hex(digits)
        }
        "rgbcolor" => rgb(text).is_some(),
        "bsonobjectid" => text.len() == 24 && hex(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "isbn" => isbn10(text) || isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => ssn(text),
        "duration" => duration(text).is_some(),
        _ => true,
    }
}

fn scheme_fits(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `rgb(1, 2, 3)`.
fn rgb(text: &str) -> Option<()> {
    let inner = text.strip_prefix("rgb(")?.strip_suffix(')')?;
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    (parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())).then_some(())
}

fn without_separators(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-')).collect()
}

fn isbn10(text: &str) -> bool {
    let digits = without_separators(text);
    let value = |(i, c): (usize, char)| match c {
        'X' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = digits.chars().enumerate().map(value).collect();
    values.is_some_and(|v| v.len() == 10 && (1..).zip(&v).map(|(i, d)| i * d).sum::<u32>() % 11 == 0)
}

fn isbn13(text: &str) -> bool {
    let values: Option<Vec<u32>> = without_separators(text).chars().map(|c| c.to_digit(10)).collect();
    let weighted = |v: &Vec<u32>| v.iter().zip([1, 3].into_iter().cycle()).map(|(d, w)| d * w).sum::<u32>();
    values.is_some_and(|v| v.len() == 13 && weighted(&v) % 10 == 0)
}

fn credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| digits.starts_with(p));
    match digits.len() {
        13 => starts(&["4"]),
        14 => starts(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => starts(&["34", "37", "2131", "1800"]),
        16 => starts(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]),
        _ => false,
    }
}

/// `123-45-6789`, also with blanks or nothing between.
fn ssn(text: &str) -> bool {
    let digits = without_separators(text);
    let separators = text.len() - digits.len();
    digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit()) && separators <= 2
}

/// Nanoseconds of `1h2m`, `1.5s` or `22 ns`; `None` if it is no duration.
pub(crate) fn duration(text: &str) -> Option<f64> {
    let unsigned = text.trim().trim_start_matches(['-', '+']);
    if unsigned == "0" {
        return Some(0.0);
    }
    let mut rest = unsigned;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = rest[end..].trim_start();
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').unwrap_or(after.len());
        total += number
            * match &after[..unit_end] {
                "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1.0,
                "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1e3,
                "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1e6,
                "s" | "sec" | "secs" | "second" | "seconds" => 1e9,
                "m" | "min" | "mins" | "minute" | "minutes" => 6e10,
                "h" | "hr" | "hour" | "hours" => 3.6e12,
                "d" | "day" | "days" => 8.64e13,
                "w" | "wk" | "week" | "weeks" => 6.048e14,
                _ => return None,
            };
        rest = after[unit_end..].trim_start();
    }
    (!unsigned.is_empty()).then_some(total)
}

fn hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// With or without hyphens, of a version or of any.
fn uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let hyphens = text.len() - plain.len();
    let right = version.is_none_or(|v| plain.chars().nth(12) == Some(v));
    // The variant of versions 4 and 5 stands in the 17th digit.
    let variant = !matches!(version, Some('4' | '5')) || plain.chars().nth(16).is_some_and(|c| "89abAB".contains(c));
    plain.len() == 32 && hex(&plain) && hyphens <= 4 && right && variant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let cases = [
            ("date-time", "2024-01-01T00:00:00Z", "2024-01-01"),
            ("date", "2024-01-31", "2024-01-32"),
            ("byte", "YWJj", "?"),
            ("ipv4", "1.2.3.4", "1.2.3"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "0b7e7b52-0000-4000-8000-000000000000", "0b7e7b52"),
            ("mac", "aa:bb:cc:dd:ee:ff", "aa:bb"),
            ("hostname", "a-b.example", "-a"),
            ("hostname", "a-b", "a-b-c"),
            ("hostname", "ü", "1.5"),
            ("byte", "YQ==", ""),
            ("email", "a@b", "ab"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111-1111-1111-1111", "1"),
            ("ssn", "111-11-1111", "11"),
            ("hexcolor", "#FFFFFF", "#ff"),
            ("rgbcolor", "rgb(1,2,3)", "rgb(1,2)"),
            ("duration", "1h30m", "1x"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "5"),
        ];
        for (format, good, bad) in cases {
            assert!(fits(format, good) && !fits(format, bad), "{format}");
        }
        assert!(fits("other", "anything"));
    }
}
