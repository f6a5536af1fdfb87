//! What calls cost: 1, or in proportion to what they go over.

use crate::value::{Key, Value};

/// Cost of going over a character.
pub(crate) const CHARACTER: f64 = 0.1;
/// The same, the other way round.
const CHARACTERS_OF_COST: u64 = 10;
/// Cost of a character of a regular expression.
pub(crate) const PATTERN_CHARACTER: f64 = 0.25;
/// Cost of asking for a permission; an expression can do so twice.
pub(crate) const CHECK: u64 = 350_000;

fn sized(value: Option<&Value>) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    value.map_or(0.0, |v| v.size() as f64)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn up(cost: f64) -> u64 {
    cost.ceil() as u64
}

/// What a call costs before anything is done.
pub(crate) fn before(name: &str, args: &[Value]) -> u64 {
    let (first, second) = (sized(args.first()), sized(args.get(1)));
    let texts = matches!(args.first(), Some(Value::String(_) | Value::Bytes(_)));
    match name {
        "check" => CHECK,
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => up(first.min(second) * CHARACTER),
        "startsWith" | "endsWith" => up(second * CHARACTER),
        "strings.quote" | "format" => up(first * CHARACTER),
        "bytes" | "string" if texts => up(first * CHARACTER),
        "@in" if matches!(args.get(1), Some(Value::List(_))) => up(second),
        "_+_" if texts => up((first + second) * CHARACTER),
        "matches" | "find" | "findAll" => up((1.0 + first) * CHARACTER) * up(second * PATTERN_CHARACTER),
        "contains" if texts => up(first * CHARACTER) * up(second * CHARACTER),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => traversal(args.first()),
        "url" | "isURL" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "quantity" | "isQuantity" => {
            up(first * CHARACTER)
        }
        "replace" | "split" => up(first * 2.0 * CHARACTER),
        "sets.contains" | "sets.intersects" => 1 + up(first * second),
        "sets.equivalent" => 1 + up(2.0 * first * second),
        // Charged by what comes out.
        "join" => 0,
        _ => 1,
    }
}

/// What is charged once it is done.
pub(crate) fn after(name: &str, result: &Value) -> u64 {
    if name == "join" { up(sized(Some(result)) * 2.0 * CHARACTER) } else { 0 }
}

/// Cost of looking at all of it once.
fn traversal(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::List(list)) => list.items.iter().map(|i| traversal(Some(i))).sum(),
        // Upstream counts bytes here, and drops what is less than one.
        Some(Value::String(text)) => text.len() as u64 / CHARACTERS_OF_COST,
        Some(Value::Bytes(bytes)) => bytes.len() as u64 / CHARACTERS_OF_COST,
        Some(Value::Map(map)) => map.iter().map(|(k, v)| of_key(k) + traversal(Some(v))).sum(),
        _ => 1,
    }
}

fn of_key(key: &Key) -> u64 {
    match key {
        Key::String(text) => text.len() as u64 / CHARACTERS_OF_COST,
        _ => 1,
    }
}
