//! What a patch made, read as an object. What cannot be read, or not strictly, is the patch's fault, and told as such.

use super::call::{Call, fields};
use super::custom::{decode, duplicates};
use super::options::Validation;
use super::patching::PatchType;
use api_core::field::{Errors, Path};
use api_core::{ApiError, GroupKind, go};
use api_schema::codec::{self, Decoded, Refused, Wording};
use serde_json::Value;

/// A patch and what it made.
pub(super) struct Patched<'a> {
    pub(super) kind: PatchType,
    /// The patch as it came.
    pub(super) bytes: &'a [u8],
    /// The same, read; a JSON patch is not.
    pub(super) parsed: &'a Value,
    /// Applies it; what it makes is only quoted where something is wrong, and is made once more for that.
    pub(super) apply: &'a (dyn Fn() -> Result<Value, ApiError> + 'a),
}

impl Patched<'_> {
    /// The object of the row's kind. 422 if it cannot be read, or has unknown or duplicate fields and must not.
    pub(super) fn read(self, call: &Call, validation: Validation) -> Result<Value, ApiError> {
        let row = call.row();
        self.read_by(call, validation, |made, wording| match &row.custom {
            Some(custom) => decode::read_made(call, custom, &made, validation),
            None => codec::read_value(row, made, fields(heard(validation)), wording),
        })
    }

    /// Refuses an object that says no version after the patch. Upstream takes a built-in one for one of the version that it works
    /// with itself, in which no field has a name in JSON: all of them are unknown, that of the name as well.
    fn refuse_unversioned(&self, call: &Call, made: &Value, validation: Validation) -> Result<(), ApiError> {
        let Value::Object(made) = made else { return Ok(()) };
        let says = |field: &str| made.get(field).is_some_and(|v| !v.is_null() && v != "");
        if says("apiVersion") || self.kind == PatchType::Strategic {
            return Ok(());
        }
        if call.row().custom.is_some() {
            let why = "Object 'apiVersion' is missing in 'object has no apiVersion field'";
            return if says("kind") { Err(ApiError::internal(why)) } else { Ok(()) };
        }
        let fields = made.keys().filter(|field| !matches!(field.as_str(), "apiVersion" | "kind"));
        let notes: Vec<String> = fields.map(|field| format!("unknown field {field:?}")).collect();
        match validation {
            Validation::Ignore => {}
            Validation::Strict => return Err(self.refuse(&format!("strict decoding error: {}", notes.join(", ")))),
            Validation::Warn => call.warn(notes),
        }
        Err(super::update::nameless(call))
    }

    /// The same for an object of another kind, read by `read`.
    pub(super) fn read_by(
        self,
        call: &Call,
        validation: Validation,
        read: impl FnOnce(Value, Wording) -> Result<Decoded, Refused>,
    ) -> Result<Value, ApiError> {
        let wording = if self.kind == PatchType::Strategic { Wording::Value } else { Wording::Json };
        let strict = validation == Validation::Strict;
        let made = (self.apply)()?;
        self.refuse_unversioned(call, &made, validation)?;
        let mut decoded = read(made, wording).map_err(|refused| self.refuse(refused.why()))?;
        let mut notes = if validation == Validation::Ignore { Vec::new() } else { self.notes() };
        if self.kind == PatchType::Strategic {
            decoded.warnings.sort();
        }
        notes.append(&mut decoded.warnings);
        match validation {
            Validation::Ignore => {}
            _ if strict && !notes.is_empty() => {
                return Err(self.refuse(&format!("strict decoding error: {}", notes.join(", "))));
            }
            _ => call.warn(notes),
        }
        Ok(decoded.value)
    }

    /// Fields that the patch itself has twice or should not have.
    fn notes(&self) -> Vec<String> {
        let mut notes = duplicates::find(self.bytes);
        if self.kind != PatchType::Json {
            return notes;
        }
        let operations: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(self.bytes).unwrap_or_default();
        for (i, operation) in operations.iter().enumerate() {
            let unknown = operation.keys().filter(|k| !matches!(k.as_str(), "op" | "path" | "from" | "value"));
            notes.extend(unknown.map(|key| format!("unknown field \"[{i}].{key}\"")));
        }
        notes.into_iter().map(|note| format!("json patch {note}")).collect()
    }

    fn refuse(&self, why: &str) -> ApiError {
        let quoted = match self.kind {
            PatchType::Strategic => go::text(self.parsed),
            _ => (self.apply)().map(|made| made.to_string()).unwrap_or_default(),
        };
        let mut errors = Errors::new();
        errors.invalid(&Path::new("patch"), &quoted, why);
        ApiError::invalid(&GroupKind::default(), "", &errors)
    }
}

/// Notes are wanted in any case but one; who is strict hears all of them.
fn heard(validation: Validation) -> Validation {
    if validation == Validation::Strict { Validation::Warn } else { validation }
}
