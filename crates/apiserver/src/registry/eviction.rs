//! POST to `eviction`: a deletion that asks the disruption budgets first.

use super::call::Call;
use super::options::{DeleteOptions, WriteOptions};
use super::ranges::Claims;
use super::subresource::decode_as;
use super::txn::{Attempt, Current};
use super::{create, delete, list, object, readable};
use crate::admission::Operation;
use crate::authn::UserInfo;
use crate::body::Body;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::eviction::{Verdict, budgets, changed_meanwhile, decide, note};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// Attempts to spend a budget that others spend from too.
const ATTEMPTS_MAX: usize = 20;

/// Serves it.
pub(crate) async fn evict(mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let write = WriteOptions::read(&call.query, "CreateOptions", false)?;
    let bytes = of_today(call.read_body(body).await?);
    let kind = call.row().subresource(&call.info.subresource).map(|s| s.kind.clone()).unwrap_or_default();
    let mut eviction = decode_as(&call, &kind.group, &kind.kind, &bytes, write.validation)?;
    create::check_namespace(&call, &mut eviction)?;
    let attributes = call.admission(Operation::Create, &call.info.name, None, write.dry_run);
    call.server.admission.check_namespace(&attributes, &eviction).await?;
    if eviction.name() != call.info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::read(&call.query, Some(&eviction["deleteOptions"]))?;
    options.dry_run |= write.dry_run;
    let mut warnings = Vec::new();
    let attributes = call.admission(Operation::Create, &call.info.name, None, options.dry_run);
    let admitted = call.server.admission.review(&attributes, eviction, &mut warnings).await;
    call.warn(warnings);
    admitted?;
    options.reviewed = true;
    call.info.subresource.clear();
    let name = call.info.name.clone();
    for _ in 0..ATTEMPTS_MAX {
        let pod = read(&call, &name).await?;
        let gvr = budgets();
        let all = call.server.registry.list_shown(&gvr.group, &gvr.resource, &call.info.namespace);
        let ended = match decide(&pod.value, &all, &call.now())? {
            Verdict::Free => end(&call, pod, &options).await,
            Verdict::Unchanged(budget) => {
                let ended = end_unchanged(&call, pod, &options).await;
                let overtaken = ended.as_ref().is_err_and(|e| e.code == 409) && options.resource_version.is_none();
                match budget {
                    Some(budget) if overtaken => return Err(changed_meanwhile(&budget)),
                    None if overtaken => continue,
                    _ => ended,
                }
            }
            Verdict::Spend(_) if options.dry_run => end(&call, pod, &options).await,
            Verdict::Spend(budget) => match spend(&call, &budget).await {
                Ok(()) => end(&call, pod, &options).await,
                Err(e) if e.code == 409 => continue,
                Err(e) => return Err(e),
            },
        };
        ended?;
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        return call.answer_value(StatusCode::CREATED, &done);
    }
    let why = "too many others evict pods of the same budget; try again";
    Err(ApiError::conflict(&call.group_resource(), &name, why))
}

/// What old clients post in a version that is gone is the same in the version of today.
fn of_today(bytes: Bytes) -> Bytes {
    const OLD: &str = "policy/v1beta1";
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) if value["apiVersion"] == OLD => {
            value["apiVersion"] = budgets().api_version().into();
            value.to_string().into()
        }
        _ => bytes,
    }
}

async fn read(call: &Call, name: &str) -> Result<Current, ApiError> {
    call.server.registry.read_live(&call.key(name)).await?.ok_or_else(|| call.not_found())
}

/// Notes in the pod's status why it goes, and deletes it, whatever else is written meanwhile.
async fn end(call: &Call, mut pod: Current, options: &DeleteOptions) -> Result<(), ApiError> {
    if options.resource_version.is_some() {
        return end_unchanged(call, pod, options).await;
    }
    let name = call.info.name.as_str();
    let mut options = options.clone();
    options.uid.get_or_insert_with(|| pod.value.uid().to_owned());
    if !options.dry_run {
        loop {
            delete::check_preconditions(call.row(), name, &pod, &options)?;
            match note_eviction(call, &pod).await? {
                Attempt::Done(_) => break,
                Attempt::Lost(_) => pod = read(call, name).await?,
            }
        }
    }
    delete::delete_one(call, name, &options).await.map(drop)
}

/// The same, unless somebody writes the pod meanwhile, which is a conflict.
async fn end_unchanged(call: &Call, pod: Current, options: &DeleteOptions) -> Result<(), ApiError> {
    let name = call.info.name.as_str();
    let mut options = options.clone();
    options.uid.get_or_insert_with(|| pod.value.uid().to_owned());
    delete::check_preconditions(call.row(), name, &pod, &options)?;
    let mut revision = pod.revision;
    if !options.dry_run {
        match note_eviction(call, &pod).await? {
            Attempt::Done(at) => revision = at,
            Attempt::Lost(_) => {
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                return Err(ApiError::conflict(&call.group_resource(), name, why));
            }
        }
    }
    options.resource_version = Some(revision.to_string());
    delete::delete_one(call, name, &options).await.map(drop)
}

async fn note_eviction(call: &Call, pod: &Current) -> Result<Attempt, ApiError> {
    let mut noted = pod.value.clone();
    note(&mut noted, &call.now());
    let key = call.key(&call.info.name);
    call.server.registry.put(&call.served, &key, pod.revision, object::encode(&noted), &Claims::default()).await
}

async fn spend(call: &Call, budget: &Value) -> Result<(), ApiError> {
    let gvr = budgets();
    let (namespace, name) = (&call.info.namespace, budget.name());
    let path = format!("/apis/{}/namespaces/{namespace}/{}/{name}/status", gvr.api_version(), gvr.resource);
    call.server.call(&UserInfo::apiserver(), Method::PUT, &path, Some(budget)).await.map(drop)
}

impl super::Registry {
    /// All objects of a namespace in their stored version, with their resource versions.
    fn list_shown(&self, group: &str, resource: &str, namespace: &str) -> Vec<Value> {
        let Some(served) = self.any_version(group, resource) else { return Vec::new() };
        let Some(cache) = &served.cache else { return Vec::new() };
        let prefix = list::prefix(&served, namespace);
        cache.snapshot().prefix(prefix.as_bytes()).filter_map(|o| readable(object::decode(&o.bytes))).collect()
    }
}
