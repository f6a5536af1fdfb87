//! How to decode, and what comes out.

use serde_json::Value;

/// The language of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What becomes of unknown and duplicate fields (`fieldValidation` of a request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped in silence.
    Ignore,
    /// They are dropped with a warning; the default.
    #[default]
    Warn,
    /// They fail the request.
    Strict,
}

/// How errors of types are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// As of a JSON document.
    Json,
    /// As of a value that has been read already, which upstream converts without a document.
    Value,
}

/// A decoded object.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Pruned and normalised, with `kind` and `apiVersion` of its row.
    pub value: Value,
    /// Unknown and duplicate fields, worded for a warning.
    pub warnings: Vec<String>,
}
