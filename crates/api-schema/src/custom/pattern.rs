//! Patterns of schemas: regular expressions, as Go reads them.

use api_core::re2;
use parking_lot::Mutex;
use regex::Regex;
use std::collections::VecDeque;

/// Bytes that a compiled pattern may take. One that needs more is refused.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// Compiled patterns that are kept at hand; past it, that one goes which was not used for longest.
const KEPT_MAX: usize = 16;
/// Bytes of a pattern that is kept; a longer one is compiled each time.
const KEPT_BYTES_MAX: usize = 1 << 10;

/// A definition says the same of many fields, and is read several times before it is in use. What is kept outlives it.
static KEPT: Mutex<Kept> = Mutex::new(Kept(VecDeque::new()));

/// Compiles a pattern; one that was compiled shortly before is taken from there, and shares its memory.
///
/// # Errors
/// If it is no regular expression, in Go's words.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if let Some(known) = KEPT.lock().find(pattern) {
        return Ok(known);
    }
    let regex = re2::compile(pattern, COMPILED_BYTES_MAX)?;
    KEPT.lock().put(pattern, &regex);
    Ok(regex)
}

/// The patterns that were used last, the newest first.
struct Kept(VecDeque<(Box<str>, Regex)>);

impl Kept {
    fn find(&mut self, pattern: &str) -> Option<Regex> {
        let at = self.0.iter().position(|(known, _)| **known == *pattern)?;
        let found = self.0.remove(at)?;
        let regex = found.1.clone();
        self.0.push_front(found);
        Some(regex)
    }

    fn put(&mut self, pattern: &str, regex: &Regex) {
        // Another thread may have compiled it meanwhile.
        if pattern.len() > KEPT_BYTES_MAX || self.find(pattern).is_some() {
            return;
        }
        self.0.truncate(KEPT_MAX - 1);
        self.0.push_front((pattern.into(), regex.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut kept = Kept(VecDeque::new());
        let names: Vec<_> = (0..=KEPT_MAX).map(|i| format!("^{i}$")).collect();
        for name in &names[..KEPT_MAX] {
            assert!(kept.find(name).is_none());
            kept.put(name, &Regex::new(name).expect("a pattern"));
        }
        assert!(kept.find(&names[0]).is_some_and(|regex| regex.as_str() == names[0]));
        let other = Regex::new("x").expect("a pattern");
        kept.put(&names[KEPT_MAX], &other);
        assert!(kept.find(&names[1]).is_none(), "it was not used for longest");
        assert_eq!(kept.0.len(), KEPT_MAX);
        for twice in [&names[2], &"a".repeat(KEPT_BYTES_MAX + 1)] {
            kept.put(twice, &other);
            assert_eq!(kept.0.len(), KEPT_MAX);
        }
        assert!([0, 2, KEPT_MAX].iter().all(|at| kept.find(&names[*at]).is_some()));
    }

    #[test]
    fn a_pattern_is_compiled_as_it_is_written() {
        for _ in 0..2 {
            assert!(compile("^[a-z]{2}$").is_ok_and(|regex| regex.is_match("ab") && !regex.is_match("abc")));
            assert_eq!(
                compile("a**").map(drop),
                Err("error parsing regexp: invalid nested repetition operator: `**`".into())
            );
        }
    }
}
