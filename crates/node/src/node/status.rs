//! The Node object and its status: measured, or absent. The comparison that decides about writing is pure.

use std::collections::BTreeMap;

use chrono::Utc;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::agent::Agent;
use crate::config::Config;
use crate::quantity;
use crate::{image, machine};

/// The version of Kubernetes whose kubelet this agent stands in for.
pub const KUBELET_VERSION: &str = "v1.30.3";
/// Names of an image in the status.
const IMAGE_NAMES_MAX: usize = 5;

/// The Node as this agent registers it, without status.
pub fn object(config: &Config) -> Node {
    let arch = image::oci_arch(std::env::consts::ARCH);
    let mut labels: BTreeMap<String, String> = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ] {
        labels.insert(key.into(), value.into());
    }
    let annotations =
        BTreeMap::from([("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())]);
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: config.provider_id.clone(),
            taints: (!config.taints.is_empty()).then(|| config.taints.clone()),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

/// Measures the node; conditions that did not change keep the time of their last change from `old`.
pub async fn measure(agent: &Agent, old: Option<&NodeStatus>) -> NodeStatus {
    let (capacity, allocatable) = resources(agent);
    let version = agent.cri.version().await.ok();
    let id = machine::identity();
    let runtime = version.map(|v| format!("{}://{}", v.runtime_name, v.runtime_version));
    let info = NodeSystemInfo {
        architecture: image::oci_arch(std::env::consts::ARCH).into(),
        boot_id: id.boot_id,
        container_runtime_version: runtime
            .or_else(|| old?.node_info.clone().map(|i| i.container_runtime_version))
            .unwrap_or_default(),
        kernel_version: id.kernel,
        kube_proxy_version: KUBELET_VERSION.into(),
        kubelet_version: KUBELET_VERSION.into(),
        machine_id: id.machine_id,
        operating_system: "linux".into(),
        os_image: id.os_image,
        system_uuid: id.system_uuid,
    };
    NodeStatus {
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        conditions: Some(conditions(agent, old)),
        addresses: Some(vec![address("InternalIP", &agent.host_ip()), address("Hostname", &agent.config.node_name)]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(agent.config.listen.port()) }),
        }),
        node_info: Some(info),
        images: Some(images(agent).await),
        ..NodeStatus::default()
    }
}

fn address(type_: &str, address: &str) -> NodeAddress {
    NodeAddress { type_: type_.into(), address: address.into() }
}

type List = BTreeMap<String, Quantity>;

fn resources(agent: &Agent) -> (List, List) {
    let (config, machine) = (&agent.config, &agent.capacity);
    let mut capacity = List::from([
        ("cpu".into(), quantity::of(machine.cpus)),
        ("memory".into(), quantity::of_kib(machine.memory_bytes)),
        ("pods".into(), quantity::of(i64::from(config.limits.max_pods))),
    ]);
    let mut allocatable = capacity.clone();
    allocatable.insert("cpu".into(), quantity::of_milli(machine.cpus * 1000 - config.reserved_cpu_milli));
    // What eviction keeps free is not for pods either.
    let total = u64::try_from(machine.memory_bytes).unwrap_or(0);
    let kept_free = config.limits.thresholds.memory_kept_bytes(total);
    let kept = config.reserved_memory_bytes + i64::try_from(kept_free).unwrap_or(0);
    allocatable.insert("memory".into(), quantity::of_kib((machine.memory_bytes - kept).max(0)));
    match machine::disk(&config.root_dir) {
        Ok(disk) => {
            let total = i64::try_from(disk.total_bytes).unwrap_or(i64::MAX);
            capacity.insert("ephemeral-storage".into(), quantity::of_kib(total));
            allocatable.insert("ephemeral-storage".into(), quantity::of(total - total / 10));
        }
        Err(error) => tracing::debug!(%error, "the disk cannot be measured"),
    }
    for (kib, bytes) in &machine.hugepages {
        let size =
            if kib % (1024 * 1024) == 0 { format!("{}Gi", kib / 1024 / 1024) } else { format!("{}Mi", kib / 1024) };
        for list in [&mut capacity, &mut allocatable] {
            list.insert(format!("hugepages-{size}"), quantity::of(*bytes));
        }
    }
    (capacity, allocatable)
}

async fn images(agent: &Agent) -> Vec<ContainerImage> {
    let mut list = agent.cri.list_images().await.unwrap_or_default();
    list.sort_by_key(|i| std::cmp::Reverse(i.size));
    list.truncate(agent.config.limits.node_images_max);
    list.into_iter()
        .map(|i| {
            let mut names = [i.repo_digests, i.repo_tags].concat();
            names.truncate(IMAGE_NAMES_MAX);
            ContainerImage { names: Some(names), size_bytes: i64::try_from(i.size).ok() }
        })
        .collect()
}

fn conditions(agent: &Agent, old: Option<&NodeStatus>) -> Vec<NodeCondition> {
    let memory = machine::memory();
    let disk = machine::disk(&agent.config.root_dir).unwrap_or_default();
    let short = agent.config.limits.thresholds.pressure(&memory, &disk, machine::processes());
    let pressure = |type_: &str, low: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if low { yes } else { no };
        condition(old, type_, low, reason, message)
    };
    let problem = agent.network.borrow().clone();
    let ready = match &problem {
        None => condition(old, "Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(message) => condition(old, "Ready", false, "KubeletNotReady", message),
    };
    vec![
        pressure(
            "MemoryPressure",
            short.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            short.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            short.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ]
}

fn condition(old: Option<&NodeStatus>, type_: &str, holds: bool, reason: &str, message: &str) -> NodeCondition {
    let status = if holds { "True" } else { "False" };
    let before = old.and_then(|o| o.conditions.as_ref()?.iter().find(|c| c.type_ == type_ && c.status == status));
    let now = Time(Utc::now());
    NodeCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(now)),
    }
}

/// Whether a status says something new; heartbeat times do not count.
pub fn differs(old: Option<&NodeStatus>, new: &NodeStatus) -> bool {
    let Some(old) = old else { return true };
    let strip = |s: &NodeStatus| {
        let mut conditions: Vec<NodeCondition> = s
            .conditions
            .iter()
            .flatten()
            .filter(|c| ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].contains(&c.type_.as_str()))
            .cloned()
            .collect();
        for c in &mut conditions {
            c.last_heartbeat_time = None;
        }
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        NodeStatus {
            conditions: Some(conditions),
            capacity: s.capacity.clone(),
            allocatable: s.allocatable.clone(),
            addresses: s.addresses.clone(),
            daemon_endpoints: s.daemon_endpoints.clone(),
            node_info: s.node_info.clone(),
            images: s.images.clone(),
            ..NodeStatus::default()
        }
    };
    strip(old) != strip(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_not_news() {
        let status = |ready: bool| NodeStatus {
            conditions: Some(vec![condition(None, "Ready", ready, "r", "m")]),
            ..NodeStatus::default()
        };
        let mut later = status(true);
        let first = status(true);
        later.conditions.as_mut().unwrap()[0].last_transition_time =
            first.conditions.as_ref().unwrap()[0].last_transition_time.clone();
        assert!(!differs(Some(&first), &later));
        assert!(differs(Some(&first), &status(false)) && differs(None, &first));
    }
}
