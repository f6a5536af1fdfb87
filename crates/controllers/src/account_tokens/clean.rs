//! Removes tokens that were made automatically, live in secrets, and were not used for a year: first they are marked
//! invalid, a year later they go.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use client::informer::Selector;
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use serde_json::json;

use super::{TYPE, account_key, is_for, lists};

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// How long a token is unused before it is marked, and marked before it goes.
const UNUSED_FOR: TimeDelta = TimeDelta::days(365);
/// Longest wait; a token's use in between moves its time anyway.
const LOOK_AGAIN: Duration = Duration::from_secs(86_400);

pub(crate) static ROW: Row = Row {
    name: "legacy-serviceaccount-token-cleaner",
    account: "legacy-service-account-token-cleaner",
    inputs: &["Secret", "ServiceAccount", "Pod", "ConfigMap"],
    outputs: &["Secret"],
    workers: 1,
};

pub(crate) async fn start(context: Context) {
    let secrets = context.informer_of::<Secret>(Selector::fields(format!("type={TYPE}")));
    let maps = context.informer_of::<ConfigMap>(Selector {
        namespace: Some("kube-system".into()),
        ..Selector::fields(format!("metadata.name={TRACKING}"))
    });
    let (accounts, pods) = (context.informer::<ServiceAccount>(), context.informer::<Pod>());
    let all = secrets.clone();
    let runner =
        Runner::new(&context).primary(&secrets).watch(&maps, move |_| all.store().keys()).reads(&accounts).reads(&pods);
    runner.run(Driver { writer: context.writer(), context, secrets, maps, accounts, pods }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    secrets: Handle<Secret>,
    maps: Handle<ConfigMap>,
    accounts: Handle<ServiceAccount>,
    pods: Handle<Pod>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(secret) = self.secrets.store().get(key) else { return Ok(Next::Done) };
        let map = self.maps.store().find("kube-system", TRACKING);
        let Some(since) = map.as_ref().and_then(|map| date(map.data.as_ref()?.get("since")?)) else {
            return Ok(Next::Done);
        };
        let account = account_key(&secret).and_then(|key| self.accounts.store().get(&key));
        let automatic = account.is_some_and(|account| is_for(&secret, &account) && lists(&account, &key.name));
        let now = self.context.now();
        let due = match due(&secret, since) {
            Some(due) if automatic => due,
            _ => return Ok(Next::Done),
        };
        if due.at() > now {
            let wait = (due.at() - now).to_std().unwrap_or(LOOK_AGAIN);
            return Ok(Next::After(wait.min(LOOK_AGAIN)));
        }
        let mounted =
            self.pods.store().list_namespace(&key.namespace).iter().any(|pod| secrets_of(pod).contains(&*key.name));
        if mounted {
            return Ok(Next::After(LOOK_AGAIN));
        }
        match due {
            Due::Invalidate(_) => {
                let today = now.format("%Y-%m-%d").to_string();
                let patch = json!({"metadata": {"uid": secret.metadata.uid, "labels": {INVALID_SINCE: today}}});
                self.writer.patch::<Secret>(key, &patch).await?;
            }
            Due::Delete(_) => {
                let remove =
                    Remove { resource_version: secret.metadata.resource_version.clone(), ..Remove::this(&*secret) };
                self.writer.delete::<Secret>(key, &remove).await?;
            }
        }
        Ok(Next::Done)
    }
}

/// What is to be done with a secret that nobody uses, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    Invalidate(DateTime<Utc>),
    Delete(DateTime<Utc>),
}

impl Due {
    fn at(self) -> DateTime<Utc> {
        match self {
            Due::Invalidate(at) | Due::Delete(at) => at,
        }
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

/// `None` if it is never to go, or if it cannot be told when it was used.
fn due(secret: &Secret, tracked_since: NaiveDate) -> Option<Due> {
    if secret.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let label = |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let after =
        |day: NaiveDate| day.checked_add_days(Days::new(1)).map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc());
    let created = secret.metadata.creation_timestamp.as_ref()?.0;
    let used = match label(LAST_USED) {
        Some(day) => Some(after(date(day)?)?),
        None => None,
    };
    let idle = [Some(created), after(tracked_since), used].into_iter().flatten().max()? + UNUSED_FOR;
    match label(INVALID_SINCE).and_then(|day| date(day)) {
        Some(day) => Some(Due::Delete(idle.max(after(day)? + UNUSED_FOR))),
        None => Some(Due::Invalidate(idle)),
    }
}

/// Names of the secrets that a pod refers to.
fn secrets_of(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let volumes = spec.volumes.iter().flatten();
    let mut names: BTreeSet<&str> = volumes
        .clone()
        .filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref())
        .chain(volumes.flat_map(|volume| {
            let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            sources.filter_map(|source| source.secret.as_ref().map(|secret| secret.name.as_str()))
        }))
        .collect();
    names.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str()));
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let whole = container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref());
        names.extend(whole.map(|secret| secret.name.as_str()));
        let single = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref());
        names.extend(single.map(|secret| secret.name.as_str()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_tokens_are_marked_and_then_go() {
        let since = date("2024-01-01").unwrap();
        let secret = |labels: serde_json::Value| -> Secret {
            serde_json::from_value(json!({"type": TYPE, "metadata": {"name": "s", "labels": labels,
                "creationTimestamp": "2023-06-01T00:00:00Z"}}))
            .unwrap()
        };
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let table = [
            (json!({}), Some(Due::Invalidate(at("2025-01-01T00:00:00Z")))),
            (json!({LAST_USED: "2024-03-01"}), Some(Due::Invalidate(at("2025-03-02T00:00:00Z")))),
            (json!({LAST_USED: "soon"}), None),
            (json!({INVALID_SINCE: "2025-02-01"}), Some(Due::Delete(at("2026-02-02T00:00:00Z")))),
            (
                json!({INVALID_SINCE: "2025-02-01", LAST_USED: "2025-06-01"}),
                Some(Due::Delete(at("2026-06-02T00:00:00Z"))),
            ),
        ];
        for (labels, wanted) in table {
            assert_eq!(due(&secret(labels.clone()), since), wanted, "{labels}");
        }
    }

    #[test]
    fn secrets_of_a_pod() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "imagePullSecrets": [{"name": "a"}],
            "volumes": [{"name": "v", "secret": {"secretName": "b"}}, {"name": "w", "projected": {"sources": [{"secret": {"name": "c"}}]}}],
            "containers": [{"name": "x", "envFrom": [{"secretRef": {"name": "d"}}],
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "e", "key": "k"}}}]}]}}))
        .unwrap();
        assert_eq!(secrets_of(&pod), BTreeSet::from(["a", "b", "c", "d", "e"]));
    }
}
