//! Literals that cannot be what they are used as: durations, times and patterns are read when an expression is compiled,
//! as Kubernetes does since 1.29.

use crate::ast::{self, Expr, Kind, Literal};
use crate::functions::{regexes, times};
use crate::issue::Issue;

/// What is wrong with literals of an expression whose types have been checked.
pub(crate) fn check(expr: &Expr) -> Vec<Issue> {
    let mut issues = Vec::new();
    ast::visit(expr, &mut |expr| {
        let Kind::Call { function, args, .. } = &expr.kind else { return };
        let Some(Expr { at, kind: Kind::Literal(Literal::String(text)), .. }) = args.first() else { return };
        let is_good = match function.as_str() {
            "duration" if args.len() == 1 => times::parse_duration(text).is_some(),
            "timestamp" if args.len() == 1 => times::parse_time(text).is_some(),
            "matches" => regexes::is_pattern(text),
            _ => true,
        };
        if !is_good {
            issues.push(Issue { at: *at, why: format!("invalid {function} argument") });
        }
    });
    issues
}
