//! Selectors: which objects a list, a watch or a controller means, by labels or by fields.
//!
//! Must never know which fields a kind offers to [`fields`]; the kind's row says that.

pub mod fields;
mod label_lexer;
mod label_parser;
pub mod labels;

/// A selector that cannot be read, or an invalid requirement. The text is upstream's, since clients show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
