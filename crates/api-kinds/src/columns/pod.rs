//! A pod's cells: its status in one word takes most of the thinking.

use super::access::{age, at, flag, has, holds, int, list, moment, name, since_within, text, text_or};
use api_schema::row::Cell;
use serde_json::{Value, json};

/// What is read of a pod.
pub const PATHS: &[&str] = &[
    "metadata.name",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "spec.nodeName",
    "spec.readinessGates",
    "spec.containers.name",
    "spec.initContainers.name",
    "spec.initContainers.restartPolicy",
    "status",
];

/// Name, readiness, status, restarts, age, address, node, nominated node, readiness gates.
pub fn cells(pod: &Value) -> Vec<Cell> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        last if summary.restarts != 0 && moment(last).is_some() => {
            since_within(format!("{} (", summary.restarts), last, " ago)")
        }
        _ => summary.restarts.to_string().into(),
    };
    let address = list(pod, "status.podIPs").first().map_or("", |ip| text(ip, "ip"));
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts,
        age(pod),
        if address.is_empty() { "<none>" } else { address }.into(),
        text_or(pod, "spec.nodeName", "<none>").into(),
        text_or(pod, "status.nominatedNodeName", "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

/// That a pod has run to its end, so that a client may leave it out.
pub fn conditions(pod: &Value) -> Vec<Value> {
    let phase = text(pod, "status.phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| holds(pod, text(gate, "conditionType"))).count();
    format!("{open}/{}", gates.len())
}

/// What the columns say of the containers.
struct Summary<'a> {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: &'a str,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let init = list(pod, "spec.initContainers");
        let sidecars = init.iter().filter(|c| is_sidecar(c)).count();
        let mut reason = text(pod, "status.phase");
        reason = text_or(pod, "status.reason", reason);
        let gated = |c: &Value| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated";
        if list(pod, "status.conditions").iter().any(gated) {
            reason = "SchedulingGated";
        }
        let mut out = Self {
            ready: 0,
            total: list(pod, "spec.containers").len() + sidecars,
            reason: reason.into(),
            restarts: 0,
            last_restart: "",
        };
        let of_sidecars = out.init_containers(pod, init);
        if let Some((restarts, last_restart)) = of_sidecars {
            (out.restarts, out.last_restart) = (restarts, last_restart);
            out.containers(pod);
        }
        out.deletion(pod);
        out
    }

    /// Looks at init containers; gives the restarts of sidecars if the pod is past its initialization.
    fn init_containers(&mut self, pod: &'a Value, specs: &[Value]) -> Option<(i64, &'a str)> {
        let mut initializing = false;
        let (mut restarts, mut last) = (0, "");
        for (i, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
            let sidecar = specs.iter().any(|c| text(c, "name") == text(status, "name") && is_sidecar(c));
            self.count(status);
            if sidecar {
                restarts += int(status, "restartCount");
                last = later(last, status);
            }
            let ended = at(status, "state.terminated");
            let waiting = text(status, "state.waiting.reason");
            if !ended.is_null() && int(ended, "exitCode") == 0 {
                continue;
            }
            if sidecar && flag(status, "started") {
                self.ready += usize::from(flag(status, "ready"));
                continue;
            }
            self.reason = if !ended.is_null() {
                format!("Init:{}", ending(ended))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{i}/{}", specs.len())
            };
            initializing = true;
            break;
        }
        (!initializing || holds(pod, "Initialized")).then_some((restarts, last))
    }

    fn containers(&mut self, pod: &'a Value) {
        let mut running = false;
        for status in list(pod, "status.containerStatuses").iter().rev() {
            self.count(status);
            let waiting = text(status, "state.waiting.reason");
            let ended = at(status, "state.terminated");
            if !waiting.is_empty() {
                self.reason = waiting.into();
            } else if !ended.is_null() {
                self.reason = ending(ended);
            } else if flag(status, "ready") && has(status, "state.running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = |c: &Value| text(c, "type") == "Ready" && text(c, "status") == "True";
            self.reason = if list(pod, "status.conditions").iter().any(ready) { "Running" } else { "NotReady" }.into();
        }
    }

    fn deletion(&mut self, pod: &Value) {
        if !has(pod, "metadata.deletionTimestamp") {
            return;
        }
        self.reason = if text(pod, "status.reason") == "NodeLost" { "Unknown" } else { "Terminating" }.into();
    }

    fn count(&mut self, status: &'a Value) {
        self.restarts += int(status, "restartCount");
        self.last_restart = later(self.last_restart, status);
    }
}

/// An init container that keeps running beside the others.
fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// The later of a time and the end of a container's last run; times in one form compare as text.
fn later<'a>(time: &'a str, status: &'a Value) -> &'a str {
    time.max(text(status, "lastState.terminated.finishedAt"))
}

/// How a container ended, in a word.
fn ending(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}
