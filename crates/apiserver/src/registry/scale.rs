//! The `scale` of an object: how many there are to be, in one form for all kinds.
//!
//! A write changes the scale as if it were an object of its own, managed fields included, and takes what came of it back
//! to the object.

use super::call::{Call, fields};
use super::create::check_namespace;
use super::custom::convert;
use super::options::{Validation, WriteOptions};
use super::patched::Patched;
use super::subresource::decode_as;
use super::txn::Current;
use super::update::Absent;
use super::versions::Known;
use super::{object, patching, read, update};
use crate::body::Body;
use crate::negotiate::View;
use api_core::field::{Errors, Path};
use api_core::meta::Meta;
use api_core::selector::labels;
use api_core::{ApiError, GroupResource, Gvk, Reason};
use api_patch::managed::{self, Manager, Replicas, SCALE_VERSION};
use api_schema::codec;
use api_schema::custom;
use api_schema::row::{MissingScale, Row};
use api_schema::schema::StructId;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// Replicas of an object that has none yet, as its scale shows them to a write: nobody can want so many.
const UNSET: i64 = i32::MIN as i64;

/// Serves any verb.
pub(super) async fn serve(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    match call.info.verb.as_str() {
        "get" => {
            let found = read::current(&call).await;
            let found = found.map_err(|error| match error.code {
                404 => ApiError::not_found(&missing(&call), &call.info.name),
                _ => error,
            });
            answer(&call, &found?).await
        }
        "update" => put(call, body).await,
        "patch" => patch(call, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The resource of which there is no such object.
fn missing(call: &Call) -> GroupResource {
    match call.row().hooks.missing_scale {
        MissingScale::Object => call.group_resource(),
        MissingScale::Scale => resource(call),
        MissingScale::ScaleOf(group) => GroupResource { group: group.into(), ..resource(call) },
    }
}

/// `deployments/scale`.
fn resource(call: &Call) -> GroupResource {
    let GroupResource { group, resource } = call.group_resource();
    GroupResource { group, resource: format!("{resource}/scale") }
}

/// The scale of an object, which is given as it is stored.
async fn answer(call: &Call, bytes: &bytes::Bytes) -> Result<Response<Body>, ApiError> {
    let bytes = convert::present_one(&call.server, &call.served, bytes).await?;
    let object = object::decode(&bytes)?;
    check_custom(call.row(), &object)?;
    if let Some(paths) = call.row().custom.as_ref().and_then(|c| c.scale.as_ref())
        && custom::at(&object, &paths.spec).is_none_or(Value::is_null)
    {
        let path = format!(".{}", paths.spec.join("."));
        return Err(ApiError::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    let scale = scale_of(call.row(), &object);
    if let View::Metadata(version) = call.form.view {
        let api_version = format!("meta.k8s.io/{version}");
        let metadata =
            json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": scale["metadata"]});
        return call.answer_value(StatusCode::OK, &metadata);
    }
    call.answer_value(StatusCode::OK, &scale)
}

/// What a custom resource has where its scale looks must be of the right type.
fn check_custom(row: &Row, object: &Value) -> Result<(), ApiError> {
    let Some(paths) = row.custom.as_ref().and_then(|c| c.scale.as_ref()) else { return Ok(()) };
    let checks = [(&paths.spec, "int64"), (&paths.status, "int64"), (&paths.selector, "string")];
    for (path, wanted) in checks {
        let failed = |why| ApiError::new(500, Reason::Unknown, why);
        let Some(found) = custom::reach(object, path).map_err(failed)?.filter(|_| !path.is_empty()) else { continue };
        let fits = if wanted == "string" { found.is_string() } else { found.is_i64() };
        if !fits {
            return Err(failed(custom::misfit(path, found, wanted)));
        }
    }
    Ok(())
}

/// The `Scale` of an object that has `spec.replicas` and `spec.selector`.
pub(crate) fn scale_of(row: &Row, object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.metadata().and_then(|m| m.get(field)) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let paths = row.custom.as_ref().and_then(|c| c.scale.as_ref());
    let replicas = |part: &str| {
        let found = match (paths, part) {
            (Some(paths), "spec") => custom::at(object, &paths.spec),
            (Some(paths), _) => custom::at(object, &paths.status),
            (None, part) => object.get(part).and_then(|p| p.get("replicas")),
        };
        found.and_then(Value::as_i64).unwrap_or(0)
    };
    let mut status = json!({"replicas": replicas("status")});
    let text = match paths {
        Some(paths) => custom::at(object, &paths.selector).and_then(Value::as_str).unwrap_or("").to_owned(),
        None => object.get("spec").and_then(|s| s.get("selector")).map(selector_text).unwrap_or_default(),
    };
    if !text.is_empty() {
        status["selector"] = text.into();
    }
    let mut spec = json!({});
    if replicas("spec") != 0 {
        spec["replicas"] = replicas("spec").into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// A selector of labels as text; it is either a `LabelSelector` or, in old kinds, a map of labels.
fn selector_text(selector: &Value) -> String {
    let is_map = selector.as_object().is_some_and(|s| s.values().all(Value::is_string));
    if is_map {
        let pairs = selector.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)));
        return labels::Selector::from_labels(pairs).to_string();
    }
    labels::Selector::from_object(Some(selector)).map(|s| s.to_string()).unwrap_or_default()
}

/// The object with the replicas that a scale of it wants.
pub(crate) fn with_replicas(row: &Row, object: &Value, scale: &Value) -> Value {
    let replicas = scale.get("spec").and_then(|s| s.get("replicas")).and_then(Value::as_i64).unwrap_or(0);
    let mut value = object.clone();
    match row.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(paths) => custom::set(&mut value, &paths.spec, replicas.into()),
        None => value["spec"]["replicas"] = replicas.into(),
    }
    value
}

async fn put(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::read(&call.query, "UpdateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let mut scale = decode_as(&call, "autoscaling", "Scale", &bytes, options.validation)?;
    update::check_name(&call, &scale)?;
    check_namespace(&call, &mut scale)?;
    let make = |call: &Call, shown: &Value| {
        let mut scale = scale.clone();
        note(call, &options, shown, &mut scale)?;
        Ok(scale)
    };
    write(&call, &options, &make, Absent::replaced(&scale)).await
}

async fn patch(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let kind = patching::PatchType::of(call.row(), &call.headers)?;
    let options = WriteOptions::read(&call.query, "PatchOptions", kind == patching::PatchType::Apply)?;
    let bytes = call.read_body(body).await?;
    if kind == patching::PatchType::Apply {
        return apply(call, &options, &bytes).await;
    }
    let parsed = patching::parse(kind, &bytes, options.validation);
    let (schema, root) = (api_kinds::schema(), root()?);
    let make = |call: &Call, shown: &Value| {
        let parsed = parsed.as_ref().map_err(Clone::clone)?;
        let apply = || patching::patch_value(schema, root, kind, &bytes, parsed, shown.clone());
        let patched = Patched { kind, bytes: &bytes, parsed, apply: &apply };
        let mut scale = patched.read_by(call, options.validation, |made, wording| {
            codec::read_value_as(schema, root, &gvk(), made, fields(Validation::Warn), wording)
        })?;
        update::check_name(call, &scale)?;
        check_namespace(call, &mut scale)?;
        note(call, &options, shown, &mut scale)?;
        Ok(scale)
    };
    write(&call, &options, &make, Absent::NotFound).await
}

/// Server-side apply of a scale.
async fn apply(call: Call, options: &WriteOptions, bytes: &[u8]) -> Result<Response<Body>, ApiError> {
    let applied = crate::yaml::parse(bytes);
    let (schema, root) = (api_kinds::schema(), root()?);
    let make = |call: &Call, shown: &Value| {
        let applied = applied.as_ref().map_err(Clone::clone)?;
        patching::check_applied_kind(applied, |said| *said == gvk())?;
        let (name, now) = (call.manager(options), call.now());
        let manager = manager(&name, &now);
        let merged = managed::apply(schema, root, Some(shown), applied, &manager, options.force)?;
        check_namespace(call, &mut applied.clone())?;
        let (fields, wording) = (fields(Validation::Ignore), codec::Wording::Json);
        let read = codec::read_value_as(schema, root, &gvk(), merged, fields, wording);
        let mut scale = read.map_err(codec::Refused::into_api)?.value;
        scale.set_meta("name", &call.info.name);
        scale.set_meta("namespace", &call.info.namespace);
        Ok(scale)
    };
    write(&call, options, &make, Absent::NotFound).await
}

fn gvk() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

fn root() -> Result<StructId, ApiError> {
    api_kinds::type_of(&gvk()).ok_or_else(ApiError::no_such_resource)
}

fn manager<'a>(name: &'a str, now: &'a str) -> Manager<'a> {
    Manager { name, api_version: SCALE_VERSION, subresource: "scale", now, reset: &[] }
}

/// Notes in a scale who set its fields.
fn note(call: &Call, options: &WriteOptions, shown: &Value, scale: &mut Value) -> Result<(), ApiError> {
    let (name, now) = (call.manager(options), call.now());
    managed::update(api_kinds::schema(), root()?, Some(shown), scale, &manager(&name, &now));
    Ok(())
}

/// What a write makes of a scale with its managed fields.
type Make<'a> = dyn Fn(&Call, &Value) -> Result<Value, ApiError> + Send + Sync + 'a;

async fn write(
    call: &Call,
    options: &WriteOptions,
    make: &Make<'_>,
    absent: Absent,
) -> Result<Response<Body>, ApiError> {
    let edit = |call: &Call, current: Option<&Current>, _: Known<'_>| {
        let current = current.ok_or_else(|| call.not_found())?;
        scaled(call, current, make)
    };
    let updated = update::update(call, options, &edit, absent).await?;
    answer(call, &updated.bytes).await
}

/// The object after a write of its scale.
fn scaled(call: &Call, current: &Current, make: &Make<'_>) -> Result<Value, ApiError> {
    let row = call.row();
    check_custom(row, &current.value)?;
    let table = call.server.registry.table();
    let path_in = |api_version: &str| {
        let mut others = table.same_objects(row);
        let other = others.find(|served| served.api_version == api_version).map(|served| &*served.row);
        match (other, &row.custom) {
            (Some(other), Some(_)) => {
                Some(other.custom.as_ref().and_then(|c| c.scale.as_ref()).map(|s| s.spec.clone()).unwrap_or_default())
            }
            (None, Some(custom)) => {
                let version = api_version.strip_prefix(custom.family.group.as_str())?.strip_prefix('/')?;
                custom.family.has(version).then(Vec::new)
            }
            (_, None) => Some(vec!["spec".into(), "replicas".into()]),
        }
    };
    let replicas = Replicas { api_version: &call.served.api_version, path_in: &path_in };
    let refuse = |why: String| ApiError::new(500, Reason::Unknown, why);
    let owned = current.value.metadata().and_then(|m| m.get("managedFields"));

    let mut shown = current.value.clone();
    object::set_revision(&mut shown, current.revision);
    let mut old = scale_of(row, &shown);
    if let Some(paths) = row.custom.as_ref().and_then(|c| c.scale.as_ref())
        && custom::at(&shown, &paths.spec).is_none_or(Value::is_null)
    {
        old["spec"]["replicas"] = UNSET.into();
    }
    if let Some(fields) = managed::to_scale(owned, &replicas).map_err(refuse)? {
        old.metadata_mut().insert("managedFields".into(), fields);
    }
    let scale = make(call, &old)?;
    check(call, &scale)?;
    let (wanted, uid) = (scale.uid(), current.value.uid());
    if call.info.verb == "patch" && row.custom.is_none() && !wanted.is_empty() && wanted != uid {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(ApiError::conflict(&resource(call), &call.info.name, &why));
    }

    let mut value = with_replicas(row, &current.value, &scale);
    let fields = scale.metadata().and_then(|m| m.get("managedFields"));
    match managed::to_object(owned, fields, &replicas).map_err(refuse)? {
        Some(fields) => value.metadata_mut().insert("managedFields".into(), fields),
        None => value.metadata_mut().remove("managedFields"),
    };
    match scale.resource_version() {
        // A scale that names no version is of the object as it is.
        "" => object::set_revision(&mut value, current.revision),
        version => value.set_meta("resourceVersion", version),
    }
    value.set_meta("uid", if scale.uid().is_empty() { current.value.uid() } else { scale.uid() });
    Ok(value)
}

/// Whether the number is one that can be wanted.
fn check(call: &Call, scale: &Value) -> Result<(), ApiError> {
    let replicas = scale.get("spec").and_then(|s| s.get("replicas")).and_then(Value::as_i64).unwrap_or(0);
    if let (UNSET, Some(paths)) = (replicas, call.row().custom.as_ref().and_then(|c| c.scale.as_ref())) {
        let path = format!(".{}", paths.spec.join("."));
        return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be empty")));
    }
    // Of custom resources it is the definition that says what there may be.
    if replicas >= 0 || call.row().custom.is_some() {
        return Ok(());
    }
    let mut errors = Errors::new();
    let path = Path::new("spec");
    errors.invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
    Err(ApiError::invalid(&gvk().group_kind(), &call.info.name, &errors))
}
