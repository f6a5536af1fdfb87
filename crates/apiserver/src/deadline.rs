//! How long a request may take: the `timeout` of its URL, a duration as Go writes one, or the server's own limit.

use crate::query::Query;
use api_core::ApiError;
use std::time::Duration;

/// The time that a request may take that does not go on for long: what it asks for, but at most `most`.
///
/// # Errors
/// 400 if its `timeout` is no duration.
pub(crate) fn of(query: &Query, most: Duration) -> Result<Duration, ApiError> {
    let text = query.get("timeout");
    if text.is_empty() {
        return Ok(most);
    }
    match parse(text) {
        Ok(asked) if asked.is_zero() => Ok(most),
        Ok(asked) => Ok(asked.min(most)),
        Err(why) => Err(ApiError::bad_request(format!("invalid timeout specified in the request URL - time: {why}"))),
    }
}

/// A duration as Go writes one (`1h2m3.5s`); nothing is less than none. The error is in Go's words.
fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_s = 0f64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let seconds = match unit {
            "" => return Err(format!("missing unit in duration {text:?}")),
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(format!("unknown unit {unit:?} in duration {text:?}")),
        };
        total_s += number * seconds;
        rest = after;
    }
    if negative { Ok(Duration::ZERO) } else { Duration::try_from_secs_f64(total_s).map_err(|_| invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, wanted) in [
            ("1m30s", Ok(90_000)),
            ("1.5s", Ok(1500)),
            (".5s", Ok(500)),
            ("+2h", Ok(7_200_000)),
            ("0", Ok(0)),
            ("-5s", Ok(0)),
            ("5", Err("missing unit in duration \"5\"")),
            ("5x", Err("unknown unit \"x\" in duration \"5x\"")),
            ("1.s2", Err("missing unit in duration \"1.s2\"")),
            (".s", Err("invalid duration \".s\"")),
            ("soon", Err("invalid duration \"soon\"")),
            ("-", Err("invalid duration \"-\"")),
            ("9999999999999999999999h", Err("invalid duration \"9999999999999999999999h\"")),
        ] {
            assert_eq!(parse(text), wanted.map(Duration::from_millis).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn nobody_gets_more_than_the_server_allows() {
        let most = Duration::from_secs(60);
        for (query, wanted_s) in [("", 60), ("timeout=", 60), ("timeout=5s", 5), ("timeout=0s", 60), ("timeout=2m", 60)]
        {
            assert_eq!(of(&Query::parse(Some(query)), most), Ok(Duration::from_secs(wanted_s)), "{query}");
        }
        let refused = of(&Query::parse(Some("timeout=5")), most).expect_err("no unit");
        let why = "invalid timeout specified in the request URL - time: missing unit in duration \"5\"";
        assert_eq!((refused.code, refused.message.as_str()), (400, why));
    }
}
