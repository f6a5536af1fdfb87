//! Arithmetic; what does not fit is an error.

use super::Outcome;
use crate::eval::EvalError;
use crate::value::Value;

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    Some(match args {
        [Value::Int(a)] if name == "-_" => checked(a.checked_neg().map(Value::Int)),
        [Value::Double(a)] if name == "-_" => Ok(Value::Double(-a)),
        [Value::Int(a), Value::Int(b)] => int(name, *a, *b)?,
        [Value::Uint(a), Value::Uint(b)] => uint(name, *a, *b)?,
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(match name {
            "_+_" => a + b,
            "_-_" => a - b,
            "_*_" => a * b,
            "_/_" => a / b,
            _ => return None,
        })),
        _ => return None,
    })
}

pub(super) fn checked(value: Option<Value>) -> Outcome {
    value.ok_or_else(|| EvalError::new("integer overflow"))
}

fn int(name: &str, a: i64, b: i64) -> Option<Outcome> {
    Some(match name {
        "_+_" => checked(a.checked_add(b).map(Value::Int)),
        "_-_" => checked(a.checked_sub(b).map(Value::Int)),
        "_*_" => checked(a.checked_mul(b).map(Value::Int)),
        "_/_" if b == 0 => Err(EvalError::new("division by zero")),
        "_%_" if b == 0 => Err(EvalError::new("modulus by zero")),
        "_/_" => checked(a.checked_div(b).map(Value::Int)),
        "_%_" => checked(a.checked_rem(b).map(Value::Int)),
        _ => return None,
    })
}

fn uint(name: &str, a: u64, b: u64) -> Option<Outcome> {
    let checked = |v: Option<u64>| v.map(Value::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"));
    Some(match name {
        "_+_" => checked(a.checked_add(b)),
        "_-_" => checked(a.checked_sub(b)),
        "_*_" => checked(a.checked_mul(b)),
        "_/_" if b == 0 => Err(EvalError::new("division by zero")),
        "_%_" if b == 0 => Err(EvalError::new("modulus by zero")),
        "_/_" => checked(a.checked_div(b)),
        "_%_" => checked(a.checked_rem(b)),
        _ => return None,
    })
}
