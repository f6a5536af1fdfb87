//! Methods of text, and functions of text.

use super::{Outcome, convert, quantities, regexes, times, url};
use crate::eval::EvalError;
use crate::value::Value;
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn call(name: &str, text: &Arc<str>, args: &[Value]) -> Option<Outcome> {
    let bool = |b: bool| Some(Ok(Value::Bool(b)));
    let string = |s: String| Some(Ok(Value::String(s.into())));
    match (name, args) {
        ("contains", [Value::String(s)]) => bool(text.contains(&**s)),
        ("startsWith", [Value::String(s)]) => bool(text.starts_with(&**s)),
        ("endsWith", [Value::String(s)]) => bool(text.ends_with(&**s)),
        ("matches", [Value::String(s)]) => Some(regexes::matches(text, s)),
        ("find", [Value::String(s)]) => Some(regexes::find(text, s)),
        ("findAll", [Value::String(s)]) => Some(regexes::find_all(text, s, -1)),
        ("findAll", [Value::String(s), Value::Int(n)]) => Some(regexes::find_all(text, s, *n)),
        ("lowerAscii", []) => string(text.to_ascii_lowercase()),
        ("upperAscii", []) => string(text.to_ascii_uppercase()),
        ("trim", []) => string(text.trim().to_owned()),
        ("strings.quote", []) => string(quote(text)),
        ("charAt", [Value::Int(i)]) => Some(char_at(text, *i)),
        ("substring", [Value::Int(from)]) => Some(substring(text, *from, None)),
        ("substring", [Value::Int(from), Value::Int(to)]) => Some(substring(text, *from, Some(*to))),
        ("indexOf", [Value::String(s)]) => Some(index_of(text, s, 0)),
        ("indexOf", [Value::String(s), Value::Int(from)]) => Some(index_of(text, s, *from)),
        ("lastIndexOf", [Value::String(s)]) => Some(last_index_of(text, s, None)),
        ("lastIndexOf", [Value::String(s), Value::Int(from)]) => Some(last_index_of(text, s, Some(*from))),
        ("replace", [Value::String(a), Value::String(b)]) => string(text.replace(&**a, b)),
        ("replace", [Value::String(a), Value::String(b), Value::Int(n)]) => string(match usize::try_from(*n) {
            Ok(n) => text.replacen(&**a, b, n),
            Err(_) => text.replace(&**a, b),
        }),
        ("split", [Value::String(s)]) => Some(Ok(split(text, s, -1))),
        ("split", [Value::String(s), Value::Int(n)]) => Some(Ok(split(text, s, *n))),
        ("format", [Value::List(list)]) => Some(format(text, &list.items)),
        ("url", []) => Some(url::parse(text).map(|u| Value::Url(Arc::new(u))).map_err(EvalError::new)),
        ("isURL", []) => bool(url::parse(text).is_ok()),
        ("quantity", []) => Some(quantities::parse(text)),
        ("isQuantity", []) => bool(quantities::parse(text).is_ok()),
        _ => None,
    }
}

fn range(i: i64) -> EvalError {
    EvalError::new(format!("index out of range: {i}"))
}

fn char_at(text: &str, i: i64) -> Outcome {
    let at = usize::try_from(i).map_err(|_| range(i))?;
    match text.chars().nth(at) {
        Some(c) => Ok(Value::String(c.to_string().into())),
        None if at == text.chars().count() => Ok(Value::text("")),
        None => Err(range(i)),
    }
}

fn substring(text: &str, from: i64, to: Option<i64>) -> Outcome {
    if let Some(to) = to.filter(|to| from > *to) {
        return Err(EvalError::new(format!("invalid substring range. start: {from}, end: {to}")));
    }
    let length = text.chars().count();
    let index = |i: i64| usize::try_from(i).ok().filter(|i| *i <= length).ok_or_else(|| range(i));
    let start = index(from)?;
    let end = to.map_or(Ok(length), index)?;
    Ok(Value::String(text.chars().skip(start).take(end - start).collect::<String>().into()))
}

fn index_of(text: &str, wanted: &str, from: i64) -> Outcome {
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    let chars: Vec<char> = text.chars().collect();
    let start = usize::try_from(from).ok().filter(|i| *i < chars.len()).ok_or_else(|| range(from))?;
    let rest: String = chars[start..].iter().collect();
    let found = rest.find(wanted).map(|at| rest[..at].chars().count() + start);
    Ok(position(found))
}

fn last_index_of(text: &str, wanted: &str, from: Option<i64>) -> Outcome {
    let (chars, wanted): (Vec<char>, Vec<char>) = (text.chars().collect(), wanted.chars().collect());
    if wanted.is_empty() {
        return Ok(from.map_or_else(|| position(Some(chars.len())), Value::Int));
    }
    let from = from.unwrap_or(i64::try_from(chars.len()).unwrap_or(i64::MAX) - 1);
    let last = usize::try_from(from).ok().filter(|i| *i < chars.len()).ok_or_else(|| range(from))?;
    let Some(latest) = chars.len().checked_sub(wanted.len()) else { return Ok(position(None)) };
    let found = (0..=last.min(latest)).rev().find(|at| chars[*at..].starts_with(&wanted));
    Ok(position(found))
}

fn position(found: Option<usize>) -> Value {
    Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn split(text: &str, by: &str, limit: i64) -> Value {
    let parts: Vec<Value> = match (limit, by.is_empty()) {
        (0, _) => Vec::new(),
        (1, _) => vec![Value::text(text)],
        (_, true) => {
            let keep = usize::try_from(limit).map_or(usize::MAX, |n| n - 1);
            let mut parts: Vec<Value> = text.chars().take(keep).map(|c| Value::text(&c.to_string())).collect();
            let rest: String = text.chars().skip(keep).collect();
            if !rest.is_empty() {
                parts.push(Value::text(&rest));
            }
            parts
        }
        (n, false) => match usize::try_from(n) {
            Ok(n) => text.splitn(n, by).map(Value::text).collect(),
            Err(_) => text.split(by).map(Value::text).collect(),
        },
    };
    Value::list(parts)
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `'%s of %d'.format([..])`.
fn format(text: &str, args: &[Value]) -> Outcome {
    let (mut out, mut chars, mut used) = (String::new(), text.chars().peekable(), 0);
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            // No more than a float can have.
            precision = Some(digits.parse::<usize>().unwrap_or(6).min(1074));
        }
        let verb = chars.next().ok_or_else(|| EvalError::new("unexpected end of format string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        if !"sdfebxXo".contains(verb) {
            let why = format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"");
            return Err(EvalError::new(why));
        }
        let value = args.get(used).ok_or_else(|| EvalError::new(format!("index {used} out of range")))?;
        used += 1;
        verb_of(&mut out, verb, precision, value)?;
    }
    Ok(Value::String(out.into()))
}

fn verb_of(out: &mut String, verb: char, precision: Option<usize>, value: &Value) -> Result<(), EvalError> {
    let takes = match verb {
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        _ => "only integers, byte buffers, and strings can be formatted as hex",
    };
    let wrong = || EvalError::new(format!("error during formatting: {takes}, was given {}", value.type_name()));
    let written = match (verb, value) {
        ('s', _) => {
            out.push_str(&show(value));
            Ok(())
        }
        ('d', Value::Int(_) | Value::Uint(_)) => write!(out, "{}", show(value)),
        ('f', _) => write!(out, "{:.*}", precision.unwrap_or(6), number(value).ok_or_else(wrong)?),
        ('e', _) => write!(out, "{:.*e}", precision.unwrap_or(6), number(value).ok_or_else(wrong)?),
        ('b', Value::Bool(b)) => write!(out, "{}", u8::from(*b)),
        ('b', Value::Int(i)) if *i < 0 => write!(out, "-{:b}", i.unsigned_abs()),
        ('b', Value::Int(i)) => write!(out, "{i:b}"),
        ('b', Value::Uint(u)) => write!(out, "{u:b}"),
        ('o', Value::Int(i)) if *i < 0 => write!(out, "-{:o}", i.unsigned_abs()),
        ('o', Value::Int(i)) => write!(out, "{i:o}"),
        ('o', Value::Uint(u)) => write!(out, "{u:o}"),
        ('x' | 'X', _) => {
            let text = hex(value).ok_or_else(wrong)?;
            out.push_str(&if verb == 'X' { text.to_uppercase() } else { text });
            Ok(())
        }
        _ => return Err(wrong()),
    };
    written.map_err(|_| wrong())
}

#[allow(clippy::cast_precision_loss)]
fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::Double(d) => *d,
        Value::Int(i) => *i as f64,
        Value::Uint(u) => *u as f64,
        _ => return None,
    })
}

fn hex(value: &Value) -> Option<String> {
    let of_bytes = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    Some(match value {
        Value::Int(i) if *i < 0 => format!("-{:x}", i.unsigned_abs()),
        Value::Int(i) => format!("{i:x}"),
        Value::Uint(u) => format!("{u:x}"),
        Value::String(s) => of_bytes(s.as_bytes()),
        Value::Bytes(b) => of_bytes(b),
        _ => return None,
    })
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) => convert::show_double(*d),
        Value::String(s) => s.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Value::Timestamp(ns) => times::show(*ns),
        Value::Duration(ns) => times::show_duration(*ns),
        Value::List(list) => {
            let items: Vec<String> = list.items.iter().map(show_inner).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries: Vec<String> =
                map.iter().map(|(k, v)| format!("{}: {}", show_inner(&k.into()), show_inner(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.type_name().into(),
    }
}

fn show_inner(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => show(other),
    }
}
