//! Cron schedules: five fields, names, ranges, steps and the usual `@` words, in a time zone. Pure.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Days looked ahead for a match; a schedule without one in that time (30 February) has none.
const LOOK_AHEAD_DAYS: usize = 366 * 8;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    Fields(Fields),
    /// Every so many seconds after the time before.
    Every(i64),
}

/// Each field as a set of bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields must match when one of them is a star; otherwise one of them is enough.
    both_days: bool,
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => match text.strip_prefix("@every ") {
                Some(every) => return duration(every).map(Schedule::Every),
                None => text,
            },
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", parts.len()));
        };
        let star = |text: &str| text.starts_with('*') || text.starts_with('?');
        let weekday_bits = field(weekdays, 0, 7, &DAYS, 0)?;
        Ok(Schedule::Fields(Fields {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, &MONTHS, 1)?,
            // 7 is Sunday too.
            weekdays: weekday_bits | (weekday_bits >> 7 & 1),
            both_days: star(days) || star(weekdays),
        }))
    }

    /// The first time after `after`, in `zone`.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Every(seconds) => Timestamp::from_second(after.as_second() + seconds).ok(),
            Schedule::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = after.to_zoned(zone.clone()).datetime();
        let mut date = from.date();
        for _ in 0..LOOK_AHEAD_DAYS {
            if self.has_day(date) {
                let same_day = date == from.date();
                if let Some(found) = self.on(date, zone, after, if same_day { Some(from) } else { None }) {
                    return Some(found);
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn on(&self, date: Date, zone: &TimeZone, after: Timestamp, from: Option<DateTime>) -> Option<Timestamp> {
        let first_hour = from.map_or(0, DateTime::hour);
        for hour in (first_hour..24).filter(|hour| has(self.hours, *hour)) {
            for minute in (0..60).filter(|minute| has(self.minutes, *minute)) {
                let time = date.at(hour, minute, 0, 0).to_zoned(zone.clone()).ok()?;
                // A time that the clocks skip has no place on this day.
                let exists = time.datetime().hour() == hour;
                if exists && time.timestamp() > after {
                    return Some(time.timestamp());
                }
            }
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.both_days { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, at: i8) -> bool {
    u32::try_from(at).is_ok_and(|at| bits >> at & 1 == 1)
}

fn field(text: &str, low: u32, high: u32, names: &[&str], first_name: u32) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        bits |= range(part, low, high, names, first_name)?;
    }
    Ok(bits)
}

fn range(part: &str, low: u32, high: u32, names: &[&str], first_name: u32) -> Result<u64, String> {
    let bad = || format!("failed to parse {part:?}");
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = names.iter().position(|name| *name == lower) {
            return Ok(first_name + u32::try_from(at).unwrap_or(0));
        }
        text.parse().map_err(|_| bad())
    };
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    let (from, to) = match span {
        "*" | "?" => (low, if high == 7 { 6 } else { high }),
        _ => match span.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if step.is_some() => (number(span)?, high),
            None => (number(span)?, number(span)?),
        },
    };
    let step = step.map_or(Ok(1), |step| step.parse::<u32>().map_err(|_| bad()))?;
    if from < low || to > high || from > to || step == 0 {
        return Err(bad());
    }
    Ok((from..=to).step_by(step as usize).fold(0, |bits, at| bits | 1 << at))
}

/// A duration as in `1h30m`, in seconds.
fn duration(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse duration {text:?}");
    let (mut seconds, mut digits) = (0i64, String::new());
    for c in text.trim().chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(bad()),
        };
        seconds += digits.parse::<i64>().map_err(|_| bad())? * unit;
        digits.clear();
    }
    if seconds < 1 || !digits.is_empty() { Err(bad()) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        let cases = [
            ("*/15 * * * *", "2024-01-01T00:00:00Z", "2024-01-01T00:15:00Z"),
            ("0 9-17/4 * * mon-fri", "2024-01-05T17:30:00Z", "2024-01-08T09:00:00Z"),
            ("30 3 29 feb *", "2024-03-01T00:00:00Z", "2028-02-29T03:30:00Z"),
            ("0 0 13 * 5", "2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"),
            ("0 0 * * 7", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z"),
            ("@hourly", "2024-01-01T00:59:59Z", "2024-01-01T01:00:00Z"),
            ("@every 1h30m", "2024-01-01T00:00:00Z", "2024-01-01T01:30:00Z"),
        ];
        for (text, after, expected) in cases {
            let next = Schedule::parse(text).unwrap().next(after.parse().unwrap(), &TimeZone::UTC);
            assert_eq!(next, Some(expected.parse().unwrap()), "{text}");
        }
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap().next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "x * * * *", "5-1 * * * *", "@every x"] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zone_moves_the_hour() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let next = Schedule::parse("0 8 * * *").unwrap().next("2024-01-01T00:00:00Z".parse().unwrap(), &zone);
        assert_eq!(next, Some("2024-01-01T13:00:00Z".parse().unwrap()));
    }
}
