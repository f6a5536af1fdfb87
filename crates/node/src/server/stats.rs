//! Usage of the node, its pods and containers, from the runtime, /proc and the filesystem. What cannot be measured is
//! left out, never invented.

use std::collections::HashMap;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use http::{Response, StatusCode};
use k8s_cri::v1 as cri;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Body, Kubelet, json as json_answer, text};
use crate::cri::CriError;
use crate::{machine, names};

/// Samples closer together than this say nothing about a rate.
const RATE_WINDOW_MIN_NS: i64 = 500_000_000;

/// Earlier samples of CPU time, from which rates are made. Holds what the last answer was about, no more.
#[derive(Default)]
pub struct Usage(Mutex<HashMap<String, Sample>>);

#[derive(Clone, Copy)]
struct Sample {
    at_ns: i64,
    cpu_ns: u64,
    rate: Option<u64>,
}

impl Usage {
    /// The rate in nano-cores since the sample before; `None` at the first.
    fn rate(&self, id: &str, at_ns: i64, cpu_ns: u64) -> Option<u64> {
        let mut samples = self.0.lock();
        let last = samples.get(id).copied();
        let rate = match last {
            Some(last) if at_ns - last.at_ns < RATE_WINDOW_MIN_NS => return last.rate,
            Some(last) => {
                let spent = u128::from(cpu_ns.saturating_sub(last.cpu_ns));
                u64::try_from(spent * 1_000_000_000 / u128::try_from(at_ns - last.at_ns).unwrap_or(1)).ok()
            }
            None => None,
        };
        samples.insert(id.into(), Sample { at_ns, cpu_ns, rate });
        rate
    }

    fn keep(&self, ids: &[String]) {
        self.0.lock().retain(|id, _| ids.contains(id));
    }
}

/// What the runtime measured.
pub struct Measured {
    /// By container.
    pub containers: Vec<cri::ContainerStats>,
    /// By sandbox.
    pub sandboxes: Vec<cri::PodSandboxStats>,
}

impl Measured {
    /// Asks the runtime. Sandboxes whose usage it cannot tell are left out.
    pub async fn read(kubelet: &Kubelet) -> Result<Self, CriError> {
        let cri = &kubelet.agent.cri;
        let (containers, sandboxes) = tokio::join!(cri.list_container_stats(), cri.list_pod_sandbox_stats());
        let sandboxes = sandboxes.unwrap_or_else(|error| {
            tracing::debug!(%error, "the runtime does not measure sandboxes");
            Vec::new()
        });
        Ok(Self { containers: containers?, sandboxes })
    }
}

/// Name, namespace and UID of the pod, and name of the container, in labels.
pub fn identity(labels: &HashMap<String, String>) -> [&str; 4] {
    [names::POD_NAME, names::POD_NAMESPACE, names::POD_UID, names::CONTAINER_NAME]
        .map(|n| labels.get(n).map_or("", String::as_str))
}

/// Answers `/stats/summary`.
pub async fn answer(kubelet: &Kubelet, only_cpu_and_memory: bool) -> Response<Body> {
    match Measured::read(kubelet).await {
        Ok(measured) => json_answer(&summary(kubelet, &measured, only_cpu_and_memory).await),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn summary(kubelet: &Kubelet, measured: &Measured, short: bool) -> Value {
    let mut pods: HashMap<String, Value> = HashMap::new();
    for stats in &measured.sandboxes {
        let Some(attributes) = &stats.attributes else { continue };
        let [name, namespace, uid, _] = identity(&attributes.labels);
        let linux = stats.linux.clone().unwrap_or_default();
        let mut pod = reference(name, namespace, uid);
        insert(&mut pod, "cpu", linux.cpu.as_ref().and_then(|c| cpu(kubelet, &attributes.id, c)));
        insert(&mut pod, "memory", linux.memory.as_ref().map(memory));
        if !short {
            insert(&mut pod, "network", linux.network.as_ref().map(network));
            insert(
                &mut pod,
                "process_stats",
                linux
                    .process
                    .as_ref()
                    .and_then(|p| p.process_count.as_ref())
                    .map(|n| json!({"process_count": n.value})),
            );
        }
        pods.insert(uid.into(), pod);
    }
    for stats in &measured.containers {
        let Some(attributes) = &stats.attributes else { continue };
        let [pod_name, namespace, uid, name] = identity(&attributes.labels);
        let pod = pods.entry(uid.into()).or_insert_with(|| reference(pod_name, namespace, uid));
        let mut container = json!({"name": name});
        insert(&mut container, "cpu", stats.cpu.as_ref().and_then(|c| cpu(kubelet, &attributes.id, c)));
        insert(&mut container, "memory", stats.memory.as_ref().map(memory));
        if !short {
            insert(&mut container, "rootfs", stats.writable_layer.as_ref().map(|l| filesystem(kubelet, l)));
            let log_dir = kubelet.agent.config.pod_log_dir(namespace, pod_name, uid).join(name);
            insert(&mut container, "logs", Some(json!({"time": now(), "usedBytes": directory_bytes(&log_dir)})));
        }
        if let Some(list) = pod["containers"].as_array_mut() {
            list.push(container);
        }
    }
    for pod in kubelet.manager.pods() {
        let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| json!(t));
        if let Some(entry) = pods.get_mut(crate::pod::spec::uid(&pod)) {
            insert(entry, "startTime", started);
        }
    }
    let mut seen: Vec<String> =
        measured.containers.iter().filter_map(|c| c.attributes.as_ref()).map(|a| a.id.clone()).collect();
    seen.extend(measured.sandboxes.iter().filter_map(|s| s.attributes.as_ref()).map(|a| a.id.clone()));
    seen.push(NODE.into());
    kubelet.usage.keep(&seen);
    json!({"node": node(kubelet, short).await, "pods": pods.into_values().collect::<Vec<_>>()})
}

/// Key of the node among the samples.
const NODE: &str = "node";

async fn node(kubelet: &Kubelet, short: bool) -> Value {
    let agent = &kubelet.agent;
    let at = Utc::now();
    let memory = machine::memory();
    let cpu_ns = machine::cpu_nanos();
    let boot =
        DateTime::from_timestamp(machine::boot_time_seconds(), 0).map(|t| t.to_rfc3339_opts(SecondsFormat::Secs, true));
    let mut cpu = json!({"time": now(), "usageCoreNanoSeconds": cpu_ns});
    insert(
        &mut cpu,
        "usageNanoCores",
        kubelet.usage.rate(NODE, at.timestamp_nanos_opt().unwrap_or_default(), cpu_ns).map(|r| json!(r)),
    );
    let mut node = json!({
        "nodeName": agent.config.node_name, "startTime": boot, "cpu": cpu,
        "memory": {"time": now(), "availableBytes": memory.available_bytes, "usageBytes": memory.used_bytes,
            "workingSetBytes": memory.working_set_bytes, "rssBytes": memory.rss_bytes},
    });
    if short {
        return node;
    }
    let fs = |path: &Path| {
        let disk = machine::disk(path).ok()?;
        Some(json!({"time": now(), "availableBytes": disk.free_bytes, "capacityBytes": disk.total_bytes,
            "usedBytes": disk.total_bytes.saturating_sub(disk.free_bytes), "inodesFree": disk.inodes_free, "inodes": disk.inodes,
            "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free)}))
    };
    insert(&mut node, "fs", fs(&agent.config.root_dir));
    if let Ok(info) = agent.cri.image_fs_info().await
        && let Some(image_fs) = info.image_filesystems.first()
    {
        let mount = image_fs.fs_id.as_ref().map(|f| f.mountpoint.clone()).unwrap_or_default();
        let mut value = fs(Path::new(&mount)).unwrap_or_else(|| json!({"time": now()}));
        insert(&mut value, "usedBytes", image_fs.used_bytes.as_ref().map(|b| json!(b.value)));
        insert(&mut value, "inodesUsed", image_fs.inodes_used.as_ref().map(|b| json!(b.value)));
        insert(&mut node, "runtime", Some(json!({"imageFs": value})));
    }
    let (running, max) = machine::processes();
    insert(&mut node, "rlimit", Some(json!({"time": now(), "maxpid": max, "curproc": running})));
    node
}

fn insert(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(map), Some(value)) = (object.as_object_mut(), value) {
        map.insert(key.into(), value);
    }
}

fn reference(name: &str, namespace: &str, uid: &str) -> Value {
    json!({"podRef": {"name": name, "namespace": namespace, "uid": uid}, "containers": []})
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn time(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn cpu(kubelet: &Kubelet, id: &str, c: &cri::CpuUsage) -> Option<Value> {
    let total = c.usage_core_nano_seconds.as_ref()?.value;
    let mut value = json!({"time": time(c.timestamp), "usageCoreNanoSeconds": total});
    let rate = c.usage_nano_cores.as_ref().map(|r| r.value).or_else(|| kubelet.usage.rate(id, c.timestamp, total));
    insert(&mut value, "usageNanoCores", rate.map(|r| json!(r)));
    Some(value)
}

fn memory(m: &cri::MemoryUsage) -> Value {
    let mut map = Map::from_iter([("time".to_owned(), json!(time(m.timestamp)))]);
    for (key, field) in [
        ("availableBytes", &m.available_bytes),
        ("usageBytes", &m.usage_bytes),
        ("workingSetBytes", &m.working_set_bytes),
        ("rssBytes", &m.rss_bytes),
        ("pageFaults", &m.page_faults),
        ("majorPageFaults", &m.major_page_faults),
    ] {
        // containerd says "all of it" where a container has no limit; that is no measurement.
        if let Some(v) = field.as_ref().filter(|v| key != "availableBytes" || v.value > 0) {
            map.insert(key.into(), json!(v.value));
        }
    }
    Value::Object(map)
}

fn interface(i: &cri::NetworkInterfaceUsage) -> Value {
    let mut value = json!({"name": i.name});
    for (key, field) in
        [("rxBytes", &i.rx_bytes), ("rxErrors", &i.rx_errors), ("txBytes", &i.tx_bytes), ("txErrors", &i.tx_errors)]
    {
        insert(&mut value, key, field.as_ref().map(|v| json!(v.value)));
    }
    value
}

fn network(n: &cri::NetworkUsage) -> Value {
    let mut value = n.default_interface.as_ref().map_or_else(|| json!({}), interface);
    insert(&mut value, "time", Some(json!(time(n.timestamp))));
    let all: Vec<Value> = n.default_interface.iter().chain(&n.interfaces).map(interface).collect();
    insert(&mut value, "interfaces", Some(json!(all)));
    value
}

fn filesystem(kubelet: &Kubelet, l: &cri::FilesystemUsage) -> Value {
    let mut value = json!({"time": time(l.timestamp)});
    insert(&mut value, "usedBytes", l.used_bytes.as_ref().map(|v| json!(v.value)));
    insert(&mut value, "inodesUsed", l.inodes_used.as_ref().map(|v| json!(v.value)));
    if let Ok(disk) = machine::disk(&kubelet.agent.config.root_dir) {
        insert(&mut value, "availableBytes", Some(json!(disk.free_bytes)));
        insert(&mut value, "capacityBytes", Some(json!(disk.total_bytes)));
    }
    value
}

fn directory_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}
