//! Bodies of custom resources: metadata is read as its type says, the rest as it is; then what the schema does not know goes.

use super::super::call::Call;
use super::super::options::Validation;
use super::duplicates;
use api_core::field::{Errors, Path};
use api_core::{ApiError, GroupKind, Gvk};
use api_schema::codec;
use api_schema::custom::Custom;
use serde::Deserialize;
use serde_json::Value;

/// Decodes a body; unknown and duplicate fields are ignored, warned of or refused.
pub(crate) fn decode(
    call: &Call,
    custom: &Custom,
    bytes: &[u8],
    media: codec::Media,
    validation: Validation,
) -> Result<Value, ApiError> {
    check_kind(&call.row().kind, bytes, media)?;
    let decoded = read(call, custom, bytes, media, validation).map_err(codec::Refused::into_api)?;
    match validation {
        Validation::Ignore => {}
        Validation::Warn => call.warn(decoded.warnings),
        Validation::Strict if decoded.warnings.is_empty() => {}
        Validation::Strict => {
            let why = format!("strict decoding error: {}", decoded.warnings.join(", "));
            return Err(unfit(call, why).into_api());
        }
    }
    Ok(decoded.value)
}

fn unfit(call: &Call, why: String) -> codec::Refused {
    let kind = &call.row().kind;
    codec::Refused::Unfit { found: kind.clone(), wanted: kind.kind.clone(), why }
}

/// A body with notes of its unknown and duplicate fields, whatever is to become of them.
pub(crate) fn read(
    call: &Call,
    custom: &Custom,
    bytes: &[u8],
    media: codec::Media,
    validation: Validation,
) -> Result<codec::Decoded, codec::Refused> {
    let (schema, root) = custom.family.loose();
    let decoded = codec::read_as(schema, *root, &call.row().kind, bytes, media, codec::FieldValidation::Warn)?;
    let mut value = decoded.value;
    let unknown = custom.prune(&mut value);
    custom.drop_nulls(&mut value);
    let embedded = custom.coerce_embedded(&mut value).map_err(|why| unfit(call, why))?;
    let (mut duplicate, mut notes): (Vec<String>, Vec<String>) =
        decoded.warnings.into_iter().partition(|note| note.starts_with("duplicate"));
    if media == codec::Media::Json && validation != Validation::Ignore {
        // The decoder looks only at fields that it knows.
        duplicate = duplicates::find(bytes);
    }
    notes.extend(unknown.into_iter().chain(embedded).map(|path| format!("unknown field {path:?}")));
    Ok(codec::Decoded { value, warnings: duplicate.into_iter().chain(notes).collect() })
}

/// What an apply made, with its metadata as their type says. The merge has refused what the schema does not know. Nulls stay,
/// wherever they are: upstream drops those of the bodies that it decodes, and this is none.
pub(crate) fn read_applied(call: &Call, custom: &Custom, value: Value) -> Result<Value, ApiError> {
    let (schema, root) = custom.family.loose();
    let bytes = value.to_string();
    let (media, ignore) = (codec::Media::Json, codec::FieldValidation::Ignore);
    let read = codec::read_as(schema, *root, &call.row().kind, bytes.as_bytes(), media, ignore);
    read.map(|decoded| decoded.value).map_err(codec::Refused::into_api)
}

/// What a document says that it is.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Value,
}

/// A document of no built-in type must say what it is. One that cannot be read so far is refused by who reads it all.
fn check_kind(own: &Gvk, bytes: &[u8], media: codec::Media) -> Result<(), ApiError> {
    let said: Said = match media {
        codec::Media::Json if bytes.trim_ascii().starts_with(b"{") => match serde_json::from_slice(bytes) {
            Ok(said) => said,
            Err(_) => return Ok(()),
        },
        codec::Media::Json if bytes.trim_ascii() == b"null" => Said::default(),
        codec::Media::Json => return Ok(()),
        _ => match crate::yaml::parse(bytes).map(serde_json::from_value) {
            Ok(Ok(said)) => said,
            _ => return Ok(()),
        },
    };
    if said.kind.is_empty() {
        let (text, summary) = (String::from_utf8_lossy(bytes), codec::go_summary(bytes));
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{text}' ({summary})",
            own.kind
        )));
    }
    let expected = own.api_version();
    if said.api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            said.api_version
        )));
    }
    if said.kind != own.kind {
        let mut errors = Errors::new();
        errors.invalid(&Path::new("kind"), said.kind.as_str(), &format!("must be {}", own.kind));
        let kind = GroupKind { group: own.group.clone(), kind: said.kind };
        return Err(ApiError::invalid(&kind, said.metadata["name"].as_str().unwrap_or(""), &errors));
    }
    Ok(())
}

impl Call {
    /// After a change that came from a webhook: unknown fields go, defaults come.
    pub(crate) fn settle(&self, value: &mut Value) {
        if let Some(custom) = &self.row().custom {
            custom.prune(value);
            custom.default(value);
        }
    }
}
