//! Metrics in Prometheus' text format under the names that upstream's kubelet and cAdvisor use.

use std::fmt::Write;

use k8s_cri::v1 as cri;

use super::Kubelet;
use super::stats::{Measured, identity};
use crate::machine;
use crate::node::status::KUBELET_VERSION;

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text of metrics in the making; samples of one name must come together.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at_ms: Option<i64>) {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let at = at_ms.map(|t| format!(" {t}")).unwrap_or_default();
        self.line(format_args!("{name}{labels} {value}{at}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value, None);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        if self.0.write_fmt(line).is_err() {
            tracing::error!("a metric was not formatted");
        }
    }
}

fn as_f64(v: Option<&cri::UInt64Value>) -> Option<f64> {
    v.map(|v| v.value as f64)
}

/// The agent's own metrics.
pub fn own(kubelet: &Kubelet) -> String {
    let mut out = Text::default();
    let pods = kubelet.manager.pods();
    out.family("kubelet_node_name", "gauge", "Name of this node, as a label.");
    out.sample("kubelet_node_name", &[("node", &kubelet.agent.config.node_name)], 1.0, None);
    let phase = |wanted: &str| {
        pods.iter().filter(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(wanted)).count() as f64
    };
    out.one("kubelet_desired_pods", "gauge", "Pods that this node should run.", pods.len() as f64);
    out.one("kubelet_running_pods", "gauge", "Pods of this node that run.", phase("Running"));
    out.family("kubelet_running_containers", "gauge", "Containers of this node by state.");
    let statuses: Vec<_> = pods
        .iter()
        .filter_map(|p| p.status.as_ref()?.container_statuses.as_ref())
        .flatten()
        .filter_map(|s| s.state.as_ref())
        .collect();
    let running = statuses.iter().filter(|s| s.running.is_some()).count() as f64;
    let exited = statuses.iter().filter(|s| s.terminated.is_some()).count() as f64;
    out.sample("kubelet_running_containers", &[("container_state", "running")], running, None);
    out.sample("kubelet_running_containers", &[("container_state", "exited")], exited, None);
    out.family("kubernetes_build_info", "gauge", "The version of Kubernetes, as labels.");
    out.sample(
        "kubernetes_build_info",
        &[("git_version", KUBELET_VERSION), ("major", "1"), ("minor", "30"), ("platform", "linux")],
        1.0,
        None,
    );
    process(&mut out);
    out.0
}

fn process(out: &mut Text) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |key: &str| {
        status.lines().find_map(|l| l.strip_prefix(key)).and_then(|v| v.split_whitespace().next()?.parse::<f64>().ok())
    };
    if let Some(rss) = kib("VmRSS:") {
        out.one("process_resident_memory_bytes", "gauge", "Resident memory of this process.", rss * 1024.0);
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok());
    // Ticks are 10 ms on every Linux we run on.
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        out.one("process_cpu_seconds_total", "counter", "CPU time of this process.", (user + system) / 100.0);
    }
    if let Some(start) = field(19) {
        let at = machine::boot_time_seconds() as f64 + start / 100.0;
        out.one("process_start_time_seconds", "gauge", "When this process started.", at);
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        out.one("process_open_fds", "gauge", "Open file descriptors of this process.", fds.count() as f64);
    }
}

/// What metrics-server reads.
pub async fn resource(kubelet: &Kubelet) -> String {
    let mut out = Text::default();
    let measured = Measured::read(kubelet).await;
    let failed = measured.is_err();
    let empty = Measured { containers: Vec::new(), sandboxes: Vec::new() };
    let measured = measured.unwrap_or(empty);
    resource_of_containers(&mut out, &measured.containers);
    out.one("node_cpu_usage_seconds_total", "counter", "CPU time of the node.", machine::cpu_nanos() as f64 / 1e9);
    out.one(
        "node_memory_working_set_bytes",
        "gauge",
        "Memory of the node that is not easily given back.",
        machine::memory().working_set_bytes as f64,
    );
    out.family("pod_cpu_usage_seconds_total", "counter", "CPU time of a pod.");
    for (labels, linux) in sandboxes(&measured) {
        let cpu = linux.cpu.as_ref();
        if let Some(value) = as_f64(cpu.and_then(|c| c.usage_core_nano_seconds.as_ref())) {
            out.sample("pod_cpu_usage_seconds_total", &labels, value / 1e9, cpu.map(|c| c.timestamp / 1_000_000));
        }
    }
    out.family("pod_memory_working_set_bytes", "gauge", "Memory of a pod that is not easily given back.");
    for (labels, linux) in sandboxes(&measured) {
        let memory = linux.memory.as_ref();
        if let Some(value) = as_f64(memory.and_then(|m| m.working_set_bytes.as_ref())) {
            out.sample("pod_memory_working_set_bytes", &labels, value, memory.map(|m| m.timestamp / 1_000_000));
        }
    }
    let value = if failed { 1.0 } else { 0.0 };
    out.one("resource_scrape_error", "gauge", "1 if the runtime could not be asked.", value);
    out.one("scrape_error", "gauge", "1 if the runtime could not be asked.", value);
    out.0
}

fn resource_of_containers(out: &mut Text, containers: &[cri::ContainerStats]) {
    let labelled = || {
        containers.iter().filter_map(|c| {
            let [pod, namespace, _, name] = identity(&c.attributes.as_ref()?.labels);
            Some(([("container", name), ("namespace", namespace), ("pod", pod)], c))
        })
    };
    out.family("container_cpu_usage_seconds_total", "counter", "CPU time of a container.");
    for (labels, c) in labelled() {
        if let Some(value) = as_f64(c.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref())) {
            out.sample(
                "container_cpu_usage_seconds_total",
                &labels,
                value / 1e9,
                c.cpu.as_ref().map(|c| c.timestamp / 1_000_000),
            );
        }
    }
    out.family("container_memory_working_set_bytes", "gauge", "Memory of a container that is not easily given back.");
    for (labels, c) in labelled() {
        if let Some(value) = as_f64(c.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref())) {
            out.sample(
                "container_memory_working_set_bytes",
                &labels,
                value,
                c.memory.as_ref().map(|m| m.timestamp / 1_000_000),
            );
        }
    }
}

type Labelled<'a> = ([(&'static str, &'a str); 2], &'a cri::LinuxPodSandboxStats);

fn sandboxes(measured: &Measured) -> impl Iterator<Item = Labelled<'_>> {
    measured.sandboxes.iter().filter_map(|s| {
        let [pod, namespace, ..] = identity(&s.attributes.as_ref()?.labels);
        Some(([("namespace", namespace), ("pod", pod)], s.linux.as_ref()?))
    })
}

/// Containers under cAdvisor's names.
pub async fn cadvisor(kubelet: &Kubelet) -> String {
    let mut out = Text::default();
    out.one("machine_cpu_cores", "gauge", "CPUs of the machine.", kubelet.agent.capacity.cpus as f64);
    out.one("machine_memory_bytes", "gauge", "Memory of the machine.", kubelet.agent.capacity.memory_bytes as f64);
    let Ok(measured) = Measured::read(kubelet).await else {
        out.one("container_scrape_error", "gauge", "1 if the runtime could not be asked.", 1.0);
        return out.0;
    };
    type Value = fn(&cri::ContainerStats) -> Option<f64>;
    let families: [(&str, &str, &str, Value); 5] = [
        ("container_cpu_usage_seconds_total", "counter", "CPU time of a container.", |c| {
            as_f64(c.cpu.as_ref()?.usage_core_nano_seconds.as_ref()).map(|v| v / 1e9)
        }),
        ("container_memory_usage_bytes", "gauge", "Memory of a container, cache included.", |c| {
            as_f64(c.memory.as_ref()?.usage_bytes.as_ref())
        }),
        ("container_memory_working_set_bytes", "gauge", "Memory of a container that is not easily given back.", |c| {
            as_f64(c.memory.as_ref()?.working_set_bytes.as_ref())
        }),
        ("container_memory_rss", "gauge", "Anonymous memory of a container.", |c| {
            as_f64(c.memory.as_ref()?.rss_bytes.as_ref())
        }),
        ("container_fs_usage_bytes", "gauge", "Bytes that a container wrote to its own layer.", |c| {
            as_f64(c.writable_layer.as_ref()?.used_bytes.as_ref())
        }),
    ];
    for (name, kind, help, value) in families {
        out.family(name, kind, help);
        for c in &measured.containers {
            let Some(attributes) = &c.attributes else { continue };
            let [pod, namespace, uid, container] = identity(&attributes.labels);
            let id = format!("{}/pod{uid}/{}", kubelet.agent.cgroups.root(), attributes.id);
            if let Some(value) = value(c) {
                out.sample(
                    name,
                    &[
                        ("container", container),
                        ("id", &id),
                        ("name", &attributes.id),
                        ("namespace", namespace),
                        ("pod", pod),
                    ],
                    value,
                    None,
                );
            }
        }
    }
    type Traffic = fn(&cri::NetworkInterfaceUsage) -> Option<f64>;
    let families: [(&str, Traffic); 4] = [
        ("container_network_receive_bytes_total", |i| as_f64(i.rx_bytes.as_ref())),
        ("container_network_transmit_bytes_total", |i| as_f64(i.tx_bytes.as_ref())),
        ("container_network_receive_errors_total", |i| as_f64(i.rx_errors.as_ref())),
        ("container_network_transmit_errors_total", |i| as_f64(i.tx_errors.as_ref())),
    ];
    for (name, value) in families {
        out.family(name, "counter", "Network traffic of a pod.");
        for (labels, linux) in sandboxes(&measured) {
            let Some(interface) = linux.network.as_ref().and_then(|n| n.default_interface.as_ref()) else { continue };
            if let Some(value) = value(interface) {
                out.sample(name, &[("interface", &interface.name), labels[0], labels[1]], value, None);
            }
        }
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format() {
        let mut out = Text::default();
        out.family("a", "gauge", "Help.");
        out.sample("a", &[("l", "x\"y")], 1.5, Some(7));
        assert_eq!(out.0, "# HELP a Help.\n# TYPE a gauge\na{l=\"x\\\"y\"} 1.5 7\n");
    }
}
