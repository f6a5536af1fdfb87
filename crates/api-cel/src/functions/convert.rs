//! Conversions between types.

use super::{Outcome, times};
use crate::eval::EvalError;
use crate::value::Value;

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    let [value] = args else { return None };
    match name {
        "dyn" => Some(Ok(value.clone())),
        "type" => Some(Ok(Value::Type(value.type_name()))),
        "bool" => match value {
            Value::Bool(_) => Some(Ok(value.clone())),
            Value::String(s) => Some(match &**s {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
                _ => Err(EvalError::new("type conversion error from 'string' to 'bool'")),
            }),
            _ => None,
        },
        "bytes" => match value {
            Value::Bytes(_) => Some(Ok(value.clone())),
            Value::String(s) => Some(Ok(Value::Bytes(s.as_bytes().into()))),
            _ => None,
        },
        "int" => int(value),
        "uint" => uint(value),
        "double" => double(value),
        "string" => string(value),
        _ => None,
    }
}

fn int(value: &Value) -> Option<Outcome> {
    let overflow = || EvalError::new("integer overflow");
    Some(match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(u) => i64::try_from(*u).map(Value::Int).map_err(|_| overflow()),
        #[allow(clippy::cast_possible_truncation)]
        Value::Double(d) if d.abs() < 9_223_372_036_854_775_807.0 => Ok(Value::Int(*d as i64)),
        Value::Double(_) => Err(overflow()),
        Value::String(s) => s.parse().map(Value::Int).map_err(|_| failed("string", "int")),
        Value::Timestamp(ns) => i64::try_from(ns.div_euclid(times::SECOND_NS)).map(Value::Int).map_err(|_| overflow()),
        Value::Duration(ns) => Ok(Value::Int(*ns)),
        _ => return None,
    })
}

fn uint(value: &Value) -> Option<Outcome> {
    let overflow = || EvalError::new("unsigned integer overflow");
    Some(match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(i) => u64::try_from(*i).map(Value::Uint).map_err(|_| overflow()),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Value::Double(d) if *d >= 0.0 && *d < 18_446_744_073_709_551_615.0 => Ok(Value::Uint(*d as u64)),
        Value::Double(_) => Err(overflow()),
        Value::String(s) => s.parse().map(Value::Uint).map_err(|_| failed("string", "uint")),
        _ => return None,
    })
}

#[allow(clippy::cast_precision_loss)]
fn double(value: &Value) -> Option<Outcome> {
    Some(match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(i) => Ok(Value::Double(*i as f64)),
        Value::Uint(u) => Ok(Value::Double(*u as f64)),
        Value::String(s) => s.parse().map(Value::Double).map_err(|_| failed("string", "double")),
        _ => return None,
    })
}

fn string(value: &Value) -> Option<Outcome> {
    Some(Ok(Value::String(match value {
        Value::String(_) => return Some(Ok(value.clone())),
        Value::Bool(b) => b.to_string().into(),
        Value::Int(i) => i.to_string().into(),
        Value::Uint(u) => u.to_string().into(),
        Value::Double(d) => show_double(*d).into(),
        Value::Bytes(b) => match std::str::from_utf8(b) {
            Ok(text) => text.into(),
            Err(_) => return Some(Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))),
        },
        Value::Timestamp(ns) => times::show(*ns).into(),
        Value::Duration(ns) => times::show_duration(*ns).into(),
        _ => return None,
    })))
}

/// A float as Go's `%g` writes it.
pub(super) fn show_double(d: f64) -> String {
    if d.is_infinite() {
        return if d > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let exponent = if d == 0.0 { 0 } else { exponent_of(d) };
    if (-4..21).contains(&exponent) {
        return d.to_string();
    }
    let text = format!("{d:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn exponent_of(d: f64) -> i32 {
    format!("{d:e}").split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

fn failed(from: &str, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}
