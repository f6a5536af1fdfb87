//! Subresources that are not the object itself in part: scale, binding, eviction.

use super::call::{Call, body_media, fields};
use super::custom::convert;
use super::options::{Validation, WriteOptions};
use super::patched::Patched;
use super::txn::Current;
use super::versions::Known;
use super::{eviction, object, patching, read, update};
use crate::admission::Operation;
use crate::body::Body;
use api_core::field::{Errors, Path};
use api_core::meta::Meta;
use api_core::selector::labels;
use api_core::{ApiError, Gvk};
use api_schema::codec;
use api_schema::custom;
use api_schema::row::Row;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// Whether the subresource is served here.
pub(crate) fn is_special(subresource: &str) -> bool {
    matches!(subresource, "scale" | "binding" | "eviction")
}

/// Serves any verb of one of them.
pub(crate) async fn serve(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    match (call.info.subresource.as_str(), call.info.verb.as_str()) {
        ("scale", "get") => {
            let bytes = read::current(&call).await?;
            let bytes = convert::present_one(&call.server, &call.served, &bytes).await?;
            let object = object::decode(&bytes)?;
            call.answer_value(StatusCode::OK, &scale_of(call.row(), &object))
        }
        ("scale", "update") => put_scale(call, body).await,
        ("scale", "patch") => patch_scale(call, body).await,
        ("binding", "create") => post(call, body).await,
        ("eviction", "create") => eviction::evict(call, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
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

async fn put_scale(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::read(&call.query, "UpdateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let scale = decode_as(&call, "autoscaling", "Scale", &bytes, options.validation)?;
    update::check_name(&call, &scale)?;
    write_scale(call, &options, &move |_, _| Ok(scale.clone())).await
}

async fn patch_scale(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let kind = patching::PatchType::of(&call)?;
    let options = WriteOptions::read(&call.query, "PatchOptions", kind == patching::PatchType::Apply)?;
    let bytes = call.read_body(body).await?;
    let parsed = match kind {
        patching::PatchType::Apply => crate::yaml::parse(&bytes)?,
        _ => patching::parse(kind, &bytes, options.validation)?,
    };
    let gvk = Gvk::new("autoscaling", "v1", "Scale");
    let root = api_kinds::type_of(&gvk).ok_or_else(ApiError::no_such_resource)?;
    let served = call.served.clone();
    let make = |call: &Call, shown: &Value| {
        let schema = api_kinds::schema();
        let apply = || patching::patch_value(schema, root, kind, &bytes, &parsed, scale_of(&served.row, shown));
        let patched = Patched { kind, bytes: &bytes, parsed: &parsed, apply: &apply };
        patched.read_by(call, options.validation, |made, _| {
            let text = made.to_string();
            codec::read_as(schema, root, &gvk, text.as_bytes(), codec::Media::Json, fields(Validation::Warn))
        })
    };
    write_scale(call, &options, &make).await
}

type MakeScale<'a> = dyn Fn(&Call, &Value) -> Result<Value, ApiError> + Send + Sync + 'a;

async fn write_scale(call: Call, options: &WriteOptions, make: &MakeScale<'_>) -> Result<Response<Body>, ApiError> {
    let edit = |call: &Call, current: Option<&Current>, _: Known<'_>| {
        let current = current.ok_or_else(|| call.not_found())?;
        let mut shown = current.value.clone();
        object::set_revision(&mut shown, current.revision);
        let scale = make(call, &shown)?;
        let replicas = scale.get("spec").and_then(|s| s.get("replicas")).and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let mut errors = Errors::new();
            let path = Path::new("spec");
            errors.invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
            let gk = Gvk::new("autoscaling", "v1", "Scale").group_kind();
            return Err(ApiError::invalid(&gk, &call.info.name, &errors));
        }
        let mut value = with_replicas(call.row(), &current.value, &scale);
        match scale.resource_version() {
            // A scale that names no version is of the object as it is.
            "" => object::set_revision(&mut value, current.revision),
            version => value.set_meta("resourceVersion", version),
        }
        value.set_meta("uid", if scale.uid().is_empty() { current.value.uid() } else { scale.uid() });
        Ok(value)
    };
    let updated = update::update(&call, options, &edit, false).await?;
    let bytes = convert::present_one(&call.server, &call.served, &updated.bytes).await?;
    let object = object::decode(&bytes)?;
    call.answer_value(StatusCode::OK, &scale_of(call.row(), &object))
}

/// Decodes a body of another built-in kind.
pub(crate) fn decode_as(
    call: &Call,
    group: &str,
    kind: &str,
    bytes: &[u8],
    validation: Validation,
) -> Result<Value, ApiError> {
    let gvk = Gvk::new(group, "v1", kind);
    let root = api_kinds::type_of(&gvk).ok_or_else(ApiError::no_such_resource)?;
    let media = body_media(&call.headers)?;
    let decoded = codec::decode_as(api_kinds::schema(), root, &gvk, bytes, media, fields(validation))?;
    call.warn(decoded.warnings);
    Ok(decoded.value)
}

/// A POST that changes the object as its row says.
async fn post(mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let post = call.row().hooks.post_subresource.ok_or_else(ApiError::method_not_allowed)?;
    let options = WriteOptions::read(&call.query, "CreateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let kind = call.row().subresource(&call.info.subresource).map(|s| s.kind.clone()).unwrap_or_default();
    let posted = decode_as(&call, &kind.group, &kind.kind, &bytes, options.validation)?;
    if call.info.name.is_empty() {
        // A POST to the old collection of such objects names its object in the body.
        call.info.name = posted.name().to_owned();
    }
    let name = call.info.name.clone();
    let attributes = call.admission(Operation::Create, &name, None, options.dry_run);
    call.server.admission.check_namespace(&attributes, &posted).await?;
    let mut warnings = Vec::new();
    let posted = call.server.admission.review(&attributes, posted, &mut warnings).await?;
    call.warn(warnings);
    let edit = |call: &Call, current: Option<&Current>, _: Known<'_>| {
        let current = current.ok_or_else(|| call.not_found())?;
        let mut value = current.value.clone();
        post(&call.context(), &mut value, &posted)?;
        Ok(value)
    };
    update::update(&call, &options, &edit, false).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    call.answer_value(StatusCode::CREATED, &done)
}
