//! What extension servers say they have, as the aggregated form of discovery says it: asked for when an API service
//! changes, and from time to time. One that does not answer is `Stale`.

use super::remote::{Answer, Question};
use super::{Aggregation, Remote};
use crate::authn::UserInfo;
use crate::authn::user::MASTERS;
use crate::server::Inner;
use api_kinds::aggregation::ApiService;
use http::header;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two questions when nothing happens.
const REFRESH: Duration = Duration::from_secs(60);
/// A server that takes longer does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A longer document is not read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const FORMS: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// What is known of extension servers' group versions, by the API services' names.
#[derive(Debug, Default, Clone)]
pub(crate) struct Documents(BTreeMap<String, Arc<Value>>);

impl Documents {
    /// What the aggregated form says of a group version.
    pub(crate) fn version(&self, service: &ApiService) -> Value {
        self.0.get(&service.name).map_or_else(|| stale(service), |known| Value::clone(known))
    }
}

/// Of a server that does not answer.
fn stale(service: &ApiService) -> Value {
    json!({"version": service.version, "freshness": "Stale"})
}

/// Keeps what is known of one server, until it is told to stop.
pub(super) async fn keep(server: Arc<Inner>, mut told: watch::Receiver<Arc<Remote>>) {
    let mut last = Last::default();
    loop {
        let remote = told.borrow_and_update().clone();
        let version = match ask(&server, &remote, &mut last).await {
            Ok(version) => version,
            Err(error) => {
                tracing::debug!(error, name = remote.service.name, "an extension server does not say what it has");
                last = Last::default();
                stale(&remote.service)
            }
        };
        publish(&server.aggregation, &remote.service.name, version);
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

fn publish(aggregation: &Aggregation, name: &str, version: Value) {
    if aggregation.documents.load().0.get(name).is_some_and(|known| **known == version) {
        return;
    }
    let version = Arc::new(version);
    aggregation.documents.rcu(|known| {
        let mut next = Documents::clone(known);
        next.0.insert(name.to_owned(), version.clone());
        next
    });
}

/// Drops what is known of all but these.
pub(super) fn forget_others(aggregation: &Aggregation, names: &HashMap<&str, &Arc<Remote>>) {
    if aggregation.documents.load().0.keys().all(|name| names.contains_key(name.as_str())) {
        return;
    }
    aggregation.documents.rcu(|known| {
        let mut next = Documents::clone(known);
        next.0.retain(|name, _| names.contains_key(name.as_str()));
        next
    });
}

/// The last answer in the aggregated form: its tag, and what it said of the group version.
#[derive(Default)]
struct Last {
    tag: String,
    version: Value,
}

async fn ask(server: &Inner, remote: &Remote, last: &mut Last) -> Result<Value, String> {
    let service = &remote.service;
    let aggregator = "system:kube-aggregator";
    let answer = get(server, remote, "/apis", FORMS, &last.tag, &UserInfo::new(aggregator, &[MASTERS])).await?;
    match answer.status.as_u16() {
        304 if !last.tag.is_empty() => return Ok(last.version.clone()),
        503 => return Err("it is not available".into()),
        200 if is_aggregated(answer.header(header::CONTENT_TYPE)) => {
            let list: Value = serde_json::from_slice(&answer.bytes).map_err(|e| e.to_string())?;
            let version = version_of(&list, service);
            *last = Last { tag: answer.header(header::ETAG).to_owned(), version: version.clone() };
            return Ok(version);
        }
        _ => {}
    }
    // It knows only the older form.
    let answer = get(server, remote, &remote.path(), "application/json", "", &UserInfo::new(aggregator, &[])).await?;
    if answer.status.as_u16() != 200 {
        return Err(format!("{} is answered {}", remote.path(), answer.status.as_u16()));
    }
    let list: Value = serde_json::from_slice(&answer.bytes).map_err(|e| e.to_string())?;
    Ok(json!({"version": service.version, "resources": from_list(&list), "freshness": "Current"}))
}

async fn get(
    server: &Inner,
    remote: &Remote,
    path: &str,
    accept: &str,
    known: &str,
    user: &UserInfo,
) -> Result<Answer, String> {
    let uri = remote.uri(server, path)?;
    let (trust, answer_bytes_max, timeout) = (&remote.trust, ANSWER_BYTES_MAX, TIMEOUT);
    server.aggregation.ask(Question { trust, uri, user, accept, known, answer_bytes_max, timeout }).await
}

fn is_aggregated(content_type: &str) -> bool {
    let parts: Vec<&str> = content_type.split(';').map(str::trim).collect();
    parts.contains(&"g=apidiscovery.k8s.io") && parts.contains(&"as=APIGroupDiscoveryList")
}

/// A group version of a document in the aggregated form; without resources if it is not there.
fn version_of(list: &Value, service: &ApiService) -> Value {
    let mut groups = list["items"].as_array().into_iter().flatten();
    let group = groups.find(|g| g["metadata"]["name"].as_str().unwrap_or("") == service.group);
    let mut versions = group.and_then(|g| g["versions"].as_array()).into_iter().flatten();
    let found = versions.find(|v| v["version"] == service.version);
    let mut version = found.cloned().unwrap_or_else(|| json!({"version": service.version}));
    version["freshness"] = "Current".into();
    let resources = version.get_mut("resources").and_then(Value::as_array_mut);
    for resource in resources.into_iter().flatten() {
        name_kind(resource);
        resource["subresources"].as_array_mut().into_iter().flatten().for_each(name_kind);
        if resource["subresources"].is_null() {
            resource.as_object_mut().map(|r| r.remove("subresources"));
        }
    }
    version
}

/// Clients of old need a kind, if only an empty one.
fn name_kind(entry: &mut Value) {
    if !entry["responseKind"].is_object() {
        entry["responseKind"] = json!({"group": "", "version": "", "kind": ""});
    }
}

/// Resources of the older form in the aggregated one: subresources stand with their resource.
fn from_list(list: &Value) -> Value {
    let mut out: Vec<Value> = Vec::new();
    let mut entries: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    let name = |entry: &Value| entry["name"].as_str().unwrap_or("").to_owned();
    // Resources first, whatever the order.
    entries.sort_by_key(|entry| name(entry).contains('/'));
    for entry in entries {
        let text = |field: &str| entry[field].as_str().unwrap_or("");
        let kind = json!({"group": text("group"), "version": text("version"), "kind": text("kind")});
        let verbs = if entry["verbs"].is_array() { entry["verbs"].clone() } else { json!([]) };
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let name = name(entry);
        let Some((resource, subresource)) = name.split_once('/') else {
            let mut made = json!({"resource": name, "responseKind": kind, "scope": scope,
                "singularResource": text("singularName"), "verbs": verbs});
            for field in ["shortNames", "categories"] {
                if entry[field].as_array().is_some_and(|list| !list.is_empty()) {
                    made[field] = entry[field].clone();
                }
            }
            out.push(made);
            continue;
        };
        let at = out.iter().position(|r| r["resource"] == resource).unwrap_or_else(|| {
            let empty = json!({"group": "", "version": "", "kind": ""});
            out.push(json!({"resource": resource, "responseKind": empty, "scope": scope, "singularResource": "", "verbs": []}));
            out.len() - 1
        });
        if !out[at]["subresources"].is_array() {
            out[at]["subresources"] = json!([]);
        }
        if let Some(list) = out[at]["subresources"].as_array_mut() {
            list.push(json!({"subresource": subresource, "responseKind": kind, "verbs": verbs}));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_becomes_the_aggregated_one() {
        let list = json!({"resources": [
            {"name": "a/status", "namespaced": true, "kind": "A", "verbs": ["get"]},
            {"name": "a", "singularName": "one", "namespaced": true, "kind": "A", "verbs": ["list"], "shortNames": ["x"]},
            {"name": "b/scale", "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["update"]}]});
        let kind = json!({"group": "", "version": "", "kind": "A"});
        let expected = json!([
            {"resource": "a", "responseKind": kind, "scope": "Namespaced", "singularResource": "one", "verbs": ["list"],
             "shortNames": ["x"], "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}]},
            {"resource": "b", "responseKind": {"group": "", "version": "", "kind": ""}, "scope": "Cluster",
             "singularResource": "", "verbs": [], "subresources": [{"subresource": "scale",
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["update"]}]}]);
        assert_eq!(from_list(&list), expected);
    }

    #[test]
    fn the_aggregated_form_is_taken_as_it_is() {
        assert!(is_aggregated("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"));
        assert!(!is_aggregated("application/json"));
        let service = ApiService::local("g.io", "v1");
        let list = json!({"items": [{"metadata": {"name": "g.io"}, "versions": [{"version": "v1", "resources": [{"resource": "a"}]}]}]});
        let kind = json!({"group": "", "version": "", "kind": ""});
        assert_eq!(
            version_of(&list, &service),
            json!({"version": "v1", "freshness": "Current", "resources": [{"resource": "a", "responseKind": kind}]})
        );
        assert_eq!(version_of(&json!({}), &service), json!({"version": "v1", "freshness": "Current"}));
    }
}
