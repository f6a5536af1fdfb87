//! Regular expressions, as RE2 reads them.

use super::Outcome;
use crate::eval::EvalError;
use crate::value::Value;
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
        let regex = regex::RegexBuilder::new(&translate(pattern)).size_limit(SIZE_BYTES_MAX).build();
        let regex = regex.map_err(|_| EvalError::new(format!("error parsing regexp: {}", why(pattern))))?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}

/// What is wrong with an expression that is none, in RE2's words.
fn why(pattern: &str) -> String {
    let (mut class, mut groups, mut repeats) = (None, 0usize, false);
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, class) {
            ('\\', _) if chars.next().is_none() => return "trailing backslash at end of expression: ``".into(),
            ('[', None) => class = Some(at),
            (']', Some(start)) if at > start + 1 => class = None,
            ('(', None) => groups += 1,
            (')', None) if groups == 0 => return format!("unexpected ): `{pattern}`"),
            (')', None) => groups -= 1,
            ('*' | '+' | '?', None) if !repeats => return format!("missing argument to repetition operator: `{c}`"),
            _ => {}
        }
        repeats = !matches!(c, '(' | '|');
    }
    match class {
        Some(start) => format!("missing closing ]: `{}`", &pattern[start..]),
        None if groups > 0 => format!("missing closing ): `{pattern}`"),
        None => format!("`{pattern}`"),
    }
}

/// Whether the text can be used as an expression.
pub(crate) fn is_pattern(text: &str) -> bool {
    compiled(text).is_ok()
}

/// Classes and borders are ASCII in RE2.
pub(crate) fn translate(pattern: &str) -> String {
    let (mut out, mut chars, mut in_class) = (String::new(), pattern.chars(), false);
    while let Some(c) = chars.next() {
        match c {
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            '\\' => {
                let Some(next) = chars.next() else {
                    out.push('\\');
                    break;
                };
                match (next, in_class) {
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('s', true) => out.push_str("\\t\\n\\f\\r "),
                    ('d', false) => out.push_str("[0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
                    ('D', false) => out.push_str("[^0-9]"),
                    ('W', false) => out.push_str("[^0-9A-Za-z_]"),
                    ('S', false) => out.push_str("[^\\t\\n\\f\\r ]"),
                    ('b', false) => out.push_str("(?-u:\\b)"),
                    (next, _) => out.extend(['\\', next]),
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
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
