//! The node's Lease in `kube-node-lease`: the heartbeat that the node lifecycle controller watches.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};

/// How long a missed heartbeat is forgiven; upstream's default.
const DURATION_SECONDS: i32 = 40;
const NAMESPACE: &str = "kube-node-lease";

/// Renews the lease every `period` until the future is dropped.
pub async fn keep(client: kube::Client, node: &Node, period: Duration) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<Lease> = None;
    loop {
        ticks.tick().await;
        match renew(&api, node, last.take()).await {
            Ok(lease) => last = Some(lease),
            // Without the last version the next renewal reads it first.
            Err(error) => tracing::warn!(%error, "lease not renewed"),
        }
    }
}

async fn renew(api: &Api<Lease>, node: &Node, last: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let last = match last {
        Some(lease) => Some(lease),
        None => api.get_opt(&name).await?,
    };
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(DURATION_SECONDS),
        renew_time: Some(MicroTime(Utc::now())),
        ..LeaseSpec::default()
    };
    match last {
        Some(mut lease) => {
            lease.spec = Some(spec);
            api.replace(&name, &PostParams::default(), &lease).await
        }
        None => {
            let owner = OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.clone(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta {
                name: Some(name),
                namespace: Some(NAMESPACE.into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
        }
    }
}
