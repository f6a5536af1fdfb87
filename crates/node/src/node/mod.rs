//! The node's own objects: registers the Node, keeps its status true, renews its Lease, watches the runtime's network.

pub mod lease;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::cri::Cri;
use crate::watchfile::FileWatch;

/// First and longest wait after the API refused or was away.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// After the CNI configuration changed the runtime needs a moment to load it: first wait, doubled until it has.
const NETWORK_SETTLE_MIN: Duration = Duration::from_millis(20);
const NETWORK_SETTLE_TRIES: u32 = 7;

/// Registers the node, or takes over the object that is there, and returns it.
pub async fn register(agent: &Agent) -> Node {
    let mut wait = RETRY_MIN;
    loop {
        match try_register(agent).await {
            Ok(node) => return node,
            Err(error) => tracing::warn!(%error, retry_in_ms = wait.as_millis(), "node not registered yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn try_register(agent: &Agent) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(agent.client.clone());
    let wanted = status::object(&agent.config);
    let status = status::measure(agent, None).await;
    let fresh = Node { status: Some(status.clone()), ..wanted.clone() };
    let existing = match api.create(&PostParams::default(), &fresh).await {
        Ok(node) => node,
        Err(kube::Error::Api(e)) if e.code == 409 => {
            let patch =
                json!({"metadata": {"labels": wanted.metadata.labels, "annotations": wanted.metadata.annotations}});
            api.patch(&agent.config.node_name, &PatchParams::default(), &Patch::Merge(patch)).await?
        }
        Err(error) => return Err(error),
    };
    // What the object says of conditions may be old; they keep the times of their changes.
    let status = status::measure(agent, existing.status.as_ref()).await;
    write_status(&api, &agent.config.node_name, existing.status.as_ref(), &status).await
}

/// Keeps the status true until the future is dropped: measured at every heartbeat and when the network changes, written
/// when it changed or is old.
pub async fn keep_status(agent: &Arc<Agent>) {
    let api: Api<Node> = Api::all(agent.client.clone());
    let mut ticks = tokio::time::interval(agent.config.limits.heartbeat_period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut network = agent.network.clone();
    let mut written_at = Utc::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = network.changed() => if changed.is_err() { return },
        }
        let old = agent.node.read().status.clone();
        let new = status::measure(agent, old.as_ref()).await;
        let period = agent.config.limits.status_period;
        let due = (Utc::now() - written_at).to_std().is_ok_and(|age| age >= period);
        if !due && !status::differs(old.as_ref(), &new) {
            continue;
        }
        match write_status(&api, &agent.config.node_name, old.as_ref(), &new).await {
            Ok(node) => {
                *agent.node.write() = Arc::new(node);
                written_at = Utc::now();
            }
            Err(kube::Error::Api(e)) if e.code == 404 => {
                tracing::info!("the Node object is gone, registering again");
                let node = register(agent).await;
                *agent.node.write() = Arc::new(node);
            }
            Err(error) => tracing::warn!(%error, "node status not written, trying again at the next heartbeat"),
        }
    }
}

/// Patches the status; lists that merge by key are told what goes.
async fn write_status(
    api: &Api<Node>,
    name: &str,
    old: Option<&NodeStatus>,
    new: &NodeStatus,
) -> Result<Node, kube::Error> {
    let mut status = serde_json::to_value(new).unwrap_or_default();
    let gone = |list: &[k8s_openapi::api::core::v1::NodeAddress]| -> Vec<Value> {
        let kept = |t: &str| new.addresses.iter().flatten().any(|a| a.type_ == t);
        list.iter().filter(|a| !kept(&a.type_)).map(|a| json!({"type": a.type_, "$patch": "delete"})).collect()
    };
    if let (Some(list), Some(old)) = (status["addresses"].as_array_mut(), old.and_then(|o| o.addresses.as_deref())) {
        list.extend(gone(old));
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(json!({"status": status}))).await
}

/// Follows the runtime's network condition until the future is dropped. The runtime does not announce it, so it is asked
/// when its CNI configuration changes, and at every heartbeat.
pub async fn follow_network(cri: Cri, config: crate::Config, state: watch::Sender<Option<String>>) {
    let mut files = config.cni_conf_dir.as_deref().and_then(|dir| {
        std::fs::create_dir_all(dir).ok()?;
        FileWatch::new(dir).inspect_err(|error| tracing::warn!(%error, "CNI configuration is not watched")).ok()
    });
    let mut ticks = tokio::time::interval(config.limits.heartbeat_period);
    loop {
        let nudged = tokio::select! {
            _ = ticks.tick() => false,
            () = async { match &mut files { Some(f) => f.changed().await, None => std::future::pending().await } } => true,
        };
        let mut wait = NETWORK_SETTLE_MIN;
        for _ in 0..NETWORK_SETTLE_TRIES {
            let now = network_problem(&cri).await;
            let unready = now.is_some();
            state.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
            if !nudged || !unready {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
}

/// What is wrong with the runtime or its network, if anything; in the words of the node's Ready condition.
pub async fn network_problem(cri: &Cri) -> Option<String> {
    let status = match cri.status().await {
        Ok(response) => response.status.unwrap_or_default(),
        Err(error) => return Some(format!("container runtime is down: {error}")),
    };
    let bad = |name: &str| status.conditions.iter().find(|c| c.r#type == name && !c.status);
    if let Some(c) = bad("RuntimeReady") {
        return Some(format!(
            "container runtime not ready: RuntimeReady=false reason:{} message:{}",
            c.reason, c.message
        ));
    }
    bad("NetworkReady").map(|c| {
        format!("container runtime network not ready: NetworkReady=false reason:{} message:{}", c.reason, c.message)
    })
}
