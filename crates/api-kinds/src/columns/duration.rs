//! Durations as people read them, with as many digits as matter.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The longest of Go's durations in seconds; what is longer is as long.
const LONGEST: i64 = i64::MAX / 1_000_000_000;

/// Seconds as upstream's `HumanDuration` prints them. A second in the future counts as the present, since clocks differ.
pub fn human(seconds: i64) -> String {
    match seconds.min(LONGEST) {
        i64::MIN..=-2 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds, HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds, DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds, YEAR, "y", DAY, "d"),
        seconds => format!("{}y", seconds / YEAR),
    }
}

/// Two units; the smaller one only if it is not zero.
fn two(seconds: i64, large: i64, large_name: &str, small: i64, small_name: &str) -> String {
    let rest = seconds % large / small;
    match rest {
        0 => format!("{}{large_name}", seconds / large),
        _ => format!("{}{large_name}{rest}{small_name}", seconds / large),
    }
}
