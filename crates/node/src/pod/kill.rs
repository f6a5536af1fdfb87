//! Stopping containers: the preStop hook and the stop signal share one grace period.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Lifecycle, LifecycleHandler, Pod};

use super::view::{self, PodView};
use super::{hook, probe, spec};
use crate::agent::Agent;
use crate::cri::CriError;
use crate::names;

/// Seconds that a container gets after its hook at the least, as upstream.
const GRACE_AFTER_HOOK_MIN_S: i64 = 2;

/// Stops one container. `message` is for the event; without `grace` the pod's own counts.
pub async fn container(
    agent: &Agent,
    pod: &Pod,
    c: &view::Container,
    pod_ip: &str,
    message: &str,
    grace: Option<i64>,
) -> Result<(), CriError> {
    let (kind, spec_container) = spec_of(pod, c);
    let mut grace = grace.unwrap_or_else(|| grace_of(pod, c));
    agent.events.normal(pod, Some((kind, &c.name)), "Killing", message);
    if let Some(hook) = spec_container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) {
        let begun = Instant::now();
        let limit = Duration::from_secs(grace.max(0).unsigned_abs());
        match tokio::time::timeout(limit, hook::run(&agent.cri, hook, &spec_container, &c.id, pod_ip)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => agent.events.warning(
                pod,
                Some((kind, &c.name)),
                "FailedPreStopHook",
                format!("PreStopHook failed: {error}"),
            ),
            Err(_) => {
                tracing::info!(pod = %spec::full_name(pod), container = %c.name, "preStop hook outlasts the grace period")
            }
        }
        let spent = i64::try_from(begun.elapsed().as_secs()).unwrap_or(grace);
        grace = (grace - spent).max(GRACE_AFTER_HOOK_MIN_S.min(grace));
    }
    match agent.cri.stop_container(&c.id, grace).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Stops everything of a pod that is alive: regular containers at once, then sidecars, the last one first.
pub async fn all(agent: &Agent, pod: &Pod, view: &PodView, grace: Option<i64>) -> Result<(), CriError> {
    let ips = view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
    let pod_ip = probe::pod_address(pod, &ips, &agent.host_ip());
    let is_sidecar = |name: &str| spec::init_containers(pod).iter().any(|c| c.name == name && spec::is_sidecar(c));
    let begun = Instant::now();
    let total = grace.unwrap_or_else(|| spec::grace_seconds(pod));
    let regular = view.alive().filter(|c| !is_sidecar(&c.name)).map(|c| {
        let (pod_ip, message) = (&pod_ip, format!("Stopping container {}", c.name));
        async move { container(agent, pod, c, pod_ip, &message, grace).await }
    });
    join_all(regular).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    for sidecar in spec::init_containers(pod).iter().rev().filter(|c| spec::is_sidecar(c)) {
        for c in view.alive().filter(|c| c.name == sidecar.name) {
            let left = total - i64::try_from(begun.elapsed().as_secs()).unwrap_or(total);
            container(agent, pod, c, &pod_ip, &format!("Stopping container {}", c.name), Some(left.max(1))).await?;
        }
    }
    Ok(())
}

fn grace_of(pod: &Pod, c: &view::Container) -> i64 {
    if pod.spec.is_some() {
        return spec::grace_seconds(pod);
    }
    let noted =
        [names::DELETION_GRACE, names::TERMINATION_GRACE].iter().find_map(|n| c.annotations.get(*n)?.parse().ok());
    noted.unwrap_or(30)
}

/// The container's spec, or for a pod whose object is gone what was noted on the container when it was made.
fn spec_of(pod: &Pod, c: &view::Container) -> (spec::Kind, Container) {
    if let Some(found) = spec::find_container(pod, &c.name) {
        return found;
    }
    let json = |name: &str| c.annotations.get(name).map(String::as_str).unwrap_or("null");
    let pre_stop: Option<LifecycleHandler> = serde_json::from_str(json(names::PRE_STOP)).unwrap_or_default();
    let ports: Option<Vec<ContainerPort>> = serde_json::from_str(json(names::PORTS)).unwrap_or_default();
    let lifecycle = pre_stop.map(|hook| Lifecycle { pre_stop: Some(hook), post_start: None });
    (spec::Kind::Regular, Container { name: c.name.clone(), lifecycle, ports, ..Container::default() })
}
