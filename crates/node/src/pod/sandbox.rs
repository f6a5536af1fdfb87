//! The sandbox's configuration for the runtime, from the pod's spec. Pure.

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Pod, SeccompProfile};

use super::{dns, resources, spec};
use crate::names;

/// What a sandbox needs to know besides the pod.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The pod's log directory.
    pub log_directory: String,
    /// Resolver configuration.
    pub dns: cri::DnsConfig,
    /// The cluster's domain.
    pub domain: String,
    /// Parent cgroup.
    pub cgroup_parent: String,
    /// When the agent first saw the pod, RFC 3339.
    pub seen: String,
}

/// Configuration of the pod's sandbox number `attempt`.
pub fn config(pod: &Pod, attempt: u32, inputs: &Inputs) -> cri::PodSandboxConfig {
    let s = spec::spec(pod);
    let mut labels: std::collections::HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.insert(names::POD_NAME.into(), spec::name(pod).into());
    labels.insert(names::POD_NAMESPACE.into(), spec::namespace(pod).into());
    labels.insert(names::POD_UID.into(), spec::uid(pod).into());
    let mut annotations: std::collections::HashMap<String, String> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(names::CONFIG_SOURCE.into()).or_insert_with(|| "api".into());
    annotations.entry(names::CONFIG_SEEN.into()).or_insert_with(|| inputs.seen.clone());

    let (host, sub) = dns::host_name(pod, &inputs.domain);
    let hostname = match (spec::host_network(pod), s.set_hostname_as_fqdn == Some(true) && !sub.is_empty()) {
        // Without a UTS namespace of its own the pod cannot have a name of its own.
        (true, _) => String::new(),
        (_, true) => format!("{host}.{sub}"),
        _ => host,
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: spec::name(pod).into(),
            uid: spec::uid(pod).into(),
            namespace: spec::namespace(pod).into(),
            attempt,
        }),
        hostname,
        log_directory: inputs.log_directory.clone(),
        dns_config: Some(inputs.dns.clone()),
        port_mappings: if spec::host_network(pod) { Vec::new() } else { port_mappings(pod) },
        labels,
        annotations,
        linux: Some(linux(pod, inputs)),
        windows: None,
    }
}

fn linux(pod: &Pod, inputs: &Inputs) -> cri::LinuxPodSandboxConfig {
    let context = spec::spec(pod).security_context.clone().unwrap_or_default();
    let sysctls = context.sysctls.iter().flatten().map(|s| (s.name.replace('/', "."), s.value.clone())).collect();
    let all = spec::init_containers(pod).iter().chain(spec::containers(pod));
    let privileged = all.filter_map(|c| c.security_context.as_ref()).any(|c| c.privileged == Some(true));
    let limits = resources::pod_limits(pod);
    let int = |v: Option<i64>| v.map(|value| cri::Int64Value { value });
    cri::LinuxPodSandboxConfig {
        cgroup_parent: inputs.cgroup_parent.clone(),
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(pod)),
            run_as_user: int(context.run_as_user),
            run_as_group: if context.run_as_user.is_some() { int(context.run_as_group) } else { None },
            supplemental_groups: supplemental_groups(pod),
            privileged,
            // The pause program needs nothing that the runtime's profile forbids.
            seccomp: Some(cri::SecurityProfile {
                profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
                localhost_ref: String::new(),
            }),
            ..Default::default()
        }),
        sysctls,
        resources: Some(cri::LinuxContainerResources {
            cpu_shares: limits.cpu_shares.unwrap_or(0),
            cpu_quota: limits.cpu_quota_us.unwrap_or(0),
            cpu_period: limits.cpu_quota_us.map_or(0, |_| crate::cgroups::CPU_PERIOD_US),
            memory_limit_in_bytes: limits.memory_bytes.unwrap_or(0),
            ..Default::default()
        }),
        overhead: None,
    }
}

/// The namespaces that the pod shares with the node, or its containers with each other.
pub fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    let s = spec::spec(pod);
    let node = cri::NamespaceMode::Node as i32;
    let shared = cri::NamespaceMode::Pod as i32;
    let pid = match (s.host_pid, s.share_process_namespace) {
        (Some(true), _) => node,
        (_, Some(true)) => shared,
        _ => cri::NamespaceMode::Container as i32,
    };
    cri::NamespaceOption {
        network: if spec::host_network(pod) { node } else { shared },
        pid,
        ipc: if s.host_ipc == Some(true) { node } else { shared },
        target_id: String::new(),
        userns_options: None,
    }
}

/// Groups that every process of the pod has.
pub fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let Some(context) = &spec::spec(pod).security_context else { return Vec::new() };
    context.fs_group.iter().chain(context.supplemental_groups.iter().flatten()).copied().collect()
}

/// A seccomp profile for the runtime; none means unconfined, as upstream has it by default.
pub fn seccomp(profile: Option<&SeccompProfile>, dir: &str) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", Some(file))) => (ProfileType::Localhost, format!("{dir}/{file}")),
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

fn port_mappings(pod: &Pod) -> Vec<cri::PortMapping> {
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    let ports = sidecars.chain(spec::containers(pod)).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let protocol = match p.protocol.as_deref().unwrap_or("TCP") {
                "UDP" => cri::Protocol::Udp,
                "SCTP" => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            };
            Some(cri::PortMapping {
                protocol: protocol as i32,
                container_port: p.container_port,
                host_port: p.host_port.filter(|h| *h > 0)?,
                host_ip: p.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_network_has_no_name_and_no_mappings() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "uid": "u", "labels": {"a": "b"}}, "spec": {
            "hostNetwork": true, "shareProcessNamespace": true,
            "securityContext": {"fsGroup": 5, "supplementalGroups": [6], "sysctls": [{"name": "net/core/somaxconn", "value": "1"}]},
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}], "securityContext": {"privileged": true}}]}}))
        .unwrap();
        let config = config(&pod, 2, &Inputs::default());
        assert_eq!((config.hostname.as_str(), config.port_mappings.len()), ("", 0));
        assert_eq!(config.labels["io.kubernetes.pod.uid"], "u");
        let linux = config.linux.unwrap();
        assert_eq!(linux.sysctls["net.core.somaxconn"], "1");
        let security = linux.security_context.unwrap();
        assert!(security.privileged);
        assert_eq!(security.supplemental_groups, [5, 6]);
        assert_eq!(security.namespace_options.unwrap().network, cri::NamespaceMode::Node as i32);
    }
}
