//! Whether a CEL expression can be compiled: its grammar, and that what it names is there.
//!
//! Types are not checked here and nothing is evaluated.

mod lexer;
mod parser;

use super::check::Node;
use api_core::field::Errors;
use std::collections::BTreeSet;

/// What an expression may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Declared names beside those below.
    pub names: &'a [&'a str],
    /// Whether `params` is there.
    pub params: bool,
    /// Whether `authorizer` is there.
    pub authorizer: bool,
    /// Fields of `variables`, if that is there.
    pub variables: Option<&'a [&'a str]>,
    /// Fields of `self`, if they are known.
    pub fields: Option<&'a BTreeSet<&'a str>>,
}

impl Scope<'_> {
    /// An expression about a request.
    pub(super) const ADMISSION: Scope<'static> = Scope {
        names: &["object", "oldObject", "request", "namespaceObject"],
        params: false,
        authorizer: true,
        variables: None,
        fields: None,
    };

    fn declares(&self, name: &str) -> bool {
        match name {
            "params" => self.params,
            "authorizer" => self.authorizer,
            "variables" => self.variables.is_some(),
            _ => self.names.contains(&name) || TYPES.contains(&name) || LIBRARIES.contains(&name),
        }
    }

    fn has_field(&self, of: &str, field: &str) -> bool {
        match of {
            "variables" => self.variables.is_none_or(|v| v.contains(&field)),
            "self" => self.fields.is_none_or(|f| f.contains(field)),
            _ => true,
        }
    }
}

const TYPES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "google",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// Names that functions stand below.
const LIBRARIES: [&str; 7] = ["cel", "ip", "math", "optional", "regex", "sets", "strings"];

/// Functions that stand alone.
const FUNCTIONS: [&str; 28] = [
    "bool",
    "bytes",
    "cidr",
    "double",
    "duration",
    "dyn",
    "getDate",
    "has",
    "int",
    "ip",
    "isCIDR",
    "isIP",
    "isQuantity",
    "isSorted",
    "isURL",
    "list",
    "map",
    "matches",
    "max",
    "min",
    "quantity",
    "size",
    "string",
    "sum",
    "timestamp",
    "type",
    "uint",
    "url",
];

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether `text` can name a variable.
pub(super) fn is_identifier(text: &str) -> bool {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !RESERVED.contains(&text)
}

/// What is wrong with an expression, if anything is, as upstream says it.
pub(super) fn error(text: &str, scope: &Scope<'_>) -> Option<String> {
    let wrong = parser::check(text, scope).err()?;
    let (mut line_number, mut rest) = (1, wrong.at);
    for line in text.split('\n') {
        if rest <= line.len() {
            let column = line.get(..rest).map_or(rest, |before| before.chars().count());
            let pointer = ".".repeat(column);
            let position = format!("{line_number}:{}", column + 1);
            return Some(format!(
                "compilation failed: ERROR: <input>:{position}: {}\n | {line}\n | {pointer}^",
                wrong.why
            ));
        }
        rest -= line.len() + 1;
        line_number += 1;
    }
    Some(format!("compilation failed: ERROR: <input>:{line_number}:1: {}", wrong.why))
}

/// Reports an expression that cannot be compiled; whether it can.
pub(super) fn compiles(node: &Node<'_, '_>, scope: &Scope<'_>, e: &mut Errors) -> bool {
    let wrong = error(node.str(), scope);
    if let Some(why) = &wrong {
        node.invalid(why, e);
    }
    wrong.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let scope = Scope { variables: Some(&["v"]), ..Scope::ADMISSION };
        let good = [
            "object.spec.replicas <= 5",
            "has(object.metadata.labels) && object.metadata.labels['a'] == \"b\"",
            "object.spec.containers.all(c, c.image.startsWith('x/') || c.name in ['a', 'b',])",
            "variables.v == 2 ? 'yes' : r'no\\'",
            "!(1 + 2 * -3 > 0x1F) && 1.5e3 != 2u && b'x' != null",
            "{'a': 1, 'b': [1, 2]}.a == 1 && size('''x'''\n) == 1",
            "sets.contains([1], [1]) && quantity('1Mi').isLessThan(quantity('1Gi'))",
            "cel.bind(x, object.spec, x.y) && object.?spec.orValue({}).size() == 0 && object[?'a'].hasValue()",
            "authorizer.group('').resource('pods').check('create').allowed() // comment",
            "google.protobuf.Timestamp{seconds: 1} == timestamp('1970-01-01T00:00:01Z')",
        ];
        for text in good {
            assert_eq!(error(text, &scope), None, "{text}");
        }
        let bad = [
            ("Not_Valid Name!", "1:11: Syntax error"),
            ("other", "1:1: undeclared reference to 'other'"),
            ("variables.w", "1:10: undefined field 'w'"),
            ("params.x", "1:1: undeclared reference to 'params'"),
            ("unknown(1)", "1:1: undeclared reference to 'unknown'"),
            ("1 +", "1:4: Syntax error"),
            ("(1", "1:3: Syntax error"),
            ("'abc", "1:1: Syntax error"),
            ("object.all(c, d)", "1:15: undeclared reference to 'd'"),
            ("", "1:1: Syntax error"),
            ("1\n  + $", "2:5: Syntax error"),
        ];
        for (text, why) in bad {
            let message = error(text, &scope).unwrap_or_default();
            assert!(message.contains(why), "{text}: {message}");
        }
        assert!(is_identifier("a_1") && !is_identifier("1a") && !is_identifier("in") && !is_identifier(""));
    }

    #[test]
    fn deep_expressions_are_refused() {
        assert!(error(&"(".repeat(100_000), &Scope::ADMISSION).is_some());
        assert!(error(&"!".repeat(100_000), &Scope::ADMISSION).is_some());
    }
}
