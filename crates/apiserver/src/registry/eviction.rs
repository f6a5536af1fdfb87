//! POST to `eviction`: a deletion that asks the disruption budgets first.

use super::call::Call;
use super::options::{DeleteOptions, Validation, WriteOptions};
use super::subresource::decode_as;
use super::{delete, list, object, readable};
use crate::admission::Operation;
use crate::authn::UserInfo;
use crate::body::Body;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::eviction::{Verdict, budgets, decide};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// Attempts to spend a budget that others spend from too.
const ATTEMPTS_MAX: usize = 20;

/// Serves it.
pub(crate) async fn evict(mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let write = WriteOptions::read(&call.query, "CreateOptions", false)?;
    let bytes = call.read_body(body).await?;
    let kind = call.row().subresource(&call.info.subresource).map(|s| s.kind.clone()).unwrap_or_default();
    let eviction = decode_as(&call, &kind.group, &kind.kind, &bytes, Validation::Warn)?;
    if eviction.name() != call.info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::read(&call.query, Some(&eviction["deleteOptions"]))?;
    options.dry_run |= write.dry_run;
    let mut warnings = Vec::new();
    let attributes = call.admission(Operation::Create, &call.info.name, None, options.dry_run);
    call.server.admission.review(&attributes, eviction, &mut warnings).await?;
    call.warn(warnings);
    options.reviewed = true;
    call.info.subresource.clear();
    let name = call.info.name.clone();
    for _ in 0..ATTEMPTS_MAX {
        let pod = call.server.registry.read_live(&call.key(&name)).await?.ok_or_else(|| call.not_found())?;
        if options.uid.is_none() {
            options.uid = Some(pod.value.uid().to_owned());
        }
        let gvr = budgets();
        let all = call.server.registry.list_shown(&gvr.group, &gvr.resource, &call.info.namespace);
        match decide(&pod.value, &all, &call.now())? {
            Verdict::Free => {}
            Verdict::Spend(_) if options.dry_run => {}
            Verdict::Spend(budget) => match spend(&call, &budget).await {
                Ok(()) => {}
                Err(e) if e.code == 409 => continue,
                Err(e) => return Err(e),
            },
        }
        delete::delete_one(&call, &name, &options).await?;
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        return call.answer_value(StatusCode::CREATED, &done);
    }
    let why = "too many others evict pods of the same budget; try again";
    Err(ApiError::conflict(&call.group_resource(), &name, why))
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
