//! Patterns of schemas: regular expressions, as Go reads them.

use api_core::re2;
use regex::Regex;

/// Bytes that a compiled pattern may take. One that needs more is refused.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Compiles a pattern.
///
/// # Errors
/// If it is no regular expression, in Go's words.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    re2::compile(pattern, COMPILED_BYTES_MAX)
}
