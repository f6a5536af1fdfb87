//! PATCH in its four types, and managed fields: the one place that calls `api-patch`.

use super::call::Call;
use super::create::check_namespace;
use super::object;
use super::options::{Validation, WriteOptions};
use super::patched::Patched;
use super::txn::Current;
use super::update::{self, Absent, Edit};
use super::versions;
use crate::Body;
use crate::negotiate::{content_type, unsupported, unsupported_patch};
use api_core::meta::Meta;
use api_core::{ApiError, Gvk, Reason};
use api_patch::managed::{self, Manager};
use api_schema::codec;
use api_schema::row::Row;
use api_schema::schema::{Schema, StructId};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value};

/// The type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";
/// The types of a patch of a custom resource, as upstream lists them.
const CUSTOM_TYPES: [&str; 3] = ["application/json-patch+json", "application/merge-patch+json", APPLY];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    /// By the request's `Content-Type`. Custom resources are not patched strategically, for want of merge keys.
    pub(crate) fn of(row: &Row, headers: &HeaderMap) -> Result<Self, ApiError> {
        let is_custom = row.custom.is_some();
        match content_type(headers).as_str() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if !is_custom => Ok(Self::Strategic),
            APPLY => Ok(Self::Apply),
            _ if is_custom => Err(unsupported(&CUSTOM_TYPES)),
            _ => Err(unsupported_patch()),
        }
    }
}

/// Serves a PATCH of an object, or of a subresource that has the object's own kind.
pub(crate) async fn patch(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let kind = PatchType::of(call.row(), &call.headers)?;
    let options = WriteOptions::read(&call.query, "PatchOptions", kind == PatchType::Apply)?;
    let bytes = call.read_body(body).await?;
    let edit = edit(kind, &bytes, &options);
    let makes = kind == PatchType::Apply && update::may_create(&call, true);
    let absent = if makes { Absent::Make } else { Absent::NotFound };
    let updated = update::update(&call, &options, &*edit, absent).await?;
    let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    call.answer(status, &updated.bytes).await
}

fn edit<'a>(kind: PatchType, bytes: &'a Bytes, options: &'a WriteOptions) -> Box<Edit<'a>> {
    if kind == PatchType::Apply {
        return apply_edit(bytes, options);
    }
    let parsed = parse(kind, bytes, options.validation);
    Box::new(move |call, current, _| {
        let current = current.ok_or_else(|| call.not_found())?;
        let parsed = parsed.as_ref().map_err(Clone::clone)?;
        let apply =
            || patch_value(call.row().schema(), call.row().root(), kind, bytes, parsed, shown(call.row(), current));
        let mut value = Patched { kind, bytes, parsed, apply: &apply }.read(call, options.validation)?;
        update::check_name(call, &value)?;
        check_namespace(call, &mut value)?;
        call.complete(&mut value);
        Ok(value)
    })
}

/// Applies a patch to an object as its clients see it.
pub(crate) fn patch_value(
    schema: &Schema,
    root: StructId,
    kind: PatchType,
    bytes: &[u8],
    parsed: &Value,
    shown: Value,
) -> Result<Value, ApiError> {
    match kind {
        PatchType::Json => api_patch::json_patch(&shown, bytes),
        PatchType::Merge => api_patch::merge_patch(shown, bytes),
        PatchType::Strategic | PatchType::Apply => {
            let names = ["apiVersion", "kind"].map(|field| (field, shown[field].clone()));
            let mut merged = api_patch::strategic_merge(schema, root, shown, parsed)?;
            // Of which kind it is, such a patch does not change, whatever it says.
            for (field, name) in names {
                if merged[field].is_string() || merged[field].is_null() {
                    merged[field] = name;
                }
            }
            Ok(merged)
        }
    }
}

/// Reads a patch; a JSON patch is read by who applies it. Where fields are looked at, upstream reads it once more, and says
/// what it is.
pub(crate) fn parse(kind: PatchType, bytes: &[u8], validation: Validation) -> Result<Value, ApiError> {
    if kind == PatchType::Json && validation == Validation::Ignore {
        return Ok(Value::Null);
    }
    let refuse = |why: String| match kind {
        PatchType::Strategic => ApiError::bad_request(why),
        _ => ApiError::bad_request(format!("error decoding patch: {why}")),
    };
    let parsed: Value = serde_json::from_slice(bytes).map_err(|e| refuse(codec::json_wording(bytes, &e)))?;
    let wanted = if kind == PatchType::Json { "[]handlers.jsonPatchOp" } else { "map[string]interface {}" };
    let found = match &parsed {
        Value::Array(items) if kind == PatchType::Json => {
            return items.iter().try_for_each(is_operation).map(|()| Value::Null).map_err(refuse);
        }
        Value::Array(_) if kind == PatchType::Merge && validation == Validation::Ignore => return Ok(parsed),
        Value::Object(_) if kind != PatchType::Json => return Ok(parsed),
        Value::Null if kind == PatchType::Strategic => return Ok(Value::Object(Map::new())),
        Value::Null => return Ok(Value::Null),
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    Err(refuse(format!("json: cannot unmarshal {found} into Go value of type {wanted}")))
}

/// Whether upstream can read an operation of a JSON patch, whatever it may ask for. The error says what it cannot.
fn is_operation(item: &Value) -> Result<(), String> {
    let cannot =
        |found: &Value, into: &str| Err(format!("json: cannot unmarshal {} into Go {into}", codec::go_kind(found)));
    let fields = match item {
        Value::Null => return Ok(()),
        Value::Object(fields) => fields,
        other => return cannot(other, "value of type handlers.jsonPatchOp"),
    };
    let is_text = |value: &&Value| value.is_string() || value.is_null();
    for (name, value) in fields.iter().filter(|(name, _)| matches!(name.as_str(), "op" | "path" | "from")) {
        if !is_text(&value) {
            return cannot(value, &format!("struct field jsonPatchOp.{name} of type string"));
        }
    }
    Ok(())
}

/// The object in the version of the row, with its resource version.
pub(crate) fn shown(row: &Row, current: &Current) -> Value {
    let mut shown = current.value.clone();
    object::convert(row, &mut shown, &row.kind);
    object::set_revision(&mut shown, current.revision);
    shown
}

/// What is wrong with the body is said of an object that is there, or may be made.
fn apply_edit<'a>(bytes: &'a Bytes, options: &'a WriteOptions) -> Box<Edit<'a>> {
    let applied = crate::yaml::parse(bytes);
    Box::new(move |call, current, known| {
        let applied = applied.as_ref().map_err(Clone::clone)?;
        check_applied(call, applied)?;
        let row = call.row();
        let live = current.map(|c| shown(row, c));
        let name = call.manager(options);
        let now = call.now();
        let manager = manager(call, &name, &now);
        let (schema, root, live) = (row.schema(), row.root(), live.as_ref());
        let merged = managed::apply_between(schema, root, live, applied, &manager, options.force, known)?;
        // What an apply leaves as it is does not get the defaults of its version, which need not be that of the store.
        let is_left = row.custom.is_some() && live.is_some_and(|live| is_same_but_for_managers(live, &merged));
        read_applied(call, applied.clone())?;
        let uid = merged.uid();
        if live.is_none() && !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(ApiError::conflict(&call.group_resource(), &call.info.name, &why));
        }
        // What is there keeps its name if none is applied.
        update::check_name(call, &merged)?;
        check_namespace(call, &mut applied.clone())?;
        let mut value = read_applied(call, merged)?;
        value.set_meta("namespace", if row.namespaced { &call.info.namespace } else { "" });
        value.set_meta("name", &call.info.name);
        if !is_left {
            call.complete(&mut value);
        }
        Ok(value)
    })
}

fn is_same_but_for_managers(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
    let metadata = |object| Map::get(object, "metadata").and_then(Value::as_object);
    without(Some(one), "metadata").eq(without(Some(other), "metadata"))
        && without(metadata(one), "managedFields").eq(without(metadata(other), "managedFields"))
}

/// The fields but one.
fn without<'v>(
    object: Option<&'v Map<String, Value>>,
    left_out: &'static str,
) -> impl Iterator<Item = (&'v String, &'v Value)> {
    object.into_iter().flatten().filter(move |(name, _)| *name != left_out)
}

/// Reads what is applied, or what it makes. What the schema does not know has been refused by the merge, as what has the wrong
/// type; a text that is no quantity, say, is found here, and upstream takes it for its own fault.
fn read_applied(call: &Call, value: Value) -> Result<Value, ApiError> {
    let row = call.row();
    if let Some(custom) = &row.custom {
        return super::custom::decode::read_applied(call, custom, value);
    }
    let object = format!("{}/{}", value.namespace(), value.name());
    let read = codec::read_value(row, value, super::call::fields(Validation::Ignore), codec::Wording::Value);
    read.map(|decoded| decoded.value).map_err(|refused| {
        let kind = format!("{}/{}, Kind={}", row.kind.group, row.kind.version, row.kind.kind);
        let object = format!("{object}; {kind}");
        let why = format!(
            "failed to convert new object ({object}) to proper version: unable to convert unstructured object to {kind}: {}",
            refused.why()
        );
        ApiError::new(500, Reason::Unknown, why)
    })
}

/// Whether what is applied is an object of a kind that `fits`.
pub(crate) fn check_applied_kind(applied: &Value, fits: impl Fn(&Gvk) -> bool) -> Result<(), ApiError> {
    if !applied.is_object() && !applied.is_null() {
        let why =
            format!("cannot unmarshal {} into Go value of type map[string]interface {{}}", codec::go_kind(applied));
        let why = format!("error decoding YAML: error unmarshaling JSON: while decoding JSON: json: {why}");
        return Err(ApiError::bad_request(why));
    }
    let said = |field: &str| applied.get(field).and_then(Value::as_str).unwrap_or("");
    let (group, version) = api_core::gvk::split_api_version(said("apiVersion"));
    let said = Gvk::new(group, version, said("kind"));
    if !fits(&said) {
        let why = format!("invalid object type: {group}/{version}, Kind={}", said.kind);
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

fn check_applied(call: &Call, applied: &Value) -> Result<(), ApiError> {
    check_applied_kind(applied, |said| {
        let own = &call.row().kind;
        let in_another_version = said.group_kind() == own.group_kind() && call.row().schema().kinds.contains_key(said);
        !said.kind.is_empty() && (said == own || in_another_version || call.row().custom.is_some())
    })
}

fn manager<'a>(call: &'a Call, name: &'a str, now: &'a str) -> Manager<'a> {
    let subresource = call.info.subresource.as_str();
    let has_status = call.row().subresource("status").is_some();
    Manager {
        name,
        api_version: &call.served.api_version,
        subresource,
        now,
        reset: match call.row().hooks.reset_fields {
            Some(reset) => reset(subresource),
            None => managed::reset_fields(has_status, subresource),
        },
    }
}

/// Notes who set which field of `new`; both objects are in their stored version. Server-side apply has noted its own, and a
/// write of a scale.
pub(crate) async fn managed_update(call: &Call, options: &WriteOptions, old: Option<&Value>, new: &mut Value) {
    if content_type(&call.headers) == APPLY || call.info.subresource == "scale" {
        return;
    }
    let row = call.row();
    let (name, now) = (call.manager(options), call.now());
    let manager = manager(call, &name, &now);
    if object::is_as_stored(row) {
        note(call, &manager, old, new).await;
        return;
    }
    let convert = |value: &Value| {
        let mut value = value.clone();
        object::convert(row, &mut value, &row.kind);
        value
    };
    let mut shown = convert(new);
    note(call, &manager, old.map(convert).as_ref(), &mut shown).await;
    set_fields(new, shown.metadata_mut().remove("managedFields"));
}

/// Notes it in objects of the row's own version.
async fn note(call: &Call, manager: &Manager<'_>, old: Option<&Value>, new: &mut Value) {
    let row = call.row();
    // Of custom resources it may be done more than once, and an empty list, which resets those of others, is none.
    let given = row.custom.as_ref().and_then(|_| new.metadata()?.get("managedFields").cloned());
    let given = given.filter(|fields| fields.as_array().is_none_or(|entries| !entries.is_empty()));
    let noted = versions::in_all(call, |known| {
        if row.custom.is_some() {
            set_fields(new, given.clone());
        }
        managed::update_between(row.schema(), row.root(), old, new, manager, known);
    });
    noted.await;
}

fn set_fields(object: &mut Value, fields: Option<Value>) {
    match fields {
        Some(fields) => object.metadata_mut().insert("managedFields".into(), fields),
        None => object.metadata_mut().remove("managedFields"),
    };
}
