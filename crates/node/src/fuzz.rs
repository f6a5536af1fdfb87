//! What must hold of what the agent reads and keeps to itself: pods, URLs, logs of containers, credentials, files of the
//! machine. For the crate `fuzzing` alone; nothing else may name this module.

use crate::pod::{container, dns, env, probe, resources, spec};
use crate::{cgroups, images, quantity, server, static_pods, volumes};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::sync::Arc;

/// Bytes of memory of a machine.
const MEMORY_BYTES: i64 = 8 << 30;
/// Longest value of a variable that expansion may make of an input, in bytes.
const VALUE_BYTES_MAX: usize = 2 << 20;

struct Nothing;

impl env::Lookup for Nothing {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        (name == "a").then(|| {
            let data = Some([("k".to_owned(), "$(A)".to_owned())].into());
            Arc::new(ConfigMap { data, ..ConfigMap::default() })
        })
    }

    fn secret(&self, _: &str) -> Option<Arc<Secret>> {
        None
    }

    fn allocatable(&self, _: &str) -> i64 {
        i64::MAX
    }
}

/// Whole and in thousandths, as the agent reads a quantity.
pub fn read_quantity(text: &str) -> (Option<i64>, Option<i64>) {
    let quantity = Quantity(text.to_owned());
    (quantity::value(&quantity), quantity::milli(&quantity))
}

/// A pod as the API may hold it: everything that follows from its text alone.
pub fn pod(data: &[u8]) {
    let Ok(pod) = serde_json::from_slice::<Pod>(data) else { return };
    let ips = ["10.0.0.1".to_owned()];
    for (_, c) in spec::all_containers(&pod) {
        if let Ok(variables) = env::build(&pod, &c, &ips, "10.0.0.2", &[], &Nothing) {
            assert!(variables.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX), "a variable without an end");
        }
        let linux = resources::linux(&pod, &c, MEMORY_BYTES);
        assert!((2..=262_144).contains(&linux.cpu_shares), "{} shares", linux.cpu_shares);
        assert!(linux.cpu_quota >= 0 && (-1000..=1000).contains(&linux.oom_score_adj), "{linux:?}");
        drop(container::effective_security(&pod, &c));
        probe::read(&c, "10.0.0.1");
        spec::container_hash(&c);
    }
    let limits = resources::pod_limits(&pod);
    assert!(limits.cpu_quota_us.is_none_or(|q| q > 0), "{limits:?}");
    let node = dns::parse_resolv_conf("nameserver 10.0.0.9\nsearch a b\noptions ndots:5\n");
    let config = dns::config(&pod, &node, [10, 96, 0, 10].into(), "cluster.local");
    assert!(config.servers.len() <= 3 && config.searches.len() <= 32, "{config:?}");
    drop((
        dns::host_name(&pod, "cluster.local"),
        dns::hosts_file(&pod, &ips, "cluster.local", "127.0.0.1 localhost\n"),
    ));
    for path in ["metadata.labels['a']", "metadata.annotations", "status.podIPs", "spec.nodeName"] {
        env::field_value(&pod, path, &ips, "10.0.0.2");
    }
    spec::grace_seconds(&pod);
}

/// A text with `$(NAME)`: without references it stays as it is, and a known name stands for its value.
pub fn expansion(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let unknown = env::expand(text, |_| None);
    if !text.contains('$') {
        assert_eq!(unknown, text);
    }
    assert!(unknown.len() <= text.len(), "{text:?}");
    let (known, name) = (env::expand(text, |_| Some("value".to_owned())), text.replace(['$', '(', ')'], ""));
    assert_eq!(env::expand(&format!("$({name})"), |n| (n == name).then(|| "x".to_owned())), "x");
    assert!(known.len() <= text.len() + text.matches('$').count() * 5, "{text:?}");
}

/// A path and a query of the kubelet API; what is asked of a log.
pub fn kubelet_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    drop(path.split('/').map(server::decode).collect::<Vec<_>>());
    server::read_options(query);
}

/// A line of a container's log as the runtime writes it.
pub fn log_line(data: &[u8]) {
    server::read_line(data);
}

/// Pull secrets: the first line is the image, the rest a `.dockerconfigjson`.
pub fn pull_secret(data: &[u8]) {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let Ok(image) = std::str::from_utf8(&data[..at]) else { return };
    images::read(image, data.get(at + 1..).unwrap_or_default());
}

/// A manifest of a static pod.
pub fn static_pod(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    static_pods::read_manifest(text);
}

/// Files of the machine: `resolv.conf`, `mountinfo`; paths in volumes.
pub fn machine_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(dns::parse_resolv_conf(&text));
    cgroups::read_mounts(&text);
    volumes::read_path(&text);
}
