//! Moments and spans.

use super::Outcome;
use crate::eval::EvalError;
use crate::value::Value;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

pub(crate) const SECOND_NS: i128 = 1_000_000_000;
/// 0001-01-01 and the end of 9999, in seconds.
const RANGE_S: std::ops::RangeInclusive<i128> = -62_135_596_800..=253_402_300_799;
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];

pub(super) fn parse(name: &str, args: &[Value]) -> Option<Outcome> {
    Some(match (name, args) {
        ("timestamp", [Value::Timestamp(_)]) | ("duration", [Value::Duration(_)]) => Ok(args[0].clone()),
        ("timestamp", [Value::String(text)]) => parse_time(text)
            .map(Value::Timestamp)
            .ok_or_else(|| EvalError::new("type conversion error from 'string' to 'google.protobuf.Timestamp'")),
        ("timestamp", [Value::Int(s)]) => moment(i128::from(*s) * SECOND_NS),
        ("duration", [Value::String(text)]) => parse_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| EvalError::new("type conversion error from 'string' to 'google.protobuf.Duration'")),
        ("duration", [Value::Int(ns)]) => Ok(Value::Duration(*ns)),
        _ => return None,
    })
}

fn moment(ns: i128) -> Outcome {
    if RANGE_S.contains(&ns.div_euclid(SECOND_NS)) {
        Ok(Value::Timestamp(ns))
    } else {
        Err(EvalError::new("timestamp overflow"))
    }
}

/// A moment as RFC 3339 has it.
pub(crate) fn parse_time(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'T' && bytes[13] == b':';
    if !shaped {
        return None;
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)
}

/// A span as Go writes it: `1h2m3.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        #[allow(clippy::cast_possible_truncation)]
        let part = whole * (*factor as i128) + (fraction * factor) as i128;
        total = total.checked_add(part)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A moment as RFC 3339 has it.
pub(crate) fn show(ns: i128) -> String {
    Timestamp::from_nanosecond(ns).map(|t| t.to_string()).unwrap_or_default()
}

/// A span in seconds.
pub(crate) fn show_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let (seconds, rest) = (ns.unsigned_abs() / 1_000_000_000, ns.unsigned_abs() % 1_000_000_000);
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{seconds}s") } else { format!("{sign}{seconds}.{fraction}s") }
}

pub(super) fn arithmetic(name: &str, args: &[Value]) -> Option<Outcome> {
    let span = |ns: Option<i64>| ns.map(Value::Duration).ok_or_else(|| EvalError::new("integer overflow"));
    Some(match (name, args) {
        ("_+_", [Value::Duration(a), Value::Duration(b)]) => span(a.checked_add(*b)),
        ("_-_", [Value::Duration(a), Value::Duration(b)]) => span(a.checked_sub(*b)),
        ("_+_", [Value::Timestamp(t), Value::Duration(d)] | [Value::Duration(d), Value::Timestamp(t)]) => {
            moment(t + i128::from(*d))
        }
        ("_-_", [Value::Timestamp(t), Value::Duration(d)]) => moment(t - i128::from(*d)),
        ("_-_", [Value::Timestamp(a), Value::Timestamp(b)]) => span(i64::try_from(a - b).ok()),
        _ => return None,
    })
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    match args {
        [Value::Duration(ns)] => Some(Ok(Value::Int(match name {
            "getHours" => ns / 3_600_000_000_000,
            "getMinutes" => ns / 60_000_000_000,
            "getSeconds" => ns / 1_000_000_000,
            "getMilliseconds" => ns / 1_000_000,
            _ => return None,
        }))),
        [Value::Timestamp(ns)] => part(name, &zoned(*ns, TimeZone::UTC)?),
        [Value::Timestamp(ns), Value::String(zone)] => match time_zone(zone) {
            Some(zone) => part(name, &zoned(*ns, zone)?),
            None => Some(Err(EvalError::new(format!("unknown time zone {zone}")))),
        },
        _ => None,
    }
}

fn zoned(ns: i128, zone: TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_nanosecond(ns).ok()?.to_zoned(zone))
}

/// A zone by its name or its distance, as in `+02:00`.
fn time_zone(text: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = text.split_once(':') else {
        return if text.is_empty() || text == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(text).ok() };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    Some(TimeZone::fixed(Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?))
}

fn part(name: &str, t: &Zoned) -> Option<Outcome> {
    Some(Ok(Value::Int(match name {
        "getFullYear" => i64::from(t.year()),
        "getMonth" => i64::from(t.month()) - 1,
        "getDayOfYear" => i64::from(t.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(t.day()) - 1,
        "getDate" => i64::from(t.day()),
        "getDayOfWeek" => i64::from(t.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(t.hour()),
        "getMinutes" => i64::from(t.minute()),
        "getSeconds" => i64::from(t.second()),
        "getMilliseconds" => i64::from(t.millisecond()),
        _ => return None,
    })))
}
