//! Methods of lists.

use super::{Outcome, call as function};
use crate::eval::EvalError;
use crate::value::{List, Value};
use std::cmp::Ordering;

pub(super) fn call(name: &str, list: &List, args: &[Value]) -> Option<Outcome> {
    let items = &list.items;
    Some(match (name, args) {
        ("isSorted", []) => Ok(Value::Bool(items.windows(2).all(|w| w[0].order(&w[1]) != Some(Ordering::Greater)))),
        ("min", []) => extreme(items, Ordering::Less, name),
        ("max", []) => extreme(items, Ordering::Greater, name),
        ("sum", []) => sum(items),
        ("indexOf", [wanted]) => Ok(position(items.iter().position(|i| i.equals(wanted)))),
        ("lastIndexOf", [wanted]) => Ok(position(items.iter().rposition(|i| i.equals(wanted)))),
        ("join", []) => join(items, ""),
        ("join", [Value::String(by)]) => join(items, by),
        ("sets.contains", [Value::List(other)]) => Ok(Value::Bool(contains(items, &other.items))),
        ("sets.equivalent", [Value::List(other)]) => {
            Ok(Value::Bool(contains(items, &other.items) && contains(&other.items, items)))
        }
        ("sets.intersects", [Value::List(other)]) => {
            Ok(Value::Bool(items.iter().any(|a| other.items.iter().any(|b| a.equals(b)))))
        }
        _ => return None,
    })
}

fn contains(items: &[Value], others: &[Value]) -> bool {
    others.iter().all(|o| items.iter().any(|i| i.equals(o)))
}

fn position(found: Option<usize>) -> Value {
    Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn extreme(items: &[Value], wanted: Ordering, name: &str) -> Outcome {
    let mut best: Option<&Value> = None;
    for item in items {
        if best.is_none_or(|b| item.order(b) == Some(wanted)) {
            best = Some(item);
        }
    }
    best.cloned().ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn sum(items: &[Value]) -> Outcome {
    let mut items = items.iter();
    // The sum of none is a number all the same.
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first.clone(), |sum, item| function("_+_", &[sum, item.clone()]))
}

fn join(items: &[Value], by: &str) -> Outcome {
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(text) => texts.push(&**text),
            _ => return Err(EvalError::no_overload()),
        }
    }
    Ok(Value::String(texts.join(by).into()))
}
