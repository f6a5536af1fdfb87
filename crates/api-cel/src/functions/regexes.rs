//! Regular expressions, as RE2 reads them.

use super::Outcome;
use crate::eval::EvalError;
use crate::value::Value;
use api_core::re2;
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;

/// Expressions that are kept compiled, for each thread; past it they are all forgotten.
const KEPT_MAX: usize = 64;
/// Bytes that a compiled expression may take.
const SIZE_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static KEPT: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

fn compiled(pattern: &str) -> Result<Regex, EvalError> {
    KEPT.with_borrow_mut(|kept| {
        if let Some(regex) = kept.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = re2::compile(pattern, SIZE_BYTES_MAX).map_err(EvalError::new)?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}

/// Whether the text can be used as an expression.
pub(crate) fn is_pattern(text: &str) -> bool {
    compiled(text).is_ok()
}

pub(super) fn matches(text: &str, pattern: &str) -> Outcome {
    Ok(Value::Bool(compiled(pattern)?.is_match(text)))
}

pub(super) fn find(text: &str, pattern: &str) -> Outcome {
    Ok(Value::text(compiled(pattern)?.find(text).map_or("", |m| m.as_str())))
}

pub(super) fn find_all(text: &str, pattern: &str, limit: i64) -> Outcome {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Value::list(compiled(pattern)?.find_iter(text).take(limit).map(|m| Value::text(m.as_str())).collect()))
}
