//! Where in an object something is wrong, and how: field paths and field errors.
//!
//! A [`Path`] borrows its parent, so walking an object allocates nothing; only an error renders it.
//! Wording follows upstream's `field.Error`, since clients show it and tests compare it.

use serde_json::Value;
use std::fmt;

/// A path into an object, such as `spec.containers[0].name` or `data[a.b]`.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself; printed `<nil>` as upstream prints a nil path.
    pub const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    /// A path of one field.
    pub const fn new(name: &'a str) -> Path<'a> {
        Path { parent: None, segment: Segment::Field(name) }
    }

    /// The field `name` of what this path points at.
    pub const fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), segment: Segment::Field(name) }
    }

    /// The list item at `index`.
    pub const fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    /// The map entry `key`.
    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|p| !matches!(p.segment, Segment::Root));
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Root => f.write_str("<nil>"),
            Segment::Field(name) if parent.is_some() => write!(f, ".{name}"),
            Segment::Field(name) => f.write_str(name),
            Segment::Index(i) => write!(f, "[{i}]"),
            Segment::Key(k) => write!(f, "[{k}]"),
        }
    }
}

/// What is wrong with a field. [`ErrorKind::reason`] is what `details.causes` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A reference to something that is not there.
    NotFound,
    /// A value is required.
    Required,
    /// A value that must be unique is there twice.
    Duplicate,
    /// The value is malformed or out of bounds.
    Invalid,
    /// The value is none of those allowed.
    NotSupported,
    /// The value may not be set, or not be changed.
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
    /// The value has the wrong type.
    TypeInvalid,
    /// Something failed inside the server.
    Internal,
}

impl ErrorKind {
    /// The `reason` of a cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One error of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The rendered path.
    pub field: String,
    /// Title, value and detail, as upstream words them: `Invalid value: "x": must be ...`.
    pub body: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// Field errors in the order they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    /// None so far.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A value is required; `detail` may be empty.
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(ErrorKind::Required, path, None, detail);
    }

    /// The value is malformed or out of bounds.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<BadValue>, detail: &str) {
        self.push(ErrorKind::Invalid, path, Some(value.into()), detail);
    }

    /// The value has the wrong type.
    pub fn type_invalid(&mut self, path: &Path<'_>, value: impl Into<BadValue>, detail: &str) {
        self.push(ErrorKind::TypeInvalid, path, Some(value.into()), detail);
    }

    /// The value is none of `supported`, which is printed in the order given.
    pub fn not_supported(&mut self, path: &Path<'_>, value: impl Into<BadValue>, supported: &[&str]) {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| crate::go::quote(s)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        self.push(ErrorKind::NotSupported, path, Some(value.into()), &detail);
    }

    /// The value is there already.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorKind::Duplicate, path, Some(value.into()), "");
    }

    /// What the value refers to is not there.
    pub fn not_found(&mut self, path: &Path<'_>, value: impl Into<BadValue>) {
        self.push(ErrorKind::NotFound, path, Some(value.into()), "");
    }

    /// The value may not be set or changed.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(ErrorKind::Forbidden, path, None, detail);
    }

    /// More than `max` bytes.
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        self.push(ErrorKind::TooLong, path, None, &format!("must have at most {max} bytes"));
    }

    /// More than `max` items; `actual` is how many there are.
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let detail = format!("must have at most {max} items");
        self.push(ErrorKind::TooMany, path, Some(BadValue(actual.to_string())), &detail);
    }

    /// Something failed inside the server.
    pub fn internal(&mut self, path: &Path<'_>, detail: &str) {
        self.push(ErrorKind::Internal, path, None, detail);
    }

    /// Adds an error as it is.
    pub fn push(&mut self, kind: ErrorKind, path: &Path<'_>, value: Option<BadValue>, detail: &str) {
        let mut body = kind.title().to_owned();
        if let Some(BadValue(v)) = value {
            body.push_str(": ");
            body.push_str(&v);
        }
        if !detail.is_empty() {
            body.push_str(": ");
            body.push_str(detail);
        }
        self.0.push(Error { kind, field: path.to_string(), body });
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Errors) {
        self.0.extend(other.0);
    }
}

/// A rejected value as it is printed: strings quoted, the rest as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue(pub String);

impl From<&str> for BadValue {
    fn from(s: &str) -> Self {
        Self(crate::go::quote(s))
    }
}
impl From<&String> for BadValue {
    fn from(s: &String) -> Self {
        Self(crate::go::quote(s))
    }
}
impl From<i64> for BadValue {
    fn from(n: i64) -> Self {
        Self(n.to_string())
    }
}
impl From<bool> for BadValue {
    fn from(b: bool) -> Self {
        Self(b.to_string())
    }
}
impl From<&Value> for BadValue {
    fn from(v: &Value) -> Self {
        match v {
            Value::String(s) => Self::from(s),
            Value::Null => Self::from("null"),
            // As Go writes them.
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_string) => {
                let items: Vec<String> = list.iter().filter_map(Value::as_str).map(crate::go::quote).collect();
                Self(format!("[]string{{{}}}", items.join(", ")))
            }
            other => Self(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_upstream_prints_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        assert_eq!(containers.index(0).child("name").to_string(), "spec.containers[0].name");
        assert_eq!(Path::new("data").key("a.b").to_string(), "data[a.b]");
        assert_eq!(Path::ROOT.to_string(), "<nil>");
        assert_eq!(Path::ROOT.child("spec").to_string(), "spec");
    }

    #[test]
    fn errors_are_worded_as_upstream_words_them() {
        let mut e = Errors::new();
        e.required(&Path::new("a"), "");
        e.invalid(&Path::new("b"), "x", "must be y");
        e.not_supported(&Path::new("c"), "x", &["A", "B"]);
        e.duplicate(&Path::new("d"), 3);
        let text: Vec<String> = e.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "a: Required value",
                "b: Invalid value: \"x\": must be y",
                "c: Unsupported value: \"x\": supported values: \"A\", \"B\"",
                "d: Duplicate value: 3"
            ]
        );
    }
}
