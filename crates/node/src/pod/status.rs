//! A pod's API status from its spec, the runtime's view and probe results, as the kubelet reports it. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Health, Waiting};
use super::view::{self, PodView, State};
use super::{resources, spec};

/// What a status is made from.
pub struct Inputs<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// What the runtime says.
    pub view: &'a PodView,
    /// What probes say of a container by its id.
    pub health: &'a dyn Fn(&str) -> Health,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// The status reported before, for what the runtime has forgotten and for transition times.
    pub old: &'a PodStatus,
    /// The node's address.
    pub host_ip: &'a str,
    /// When the agent took the pod on.
    pub start_time: DateTime<Utc>,
    /// Nothing of the pod runs any more, and nothing will.
    pub ended: bool,
    /// The pod was ended by the agent: phase Failed with this reason and message.
    pub failed: Option<&'a Waiting>,
    /// The runtime's name, the scheme of container ids.
    pub runtime_name: &'a str,
    /// Now.
    pub now: DateTime<Utc>,
}

/// The pod's status.
pub fn generate(i: &Inputs) -> PodStatus {
    let pod = i.pod;
    let statuses = |list: &[Container], init: bool| -> Vec<ContainerStatus> {
        list.iter().map(|c| container_status(i, c, init)).collect()
    };
    let init = statuses(spec::init_containers(pod), true);
    let mut regular = statuses(spec::containers(pod), false);
    let ephemeral: Vec<Container> = spec::all_containers(pod)
        .into_iter()
        .filter(|(kind, _)| *kind == spec::Kind::Ephemeral)
        .map(|(_, c)| c)
        .collect();
    let ephemeral = statuses(&ephemeral, false);
    let phase = phase(i, &init, &regular);
    let initialized = initialized(pod, &init, &regular);
    if matches!(phase, "Succeeded" | "Failed") {
        for status in &mut regular {
            status.ready = false;
            status.started = Some(false);
        }
    }
    let mut status = PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions(i, phase, initialized, &init, &regular)),
        host_ip: Some(i.host_ip.into()),
        host_ips: Some(vec![HostIP { ip: i.host_ip.into() }]),
        start_time: i.old.start_time.clone().or(Some(Time(i.start_time))),
        qos_class: Some(resources::qos(pod).into()),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: (!regular.is_empty()).then_some({
            regular.sort_by(|a, b| a.name.cmp(&b.name));
            regular
        }),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        nominated_node_name: i.old.nominated_node_name.clone(),
        ..PodStatus::default()
    };
    if let Some(failed) = i.failed.filter(|_| phase == "Failed") {
        status.reason = Some(failed.reason.clone());
        status.message = Some(failed.message.clone()).filter(|m| !m.is_empty());
    }
    let ips = pod_ips(i);
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
    status
}

/// Why a container waits, by the status that was reported last.
pub fn display_reason(pod: &Pod, container: &str) -> Option<String> {
    let status = spec::status(pod);
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|s| s.name == container)?;
    found.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

fn pod_ips(i: &Inputs) -> Vec<String> {
    if spec::host_network(i.pod) {
        return if i.view.sandboxes.is_empty() && i.old.pod_ip.is_none() { Vec::new() } else { vec![i.host_ip.into()] };
    }
    let current = i.view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
    if current.is_empty() { i.old.pod_ips.iter().flatten().map(|p| p.ip.clone()).collect() } else { current }
}

fn time(ns: i64) -> Option<Time> {
    (ns > 0).then(|| Time(DateTime::from_timestamp_nanos(ns)))
}

fn container_status(i: &Inputs, c: &Container, init: bool) -> ContainerStatus {
    let newest = i.view.newest(&c.name);
    let old = [&i.old.container_statuses, &i.old.init_container_statuses, &i.old.ephemeral_container_statuses];
    let old = old.into_iter().flatten().flatten().find(|s| s.name == c.name);
    let Some(newest) = newest else { return forgotten(i, c, old, init) };
    let id = |c: &view::Container| format!("{}://{}", i.runtime_name, c.id);
    let waiting = i.waiting.get(&c.name);
    let state = runtime_state(newest, id(newest));
    let exited = i.view.containers.iter().filter(|v| v.name == c.name && matches!(v.state, State::Exited { .. }));
    let (state, last) = match (&newest.state, waiting) {
        (State::Running, _) => (state, exited.clone().next()),
        (State::Exited { .. }, Some(w)) => (waiting_state(w), exited.clone().next()),
        (State::Exited { .. }, None) => (state, exited.clone().nth(1)),
        (State::Created | State::Unknown, Some(w)) => (waiting_state(w), exited.clone().next()),
        (State::Created | State::Unknown, None) => (waiting_state(&creating(i, init)), exited.clone().next()),
    };
    let health = (i.health)(&newest.id);
    let running = newest.state == State::Running;
    let is_plain_init = init && !spec::is_sidecar(c);
    let succeeded = matches!(newest.state, State::Exited { code: 0, .. });
    ContainerStatus {
        name: c.name.clone(),
        state: Some(state),
        last_state: Some(
            last.map(|l| runtime_state(l, id(l)))
                .or_else(|| old.and_then(|o| o.last_state.clone()))
                .unwrap_or_default(),
        ),
        ready: if is_plain_init { succeeded } else { running && health.started && health.ready },
        started: Some(running && (is_plain_init || health.started)),
        restart_count: i32::try_from(newest.attempt).unwrap_or(i32::MAX),
        image: newest.image.clone(),
        image_id: newest.image_ref.clone(),
        container_id: Some(id(newest)),
        ..ContainerStatus::default()
    }
}

/// A container that the runtime does not have: not started yet, or collected.
fn forgotten(i: &Inputs, c: &Container, old: Option<&ContainerStatus>, init: bool) -> ContainerStatus {
    let ran_before = old.filter(|o| o.container_id.is_some());
    let waiting = i.waiting.get(&c.name).cloned().unwrap_or_else(|| creating(i, init));
    let mut status = ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        state: Some(waiting_state(&waiting)),
        last_state: Some(ContainerState::default()),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let Some(old) = ran_before else { return status };
    status.restart_count = old.restart_count;
    status.image_id.clone_from(&old.image_id);
    status.image.clone_from(&old.image);
    status.container_id.clone_from(&old.container_id);
    let terminated = old.state.as_ref().and_then(|s| s.terminated.clone());
    // An init container that did its work may be collected; that is not news.
    if let Some(terminated) = terminated {
        status.ready = init && terminated.exit_code == 0;
        status.state = Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() });
        status.last_state.clone_from(&old.last_state);
        return status;
    }
    let lost = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".into()),
        message: Some(if i.ended {
            "The container could not be located when the pod was terminated".into()
        } else {
            "The container could not be located when the pod was deleted.  The container used to be Running".into()
        }),
        ..ContainerStateTerminated::default()
    };
    let lost = ContainerState { terminated: Some(lost), ..ContainerState::default() };
    if i.ended || spec::restart_policy(i.pod) == "Never" {
        status.state = Some(lost);
    } else {
        status.last_state = Some(lost);
    }
    status
}

fn creating(i: &Inputs, init: bool) -> Waiting {
    let reason =
        if !init && !spec::init_containers(i.pod).is_empty() { "PodInitializing" } else { "ContainerCreating" };
    let reason = if init && !spec::init_containers(i.pod).is_empty() { "PodInitializing" } else { reason };
    Waiting { reason: reason.into(), message: String::new() }
}

fn waiting_state(w: &Waiting) -> ContainerState {
    let message = Some(w.message.clone()).filter(|m| !m.is_empty());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(w.reason.clone()), message }),
        ..ContainerState::default()
    }
}

fn runtime_state(c: &view::Container, id: String) -> ContainerState {
    match &c.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(c.started_ns) }),
            ..ContainerState::default()
        },
        State::Exited { code, finished_ns, reason, message } => {
            let fallback = if *code == 0 { "Completed" } else { "Error" };
            let terminated = ContainerStateTerminated {
                exit_code: *code,
                reason: Some(if reason.is_empty() { fallback.into() } else { reason.clone() }),
                message: Some(message.clone()).filter(|m| !m.is_empty()),
                started_at: time(c.started_ns).or_else(|| time(c.created_ns)),
                finished_at: time(*finished_ns),
                container_id: Some(id),
                signal: None,
            };
            ContainerState { terminated: Some(terminated), ..ContainerState::default() }
        }
        State::Created | State::Unknown => ContainerState::default(),
    }
}

fn exit_code(s: &ContainerStatus) -> Option<i32> {
    s.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

fn is_running(s: &ContainerStatus) -> bool {
    s.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// The phase; a pod is over only once nothing of it runs.
fn phase(i: &Inputs, init: &[ContainerStatus], regular: &[ContainerStatus]) -> &'static str {
    match phase_of_containers(i, init, regular) {
        "Succeeded" | "Failed" if i.view.alive().next().is_some() => "Running",
        phase => phase,
    }
}

fn phase_of_containers(i: &Inputs, init: &[ContainerStatus], regular: &[ContainerStatus]) -> &'static str {
    if i.failed.is_some() {
        return "Failed";
    }
    let pod = i.pod;
    let policy = spec::restart_policy(pod);
    let mut pending_init = false;
    for (c, s) in spec::init_containers(pod).iter().zip(init) {
        if spec::is_sidecar(c) {
            pending_init |= !is_running(s) && exit_code(s).is_none() || is_running(s) && s.started != Some(true);
            continue;
        }
        let last_failed = s.last_state.as_ref().and_then(|l| l.terminated.as_ref()).is_some_and(|t| t.exit_code != 0);
        match exit_code(s) {
            Some(0) => {}
            Some(_) if policy == "Never" => return "Failed",
            None if policy == "Never" && last_failed && !is_running(s) => return "Failed",
            _ => pending_init = true,
        }
    }
    let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for s in regular {
        let last = s.last_state.as_ref().and_then(|l| l.terminated.as_ref()).map(|t| t.exit_code);
        match (is_running(s), exit_code(s), last) {
            (true, ..) => running += 1,
            (_, Some(code), _) => {
                stopped += 1;
                succeeded += i32::from(code == 0);
            }
            (_, None, Some(code)) => {
                stopped += 1;
                // A last state of a waiting container does not end a pod that restarts.
                succeeded += i32::from(code == 0 && policy != "Always");
            }
            _ => waiting += 1,
        }
    }
    let any_started = running + stopped > 0;
    if pending_init && !any_started && !i.ended {
        return "Pending";
    }
    match () {
        () if waiting > 0 && !i.ended => "Pending",
        () if running > 0 => "Running",
        () if stopped > 0 && i.ended => {
            if stopped == succeeded && waiting == 0 {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        () if stopped > 0 && policy == "Always" => "Running",
        () if stopped > 0 && stopped == succeeded => "Succeeded",
        () if stopped > 0 && policy == "Never" => "Failed",
        () if stopped > 0 => "Running",
        () => "Pending",
    }
}

fn initialized(pod: &Pod, init: &[ContainerStatus], regular: &[ContainerStatus]) -> bool {
    if regular.iter().any(|s| is_running(s) || s.container_id.is_some()) {
        return true;
    }
    spec::init_containers(pod)
        .iter()
        .zip(init)
        .all(|(c, s)| if spec::is_sidecar(c) { s.started == Some(true) } else { exit_code(s) == Some(0) })
}

type Verdict = (bool, Option<String>, Option<String>);

fn conditions(
    i: &Inputs,
    phase: &str,
    initialized: bool,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> Vec<PodCondition> {
    let sandbox_ready = i.view.sandbox().is_some_and(|s| s.ready && (spec::host_network(i.pod) || !s.ips.is_empty()));
    let incomplete: Vec<&str> = spec::init_containers(i.pod)
        .iter()
        .zip(init)
        .filter(|(c, s)| if spec::is_sidecar(c) { s.started != Some(true) } else { exit_code(s) != Some(0) })
        .map(|(_, s)| s.name.as_str())
        .collect();
    let initialized: Verdict = match phase {
        "Succeeded" => (true, Some("PodCompleted".into()), None),
        _ if initialized => (true, None, None),
        _ => (
            false,
            Some("ContainersNotInitialized".into()),
            Some(format!("containers with incomplete status: [{}]", incomplete.join(" "))),
        ),
    };
    let sidecars = spec::init_containers(i.pod).iter().zip(init).filter(|(c, _)| spec::is_sidecar(c)).map(|(_, s)| s);
    let unready: Vec<&str> = sidecars.chain(regular).filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    let containers_ready: Verdict = match phase {
        "Succeeded" => (false, Some("PodCompleted".into()), None),
        "Failed" => (false, Some("PodFailed".into()), None),
        _ if unready.is_empty() => (true, None, None),
        _ => (
            false,
            Some("ContainersNotReady".into()),
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        ),
    };
    let ready = pod_ready(i, &containers_ready);
    let all: [(&str, Verdict); 5] = [
        ("PodReadyToStartContainers", (sandbox_ready, None, None)),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", (true, None, None)),
    ];
    let old = i.old.conditions.as_deref().unwrap_or_default();
    // Only our own: a patch by type leaves the conditions of others alone.
    all.iter()
        .map(|(type_, (ok, reason, message))| {
            let value = if *ok { "True" } else { "False" };
            let before = old.iter().find(|c| c.type_ == *type_ && c.status == value);
            PodCondition {
                type_: (*type_).into(),
                status: value.into(),
                reason: reason.clone(),
                message: message.clone(),
                last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(Time(i.now))),
                last_probe_time: None,
            }
        })
        .collect()
}

fn pod_ready(i: &Inputs, containers_ready: &Verdict) -> Verdict {
    if !containers_ready.0 {
        return containers_ready.clone();
    }
    let conditions = i.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let gates = spec::spec(i.pod).readiness_gates.as_deref().unwrap_or_default();
    let closed: Vec<String> = gates
        .iter()
        .filter_map(|g| match conditions.iter().find(|c| c.type_ == g.condition_type) {
            None => {
                Some(format!("corresponding condition of pod readiness gate \"{}\" does not exist.", g.condition_type))
            }
            Some(c) if c.status != "True" => Some(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                g.condition_type, c.status
            )),
            Some(_) => None,
        })
        .collect();
    if closed.is_empty() {
        (true, None, None)
    } else {
        (false, Some("ReadinessGatesNotReady".into()), Some(closed.join(", ")))
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
