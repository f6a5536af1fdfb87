//! Reading an object's fields; what is absent reads as empty.

use api_core::time::{ZERO_UNIX_US, parse_unix_us};
use api_schema::row::Cell;
use serde_json::Value;

static NULL: Value = Value::Null;

/// The value at a dotted path.
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(object, |value, field| value.get(field)).unwrap_or(&NULL)
}

/// Text at a dotted path.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or("")
}

/// Text at a dotted path, or something in place of what is empty or absent.
pub fn text_or<'a>(object: &'a Value, path: &str, other: &'a str) -> &'a str {
    match text(object, path) {
        "" => other,
        found => found,
    }
}

/// Text at a dotted path if it is set, even to nothing, or something in its place.
pub fn set_text_or<'a>(object: &'a Value, path: &str, other: &'a str) -> &'a str {
    at(object, path).as_str().unwrap_or(other)
}

/// A number at a dotted path.
pub fn int(object: &Value, path: &str) -> i64 {
    at(object, path).as_i64().unwrap_or(0)
}

/// A truth value at a dotted path.
pub fn flag(object: &Value, path: &str) -> bool {
    at(object, path).as_bool().unwrap_or(false)
}

/// A list at a dotted path.
pub fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// Entries of a list or map at a dotted path.
pub fn count(object: &Value, path: &str) -> usize {
    match at(object, path) {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

/// Whether a field is there.
pub fn has(object: &Value, path: &str) -> bool {
    !at(object, path).is_null()
}

/// The name's cell.
pub fn name(object: &Value) -> Cell {
    text(object, "metadata.name").into()
}

/// The age's cell.
pub fn age(object: &Value) -> Cell {
    since(text(object, "metadata.creationTimestamp"))
}

/// How long ago a time is.
pub fn since(time: &str) -> Cell {
    since_within(String::new(), time, "")
}

/// A time in microseconds since the epoch; `None` for none, as which Go's first moment counts.
pub fn moment(time: &str) -> Option<i64> {
    parse_unix_us(time).filter(|unix_us| *unix_us != ZERO_UNIX_US)
}

/// The same as [`since`], with text before and after it.
pub fn since_within(before: String, time: &str, after: &'static str) -> Cell {
    match moment(time) {
        Some(then_unix_us) => Cell::Since { before, then_unix_us, after },
        None => format!("{before}<unknown>{after}").into(),
    }
}

/// Status of a condition; `None` if there is none of that type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "status.conditions").iter().find(|c| text(c, "type") == kind)
}

/// Whether a condition holds.
pub fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| text(c, "status") == "True")
}
