//! From requests and limits to QoS class and cgroup numbers, with the kubelet's formulas. Pure.

use std::collections::BTreeMap;

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::spec;
use crate::cgroups::{CPU_PERIOD_US, PodLimits};
use crate::quantity::amount;

type List = BTreeMap<String, Quantity>;

const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const QUOTA_MIN_US: i64 = 1000;
const GUARANTEED_OOM_SCORE: i64 = -997;
const BEST_EFFORT_OOM_SCORE: i64 = 1000;

fn requests(c: &Container) -> Option<&List> {
    c.resources.as_ref()?.requests.as_ref()
}

fn limits(c: &Container) -> Option<&List> {
    c.resources.as_ref()?.limits.as_ref()
}

/// A container's request for a resource; a limit alone is also a request.
pub fn request(c: &Container, name: &str) -> Option<i64> {
    amount(requests(c), name).or_else(|| amount(limits(c), name))
}

/// A container's limit for a resource.
pub fn limit(c: &Container, name: &str) -> Option<i64> {
    amount(limits(c), name)
}

/// `Guaranteed`, `Burstable` or `BestEffort`; the API's answer if it has one.
pub fn qos(pod: &Pod) -> &str {
    if let Some(class) = spec::status(pod).qos_class.as_deref() {
        return class;
    }
    let all: Vec<&Container> = spec::init_containers(pod).iter().chain(spec::containers(pod)).collect();
    let has = |c: &Container, name: &str| request(c, name).is_some_and(|v| v > 0);
    if !all.iter().any(|c| has(c, "cpu") || has(c, "memory")) {
        return "BestEffort";
    }
    let guaranteed = |c: &&Container| {
        ["cpu", "memory"].iter().all(|name| limit(c, name).is_some_and(|l| l > 0 && request(c, name) == Some(l)))
    };
    if all.iter().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

/// What a pod takes of a resource on the node: the larger of its containers together and its init containers one by
/// one, sidecars counting for what starts after them, plus overhead.
pub fn pod_request(pod: &Pod, name: &str) -> i64 {
    let (mut sidecars, mut init_peak) = (0, 0);
    for c in spec::init_containers(pod) {
        let own = request(c, name).unwrap_or(0);
        if spec::is_sidecar(c) {
            sidecars = i64::saturating_add(sidecars, own);
            init_peak = init_peak.max(sidecars);
        } else {
            init_peak = init_peak.max(sidecars.saturating_add(own));
        }
    }
    let own = spec::containers(pod).iter().map(|c| request(c, name).unwrap_or(0));
    let regular = own.fold(0, i64::saturating_add);
    let overhead = amount(spec::spec(pod).overhead.as_ref(), name).unwrap_or(0);
    regular.saturating_add(sidecars).max(init_peak).saturating_add(overhead)
}

fn pod_limit(pod: &Pod, name: &str) -> Option<i64> {
    let add = |sum: i64, c: &Container| Some(sum.saturating_add(limit(c, name)?));
    let regular = spec::containers(pod).iter().try_fold(0, add);
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).try_fold(0, add);
    let peak: Option<i64> =
        spec::init_containers(pod).iter().map(|c| limit(c, name)).try_fold(0, |a, l| Some(a.max(l?)));
    let overhead = amount(spec::spec(pod).overhead.as_ref(), name).unwrap_or(0);
    Some(regular?.saturating_add(sidecars?).max(peak?).saturating_add(overhead))
}

/// CPU shares for milli-CPUs.
pub fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// CPU quota per period for milli-CPUs.
pub fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(QUOTA_MIN_US)
}

/// Limits of the pod's own cgroup.
pub fn pod_limits(pod: &Pod) -> PodLimits {
    match qos(pod) {
        "BestEffort" => PodLimits { cpu_shares: Some(SHARES_MIN), ..PodLimits::default() },
        _ => PodLimits {
            cpu_shares: Some(shares(pod_request(pod, "cpu"))),
            cpu_quota_us: pod_limit(pod, "cpu").filter(|m| *m > 0).map(quota),
            memory_bytes: pod_limit(pod, "memory").filter(|m| *m > 0),
        },
    }
}

/// Whom the kernel kills first when memory runs out: the higher, the sooner.
pub fn oom_score(pod: &Pod, c: &Container, machine_memory_bytes: i64) -> i64 {
    if spec::is_critical(pod) {
        return GUARANTEED_OOM_SCORE;
    }
    match qos(pod) {
        "Guaranteed" => GUARANTEED_OOM_SCORE,
        "BestEffort" => BEST_EFFORT_OOM_SCORE,
        _ => {
            let share = request(c, "memory").unwrap_or(0).saturating_mul(1000) / machine_memory_bytes.max(1);
            1000_i64.saturating_sub(share).clamp(1000 + GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE - 1)
        }
    }
}

/// A container's numbers for the runtime.
pub fn linux(pod: &Pod, c: &Container, machine_memory_bytes: i64) -> LinuxContainerResources {
    let cpu_limit = limit(c, "cpu").filter(|m| *m > 0);
    LinuxContainerResources {
        cpu_shares: shares(request(c, "cpu").unwrap_or(0)),
        cpu_period: if cpu_limit.is_some() { CPU_PERIOD_US } else { 0 },
        cpu_quota: cpu_limit.map_or(0, quota),
        memory_limit_in_bytes: limit(c, "memory").unwrap_or(0),
        oom_score_adj: oom_score(pod, c, machine_memory_bytes),
        ..LinuxContainerResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn classes_and_numbers() {
        let gi = 1 << 30;
        let cases = [
            (serde_json::json!([{"name": "a"}]), "BestEffort", (2, 0, 0, 1000)),
            (
                serde_json::json!([{"name": "a", "resources": {"limits": {"cpu": "10E", "memory": "8E"}, "requests": {"memory": "7E"}}}]),
                "Burstable",
                (262_144, i64::MAX / 1000, 8_000_000_000_000_000_000, 3),
            ),
            (
                serde_json::json!([{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]),
                "Guaranteed",
                (512, 50_000, 64 << 20, -997),
            ),
            (
                serde_json::json!([{"name": "a", "resources": {"requests": {"memory": "512Mi"}}}]),
                "Burstable",
                (2, 0, 0, 500),
            ),
            (
                serde_json::json!([{"name": "a", "resources": {"requests": {"cpu": "100m"}}}]),
                "Burstable",
                (102, 0, 0, 999),
            ),
        ];
        for (containers, class, (shares, quota, memory, oom)) in cases {
            let pod = pod(containers);
            assert_eq!(qos(&pod), class);
            let l = linux(&pod, &spec::containers(&pod)[0], gi);
            assert_eq!(
                (l.cpu_shares, l.cpu_quota, l.memory_limit_in_bytes, l.oom_score_adj),
                (shares, quota, memory, oom)
            );
        }
    }

    #[test]
    fn sidecars_count_beside_what_starts_later() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "i", "resources": {"requests": {"cpu": "3"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}))
        .unwrap();
        assert_eq!(pod_request(&pod, "cpu"), 4000);
    }
}
