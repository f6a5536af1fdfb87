//! POST: a new object.

use super::call::Call;
use super::charge::Put;
use super::options::WriteOptions;
use super::patching;
use super::txn::Attempt;
use super::{custom, object};
use crate::Body;
use crate::admission::Operation;
use api_core::field::Errors;
use api_core::meta::Meta;
use api_core::{ApiError, Reason};
use api_kinds::hooks::meta;
use bytes::Bytes;
use http::{Response, StatusCode};
use rand::Rng;
use serde_json::Value;
use std::collections::HashSet;

/// Attempts to find a name that is free for `generateName`.
const GENERATED_NAMES_MAX: usize = 8;
/// Attempts to find an address that no other server gives out at the same moment.
const OVERTAKEN_MAX: usize = 8;

/// Serves a POST to the collection.
pub(crate) async fn create(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    // What the body is written in is looked at before anything else.
    call.check_media()?;
    let options = WriteOptions::read(&call.query, "CreateOptions", false)?;
    if call.row().custom.as_ref().is_some_and(|c| c.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::not_supported(&call.group_resource(), why));
    }
    let bytes = call.read_body(body).await?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let value = call.decode(&bytes, options.validation)?;
        let generates = value.name().is_empty();
        match create_value(&call, value, &options).await {
            // The generated name is in what was made of the object: all of it is made again.
            Err(e) if generates && e.reason == Reason::AlreadyExists && attempts < GENERATED_NAMES_MAX => {}
            Err(error) => return Err(error),
            Ok(served) => return call.answer(StatusCode::CREATED, &served).await,
        }
    }
}

/// Makes an object of a decoded one; gives its served bytes.
pub(crate) async fn create_value(call: &Call, mut value: Value, options: &WriteOptions) -> Result<Bytes, ApiError> {
    check_namespace(call, &mut value)?;
    custom::decode::check_kind(call, &value)?;
    call.complete(&mut value);
    fill_metadata(call, &mut value);
    drop_status(call, &mut value);
    dedup_owners(call, &mut value, "");
    patching::managed_update(call, options, None, &mut value).await;
    call.drop_empty_lists(&mut value);
    insert(call, value, options).await
}

/// Admission, preparation, validation, and the write itself, for an object that is complete.
pub(crate) async fn insert(call: &Call, value: Value, options: &WriteOptions) -> Result<Bytes, ApiError> {
    let mut value = value;
    let generate = value.meta_str("generateName").to_owned();
    let must_generate = value.name().is_empty() && !generate.is_empty();
    admit(call, &mut value, options).await?;
    if must_generate {
        value.set_meta("name", &generate_name(&generate));
    }
    prepare(call, &mut value);
    let chooses = call.row().hooks.allocate.is_some().then(|| value.clone());
    for _ in 0..OVERTAKEN_MAX {
        if let Some(made) = attempt(call, value, options).await? {
            return Ok(made);
        }
        let Some(again) = &chooses else { break };
        value = again.clone();
    }
    Err(ApiError::internal("what this object was to get was given to others, again and again"))
}

async fn admit(call: &Call, value: &mut Value, options: &WriteOptions) -> Result<(), ApiError> {
    let name = told_name(call, value);
    let mut warnings = Vec::new();
    let attributes = call.admission(Operation::Create, &name, None, options.dry_run);
    let mutated = call.server.admission.mutate(&attributes, value, &mut warnings).await;
    // A refusal, too, comes with what was warned of before.
    call.warn(warnings);
    if mutated? {
        // A webhook, too, makes nothing but what a client may make.
        drop_status(call, value);
        check_namespace(call, value)?;
        call.settle(value);
    }
    Ok(())
}

/// The name that admission is told. A custom resource may be posted to one, which need not be that of what is made.
fn told_name(call: &Call, value: &Value) -> String {
    if call.info.name_in_path { call.info.name.clone() } else { value.name().to_owned() }
}

fn prepare(call: &Call, value: &mut Value) {
    let hooks = call.row().hooks;
    if hooks.generation.starts {
        value.metadata_mut().insert("generation".into(), 1.into());
    }
    if let Some(warnings) = hooks.warnings_as_asked {
        call.warn(warnings(value));
    }
    if let Some(prepare) = hooks.prepare_create {
        prepare(&call.context(), value);
    }
}

/// `None` if another server has taken what this object was to get.
async fn attempt(call: &Call, mut value: Value, options: &WriteOptions) -> Result<Option<Bytes>, ApiError> {
    let (row, registry) = (call.row(), &call.server.registry);
    let mut errors = Errors::new();
    let recorded = registry.recorded(row).await?;
    let held = registry.pools.allocate(row, &mut value, None, &mut errors, recorded, options.dry_run);
    if !errors.is_empty() {
        return Err(ApiError::invalid(&row.storage_version.group_kind(), value.name(), &errors));
    }
    meta::validate_create(row, &value, &mut errors);
    if let Some(validate) = row.hooks.validate {
        validate(&value, &mut errors);
    }
    meta::validate_create_last(row, &value, &mut errors);
    call.warn(api_kinds::custom::validate(row, &call.info.subresource, &value, None, &mut errors));
    if !errors.is_empty() {
        return Err(ApiError::invalid(&row.storage_version.group_kind(), value.name(), &errors));
    }
    if let Some(warnings) = row.hooks.warnings {
        call.warn(warnings(&value, None));
    }
    let name = told_name(call, &value);
    let mut warnings = Vec::new();
    let attributes = call.admission(Operation::Create, &name, None, options.dry_run);
    let admitted = call.server.admission.validate(&attributes, Some(&value), &mut warnings).await;
    call.warn(warnings);
    admitted?;
    if !value.resource_version().is_empty() && !options.dry_run {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(500, Reason::Unknown, why));
    }
    if !options.dry_run {
        value.set_meta("resourceVersion", "");
    }
    let stored = custom::convert::outgoing(call, &value).await?;
    let read = custom::convert::as_read(call, &value, &stored)?;
    let name = value.name().to_owned();
    let (key, exists) = (call.key(&name), || ApiError::already_exists(&call.group_resource(), &name));
    if options.dry_run {
        registry.check_quotas(call, &value, None).await?;
        return if registry.read_live(&key).await?.is_some() { Err(exists()) } else { Ok(Some(read)) };
    }
    let claims = registry.pools.claims(row, Some(&held), Some(&value), None);
    let put = Put { key: &key, expected: 0, stored: stored.clone(), new: value, old: None, claims };
    match registry.put_charged(call, put).await? {
        Attempt::Done(revision) => {
            held.keep();
            object::with_revision(&read, revision).map(Some).map_err(ApiError::internal)
        }
        Attempt::Lost(Some(_)) => Err(exists()),
        Attempt::Lost(None) => Ok(None),
    }
}

/// Sets the namespace of the URL; another one in the object is refused.
pub(crate) fn check_namespace(call: &Call, value: &mut Value) -> Result<(), ApiError> {
    if !call.row().namespaced {
        value.set_meta("namespace", "");
        return Ok(());
    }
    let namespace = value.namespace();
    if !namespace.is_empty() && namespace != call.info.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    value.set_meta("namespace", &call.info.namespace);
    Ok(())
}

/// What the server alone decides of a new object's metadata.
pub(crate) fn fill_metadata(call: &Call, value: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        value.metadata_mut().remove(field);
    }
    value.set_meta("uid", &uuid::Uuid::new_v4().to_string());
    value.set_meta("creationTimestamp", &call.now());
}

/// A new object has the status of one without status, if status is a subresource; of most kinds.
pub(crate) fn drop_status(call: &Call, value: &mut Value) {
    if call.row().subresource("status").is_none() || call.row().hooks.status_on_create {
        return;
    }
    let Some(object) = value.as_object_mut() else { return };
    match call.served.empty_status() {
        Some(status) => object.insert("status".into(), status.clone()),
        None => object.remove("status"),
    };
}

/// A name that starts with `base`, at most 63 bytes long.
fn generate_name(base: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let suffix: String = (0..5).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect();
    format!("{}{suffix}", &base[..end])
}

/// Drops repeated owner references, and says so and `when` they were found.
pub(crate) fn dedup_owners(call: &Call, value: &mut Value, when: &str) {
    let Some(owners) = value.metadata_mut().get_mut("ownerReferences").and_then(Value::as_array_mut) else { return };
    let (mut seen, mut repeated) = (HashSet::new(), Vec::new());
    owners.retain(|owner| {
        let is_new = seen.insert(owner.to_string());
        if !is_new {
            repeated.push(owner.get("uid").and_then(Value::as_str).unwrap_or("").to_owned());
        }
        is_new
    });
    if !repeated.is_empty() {
        call.warn([format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        )]);
    }
}
