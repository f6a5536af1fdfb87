//! DELETE: at once, after a grace period, or when the finalizers are gone; and collections.

use super::call::{Call, body_media};
use super::list::Selectors;
use super::options::{DeleteOptions, ListOptions};
use super::ranges::Claims;
use super::read;
use super::txn::{Attempt, Current};
use super::{custom, object};
use crate::Body;
use crate::admission::{Attributes, Operation};
use crate::protobuf;
use api_core::meta::Meta;
use api_core::{ApiError, GroupResource, Reason};
use api_schema::codec;
use api_schema::row::Row;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// Serves a DELETE of an object.
pub(crate) async fn delete(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = read_options(&call, body).await?;
    let name = call.info.name.clone();
    let deleted = delete_one(&call, &name, &options).await?;
    // Only the older of the two ways to say it is answered so.
    let accepted = !deleted.gone && options.orphan_dependents == Some(false);
    let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    match deleted.answer {
        Answer::Object(bytes) => call.answer(status, &bytes).await,
        Answer::Status(uid) => call.answer_value(status, &success(&call, &name, &uid)),
    }
}

/// Serves a DELETE of a collection: what the selectors choose, one by one.
pub(crate) async fn delete_collection(call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    // What is chosen is read before the body is.
    let list_options = ListOptions::read(&call.query, false)?;
    Selectors::new(&call.served, &list_options)?;
    let options = read_options(&call, body).await?;
    let page = read::select(&call, &list_options).await?;
    for item in &page.items {
        match delete_one(&call, &item.name, &options).await {
            Ok(_) => {}
            Err(e) if e.code == 404 => {}
            Err(e) => return Err(e),
        }
    }
    read::answer_page(&call, page).await
}

async fn read_options(call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let options = parse_options(call, body).await?;
    let warning = call.row().hooks.delete_warning;
    if !warning.is_empty() && options.propagation.is_none() && options.orphan_dependents.is_none() {
        call.warn([warning.to_owned()]);
    }
    Ok(options)
}

async fn parse_options(call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let bytes = call.read_body(body).await?;
    if bytes.is_empty() {
        return DeleteOptions::read(&call.query, None);
    }
    let value: Value = match body_media(&call.headers)? {
        codec::Media::Json => {
            serde_json::from_slice(&bytes).map_err(|e| not_options(&codec::json_wording(&bytes, &e)))?
        }
        codec::Media::Yaml => crate::yaml::parse(&bytes)?,
        codec::Media::Protobuf => protobuf::options(&bytes)?,
    };
    check_document(&value)?;
    DeleteOptions::read(&call.query, Some(&value))
}

/// A body that is no document of options; upstream takes that for a failure of its own.
fn not_options(why: &str) -> ApiError {
    ApiError::new(500, Reason::Unknown, format!("couldn't get version/kind; json parse error: {why}"))
}

/// What a body says that it is, and the types of its fields.
fn check_document(value: &Value) -> Result<(), ApiError> {
    let failed = |why: String| Err(ApiError::new(500, Reason::Unknown, why));
    if !value.is_object() && !value.is_null() {
        let to =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        return Err(not_options(&format!(
            "json: cannot unmarshal {} into Go value of type {to}",
            codec::go_kind(value)
        )));
    }
    for field in ["apiVersion", "kind"] {
        if let Some(other) = value.get(field).filter(|v| !v.is_string() && !v.is_null()) {
            let of = codec::go_kind(other);
            return Err(not_options(&format!(
                "json: cannot unmarshal {of} into Go struct field .{field} of type string"
            )));
        }
    }
    let said = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    if said("apiVersion").matches('/').count() > 1 {
        return failed(format!("unexpected GroupVersion string: {}", said("apiVersion")));
    }
    if !matches!(said("kind"), "" | "DeleteOptions") {
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        let (kind, version) = (said("kind"), Some(said("apiVersion")).filter(|v| !v.is_empty()));
        let version = version.unwrap_or("meta.k8s.io/v1");
        return failed(format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}"));
    }
    check_fields(value)
}

fn check_fields(value: &Value) -> Result<(), ApiError> {
    let failed = |why: String| Err(ApiError::new(500, Reason::Unknown, why));
    for (field, kind, fits) in FIELDS {
        if let Some(value) = value.get(field).filter(|v| !v.is_null() && !fits(v)) {
            let of = codec::go_kind(value);
            return failed(format!(
                "json: cannot unmarshal {of} into Go struct field DeleteOptions.{field} of type {kind}"
            ));
        }
    }
    for (field, kind) in [("uid", "types.UID"), ("resourceVersion", "string")] {
        let given = value.get("preconditions").and_then(|p| p.get(field));
        if let Some(other) = given.filter(|v| !v.is_string() && !v.is_null()) {
            let of = codec::go_kind(other);
            return failed(format!(
                "json: cannot unmarshal {of} into Go struct field Preconditions.preconditions.{field} of type {kind}"
            ));
        }
    }
    Ok(())
}

/// Fields of the options, their types as upstream names them, and what reads as such.
type Field = (&'static str, &'static str, fn(&Value) -> bool);
const FIELDS: [Field; 5] = [
    ("gracePeriodSeconds", "int64", |v| v.is_i64()),
    ("preconditions", "v1.Preconditions", Value::is_object),
    ("orphanDependents", "bool", Value::is_boolean),
    ("propagationPolicy", "v1.DeletionPropagation", Value::is_string),
    ("dryRun", "[]string", Value::is_array),
];

/// The end of a DELETE.
pub(crate) struct Deleted {
    pub(crate) gone: bool,
    pub(crate) answer: Answer,
}

/// What a DELETE answers with.
pub(crate) enum Answer {
    /// Served bytes of the stored version.
    Object(Bytes),
    /// A `Status` that names the uid.
    Status(String),
}

/// What to do with an object that someone wants to be gone.
enum Plan {
    /// It goes now.
    Remove,
    /// It is marked first; then it goes now.
    MarkAndRemove(Box<Value>),
    /// It is marked, and goes later.
    Mark(Box<Value>),
    /// It is on its way already.
    Nothing,
}

/// Deletes one object of the request's namespace.
pub(crate) async fn delete_one(call: &Call, name: &str, options: &DeleteOptions) -> Result<Deleted, ApiError> {
    let key = call.key(name);
    let registry = &call.server.registry;
    let gone = || ApiError::not_found(&call.group_resource(), name);
    // What the cache has is enough for a write, which fails if the object is another one by now.
    let mut known = if options.dry_run { None } else { call.served.cached(&key)? };
    loop {
        let current = match known.take() {
            Some(cached) => cached,
            None => registry.read_live(&key).await?.ok_or_else(gone)?,
        };
        let (revision, is_live) = (current.revision, current.is_live);
        match attempt(call, &key, current, options, name).await {
            Ok(Some(deleted)) => return Ok(deleted),
            Ok(None) => {}
            // What was decided by the cache may be decided by what is no longer so.
            Err(error) if !is_live => {
                let now = registry.read_live(&key).await?.ok_or_else(gone)?;
                if now.revision == revision {
                    return Err(error);
                }
                known = Some(now);
            }
            Err(error) => return Err(error),
        }
    }
}

/// `None` if the store has to be asked: someone else wrote the object in the meantime.
async fn attempt(
    call: &Call,
    key: &str,
    current: Current,
    options: &DeleteOptions,
    name: &str,
) -> Result<Option<Deleted>, ApiError> {
    check_preconditions(call.row(), name, &current, options)?;
    let mut warnings = Vec::new();
    let seen = custom::convert::incoming(call, current).await?;
    // Of a collection, upstream tells no names.
    let told = if call.info.verb == "deletecollection" { "" } else { name };
    let attributes = Attributes {
        revision: seen.revision,
        delete_options: Some(options),
        ..call.admission(Operation::Delete, told, Some(&seen.value), options.dry_run)
    };
    let admitted = call.server.admission.validate_delete(&attributes, options.reviewed, &mut warnings).await;
    call.warn(warnings);
    admitted?;
    carry_out(call, key, seen, options).await
}

/// `None` as in [`attempt`], or if nothing is to be done according to the cache.
async fn carry_out(
    call: &Call,
    key: &str,
    mut current: Current,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, ApiError> {
    let (row, registry) = (call.row(), &call.server.registry);
    let plan = plan(row, &current.value, options, call.now_unix_s());
    let (marked, removes) = match plan {
        Plan::Nothing if !current.is_live => return Ok(None),
        Plan::Nothing => {
            let answer = Prepared::new(row, &current.value).at(current.revision)?;
            return Ok(Some(Deleted { gone: false, answer }));
        }
        Plan::Remove => (None, true),
        Plan::MarkAndRemove(value) => (Some(value), true),
        Plan::Mark(value) => (Some(value), false),
    };
    if let Some(value) = marked {
        if !options.dry_run && *value != current.value {
            let stored = custom::convert::outgoing(call, &value).await?;
            match registry.put(&call.served, key, current.revision, stored, &Claims::default()).await? {
                Attempt::Done(revision) => current.revision = revision,
                Attempt::Lost(_) => return Ok(None),
            }
        }
        current.value = *value;
    }
    if !removes {
        let answer = Prepared::Object(object::encode(&current.value)).at(current.revision)?;
        return Ok(Some(Deleted { gone: false, answer }));
    }
    let Current { value, mut revision, .. } = current;
    let claims = registry.pools.claims(row, None, None, Some(&value));
    let dropped = registry.pools.dropped(row, &value, None);
    let answer = Prepared::new(row, &value);
    drop(value);
    if !options.dry_run {
        match registry.remove(&call.served, key, revision, &claims).await? {
            Attempt::Done(at) => revision = at,
            Attempt::Lost(_) => return Ok(None),
        }
        registry.pools.release(&dropped);
    }
    Ok(Some(Deleted { gone: true, answer: answer.at(revision)? }))
}

/// What will be answered, when the revision is known.
enum Prepared {
    /// With the object, as it is stored.
    Object(Bytes),
    Status(String),
}

impl Prepared {
    fn new(row: &Row, value: &Value) -> Self {
        if row.hooks.returns_deleted {
            Self::Object(object::encode(value))
        } else {
            Self::Status(value.uid().to_owned())
        }
    }

    fn at(self, revision: i64) -> Result<Answer, ApiError> {
        match self {
            Self::Object(stored) => {
                object::with_revision(&stored, revision).map(Answer::Object).map_err(ApiError::internal)
            }
            Self::Status(uid) => Ok(Answer::Status(uid)),
        }
    }
}

fn success(call: &Call, name: &str, uid: &str) -> Value {
    let GroupResource { group, resource } = call.group_resource();
    let mut details = json!({"name": name, "kind": resource, "uid": uid});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

pub(super) fn check_preconditions(
    row: &Row,
    name: &str,
    current: &Current,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    if row.hooks.has_spec_finalizers {
        return check_preconditions_of_namespace(row, name, current, options);
    }
    // Upstream names the kind here, not the resource.
    let gk = row.kind.group_kind();
    let about = GroupResource { group: gk.group, resource: gk.kind };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != current.value.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted \
             and then recreated",
            current.value.uid()
        );
        return Err(ApiError::conflict(&about, name, &why));
    }
    if let Some(version) = options.resource_version.as_deref().filter(|v| *v != current.revision.to_string()) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            current.revision
        );
        return Err(ApiError::conflict(&about, name, &why));
    }
    Ok(())
}

/// Namespaces are deleted in another way ([`plan_by_spec_finalizers`]), and refuse in other words.
fn check_preconditions_of_namespace(
    row: &Row,
    name: &str,
    current: &Current,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let found = [
        ("UID", &options.uid, current.value.uid().to_owned()),
        ("ResourceVersion", &options.resource_version, current.revision.to_string()),
    ];
    for (field, wanted, found) in found {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why =
                format!("Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}");
            return Err(ApiError::conflict(&row.gvr.group_resource(), name, &why));
        }
    }
    Ok(())
}

fn plan(row: &Row, value: &Value, options: &DeleteOptions, now_unix_s: i64) -> Plan {
    if row.hooks.has_spec_finalizers
        && let Some(plan) = plan_by_spec_finalizers(value, now_unix_s)
    {
        return plan;
    }
    let mut marked = value.clone();
    if let Some(mark_deleted) = row.hooks.mark_deleted.filter(|_| !value.is_deleting()) {
        mark_deleted(&mut marked, &api_core::time::format_unix_s(now_unix_s));
    }
    set_propagation(row, &mut marked, options);
    let has_finalizers = !marked.finalizers().is_empty();
    match grace(row, value, options) {
        Grace::Pending => Plan::Nothing,
        Grace::For(seconds) => {
            mark(&mut marked, now_unix_s, seconds);
            if has_finalizers || seconds > 0 { Plan::Mark(marked.into()) } else { Plan::MarkAndRemove(marked.into()) }
        }
        Grace::None if has_finalizers => {
            if value.is_deleting() && grace_of(value).is_none_or(|s| s == 0) {
                return Plan::Mark(marked.into());
            }
            if row.hooks.mark_deleted.is_some() {
                // Such a kind is marked by nothing but the time.
                marked.set_meta("deletionTimestamp", &api_core::time::format_unix_s(now_unix_s));
                return Plan::Mark(marked.into());
            }
            mark(&mut marked, now_unix_s, 0);
            Plan::Mark(marked.into())
        }
        Grace::None => Plan::Remove,
    }
}

enum Grace {
    /// The kind has none.
    None,
    /// It has begun, and is not to be shortened.
    Pending,
    /// So long from now on (or from when it began).
    For(i64),
}

fn grace_of(value: &Value) -> Option<i64> {
    value.metadata()?.get("deletionGracePeriodSeconds")?.as_i64()
}

fn grace(row: &Row, value: &Value, options: &DeleteOptions) -> Grace {
    let Some(default) = row.hooks.default_grace_s else { return Grace::None };
    if value.is_deleting() {
        return match (grace_of(value), options.grace_period_s) {
            (None, _) => Grace::None,
            (Some(left), Some(asked)) if asked.max(0) < left => Grace::For(if asked < 0 { 1 } else { asked }),
            (Some(_), _) => Grace::Pending,
        };
    }
    match (default(value), options.grace_period_s) {
        (None, _) => Grace::For(0),
        (Some(_), Some(asked)) => Grace::For(if asked < 0 { 1 } else { asked }),
        (Some(seconds), None) => Grace::For(if seconds < 0 { 1 } else { seconds }),
    }
}

/// Sets the time at which the object is to be gone; counts the first time as a change.
fn mark(value: &mut Value, now_unix_s: i64, grace_s: i64) {
    let began = match (value.is_deleting(), grace_of(value)) {
        (true, Some(grace)) => {
            api_core::time::parse_unix_s(value.meta_str("deletionTimestamp")).map_or(now_unix_s, |at| at - grace)
        }
        _ => now_unix_s,
    };
    let first = !value.is_deleting();
    let at = api_core::time::format_unix_s(began + grace_s);
    value.set_meta("deletionTimestamp", &at);
    let meta = value.metadata_mut();
    meta.insert("deletionGracePeriodSeconds".into(), grace_s.into());
    let generation = meta.get("generation").and_then(Value::as_i64).unwrap_or(0);
    if first && generation > 0 {
        meta.insert("generation".into(), generation.wrapping_add(1).into());
    }
}

/// Sets or drops the finalizers that say what becomes of dependents.
fn set_propagation(row: &Row, value: &mut Value, options: &DeleteOptions) {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let before: Vec<String> = value.finalizers().into_iter().map(str::to_owned).collect();
    let has = |name: &str| before.iter().any(|f| f == name);
    let orphan = options.orphans(has(ORPHAN), row.hooks.orphan_by_default && !has(FOREGROUND));
    let foreground = options.is_foreground(has(FOREGROUND));
    let mut after: Vec<String> = before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        after.push(ORPHAN.into());
    }
    if foreground {
        after.push(FOREGROUND.into());
    }
    let same = before.len() == after.len() && before.iter().all(|f| after.contains(f));
    if same {
        return;
    }
    if after.is_empty() {
        value.metadata_mut().remove("finalizers");
    } else {
        value.metadata_mut().insert("finalizers".into(), after.into());
    }
}

fn spec_finalizers(value: &Value) -> usize {
    value.get("spec").and_then(|s| s.get("finalizers")).and_then(Value::as_array).map_or(0, Vec::len)
}

/// A kind whose `spec.finalizers` hold it back is marked and terminates; its own controller empties the list.
fn plan_by_spec_finalizers(value: &Value, now_unix_s: i64) -> Option<Plan> {
    if value.is_deleting() {
        return (spec_finalizers(value) > 0).then(|| Plan::Mark(value.clone().into()));
    }
    let mut marked = value.clone();
    marked.set_meta("deletionTimestamp", &api_core::time::format_unix_s(now_unix_s));
    marked["status"]["phase"] = "Terminating".into();
    (spec_finalizers(value) > 0).then(|| Plan::Mark(marked.into()))
}

/// Whether an update has taken away the last thing that held back a deletion.
pub(crate) fn is_due(row: &Row, new: &Value, old: &Value) -> bool {
    new.finalizers().is_empty()
        && old.is_deleting()
        && grace_of(old).is_none_or(|s| s == 0)
        && !(row.hooks.has_spec_finalizers && spec_finalizers(new) > 0)
}
