//! Formats of strings that a schema may ask for; an unknown format holds for everything.

use base64::Engine;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `text` has the format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date" => api_core::time::parse(&format!("{text}T00:00:00Z")).is_ok() && text.len() == 10,
        "date-time" | "datetime" => api_core::time::parse(text).is_ok(),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
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
        "hostname" => !text.is_empty() && text.len() <= 253 && text.split('.').all(host_label),
        "mac" => text.split([':', '-']).count() == 6 && text.split([':', '-']).all(|b| b.len() == 2 && hex(b)),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "hexcolor" => {
            text.strip_prefix('#').unwrap_or(text).len().is_multiple_of(3) && hex(text.trim_start_matches('#'))
        }
        _ => true,
    }
}

fn hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn host_label(label: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
}

/// With or without hyphens, of a version or of any.
fn uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let hyphens = text.len() - plain.len();
    let right = version.is_none_or(|v| plain.chars().nth(12) == Some(v));
    plain.len() == 32 && hex(&plain) && hyphens <= 4 && right
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
            ("hostname", "a.b-c", "-a"),
            ("email", "a@b", "ab"),
        ];
        for (format, good, bad) in cases {
            assert!(fits(format, good) && !fits(format, bad), "{format}");
        }
        assert!(fits("other", "anything"));
    }
}
