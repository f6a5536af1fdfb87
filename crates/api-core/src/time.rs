//! Times as the API writes them: RFC 3339 in UTC, in whole seconds (`Time`) or microseconds (`MicroTime`).
//!
//! Reading takes what Go's `time.Parse` takes and words errors as it does, since upstream passes them on to clients.
//! There is no clock here: whoever needs the present time is given it.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};

/// A time that cannot be read, as Go words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimeError(pub String);

/// A moment of the years 0 to 9999: those that the API can write and read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(DateTime);

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const FIRST: DateTime = DateTime::constant(0, 1, 1, 0, 0, 0, 0);
const LAST: DateTime = DateTime::MAX;

impl Moment {
    /// That long after the epoch; out of range gives the nearest that there is.
    fn after_epoch(duration: SignedDuration) -> Self {
        let nearest = if duration.is_negative() { FIRST } else { LAST };
        Self(EPOCH.checked_add(duration).ok().filter(|time| *time >= FIRST).unwrap_or(nearest))
    }

    fn since_epoch(self) -> SignedDuration {
        self.0.duration_since(EPOCH)
    }

    /// Microseconds since the epoch; what is less is cut off.
    pub fn unix_us(self) -> i64 {
        let since = self.since_epoch();
        let micros = since.as_nanos().div_euclid(1000);
        i64::try_from(micros).unwrap_or(if since.is_negative() { i64::MIN } else { i64::MAX })
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self::after_epoch(time.as_duration())
    }
}

/// `2006-01-02T15:04:05Z`; parts of a second are cut off.
pub fn format(time: impl Into<Moment>) -> String {
    let t = time.into().0;
    let (year, month, day) = (t.year(), t.month(), t.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", t.hour(), t.minute(), t.second())
}

/// `2006-01-02T15:04:05.000000Z`.
pub fn format_micro(time: impl Into<Moment>) -> String {
    let time = time.into();
    let micros = time.0.subsec_nanosecond() / 1000;
    let mut text = format(time);
    text.pop();
    format!("{text}.{micros:06}Z")
}

/// [`format()`] of seconds since the epoch; out of range gives the nearest time that can be read again.
pub fn format_unix_s(seconds: i64) -> String {
    format(Moment::after_epoch(SignedDuration::from_secs(seconds)))
}

/// [`format_micro`] of microseconds since the epoch; out of range gives the nearest time that can be read again.
pub fn format_unix_us(microseconds: i64) -> String {
    format_micro(Moment::after_epoch(SignedDuration::from_micros(microseconds)))
}

/// Reads a `Time`: RFC 3339 with or without parts of a second.
pub fn parse(text: &str) -> Result<Moment, TimeError> {
    Reader { text, rest: text, layout: "2006-01-02T15:04:05Z07:00", exact_micros: false }.read()
}

/// Reads a `MicroTime`: RFC 3339 with exactly six digits for parts of a second.
pub fn parse_micro(text: &str) -> Result<Moment, TimeError> {
    Reader { text, rest: text, layout: "2006-01-02T15:04:05.000000Z07:00", exact_micros: true }.read()
}

/// Seconds since the epoch of a `Time`, parts of a second cut off; `None` if it cannot be read.
pub fn parse_unix_s(text: &str) -> Option<i64> {
    Some(parse_unix_us(text)?.div_euclid(1_000_000))
}

/// Go's zero time, the start of the year 1, in microseconds since the epoch: a time that is none.
pub const ZERO_UNIX_US: i64 = -62_135_596_800_000_000;

/// Microseconds since the epoch of a `Time`, what is less cut off; `None` if it cannot be read.
pub fn parse_unix_us(text: &str) -> Option<i64> {
    Some(parse(text).ok()?.unix_us())
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
    exact_micros: bool,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Moment, TimeError> {
        let year = self.digits("2006", 4, 4)?;
        self.literal("-")?;
        let month = self.digits("01", 2, 2)?;
        self.in_range("month", (1..=12).contains(&month))?;
        self.literal("-")?;
        let day = self.digits("02", 2, 2)?;
        self.literal("T")?;
        let hour = self.digits("15", 1, 2)?;
        self.in_range("hour", hour < 24)?;
        self.literal(":")?;
        let minute = self.digits("04", 2, 2)?;
        self.in_range("minute", minute < 60)?;
        self.literal(":")?;
        let second = self.digits("05", 2, 2)?;
        self.in_range("second", second < 60)?;
        let nanos = if self.exact_micros { self.micros()? } else { self.fraction() };
        let offset_s = self.offset()?;
        if !self.rest.is_empty() {
            return self.fail(&format!(": extra text: {}", quote(self.rest)));
        }
        let date = Date::new(year as i16, month as i8, day as i8).ok().filter(|_| day >= 1);
        let Some(date) = date else { return self.fail(": day out of range") };
        let local = date.at(hour as i8, minute as i8, second as i8, nanos);
        let utc = local.checked_sub(SignedDuration::from_secs(i64::from(offset_s))).ok().filter(|t| *t >= FIRST);
        utc.map_or_else(|| self.fail(": year out of range"), |time| Ok(Moment(time)))
    }

    fn fail<T>(&self, why: &str) -> Result<T, TimeError> {
        Err(TimeError(format!("parsing time {}{why}", quote(self.text))))
    }

    fn cannot<T>(&self, element: &str) -> Result<T, TimeError> {
        self.fail(&format!(" as {:?}: cannot parse {} as {element:?}", self.layout, quote(self.rest)))
    }

    fn in_range(&self, what: &str, holds: bool) -> Result<(), TimeError> {
        if holds { Ok(()) } else { self.fail(&format!(": {what} out of range")) }
    }

    fn literal(&mut self, expected: &str) -> Result<(), TimeError> {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.cannot(expected),
        }
    }

    fn digits(&mut self, element: &str, min: usize, max: usize) -> Result<u32, TimeError> {
        let count = self.rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if count < min {
            return self.cannot(element);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    }

    /// Nanoseconds of an optional `.123` or `,123`; digits after the ninth do not count.
    fn fraction(&mut self) -> i32 {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        self.rest = &after[count..];
        let digits = after.bytes().take(count).chain(std::iter::repeat(b'0')).take(9);
        digits.fold(0, |n, b| n * 10 + i32::from(b - b'0'))
    }

    fn micros(&mut self) -> Result<i32, TimeError> {
        let digits =
            self.rest.strip_prefix('.').and_then(|r| r.get(..6)).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let Some(digits) = digits else { return self.cannot(".000000") };
        self.rest = &self.rest[7..];
        Ok(digits.bytes().fold(0, |n, b| n * 10 + i32::from(b - b'0')) * 1000)
    }

    fn offset(&mut self) -> Result<i32, TimeError> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let b = self.rest.as_bytes();
        let shaped = b.len() >= 6
            && matches!(b[0], b'+' | b'-')
            && b[3] == b':'
            && [1, 2, 4, 5].iter().all(|i| b[*i].is_ascii_digit());
        if !shaped {
            return self.cannot("Z07:00");
        }
        let two = |i: usize| i32::from(b[i] - b'0') * 10 + i32::from(b[i + 1] - b'0');
        let (hours, minutes, negative) = (two(1), two(4), b[0] == b'-');
        self.in_range("time zone offset hour", hours <= 24)?;
        self.in_range("time zone offset minute", minutes <= 60)?;
        self.rest = &self.rest[6..];
        let seconds = hours * 3600 + minutes * 60;
        Ok(if negative { -seconds } else { seconds })
    }
}

/// Text in quotes as upstream's errors about times have it: what is no ASCII is told byte by byte.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='\x7f' => quoted.push(c),
            _ => {
                let mut buffer = [0; 4];
                let bytes = c.encode_utf8(&mut buffer).bytes();
                quoted.extend(bytes.map(|b| format!("\\x{b:02x}")));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads_and_prints_utc() {
        let cases = [
            ("2024-07-16T21:03:45Z", "2024-07-16T21:03:45.000000Z"),
            ("2024-07-16T21:03:45.5Z", "2024-07-16T21:03:45.500000Z"),
            ("2024-07-16T21:03:45.1234567899Z", "2024-07-16T21:03:45.123456Z"),
            ("2024-07-16T21:03:45+02:00", "2024-07-16T19:03:45.000000Z"),
            ("2024-02-29T23:59:59-00:30", "2024-03-01T00:29:59.000000Z"),
            ("2024-07-16T1:03:45Z", "2024-07-16T01:03:45.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.250000Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59+02:00", "9999-12-31T21:59:59.000000Z"),
            ("0000-01-01T01:00:00+01:00", "0000-01-01T00:00:00.000000Z"),
        ];
        for (text, printed) in cases {
            assert_eq!(parse(text).map(format_micro), Ok(printed.to_owned()), "{text}");
        }
        assert_eq!(format(parse("2024-07-16T21:03:45.9+01:00").unwrap()), "2024-07-16T20:03:45Z");
        assert_eq!(
            parse_micro("2024-07-16T21:03:45.000001Z").map(format_micro).unwrap(),
            "2024-07-16T21:03:45.000001Z"
        );
        assert_eq!(format_unix_s(0), "1970-01-01T00:00:00Z");
        assert_eq!(parse_unix_s("1970-01-01T00:01:00Z"), Some(60));
        assert_eq!(parse_unix_s("1969-12-31T23:59:58.5Z"), Some(-2));
        assert_eq!(format_unix_s(i64::MIN), "0000-01-01T00:00:00Z", "the first that can be read again");
        assert_eq!(format_unix_us(i64::MIN), "0000-01-01T00:00:00.000000Z");
        assert_eq!(format_unix_s(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_unix_us(i64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(parse_unix_s("9999-12-31T23:59:59Z"), Some(253_402_300_799));
        assert_eq!(format(Timestamp::MAX), "9999-12-30T22:00:00Z");
    }

    #[test]
    fn errors_are_worded_as_go_words_them() {
        let layout = "2006-01-02T15:04:05Z07:00";
        let cases = [
            ("", format!("parsing time \"\" as \"{layout}\": cannot parse \"\" as \"2006\"")),
            (
                "ü\t",
                format!(
                    "parsing time \"\\xc3\\xbc\\x09\" as \"{layout}\": cannot parse \"\\xc3\\xbc\\x09\" as \"2006\""
                ),
            ),
            ("x", format!("parsing time \"x\" as \"{layout}\": cannot parse \"x\" as \"2006\"")),
            ("2024-07", format!("parsing time \"2024-07\" as \"{layout}\": cannot parse \"\" as \"-\"")),
            ("2024-13-01T00:00:00Z", "parsing time \"2024-13-01T00:00:00Z\": month out of range".into()),
            ("2023-02-29T00:00:00Z", "parsing time \"2023-02-29T00:00:00Z\": day out of range".into()),
            ("9999-12-31T23:59:59-00:01", "parsing time \"9999-12-31T23:59:59-00:01\": year out of range".into()),
            ("0000-01-01T00:00:00+24:00", "parsing time \"0000-01-01T00:00:00+24:00\": year out of range".into()),
            ("2023-02-28T00:00:00Zx", "parsing time \"2023-02-28T00:00:00Zx\": extra text: \"x\"".into()),
            (
                "2023-02-28T00:00:00",
                format!("parsing time \"2023-02-28T00:00:00\" as \"{layout}\": cannot parse \"\" as \"Z07:00\""),
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().0, message);
        }
        assert_eq!(
            parse_micro("2024-07-16T21:03:45Z").unwrap_err().0,
            "parsing time \"2024-07-16T21:03:45Z\" as \"2006-01-02T15:04:05.000000Z07:00\": \
             cannot parse \"Z\" as \".000000\""
        );
    }
}
