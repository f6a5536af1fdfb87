//! The pod state machine: from spec, runtime state, probe results and time to what to do next. Pure and total: it is
//! asked again after every change, and an empty plan means that nothing is left to do.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::{Backoff, go_duration};
use super::spec::{self, Kind};
use super::view::{self, PodView, State};

/// What probes found out about a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The startup probe succeeded, or there is none.
    pub started: bool,
    /// The readiness probe succeeded, or there is none.
    pub ready: bool,
    /// The startup probe failed for good.
    pub startup_failed: bool,
    /// The liveness probe failed for good.
    pub liveness_failed: bool,
}

/// Why a container waits, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A word, such as `CrashLoopBackOff`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A container to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The runtime's id.
    pub id: String,
    /// Name in the spec.
    pub name: String,
    /// For the event.
    pub message: String,
    /// A failed probe with its own grace period.
    pub grace_seconds: Option<i64>,
}

/// A container to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which list it is in.
    pub kind: Kind,
    /// Name in the spec.
    pub name: String,
    /// Restarts before it.
    pub attempt: u32,
}

/// What to do next, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The pod is over: stop what runs and the sandbox, release everything.
    pub finish: bool,
    /// The sandbox is unusable: stop what is in it first.
    pub replace_sandbox: bool,
    /// Make sandbox number n.
    pub create_sandbox: Option<u32>,
    /// Containers to stop.
    pub kill: Vec<Kill>,
    /// Containers to start, in order.
    pub start: Vec<Start>,
    /// Containers that must wait before they start again.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to ask again at the latest.
    pub wake_at: Option<DateTime<Utc>>,
}

/// Inputs of a plan.
pub struct Inputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// What the runtime says.
    pub view: &'a PodView,
    /// What probes say of a container by its id.
    pub health: &'a dyn Fn(&str) -> Health,
    /// Restarts so far.
    pub backoff: &'a Backoff,
    /// Now.
    pub now: DateTime<Utc>,
}

/// Key of a container's restarts.
pub fn backoff_key(pod: &Pod, c: &Container) -> String {
    format!("{}/{}/{}", spec::uid(pod), c.name, spec::container_hash(c))
}

/// When a container ended, for the backoff.
pub fn finished_at(container: &view::Container) -> Option<DateTime<Utc>> {
    match &container.state {
        State::Exited { finished_ns, .. } => Some(DateTime::from_timestamp_nanos(*finished_ns)),
        _ => None,
    }
}

/// Plans the next steps of a pod that is not being ended.
pub fn plan(inputs: &Inputs) -> Plan {
    let (pod, view) = (inputs.pod, inputs.view);
    let mut plan = Plan::default();
    let usable = view.sandbox().is_some_and(|s| s.ready && (spec::host_network(pod) || !s.ips.is_empty()));
    if !usable {
        plan_sandbox(inputs, &mut plan);
        return plan;
    }
    let sandbox = view.sandbox().map(|s| s.id.as_str()).unwrap_or_default();
    for c in spec::ephemeral_containers(pod) {
        if view.newest(&c.name).is_none() {
            plan.start.push(Start { kind: Kind::Ephemeral, name: c.name.clone(), attempt: 0 });
        }
    }
    match plan_init(inputs, sandbox, &mut plan) {
        Init::Failed => plan.finish = true,
        Init::Blocked => {}
        Init::Done => plan_regular(inputs, &mut plan),
    }
    if plan.finish {
        plan.start.clear();
        plan.kill.clear();
        plan.waiting.clear();
        plan.wake_at = None;
    }
    plan
}

/// A new sandbox, unless nothing would run in it.
fn plan_sandbox(inputs: &Inputs, plan: &mut Plan) {
    let (pod, view) = (inputs.pod, inputs.view);
    let attempt = view.sandbox().map_or(0, |s| s.attempt + 1);
    let had_containers = !view.containers.is_empty();
    if spec::restart_policy(pod) == "Never" && view.sandbox().is_some() && had_containers {
        plan.finish = true;
        return;
    }
    let unfinished = spec::containers(pod).iter().any(|c| match view.newest(&c.name).map(|c| &c.state) {
        Some(State::Exited { code: 0, .. }) => spec::restart_policy(pod) == "Always",
        _ => true,
    });
    if !unfinished {
        plan.finish = true;
        return;
    }
    plan.replace_sandbox = view.sandbox().is_some();
    plan.create_sandbox = Some(attempt);
}

enum Init {
    Done,
    Blocked,
    Failed,
}

/// Init containers one after another; sidecars must have started before the next, and are kept running.
fn plan_init(inputs: &Inputs, sandbox: &str, plan: &mut Plan) -> Init {
    let (pod, view) = (inputs.pod, inputs.view);
    // Once a regular container was made the init containers did their work, even if they were collected since.
    let passed = spec::containers(pod).iter().any(|c| view.newest_in(sandbox, &c.name).is_some());
    for c in spec::init_containers(pod) {
        let sidecar = spec::is_sidecar(c);
        if passed && !sidecar {
            continue;
        }
        let newest = view.newest_in(sandbox, &c.name);
        let done = match newest.map(|n| (&n.state, n)) {
            None => {
                start(inputs, Kind::Init, c, plan);
                false
            }
            Some((State::Running, n)) if sidecar => {
                let health = (inputs.health)(&n.id);
                if let Some(kill) = unhealthy(c, n, health) {
                    plan.kill.push(kill);
                    start(inputs, Kind::Init, c, plan);
                }
                health.started
            }
            Some((State::Running, _)) => false,
            Some((State::Exited { code: 0, .. }, _)) if !sidecar => true,
            Some((State::Exited { .. } | State::Unknown, _)) if !sidecar && spec::restart_policy(pod) == "Never" => {
                return Init::Failed;
            }
            Some((State::Unknown, n)) => {
                plan.kill.push(Kill {
                    id: n.id.clone(),
                    name: n.name.clone(),
                    message: format!("Init container {} is in unknown state", c.name),
                    grace_seconds: None,
                });
                start(inputs, Kind::Init, c, plan);
                false
            }
            Some((State::Exited { .. } | State::Created, _)) => {
                start(inputs, Kind::Init, c, plan);
                false
            }
        };
        if !done && !passed {
            return Init::Blocked;
        }
    }
    Init::Done
}

fn plan_regular(inputs: &Inputs, plan: &mut Plan) {
    let (pod, view) = (inputs.pod, inputs.view);
    let policy = spec::restart_policy(pod);
    let mut busy = false;
    for c in spec::containers(pod) {
        let Some(newest) = view.newest(&c.name) else {
            start(inputs, Kind::Regular, c, plan);
            busy = true;
            continue;
        };
        match &newest.state {
            State::Running => {
                busy = true;
                plan_running(inputs, c, newest, plan);
            }
            State::Unknown => {
                busy = true;
                let message = format!("Container {} is in unknown state", c.name);
                plan.kill.push(Kill { id: newest.id.clone(), name: c.name.clone(), message, grace_seconds: None });
                if policy != "Never" {
                    start(inputs, Kind::Regular, c, plan);
                }
            }
            State::Created => {
                busy = true;
                start(inputs, Kind::Regular, c, plan);
            }
            State::Exited { code, .. } => {
                if policy == "Always" || policy == "OnFailure" && *code != 0 {
                    busy = true;
                    start(inputs, Kind::Regular, c, plan);
                }
            }
        }
    }
    plan.finish = !busy;
}

fn plan_running(inputs: &Inputs, c: &Container, newest: &view::Container, plan: &mut Plan) {
    let restarts = spec::restart_policy(inputs.pod) != "Never";
    let mut kill = if newest.hash != spec::container_hash(c) {
        let message = format!("Container {} definition changed", c.name);
        Some((Kill { id: newest.id.clone(), name: c.name.clone(), message, grace_seconds: None }, true))
    } else {
        unhealthy(c, newest, (inputs.health)(&newest.id)).map(|kill| (kill, restarts))
    };
    if let Some((mut kill, again)) = kill.take() {
        if again {
            kill.message.push_str(", will be restarted");
            start(inputs, Kind::Regular, c, plan);
        }
        plan.kill.push(kill);
    }
}

fn unhealthy(c: &Container, newest: &view::Container, health: Health) -> Option<Kill> {
    let (what, probe) = match health {
        Health { startup_failed: true, .. } => ("startup", &c.startup_probe),
        Health { liveness_failed: true, .. } => ("liveness", &c.liveness_probe),
        _ => return None,
    };
    let grace_seconds = probe.as_ref().and_then(|p| p.termination_grace_period_seconds);
    let message = format!("Container {} failed {what} probe", c.name);
    Some(Kill { id: newest.id.clone(), name: c.name.clone(), message, grace_seconds })
}

/// Starts a container, or notes until when it must wait.
fn start(inputs: &Inputs, kind: Kind, c: &Container, plan: &mut Plan) {
    let (pod, view) = (inputs.pod, inputs.view);
    let last_exit = view.containers.iter().filter(|v| v.name == c.name).find_map(finished_at);
    let waits = last_exit.and_then(|since| inputs.backoff.waiting(&backoff_key(pod, c), since, inputs.now));
    if let Some((until, wait)) = waits {
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(wait),
            c.name,
            spec::full_name(pod)
        );
        plan.waiting.insert(c.name.clone(), Waiting { reason: "CrashLoopBackOff".into(), message });
        plan.wake_at = Some(plan.wake_at.map_or(until, |w| w.min(until)));
        return;
    }
    let attempt = view.newest(&c.name).map_or_else(|| recorded_restarts(pod, &c.name), |n| n.attempt + 1);
    plan.start.push(Start { kind, name: c.name.clone(), attempt });
}

/// Restarts known to the API, for a container that the runtime has forgotten.
fn recorded_restarts(pod: &Pod, name: &str) -> u32 {
    let status = spec::status(pod);
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let recorded = all.filter(|s| s.name == name && s.container_id.is_some()).map(|s| s.restart_count + 1).next();
    recorded.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
