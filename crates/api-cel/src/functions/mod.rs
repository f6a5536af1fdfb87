//! Functions, by name and by the values they are called with.

mod authorizer;
mod convert;
pub(crate) mod cost;
mod lists;
mod numbers;
mod quantities;
pub(crate) mod regexes;
mod strings;
pub(crate) mod times;
pub(crate) mod url;

use crate::eval::{EvalError, concat};
use crate::value::Value;
use std::cmp::Ordering;
use std::sync::Arc;

type Outcome = Result<Value, EvalError>;

/// Calls a function; a method's target is its first argument.
pub(crate) fn call(name: &str, args: &[Value]) -> Outcome {
    let found = match name {
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "@in" | "size" | "!_" => common(name, args),
        "_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_" => arithmetic(name, args),
        "bool" | "bytes" | "double" | "dyn" | "int" | "string" | "uint" | "type" => convert::call(name, args),
        "timestamp" | "duration" => times::parse(name, args),
        _ => None,
    };
    let found = found.or_else(|| match args {
        [] => (name == "optional.none").then_some(Ok(Value::Optional(None))),
        [Value::String(text), rest @ ..] => strings::call(name, text, rest),
        [Value::List(list), rest @ ..] => lists::call(name, list, rest),
        [Value::Timestamp(_) | Value::Duration(_), ..] => times::call(name, args),
        [Value::Quantity(quantity), rest @ ..] => quantities::call(name, quantity, rest),
        [Value::Url(url)] => url::call(name, url),
        [Value::Authz(authz), rest @ ..] => authorizer::call(name, authz, rest),
        _ => None,
    });
    found.or_else(|| optional(name, args)).unwrap_or_else(|| Err(EvalError::no_overload()))
}

fn common(name: &str, args: &[Value]) -> Option<Outcome> {
    let bool = |b: bool| Some(Ok(Value::Bool(b)));
    match (name, args) {
        ("!_", [Value::Bool(b)]) => bool(!b),
        ("_==_", [a, b]) => bool(a.equals(b)),
        ("_!=_", [a, b]) => bool(!a.equals(b)),
        ("@in", [item, Value::List(list)]) => bool(list.items.iter().any(|i| i.equals(item))),
        ("@in", [key, Value::Map(map)]) => bool(key.key().is_some_and(|k| map.contains_key(&k))),
        ("size", [Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)]) => {
            Some(Ok(Value::Int(i64::try_from(args[0].size()).unwrap_or(i64::MAX))))
        }
        (_, [a, b]) => {
            let Some(order) = a.order(b) else {
                // NaN is in no order with anything.
                let numbers = [a, b].iter().all(|v| matches!(v, Value::Double(_) | Value::Int(_) | Value::Uint(_)));
                return if numbers { bool(false) } else { None };
            };
            match name {
                "_<_" => bool(order == Ordering::Less),
                "_<=_" => bool(order != Ordering::Greater),
                "_>_" => bool(order == Ordering::Greater),
                "_>=_" => bool(order != Ordering::Less),
                _ => None,
            }
        }
        _ => None,
    }
}

fn arithmetic(name: &str, args: &[Value]) -> Option<Outcome> {
    if let Some(result) = numbers::call(name, args) {
        return Some(result);
    }
    match (name, args) {
        ("_+_", [Value::String(a), Value::String(b)]) => Some(Ok(Value::String(format!("{a}{b}").into()))),
        ("_+_", [Value::Bytes(a), Value::Bytes(b)]) => Some(Ok(Value::Bytes([&a[..], &b[..]].concat().into()))),
        ("_+_", [Value::List(a), Value::List(b)]) => Some(Ok(concat(a, b))),
        _ => times::arithmetic(name, args),
    }
}

fn optional(name: &str, args: &[Value]) -> Option<Outcome> {
    Some(match (name, args) {
        ("optional.of", [value]) => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => Ok(Value::Optional((!is_zero(value)).then(|| Arc::new(value.clone())))),
        ("hasValue", [Value::Optional(inner)]) => Ok(Value::Bool(inner.is_some())),
        ("value", [Value::Optional(inner)]) => {
            inner.as_ref().map(|v| (**v).clone()).ok_or_else(|| EvalError::new("optional.none() dereference"))
        }
        _ => return None,
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Optional(None) => true,
        Value::Double(d) => *d == 0.0,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        _ => false,
    }
}

/// A type that expressions can name, if there is one.
pub(crate) fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
        "type",
        "optional_type",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
    ];
    NAMES.iter().find(|n| **n == name).copied()
}
