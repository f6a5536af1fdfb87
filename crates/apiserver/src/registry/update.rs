//! PUT, and what every change of an object has in common: read, edit, admit, validate, write if unchanged, else again.

use super::call::Call;
use super::charge::Put;
use super::create::{self, check_namespace};
use super::options::WriteOptions;
use super::pools::Held;
use super::ranges::Recorded;
use super::txn::{Attempt, Current};
use super::versions::{self, Known};
use super::{custom, delete, object, patching};
use crate::Body;
use crate::admission::{Attributes, Operation};
use api_core::field::{BadValue, Errors, Path};
use api_core::meta::Meta;
use api_core::{ApiError, GroupKind, GroupResource, Reason};
use api_kinds::hooks::meta;
use api_schema::row::{Generation, KeptMetadata};
use bytes::Bytes;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// Attempts of one update against others that write the same object. Past it the client gets the conflict.
const ATTEMPTS_MAX: usize = 100;

/// When a patch's repeated owner references are found; those of a PUT are found before.
const AFTER_ADMISSION: &str = " after mutating admission happens";

/// What an update makes of an object: from what there is (nothing, if it may be created) to the new one, complete and in
/// its stored version, with the resource version that the client wants to replace.
///
/// It may be asked again with more versions known (`versions::in_all`).
pub(crate) type Edit<'e> = dyn Fn(&Call, Option<&Current>, Known<'_>) -> Result<Value, ApiError> + Send + Sync + 'e;

/// The object after an update.
pub(crate) struct Updated {
    /// Served bytes in the stored version.
    pub(crate) bytes: Bytes,
    pub(crate) created: bool,
}

/// Serves a PUT to an object, or to a subresource that has the object's own kind.
pub(crate) async fn put(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::read(&call.query, "UpdateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let first = Mutex::new(Some(asked(&call, &bytes, &options)?));
    let absent = match first.lock().as_ref().map_or(Absent::NotFound, Absent::replaced) {
        Absent::NotFound if may_create(&call, false) => Absent::Make,
        absent => absent,
    };
    // It is seldom asked for twice: only if someone else writes the object, or its fields have owners in other versions.
    let edit = |call: &Call, _: Option<&Current>, _: Known<'_>| {
        let again = || asked(call, &bytes, &options);
        first.lock().take().map_or_else(again, Ok)
    };
    let updated = update(&call, &options, &edit, absent).await?;
    let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    call.answer(status, &updated.bytes).await
}

/// What a PUT asks for, complete and in its stored version.
fn asked(call: &Call, bytes: &[u8], options: &WriteOptions) -> Result<Value, ApiError> {
    let mut value = call.decode(bytes, options.validation)?;
    check_namespace(call, &mut value)?;
    check_name(call, &value)?;
    call.complete(&mut value);
    create::dedup_owners(call, &mut value, "");
    Ok(value)
}

/// Whether a write makes the object that it is for, if there is none. What is `applied` may be made of any kind; through its
/// status only an object is made that a PUT may make, as upstream does.
pub(crate) fn may_create(call: &Call, applied: bool) -> bool {
    let by_update = call.row().hooks.create_on_update;
    match call.info.subresource.as_str() {
        "" => applied || by_update,
        "status" => by_update,
        _ => false,
    }
}

/// The name in the body must be that of the URL.
pub(crate) fn check_name(call: &Call, value: &Value) -> Result<(), ApiError> {
    let (name, expected) = (value.name(), &call.info.name);
    if name.is_empty() {
        return Err(nameless(call));
    }
    if name != expected {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({expected})");
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

/// The answer to an object of which no name is known.
pub(crate) fn nameless(call: &Call) -> ApiError {
    let expected = &call.info.name;
    ApiError::bad_request(format!(
        "the name of the object ({expected} based on URL) was undeterminable: name must be provided"
    ))
}

/// What an update does if there is no such object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It makes one.
    Make,
    /// It says so.
    NotFound,
    /// The one that is to be changed has this uid: nothing is, and another one is not made.
    IsAnother(String),
}

impl Absent {
    /// For a PUT of `value` to an object that it cannot make.
    pub(crate) fn replaced(value: &Value) -> Self {
        match value.uid() {
            "" => Self::NotFound,
            uid => Self::IsAnother(uid.to_owned()),
        }
    }
}

/// Changes the object that the request names, by `edit`.
pub(crate) async fn update(
    call: &Call,
    options: &WriteOptions,
    edit: &Edit<'_>,
    absent: Absent,
) -> Result<Updated, ApiError> {
    let key = call.key(&call.info.name);
    let registry = &call.server.registry;
    let mut current = call.served.cached(&key)?;
    if current.is_none() {
        current = registry.read_live(&key).await?;
    }
    let mut lost = 0;
    loop {
        let seen = match current.take() {
            Some(stored) => custom::convert::incoming(call, stored).await?,
            None => match &absent {
                Absent::Make => return make(call, options, edit).await,
                Absent::NotFound => return Err(call.not_found()),
                Absent::IsAnother(uid) => return Err(is_another(call, uid, "", options.dry_run)),
            },
        };
        let (is_live, revision) = (seen.is_live, seen.revision);
        match attempt(call, options, edit, &key, seen).await {
            Ok(Outcome::Done(updated)) => return Ok(updated),
            Ok(Outcome::Lost(now)) if lost < ATTEMPTS_MAX => {
                lost += 1;
                current = now;
            }
            Ok(Outcome::Lost(_)) => return Err(conflict(call)),
            // What was decided by the cache may be decided by what is no longer so.
            Err(e) if !is_live => {
                let now = registry.read_live(&key).await?;
                if now.as_ref().is_some_and(|now| now.revision == revision) {
                    return Err(e);
                }
                current = now;
            }
            Err(e) => return Err(e),
        }
    }
}

enum Outcome {
    Done(Updated),
    Lost(Option<Current>),
}

async fn make(call: &Call, options: &WriteOptions, edit: &Edit<'_>) -> Result<Updated, ApiError> {
    let mut value = versions::in_all(call, |known| edit(call, None, known)).await?;
    value.set_meta("resourceVersion", "");
    create::fill_metadata(call, &mut value);
    create::drop_status(call, &mut value);
    patching::managed_update(call, options, None, &mut value).await;
    call.drop_empty_lists(&mut value);
    let bytes = create::insert(call, value, options).await?;
    Ok(Updated { bytes, created: true })
}

async fn attempt(
    call: &Call,
    options: &WriteOptions,
    edit: &Edit<'_>,
    key: &str,
    current: Current,
) -> Result<Outcome, ApiError> {
    let old = &current.value;
    let mut new = versions::in_all(call, |known| edit(call, Some(&current), known)).await?;
    check_version(call, &new, &current, options.dry_run)?;
    new.set_meta("resourceVersion", "");
    if call.row().hooks.owns_what_is_asked && !is_posted(call) {
        note_owners(call, options, &mut new, old).await;
    } else {
        keep_other_half(call, &mut new, old);
    }
    if call.info.verb != "update" || is_posted(call) {
        keep_metadata(&mut new, old);
    }
    let held = if is_posted(call) { None } else { Some(admit(call, options, &current, &mut new).await?) };
    let stored = custom::convert::outgoing(call, &new).await?;
    let read = custom::convert::as_read(call, &new, &stored)?;
    if options.dry_run {
        call.server.registry.check_quotas(call, &new, Some(old)).await?;
        return done(&read, current.revision);
    }
    if delete::is_due(call.row(), &new, old) {
        return remove(call, key, current, &read).await;
    }
    if current.stored.as_ref() == Some(&stored) || (current.stored.is_none() && &new == old) {
        if current.is_live {
            return done(&read, current.revision);
        }
        // Nothing changes as far as the cache knows; the store has the last word.
        let now = call.server.registry.read_live(key).await?;
        if now.as_ref().is_some_and(|now| now.revision == current.revision) {
            return done(&read, current.revision);
        }
        return Ok(Outcome::Lost(now));
    }
    let pools = &call.server.registry.pools;
    let claims = pools.claims(call.row(), held.as_ref(), Some(&new), Some(old));
    let dropped = pools.dropped(call.row(), old, Some(&new));
    let put = Put { key, expected: current.revision, stored, new, old: Some(current.value), claims };
    match call.server.registry.put_charged(call, put).await? {
        Attempt::Done(revision) => {
            held.into_iter().for_each(Held::keep);
            pools.release(&dropped);
            done(&read, revision)
        }
        Attempt::Lost(now) => Ok(Outcome::Lost(now)),
    }
}

/// Deletes an object that an update leaves without what held it back; the answer is what the update made of it.
async fn remove(call: &Call, key: &str, current: Current, read: &Bytes) -> Result<Outcome, ApiError> {
    let (registry, row) = (&call.server.registry, call.row());
    let Current { value: old, revision, .. } = current;
    let claims = registry.pools.claims(row, None, None, Some(&old));
    let dropped = registry.pools.dropped(row, &old, None);
    drop(old);
    match registry.remove(&call.served, key, revision, &claims).await? {
        Attempt::Done(revision) => {
            registry.pools.release(&dropped);
            done(read, revision)
        }
        Attempt::Lost(now) => Ok(Outcome::Lost(now)),
    }
}

/// Whether what is written is not the client's: it posted an object of another kind, which has been admitted for itself.
fn is_posted(call: &Call) -> bool {
    call.info.verb == "create"
}

/// Brings what a client wants to write into its final form, if the rules allow it.
async fn admit<'a>(
    call: &'a Call,
    options: &WriteOptions,
    current: &Current,
    new: &mut Value,
) -> Result<Held<'a>, ApiError> {
    let old = &current.value;
    let owns_what_is_asked = call.row().hooks.owns_what_is_asked;
    if !owns_what_is_asked {
        note_owners(call, options, new, old).await;
    }
    call.drop_empty_lists(new);
    // What webhooks are shown is of the kind and version that they ask for, and so would be what they make.
    custom::decode::check_kind(call, new)?;
    let mut warnings = Vec::new();
    let attributes = Attributes {
        revision: current.revision,
        ..call.admission(Operation::Update, &call.info.name, Some(old), options.dry_run)
    };
    let mutated = call.server.admission.mutate(&attributes, new, &mut warnings).await;
    // A refusal, too, comes with what was warned of before.
    call.warn(std::mem::take(&mut warnings));
    let mutated = mutated?;
    if mutated || owns_what_is_asked {
        // A webhook, too, changes only what the request may write.
        keep_other_half(call, new, old);
    }
    if mutated {
        create::check_namespace(call, new)?;
    }
    keep_metadata(new, old);
    if mutated {
        call.settle(new);
    }
    prepare(call, new, old);
    let recorded = call.server.registry.recorded(call.row()).await?;
    let held = validate(call, new, old, recorded, options.dry_run)?;
    let validated = call.server.admission.validate(&attributes, Some(new), &mut warnings).await;
    call.warn(warnings);
    validated?;
    api_patch::managed::keep_times_if_unchanged(old, new);
    Ok(held)
}

/// Notes who owns the object, and who its fields.
async fn note_owners(call: &Call, options: &WriteOptions, new: &mut Value, old: &Value) {
    create::dedup_owners(call, new, AFTER_ADMISSION);
    patching::managed_update(call, options, Some(old), new).await;
}

fn done(read: &Bytes, revision: i64) -> Result<Outcome, ApiError> {
    let bytes = object::with_revision(read, revision).map_err(ApiError::internal)?;
    Ok(Outcome::Done(Updated { bytes, created: false }))
}

/// The version and the uid that the client wants to replace must be those that there are.
fn check_version(call: &Call, new: &Value, current: &Current, dry_run: bool) -> Result<(), ApiError> {
    let uid = new.uid();
    // Of a patch, the uid is a field like others, which must not change.
    if !uid.is_empty() && uid != current.value.uid() && call.info.verb != "patch" {
        return Err(is_another(call, uid, current.value.uid(), dry_run));
    }
    let version = new.resource_version();
    if version.is_empty() || version == "0" {
        if call.row().hooks.unconditional_update {
            return Ok(());
        }
        let mut errors = Errors::new();
        let path = Path::new("metadata");
        let bad = BadValue("0x0".into());
        errors.invalid(&path.child("resourceVersion"), bad, "must be specified for an update");
        // Upstream names the resource here, not the kind.
        let GroupResource { group, resource: kind } = call.group_resource();
        return Err(ApiError::invalid(&GroupKind { group, kind }, &call.info.name, &errors));
    }
    match version.parse::<u64>() {
        Ok(version) if i64::try_from(version) == Ok(current.revision) => Ok(()),
        Ok(_) => Err(conflict(call)),
        Err(_) => {
            let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            Err(ApiError::new(500, Reason::Unknown, why))
        }
    }
}

/// The object that the client wants to replace, with `uid`, is not that which there is, if there is one.
fn is_another(call: &Call, uid: &str, found_uid: &str, dry_run: bool) -> ApiError {
    let key = call.key(&call.info.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {uid}, UID in object meta: {found_uid}",
        if dry_run { key.trim_start_matches("/registry") } else { &key },
    );
    ApiError::conflict(&call.group_resource(), &call.info.name, &why)
}

fn conflict(call: &Call) -> ApiError {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    ApiError::conflict(&call.group_resource(), &call.info.name, why)
}

/// The part of the object that a subresource writes; none for the object itself.
fn written_part(subresource: &str) -> Option<&'static [&'static str]> {
    match subresource {
        "status" | "approval" => Some(&["status"]),
        "ephemeralcontainers" => Some(&["spec", "ephemeralContainers"]),
        "finalize" => Some(&["spec", "finalizers"]),
        _ => None,
    }
}

/// A write to the object leaves its status as it is, a write to a subresource all but its part.
fn keep_other_half(call: &Call, new: &mut Value, old: &Value) {
    if call.info.subresource.is_empty() {
        if call.row().subresource("status").is_some() {
            copy_part(new, old, &["status"]);
        }
        return;
    }
    let Some(path) = written_part(&call.info.subresource) else { return };
    let mut kept = old.clone();
    copy_part(&mut kept, new, path);
    if let Some(metadata) = new.get_mut("metadata") {
        kept["metadata"] = metadata.take();
    }
    *new = kept;
}

fn copy_part(to: &mut Value, from: &Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut to = to;
    let mut from = Some(from);
    for parent in parents {
        let Some(object) = to.as_object_mut() else { return };
        to = object.entry(*parent).or_insert_with(|| Value::Object(serde_json::Map::new()));
        from = from.and_then(|f| f.get(parent));
    }
    let Some(object) = to.as_object_mut() else { return };
    match from.and_then(|f| f.get(last)) {
        Some(value) => object.insert((*last).into(), value.clone()),
        None => object.remove(*last),
    };
}

/// What an update cannot change, or need not repeat.
fn keep_metadata(new: &mut Value, old: &Value) {
    let old_meta = old.metadata();
    let meta = new.metadata_mut();
    let mut keep = |field: &str, always: bool| {
        let old = old_meta.and_then(|m| m.get(field));
        match old {
            Some(value) if always || !meta.contains_key(field) => {
                meta.insert(field.into(), value.clone());
            }
            None if field == "generation" => {
                meta.remove(field);
            }
            _ => {}
        }
    };
    keep("uid", false);
    keep("creationTimestamp", true);
    keep("deletionTimestamp", true);
    keep("deletionGracePeriodSeconds", false);
    keep("generation", true);
}

fn prepare(call: &Call, new: &mut Value, old: &Value) {
    let hooks = call.row().hooks;
    let is_status = call.info.subresource == "status";
    if is_status {
        keep_of_metadata(new, old, hooks.status_keeps);
    }
    if let Some(prepare) = hooks.prepare_update {
        prepare(&call.context(), new, old);
    }
    let counted = hooks.generation;
    if is_status || counted == Generation::NONE {
        return;
    }
    let status_counts = call.row().subresource("status").is_none();
    let is_new_spec = counted.spec && has_new_spec(new, old, status_counts);
    if is_new_spec || counted.metadata.iter().any(|field| has_new_entries(new, old, field)) {
        let generation = old.metadata().and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0);
        new.metadata_mut().insert("generation".into(), generation.wrapping_add(1).into());
    }
}

/// What a write of the status does not change.
fn keep_of_metadata(new: &mut Value, old: &Value, kept: KeptMetadata) {
    let Some(before) = old.metadata() else { return };
    let metadata = new.metadata_mut();
    match kept {
        KeptMetadata::Nothing => {}
        KeptMetadata::Fields(fields) => {
            for field in fields {
                match before.get(*field) {
                    Some(value) => drop(metadata.insert((*field).to_owned(), value.clone())),
                    None => drop(metadata.remove(*field)),
                }
            }
        }
        KeptMetadata::All => {
            let owners = metadata.remove("managedFields");
            metadata.clone_from(before);
            metadata.extend(owners.map(|owners| ("managedFields".to_owned(), owners)));
        }
    }
}

/// Whether a map of the metadata differs; an empty one is none.
fn has_new_entries(new: &Value, old: &Value, field: &str) -> bool {
    fn entries<'v>(of: &'v Value, field: &str) -> Option<&'v Map<String, Value>> {
        of["metadata"][field].as_object().filter(|map| !map.is_empty())
    }
    entries(new, field) != entries(old, field)
}

/// Whether anything outside of `metadata` and (unless it counts) `status` differs.
fn has_new_spec(new: &Value, old: &Value, status_counts: bool) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return true };
    let counts = |key: &String| match key.as_str() {
        "metadata" | "kind" | "apiVersion" => false,
        "status" => status_counts,
        _ => true,
    };
    new.iter().any(|(k, v)| counts(k) && old.get(k) != Some(v)) || old.keys().any(|k| counts(k) && !new.contains_key(k))
}

fn validate<'a>(
    call: &'a Call,
    new: &mut Value,
    old: &Value,
    recorded: Recorded,
    dry_run: bool,
) -> Result<Held<'a>, ApiError> {
    let row = call.row();
    let mut errors = Errors::new();
    let held = call.server.registry.pools.allocate(row, new, Some(old), &mut errors, recorded, dry_run);
    if !errors.is_empty() {
        return Err(ApiError::invalid(&row.storage_version.group_kind(), new.name(), &errors));
    }
    meta::validate_update(new, old, &mut errors);
    match (row.hooks.validate_update, row.hooks.validate) {
        (Some(validate), _) => validate(&call.context(), new, old, &mut errors),
        (None, Some(validate)) => validate(new, &mut errors),
        (None, None) => {}
    }
    call.warn(api_kinds::custom::validate(row, &call.info.subresource, new, Some(old), &mut errors));
    if !errors.is_empty() {
        return Err(ApiError::invalid(&row.storage_version.group_kind(), new.name(), &errors));
    }
    if let Some(warnings) = row.hooks.warnings.filter(|_| call.info.subresource.is_empty()) {
        call.warn(warnings(new, Some(old)));
    }
    Ok(held)
}
