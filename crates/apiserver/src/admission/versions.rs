//! Objects as webhooks and policies see them: in the version that a rule names, and back. What is stored is in its storage
//! version.

use super::{Attributes, Operation};
use crate::registry::custom::convert::to_version;
use crate::registry::object;
use crate::registry::scale;
use crate::view::View;
use crate::webhook::Client;
use api_core::meta::Meta;
use api_core::{ApiError, Gvk, Gvr};
use api_schema::codec::{self, FieldValidation, Media, Refused, Wording};
use api_schema::row::Row;
use serde_json::Value;
use std::sync::Arc;

/// What versions are looked up in, and what converts custom resources that need a webhook for it.
#[derive(Clone, Copy)]
pub(super) struct Tools<'a> {
    pub(super) view: &'a dyn View,
    pub(super) converter: Option<&'a Client>,
}

/// What the object of a write is, if it is about a subresource.
enum Form {
    /// An object of the row's own kind, in its stored version.
    Whole,
    /// The object is whole, and shown by its scale.
    Scale,
    /// A document of the subresource's own kind.
    Posted,
    /// The object is whole, and what was asked is shown elsewhere.
    Hidden,
}

fn form(a: &Attributes<'_>) -> Form {
    let is_own = a.row.subresource(a.subresource).is_none_or(|s| s.kind == a.row.kind);
    match (a.operation, a.subresource) {
        _ if is_own => Form::Whole,
        (Operation::Create | Operation::Connect, _) => Form::Posted,
        (_, "scale") => Form::Scale,
        _ => Form::Hidden,
    }
}

/// Whether webhooks are asked about such a write at all.
pub(super) fn is_reviewable(a: &Attributes<'_>) -> bool {
    !matches!(form(a), Form::Hidden)
}

/// The namespace that webhooks are told; a namespace is in itself.
pub(super) fn namespace<'a>(a: &Attributes<'a>) -> &'a str {
    let of_namespaces = a.resource.group.is_empty() && a.resource.resource == "namespaces";
    if of_namespaces { a.name } else { a.namespace }
}

/// The kind that the request is about.
pub(super) fn own_kind(a: &Attributes<'_>) -> Gvk {
    a.row.subresource(a.subresource).map_or_else(|| a.row.kind.clone(), |s| s.kind.clone())
}

/// The kind of the object as it is shown to who wants it in that version.
pub(super) fn kind(view: &dyn View, a: &Attributes<'_>, gvr: &Gvr) -> Result<Gvk, ApiError> {
    match form(a) {
        Form::Whole => Ok(row(view, a, gvr)?.kind.clone()),
        _ => Ok(own_kind(a)),
    }
}

/// The row of a version.
fn row(view: &dyn View, a: &Attributes<'_>, gvr: &Gvr) -> Result<Arc<Row>, ApiError> {
    let of =
        || format!("unable to convert to {}/{}, Resource={}: unknown kind", gvr.group, gvr.version, a.row.gvr.resource);
    view.row(gvr).ok_or_else(|| ApiError::internal(of()))
}

/// An object in the version of the row.
pub(super) async fn in_version(tools: Tools<'_>, row: &Row, mut object: Value) -> Result<Value, ApiError> {
    match (&row.custom, tools.converter) {
        (Some(custom), Some(converter)) => to_version(converter, custom, object, &custom.version).await,
        _ => {
            tools.view.convert(row, &mut object);
            Ok(object)
        }
    }
}

/// An object as it is shown to who wants it in that version. `before_rules` leaves out what the server sets after mutation.
pub(super) async fn shown(
    tools: Tools<'_>,
    a: &Attributes<'_>,
    gvr: &Gvr,
    stored: &Value,
    before_rules: bool,
) -> Result<Value, ApiError> {
    let mut value = stored.clone();
    match form(a) {
        Form::Posted | Form::Hidden => return Ok(value),
        Form::Scale => {
            set_revision(a, &mut value);
            return Ok(scale::scale_of(a.row, &value));
        }
        Form::Whole => {}
    }
    let row = row(tools.view, a, gvr)?;
    value = in_version(tools, &row, value).await?;
    if before_rules {
        let metadata = value.metadata_mut();
        if a.operation == Operation::Create {
            metadata.remove("uid");
            metadata.remove("creationTimestamp");
        }
        if a.row.hooks.null_creation_time && matches!(a.operation, Operation::Create | Operation::Update) {
            metadata.entry("creationTimestamp").or_insert(Value::Null);
        }
    }
    set_revision(a, &mut value);
    Ok(value)
}

fn set_revision(a: &Attributes<'_>, value: &mut Value) {
    if a.revision > 0 {
        object::set_revision(value, a.revision);
    }
}

/// The object that a webhook's patch made, pruned, with defaults, in its stored version. `before` is the stored object that
/// was shown.
pub(super) async fn accept(
    tools: Tools<'_>,
    a: &Attributes<'_>,
    gvr: &Gvr,
    patched: Value,
    before: &Value,
) -> Result<Value, ApiError> {
    match form(a) {
        Form::Posted | Form::Hidden => return Ok(patched),
        Form::Scale => return Ok(scale::with_replicas(a.row, before, &patched)),
        Form::Whole => {}
    }
    let row = row(tools.view, a, gvr)?;
    let revision =
        if a.operation == Operation::Create { patched.resource_version() } else { before.resource_version() };
    let revision = revision.to_owned();
    let mut value = decode(&row, patched).map_err(|refused| ApiError::internal(refused.why()))?;
    match &row.custom {
        Some(custom) => {
            custom.default(&mut value);
            // The handler works in the version of its request.
            let own = before["apiVersion"].as_str().and_then(|v| v.rsplit('/').next()).unwrap_or_default();
            if let Some(converter) = tools.converter {
                value = to_version(converter, custom, value, own).await?;
            }
        }
        None => object::convert(&row, &mut value, &row.storage_version),
    }
    if let Some(default) = row.hooks.default {
        default(&mut value);
    }
    value.set_meta("resourceVersion", &revision);
    if a.operation == Operation::Create {
        keep(&mut value, before, &["uid", "creationTimestamp"]);
    }
    if !has_readable_managers(&value) {
        keep(&mut value, before, &["managedFields"]);
    }
    if value.metadata().and_then(|m| m.get("managedFields")).is_some_and(|f| f.as_array().is_some_and(Vec::is_empty)) {
        value.metadata_mut().remove("managedFields");
    }
    Ok(value)
}

fn decode(row: &Row, patched: Value) -> Result<Value, Refused> {
    let Some(custom) = &row.custom else {
        return codec::read_value(row, patched, FieldValidation::Ignore, Wording::Json).map(|d| d.value);
    };
    let (schema, root) = custom.family.loose();
    let bytes = patched.to_string();
    let ignore = FieldValidation::Ignore;
    let mut value = codec::read_as(schema, *root, &row.kind, bytes.as_bytes(), Media::Json, ignore)?.value;
    custom.prune(&mut value);
    Ok(value)
}

/// Metadata of a new object that is not the webhook's to set.
fn keep(value: &mut Value, before: &Value, fields: &[&str]) {
    for field in fields {
        match before.metadata().and_then(|m| m.get(*field)) {
            Some(kept) => value.metadata_mut().insert((*field).into(), kept.clone()),
            None => value.metadata_mut().remove(*field),
        };
    }
}

/// Whether managed fields are what they should be; a webhook may have broken them.
fn has_readable_managers(value: &Value) -> bool {
    let Some(managers) = value.metadata().and_then(|m| m.get("managedFields")) else { return true };
    let readable = |entry: &Value| {
        matches!(entry["operation"].as_str(), Some("Apply" | "Update"))
            && entry["apiVersion"].as_str().is_some_and(|v| !v.is_empty())
            && entry["fieldsV1"].is_object()
    };
    managers.as_array().is_some_and(|all| all.iter().all(readable))
}
