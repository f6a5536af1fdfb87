//! What extension servers say they have, as the aggregated form of discovery says it: asked for when an API service
//! changes, and from time to time. One that does not answer is `Stale`.

use super::Remote;
use super::described::{from_aggregated, from_list, is_list};
use super::remote::{Answer, Question};
use super::said::Said;
use crate::authn::UserInfo;
use crate::authn::user::MASTERS;
use crate::server::Inner;
use api_kinds::aggregation::ApiService;
use http::header;
use serde_json::value::{RawValue, to_raw_value};
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
pub(crate) struct Documents(BTreeMap<String, Arc<RawValue>>);

impl Documents {
    /// What the aggregated form says of a group version.
    pub(crate) fn version(&self, service: &ApiService) -> Arc<RawValue> {
        self.0.get(&service.name).map_or_else(|| raw(&stale(service)), Arc::clone)
    }
}

fn raw(said: &Value) -> Arc<RawValue> {
    Arc::from(to_raw_value(said).expect("a JSON value can be written to memory"))
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
        publish(&server.aggregation.documents, &told, &remote.service.name, &version);
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

fn publish(said: &Said<Documents>, told: &watch::Receiver<Arc<Remote>>, name: &str, version: &Value) {
    let version = raw(version);
    if said.load().0.get(name).is_none_or(|known| known.get() != version.get()) {
        said.publish(told, |all| drop(all.0.insert(name.to_owned(), version)));
    }
}

/// Drops what is known of all but these.
pub(super) fn forget_others(said: &Said<Documents>, names: &HashMap<&str, &Arc<Remote>>) {
    said.forget(
        |all| all.0.keys().all(|name| names.contains_key(name.as_str())),
        |all| {
            all.0.retain(|name, _| names.contains_key(name.as_str()));
        },
    );
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
            let version = from_aggregated(&list, service);
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
    if !is_list(&list) {
        return Err(format!("{} is no list of resources", remote.path()));
    }
    Ok(from_list(&list, service))
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
    let (trust, answer_bytes_max, timeout) = (&remote.trust, Some(ANSWER_BYTES_MAX), TIMEOUT);
    server.aggregation.ask(Question { trust, uri, user, accept, known, answer_bytes_max, timeout }).await
}

fn is_aggregated(content_type: &str) -> bool {
    let parts: Vec<&str> = content_type.split(';').map(str::trim).collect();
    parts.contains(&"g=apidiscovery.k8s.io") && parts.contains(&"as=APIGroupDiscoveryList")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregated_form_is_told_by_its_media_type() {
        assert!(is_aggregated("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"));
        assert!(!is_aggregated("application/json"));
    }
}
