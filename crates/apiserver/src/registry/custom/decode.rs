//! Bodies of custom resources: metadata is read as its type says, the rest as it is; then what the schema does not know goes.

use super::super::call::Call;
use super::super::options::Validation;
use super::duplicates;
use api_core::field::{Errors, Path};
use api_core::meta::Meta;
use api_core::{ApiError, GroupKind, Gvk, gvk};
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
    let said = check_said(&call.row().kind, bytes, media)?;
    let decoded = read(call, custom, &said, bytes, media, validation).map_err(codec::Refused::into_api)?;
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

/// What a patch made, with notes as for a body. It may have made an object of another kind ([`check_kind`]).
pub(crate) fn read_made(
    call: &Call,
    custom: &Custom,
    made: &Value,
    validation: Validation,
) -> Result<codec::Decoded, codec::Refused> {
    let text = made.to_string();
    let kind = made["kind"].as_str().unwrap_or("");
    if kind.is_empty() && (made["kind"].is_null() || made["kind"].is_string()) {
        return Err(codec::Refused::Whole(missing_kind(&text)));
    }
    let said = match made["apiVersion"].as_str().map(gvk::split_api_version) {
        Some((group, version)) if !version.contains('/') => Gvk::new(group, version, kind),
        _ => call.row().kind.clone(),
    };
    read(call, custom, &said, text.as_bytes(), codec::Media::Json, validation)
}

/// A document that says to be of the kind `said`, with notes of its unknown and duplicate fields, whatever is to become of them.
fn read(
    call: &Call,
    custom: &Custom,
    said: &Gvk,
    bytes: &[u8],
    media: codec::Media,
    validation: Validation,
) -> Result<codec::Decoded, codec::Refused> {
    let (schema, root) = custom.family.loose();
    let decoded = codec::read_as(schema, *root, said, bytes, media, codec::FieldValidation::Warn)?;
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
    #[serde(rename = "apiVersion", default = "nothing")]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// What is not there is no null.
fn nothing() -> Option<String> {
    Some(String::new())
}

/// A document of no built-in type must say what it is: in which version it must be right, which kind it is of is looked at later
/// ([`check_kind`]). One that cannot be read so far is refused by who reads it all.
fn check_said(own: &Gvk, bytes: &[u8], media: codec::Media) -> Result<Gvk, ApiError> {
    let said: Said = match media {
        codec::Media::Json if bytes.trim_ascii().starts_with(b"{") => match serde_json::from_slice(bytes) {
            Ok(said) => said,
            Err(_) => return Ok(own.clone()),
        },
        codec::Media::Json if bytes.trim_ascii() == b"null" => Said::default(),
        codec::Media::Json => return Ok(own.clone()),
        _ => match crate::yaml::parse(bytes).map(serde_json::from_value) {
            Ok(Ok(said)) => said,
            _ => return Ok(own.clone()),
        },
    };
    let Some(kind) = said.kind.filter(|kind| !kind.is_empty()) else {
        let (why, summary) = (missing_kind(&String::from_utf8_lossy(bytes)), codec::go_summary(bytes));
        let wanted = &own.kind;
        let why = format!("the object provided is unrecognized (must be of type {wanted}): {why} ({summary})");
        return Err(ApiError::bad_request(why));
    };
    let Some(api_version) = said.api_version else {
        let (wanted, why) = (&own.kind, ".apiVersion accessor error: <nil> is of the type <nil>, expected string");
        return Err(ApiError::bad_request(format!("{kind} in version \"\" cannot be handled as a {wanted}: {why}")));
    };
    let expected = own.api_version();
    if api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(Gvk { kind, ..own.clone() })
}

fn missing_kind(text: &str) -> String {
    format!("Object 'Kind' is missing in '{text}'")
}

/// What is written must be of the custom resource's own kind; that of a built-in one is looked at when it is read.
pub(crate) fn check_kind(call: &Call, value: &Value) -> Result<(), ApiError> {
    let own = &call.row().kind;
    if call.row().custom.is_none() {
        return Ok(());
    }
    let mut errors = Errors::new();
    let said = |field: &str| value[field].as_str().unwrap_or("");
    for (field, own) in [("kind", own.kind.as_str()), ("apiVersion", &own.api_version())] {
        if said(field) != own {
            errors.invalid(&Path::new(field), said(field), &format!("must be {own}"));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let (group, _) = gvk::split_api_version(said("apiVersion"));
    let kind = GroupKind { group: group.to_owned(), kind: said("kind").to_owned() };
    Err(ApiError::invalid(&kind, value.name(), &errors))
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
