//! What is wrong with an expression, and where, as upstream shows it.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// Characters before the place.
    pub at: usize,
    /// Why.
    pub why: String,
}

/// All that is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issues {
    source: String,
    issues: Vec<Issue>,
}

/// Things shown at most.
const SHOWN_MAX: usize = 100;

impl Issues {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort();
        issues.dedup();
        Self { source: source.into(), issues }
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, issue) in self.issues.iter().take(SHOWN_MAX).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            show(f, &self.source, issue)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, source: &str, issue: &Issue) -> fmt::Result {
    let (mut number, mut column) = (1, issue.at);
    for line in source.split('\n') {
        let length = line.chars().count();
        if column <= length {
            write!(f, "ERROR: <input>:{number}:{}: {}\n | {line}\n | ", column + 1, issue.why)?;
            // A wide character takes the place of two.
            for c in line.chars().take(column) {
                f.write_str(if c.len_utf8() > 1 { "．" } else { "." })?;
            }
            return f.write_str("^");
        }
        column -= length + 1;
        number += 1;
    }
    write!(f, "ERROR: <input>:{number}:1: {}", issue.why)
}

impl std::error::Error for Issues {}
