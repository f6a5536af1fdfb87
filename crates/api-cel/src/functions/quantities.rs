//! Quantities.

use super::Outcome;
use crate::eval::EvalError;
use crate::value::Value;
use api_core::quantity::Quantity;
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) fn parse(text: &str) -> Outcome {
    let parsed: Result<Quantity, _> = text.parse();
    parsed.map(|q| Value::Quantity(Arc::new(q))).map_err(|e| EvalError::new(e.to_string()))
}

pub(super) fn call(name: &str, quantity: &Quantity, args: &[Value]) -> Option<Outcome> {
    let made = |q: Quantity| Some(Ok(Value::Quantity(Arc::new(q))));
    let order = |other: &Quantity| quantity.cmp(other);
    match (name, args) {
        ("sign", []) => Some(Ok(Value::Int(i64::from(quantity.sign())))),
        ("isInteger", []) => Some(Ok(Value::Bool(quantity.as_i64().is_some()))),
        ("asInteger", []) => {
            let whole = quantity.as_i64().map(Value::Int);
            Some(whole.ok_or_else(|| EvalError::new("cannot convert value to integer")))
        }
        ("asApproximateFloat", []) => Some(Ok(Value::Double(quantity.as_f64()))),
        ("isGreaterThan", [Value::Quantity(other)]) => Some(Ok(Value::Bool(order(other) == Ordering::Greater))),
        ("isLessThan", [Value::Quantity(other)]) => Some(Ok(Value::Bool(order(other) == Ordering::Less))),
        ("compareTo", [Value::Quantity(other)]) => Some(Ok(Value::Int(order(other) as i64))),
        ("add", [Value::Quantity(other)]) => made((*quantity).plus(**other)),
        ("sub", [Value::Quantity(other)]) => made((*quantity).minus(**other)),
        ("add", [Value::Int(other)]) => made((*quantity).plus(Quantity::from_int(*other))),
        ("sub", [Value::Int(other)]) => made((*quantity).minus(Quantity::from_int(*other))),
        _ => None,
    }
}
