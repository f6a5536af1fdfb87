//! Schedules of cron jobs: five fields, or a descriptor such as `@daily`; and names of time zones.

use std::num::{IntErrorKind, ParseIntError};

/// A field of a schedule.
struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field { min: 1, max: 12, names: &MONTHS },
    Field { min: 0, max: 6, names: &DAYS },
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether a schedule can be read.
///
/// # Errors
/// Why it cannot.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if let Some(zoned) = rest.strip_prefix("TZ=").or_else(|| rest.strip_prefix("CRON_TZ=")) {
        let (zone, after) = zoned.split_once(' ').unwrap_or((zoned, ""));
        if !zone.is_empty() && zone != "Local" && !is_time_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = after.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let count = fields.len();
        return Err(format!("expected exactly 5 fields, found {count}: [{}]", fields.join(" ")));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(text, field)| text.split(',').try_for_each(|range| field.check(range)))
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(_) => Err(format!("failed to parse duration {text}")),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// A duration of Go: `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let known = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit);
        if number.parse::<f64>().is_err() || !known {
            return false;
        }
        rest = after;
    }
    true
}

impl Field {
    /// `*`, `a`, `a-b`, each with an optional `/step`.
    fn check(&self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (low, high) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (self.min, self.max),
            Some((low, high)) if !high.contains('-') => (self.number(low)?, self.number(high)?),
            Some(_) => return Err(format!("too many hyphens: {text}")),
            None => {
                let low = self.number(range)?;
                (low, if step.is_some() { self.max } else { low })
            }
        };
        let step = match step {
            Some(step) if step.contains('/') => return Err(format!("too many slashes: {text}")),
            Some(step) => number(step)?,
            None => 1,
        };
        match (low < self.min, high > self.max, low > high, step == 0) {
            (true, ..) => Err(format!("beginning of range ({low}) below minimum ({}): {text}", self.min)),
            (_, true, ..) => Err(format!("end of range ({high}) above maximum ({}): {text}", self.max)),
            (_, _, true, _) => Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}")),
            (_, _, _, true) => Err(format!("step of range should be a positive number: {text}")),
            _ => Ok(()),
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(at as u32 + self.min);
        }
        number(text)
    }
}

/// A number that is not negative; the errors are worded as Go and its parser of schedules word them.
fn number(text: &str) -> Result<u32, String> {
    let number: i64 = text.parse().map_err(|why: ParseIntError| {
        let is_large = matches!(why.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow);
        let why = if is_large { "value out of range" } else { "invalid syntax" };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", api_core::go::quote(text))
    })?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Names of the time zone database.
const TIME_ZONES: &str = include_str!("../../../data/time-zones.txt");

/// Whether a name is one of the time zone database. Upper and lower case matter, as they do upstream.
pub(super) fn is_time_zone(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('#') && TIME_ZONES.lines().any(|zone| zone == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-3 1,15 jan-MAR sun", "@daily", "@every 1h30m", "0 0 ? * 6", "5/15 * * * *"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "@often",
            "3-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1-2-3 * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_told_as_go_tells_them() {
        for (schedule, why) in [
            ("5/15k * * * *", "failed to parse int from 15k: strconv.Atoi: parsing \"15k\": invalid syntax"),
            ("1-,/2 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            ("*/-5 * * * *", "negative number (-5) not allowed: -5"),
        ] {
            assert_eq!(check(schedule), Err(why.to_owned()));
        }
        assert_eq!(check("+5 * * * *"), Ok(()));
    }

    #[test]
    fn time_zones() {
        for good in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert!(is_time_zone(good), "{good}");
        }
        for bad in ["", "Berlin", "europe/berlin", "Europe/", "Not_Valid Name!", "other", "Europe/Nowhere"] {
            assert!(!is_time_zone(bad), "{bad}");
        }
    }
}
