//! What quotas say is used: recounted when something that counts appears, ends or goes.
//!
//! The server charges a write in the write's own transaction, so this only has to find what became less, what was there
//! before the quota, and what somebody else wrote into the status. A recount is only believed if it is as new as the quota
//! itself: what was charged after it then makes the write of the status fail, and no room is given out twice.

mod counts;
mod memo;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_core::GroupResource;
use api_kinds::quota::{self, Amounts, Facts};
use controller_kit::{Cached, Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{Api, DynamicObject, ListParams, VersionMatch};
use kube::core::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};

use counts::Counts;
use memo::Memo;

pub(crate) static ROW: Row = Row {
    name: "resourcequota",
    account: "resourcequota-controller",
    inputs: &["ResourceQuota", "Pod", "Service", "PersistentVolumeClaim", "CustomResourceDefinition", "APIService"],
    outputs: &["ResourceQuota/status"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let quotas = context.informer::<ResourceQuota>();
    let (pods, services) = (context.informer::<Pod>(), context.informer::<Service>());
    let claims = context.informer::<PersistentVolumeClaim>();
    let runner = Runner::new(&context)
        .primary(&quotas)
        .watch(&quotas, siblings(&quotas))
        .watch_change(&pods, changes(&quotas, "pods"))
        .watch_change(&services, changes(&quotas, "services"))
        .watch_change(&claims, changes(&quotas, "persistentvolumeclaims"));
    let counts = Counts::new(runner.queue(), quotas.clone());
    let watching = counts::run(context.clone(), counts.clone());
    let driver = Driver {
        writer: context.writer(),
        pods: Memo::new("pods", pods),
        services: Memo::new("services", services),
        claims: Memo::new("persistentvolumeclaims", claims),
        quotas,
        counts,
        context,
    };
    tokio::join!(runner.run(driver), watching);
}

/// Quotas themselves may be counted by quotas.
fn siblings(quotas: &Handle<ResourceQuota>) -> impl Fn(&ResourceQuota) -> Vec<Key> + Send + 'static {
    let quotas = quotas.clone();
    move |changed| {
        let counts = |quota: &Arc<ResourceQuota>| {
            hard_names(quota).any(|name| name == "resourcequotas" || name == "count/resourcequotas")
        };
        let all = quotas.store().list_namespace(changed.metadata.namespace.as_deref().unwrap_or_default());
        all.iter().filter(|quota| counts(quota)).map(|quota| Key::of(&**quota)).collect()
    }
}

/// The quotas to look at when an object of a counted kind changes: none, unless it counts for something else than before.
fn changes<K: Cached + Serialize>(
    quotas: &Handle<ResourceQuota>,
    resource: &'static str,
) -> impl Fn(Option<&K>, Option<&K>) -> Vec<Key> + Send + 'static {
    let quotas = quotas.clone();
    move |old, new| {
        let Some(any) = new.or(old) else { return Vec::new() };
        let all = quotas.store().list_namespace(any.meta().namespace.as_deref().unwrap_or_default());
        let facts = |object: &K| memo::facts(resource, object);
        if all.is_empty() || (old.is_some() && old.map(facts) == new.map(facts)) {
            return Vec::new();
        }
        all.iter().map(|quota| Key::of(&**quota)).collect()
    }
}

fn hard_names(quota: &ResourceQuota) -> impl Iterator<Item = &str> {
    quota.spec.iter().filter_map(|spec| spec.hard.as_ref()).flat_map(|hard| hard.keys()).map(String::as_str)
}

/// The resources that a quota counts.
fn resources(quota: &ResourceQuota) -> BTreeSet<String> {
    hard_names(quota).filter_map(quota::resource_of).map(|resource| resource.to_string()).collect()
}

fn parse(resource: &str) -> GroupResource {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    GroupResource { group: group.into(), resource: resource.into() }
}

/// Objects of one resource in one namespace.
struct Seen {
    facts: Vec<Arc<Facts>>,
    /// The newest version that was seen of any of the resource.
    version: u64,
    /// To read them past the cache.
    api: ApiResource,
}

struct Driver {
    writer: Writer,
    pods: Memo<Pod>,
    services: Memo<Service>,
    claims: Memo<PersistentVolumeClaim>,
    quotas: Handle<ResourceQuota>,
    counts: Arc<Counts>,
    context: Context,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(quota) = self.quotas.store().get(key) else {
            if self.quotas.store().list_namespace(&key.namespace).is_empty() {
                self.pods.forget(&key.namespace);
                self.services.forget(&key.namespace);
                self.claims.forget(&key.namespace);
            }
            return Ok(Next::Done);
        };
        let value = encode(&*quota, key)?;
        let now = self.context.now().timestamp();
        let (mut recounted, mut next) = (Amounts::new(), None);
        for name in resources(&quota) {
            let resource = parse(&name);
            let Some(mut seen) = self.seen(&resource, key) else { continue };
            let mut used = quota::used(&value, &resource, seen.facts.iter().map(|f| &**f), now);
            let version = quota.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
            if seen.version < version && differs(&value, &used) {
                seen.facts = self.read(&resource, &seen.api, key, version).await?;
                used = quota::used(&value, &resource, seen.facts.iter().map(|f| &**f), now);
            }
            let changes = seen.facts.iter().filter_map(|facts| facts.changes_at(now)).min();
            next = [next, changes].into_iter().flatten().min();
            recounted.extend(used);
        }
        if let Some(status) = status(&value, recounted) {
            let mut changed = (*quota).clone();
            changed.status = serde_json::from_value(status).map_err(|e| self.unreadable(key, e))?;
            self.writer.replace_status(&changed).await?;
        }
        let after = |at: i64| Duration::from_secs(u64::try_from(at - now + 1).unwrap_or(1));
        Ok(next.map_or(Next::Done, |at| Next::After(after(at))))
    }
}

impl Driver {
    fn seen(&self, resource: &GroupResource, key: &Key) -> Option<Seen> {
        let namespace = &key.namespace;
        match (resource.group.as_str(), resource.resource.as_str()) {
            ("", "pods") => Some(self.pods.seen(namespace)),
            ("", "services") => Some(self.services.seen(namespace)),
            ("", "persistentvolumeclaims") => Some(self.claims.seen(namespace)),
            ("", "resourcequotas") => {
                let store = self.quotas.store();
                let facts = counts::plain(resource, store.list_namespace(namespace).len());
                Some(Seen { facts, version: store.observed(), api: ApiResource::erase::<ResourceQuota>(&()) })
            }
            _ => self.counts.seen(resource, namespace),
        }
    }

    /// The objects at least as new as `version`, from the server.
    async fn read(
        &self,
        resource: &GroupResource,
        api: &ApiResource,
        key: &Key,
        version: u64,
    ) -> Result<Vec<Arc<Facts>>, Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), &key.namespace, api);
        let fresh = ListParams {
            resource_version: Some(version.to_string()),
            version_match: Some(VersionMatch::NotOlderThan),
            ..ListParams::default()
        };
        let failed = |source| Error::Api {
            verb: "list",
            kind: resource.to_string(),
            key: key.clone(),
            source: Box::new(source),
        };
        if counts::is_plain(resource) {
            let number = api.list_metadata(&fresh).await.map_err(failed)?.items.len();
            return Ok(counts::plain(resource, number));
        }
        let objects = api.list(&fresh).await.map_err(failed)?.items;
        objects.iter().map(|object| Ok(Arc::new(Facts::of(resource, &encode(object, key)?)))).collect()
    }

    fn unreadable(&self, key: &Key, error: serde_json::Error) -> Error {
        Error::Request { verb: "count", kind: "ResourceQuota".into(), key: key.clone(), source: error.into() }
    }
}

fn encode<T: Serialize>(object: &T, key: &Key) -> Result<Value, Error> {
    let failed = |source: serde_json::Error| Error::Request {
        verb: "read",
        kind: "ResourceQuota".into(),
        key: key.clone(),
        source: source.into(),
    };
    serde_json::to_value(object).map_err(failed)
}

/// Whether the quota's status says something else.
fn differs(quota: &Value, used: &Amounts) -> bool {
    let said = quota::read(&quota["status"]["used"]);
    used.iter().any(|(name, amount)| said.get(name) != Some(amount))
}

/// The status to write, if it is another one. What could not be recounted stays as it was.
fn status(quota: &Value, recounted: Amounts) -> Option<Value> {
    let hard = quota::read(&quota["spec"]["hard"]);
    let mut used = quota::read(&quota["status"]["used"]);
    used.extend(recounted);
    used.retain(|name, _| hard.contains_key(name));
    let said = &quota["status"];
    let same = said["hard"].is_object() && said["used"].is_object();
    if same && quota::read(&said["hard"]) == hard && quota::read(&said["used"]) == used {
        return None;
    }
    Some(json!({"hard": quota::write(&hard), "used": quota::write(&used)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_written_when_it_says_something_else() {
        let one = |pods: &str| -> Amounts { quota::read(&json!({"pods": pods})) };
        let quota = |status: Value| json!({"spec": {"hard": {"pods": "5", "count/widgets.example.com": "1"}}, "status": status});
        let table = [
            (json!({}), "1", json!({"pods": "1"})),
            (json!({"hard": {"pods": "5"}, "used": {"pods": "1"}}), "1", json!({"pods": "1"})),
            (
                json!({"hard": {"pods": "9", "count/widgets.example.com": "1"},
                    "used": {"pods": "7", "cpu": "1", "count/widgets.example.com": "1"}}),
                "2",
                json!({"pods": "2", "count/widgets.example.com": "1"}),
            ),
            (json!({"hard": {"pods": "5", "count/widgets.example.com": "1"}, "used": {"pods": "1"}}), "1", Value::Null),
        ];
        for (before, pods, wanted) in table {
            let after = status(&quota(before.clone()), one(pods));
            assert_eq!(after.map_or(Value::Null, |s| s["used"].clone()), wanted, "{before}");
        }
    }
}
