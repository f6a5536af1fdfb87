//! CEL as Kubernetes 1.30 has it: grammar, static types, evaluation with a cost for each step, and the estimate of costs
//! that a rule of a custom resource must stay under.
//!
//! - [`Env`] declares variables; [`Env::compile`] reads and checks an expression, in upstream's words if it is wrong.
//! - [`Program::eval`] evaluates it against a [`Scope`], and charges a [`Meter`].
//! - [`validations`] are the rules `x-kubernetes-validations` of a schema.
//!
//! Why an own grammar: the library `cel` parses neither optional fields (`a.?b`) nor tells where a node stands, and it has
//! neither types nor costs; what would be left of it is less than what it brings along.
//!
//! Must never know the server, nor do I/O.

#![forbid(unsafe_code)]

pub mod ast;
mod authz;
mod checker;
mod convert;
#[cfg(test)]
mod costs;
mod decls;
mod estimate;
mod eval;
mod functions;
mod issue;
mod lexer;
mod literals;
mod macros;
mod parser;
mod program;
mod schema;
#[cfg(test)]
mod tests;
mod types;
pub mod validations;
mod value;

pub use authz::{Authorize, Authz, Check, Decision};
pub use convert::{from_json, to_json, to_typed};
pub use estimate::{Estimate, estimate};
pub use eval::{EvalError, Meter, Scope};
pub use issue::Issues;
pub use program::{Env, Program};
pub use schema::{declare, escape, unescape};
pub use types::{Decl, Object, Type};
pub use value::{Key, List, ListKind, Value};

/// Cost that one evaluation of one expression may have.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// Cost that all expressions about one request may have together.
pub const REQUEST_COST_MAX: u64 = 10_000_000;
/// Cost that the conditions of one webhook or policy may have together.
pub const CONDITIONS_COST_MAX: u64 = REQUEST_COST_MAX / 4;
/// Estimated cost that a rule of a schema may have.
pub const RULE_ESTIMATE_MAX: u64 = 10_000_000;
/// Estimated cost that all rules of a schema may have together.
pub const SCHEMA_ESTIMATE_MAX: u64 = 100_000_000;

/// Whether CEL keeps the word for itself.
pub fn is_reserved(text: &str) -> bool {
    lexer::RESERVED.contains(&text)
}

/// Whether `text` can name a variable.
pub fn is_identifier(text: &str) -> bool {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !is_reserved(text)
}
