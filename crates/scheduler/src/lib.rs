//! The scheduler: gives each pod the node that suits it best, or says why there is none.
//!
//! It works on an immutable [`snapshot`] of the cluster; pods alike are decided together ([`decide`]); what is waiting
//! wakes only when something changes that may help ([`queue`]). Deciding is pure; `driver` and `act` do the rest. An
//! ordinary API client: it knows neither the server nor its store.

#![forbid(unsafe_code)]

mod act;
mod decide;
mod driver;
mod filters;
mod needs;
mod preempt;
mod queue;
mod report;
mod resources;
mod snapshot;
#[cfg(test)]
mod tests;
mod topology;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;
use client::informer::Informers;
use controller_kit::Recorder;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio_util::sync::CancellationToken;

pub use decide::Points;
pub use filters::{Reason, Rule};

/// The name that pods ask for which ask for none.
pub const DEFAULT_NAME: &str = "default-scheduler";

/// Runs the default scheduler until `stop`; writes under way are finished first.
pub async fn run(client: kube::Client, informers: Informers, stop: CancellationToken) {
    let events = Recorder::new(client.clone(), DEFAULT_NAME, "");
    let inputs = driver::Inputs::new(&informers);
    driver::run(DEFAULT_NAME, inputs, client, events, stop).await;
}

/// What the scheduler reads and writes, as one line.
pub fn graph() -> String {
    controller_kit::graph([&act::ROW])
}

/// What each of `nodes`, with `pods` on them, says about `pod`: its points, or why it will not do. Claims are not
/// looked up.
pub fn explain(pod: &Pod, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> BTreeMap<String, Result<Points, Vec<Reason>>> {
    let mut snapshot = snapshot::Snapshot::default();
    for node in nodes {
        snapshot.set_node(node);
    }
    for other in pods {
        let node = other.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        snapshot.place(&node, driver::place(&Key::of(&**other), other, None));
    }
    decide::Round::new(Arc::new(needs::Needs::of(pod)), &snapshot).explain(&snapshot, &Key::of(pod))
}
