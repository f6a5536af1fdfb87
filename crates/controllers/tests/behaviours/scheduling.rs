//! What the scheduler decides, in clusters of their own.

use crate::kit::{Api, alone, condition, find_condition, name, names, pod, template};
use serde_json::{Value, json};

async fn runs(api: &Api, pod: &str) -> Value {
    api.until(&api.core(&format!("pods/{pod}")), |p| condition(p, "Ready", "True")).await
}

/// Waits until the scheduler has said that a pod fits nowhere, and gives its words.
async fn fits_nowhere(api: &Api, pod: &str) -> String {
    let pod = api.until(&api.core(&format!("pods/{pod}")), |p| condition(p, "PodScheduled", "False")).await;
    let told = find_condition(&pod, "PodScheduled");
    assert_eq!(told["reason"], "Unschedulable");
    told["message"].as_str().unwrap().to_owned()
}

fn wanting(resource: &str, amount: &str) -> Value {
    let amounts = json!({resource: amount});
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}]})
}

/// Gives a node so much of a resource that no real machine has.
async fn provide(api: &Api, node: &str, amount: &str) {
    let amounts = json!({"example.com/fakecpu": amount});
    let patch = json!({"status": {"capacity": amounts, "allocatable": amounts}});
    api.merge(&format!("/api/v1/nodes/{node}/status"), patch).await;
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run
#[test]
fn a_full_node_takes_no_more() {
    alone(2, async |api| {
        // 64 cores on each node; seven tenths of each are taken.
        for n in 0..2 {
            let mut filler = pod(&format!("filler-{n}"), json!({}), wanting("cpu", "44800m"));
            filler["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": format!("node-{n}")});
            api.post(&api.core("pods"), filler).await;
            runs(&api, &format!("filler-{n}")).await;
        }
        api.post(&api.core("pods"), pod("additional", json!({}), wanting("cpu", "32"))).await;
        let why = fits_nowhere(&api, "additional").await;
        assert!(why.starts_with("0/2 nodes are available: 2 Insufficient cpu."), "{why}");
        api.delete(&api.core("pods/filler-1")).await;
        assert_eq!(runs(&api, "additional").await["spec"]["nodeName"], "node-1");
    });
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching
/// [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching
#[test]
fn a_node_selector_is_respected() {
    alone(2, async |api| {
        let selecting = |label: &str, value: &str| json!({"nodeSelector": {label: value}});
        api.post(&api.core("pods"), pod("restricted", json!({}), selecting("label", "nonempty"))).await;
        let why = fits_nowhere(&api, "restricted").await;
        assert!(why.contains("2 node(s) didn't match Pod's node affinity/selector"), "{why}");
        let label = json!({"metadata": {"labels": {"kubernetes.io/e2e-label": "42"}}});
        api.merge("/api/v1/nodes/node-1", label).await;
        api.post(&api.core("pods"), pod("with-labels", json!({}), selecting("kubernetes.io/e2e-label", "42"))).await;
        assert_eq!(runs(&api, "with-labels").await["spec"]["nodeName"], "node-1");
    });
}

/// [sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP
/// [sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly]
#[test]
fn host_ports_conflict_by_address_and_protocol() {
    alone(1, async |api| {
        let using = |ip: &str, protocol: &str| {
            let port = json!({"containerPort": 80, "hostPort": 54321, "hostIP": ip, "protocol": protocol});
            json!({"containers": [{"name": "c", "image": "i", "ports": [port]}]})
        };
        for (name, ip, protocol) in [("a", "127.0.0.1", "TCP"), ("b", "10.0.0.7", "TCP"), ("c", "10.0.0.7", "UDP")] {
            api.post(&api.core("pods"), pod(name, json!({}), using(ip, protocol))).await;
            runs(&api, name).await;
        }
        api.post(&api.core("pods"), pod("everywhere", json!({}), using("0.0.0.0", "TCP"))).await;
        let why = fits_nowhere(&api, "everywhere").await;
        assert!(why.contains("1 node(s) didn't have free ports for the requested pod ports"), "{why}");
    });
}

async fn priority(api: &Api, name: &str, value: i32) {
    let class = json!({"metadata": {"name": name}, "value": value});
    api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await;
}

/// Fills two nodes with pods of two thirds each: a low one on the first, a medium one on the second.
async fn filled(api: &Api) {
    priority(api, "low", 1).await;
    priority(api, "medium", 100).await;
    priority(api, "high", 1000).await;
    for (node, class) in [("node-0", "low"), ("node-1", "medium")] {
        provide(api, node, "3").await;
        let mut filler = pod(class, json!({}), wanting("example.com/fakecpu", "2"));
        filler["spec"]["priorityClassName"] = class.into();
        filler["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        api.post(&api.core("pods"), filler).await;
        runs(api, class).await;
    }
}

/// [sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works
#[test]
fn the_lowest_pod_makes_place() {
    alone(2, async |api| {
        filled(&api).await;
        let mut preemptor = pod("preemptor", json!({}), wanting("example.com/fakecpu", "2"));
        preemptor["spec"]["priorityClassName"] = "high".into();
        api.post(&api.core("pods"), preemptor).await;
        assert_eq!(runs(&api, "preemptor").await["spec"]["nodeName"], "node-0");
        api.gone(&api.core("pods/low")).await;
        assert_eq!(api.get(&api.core("pods/medium")).await["metadata"].get("deletionTimestamp"), None);
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by critical pod
#[test]
fn a_critical_pod_gets_its_place() {
    alone(2, async |api| {
        filled(&api).await;
        let mut critical = pod("critical", json!({}), wanting("example.com/fakecpu", "2"));
        critical["spec"]["priorityClassName"] = "system-cluster-critical".into();
        api.post("/api/v1/namespaces/kube-system/pods", critical).await;
        let path = "/api/v1/namespaces/kube-system/pods/critical";
        let placed = api.until(path, |p| condition(p, "Ready", "True")).await;
        assert_eq!(
            (&placed["spec"]["nodeName"], &placed["spec"]["priority"]),
            (&json!("node-0"), &json!(2_000_000_000))
        );
        api.gone(&api.core("pods/low")).await;
        api.delete(path).await;
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to the preempted pod
#[test]
fn a_preempted_pod_says_so() {
    alone(1, async |api| {
        priority(&api, "high", 1000).await;
        provide(&api, "node-0", "1").await;
        let mut victim = pod("victim", json!({}), wanting("example.com/fakecpu", "1"));
        victim["metadata"]["finalizers"] = json!(["example.com/test-finalizer"]);
        api.post(&api.core("pods"), victim).await;
        runs(&api, "victim").await;
        let mut preemptor = pod("preemptor", json!({}), wanting("example.com/fakecpu", "1"));
        preemptor["spec"]["priorityClassName"] = "high".into();
        api.post(&api.core("pods"), preemptor).await;
        let ending = |p: &Value| p["metadata"]["deletionTimestamp"].is_string();
        let ended = api.until(&api.core("pods/victim"), ending).await;
        let told = find_condition(&ended, "DisruptionTarget");
        assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("PreemptionByScheduler")));
        api.merge(&api.core("pods/victim"), json!({"metadata": {"finalizers": null}})).await;
        runs(&api, "preemptor").await;
    });
}

/// [sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption running path
#[test]
fn replica_sets_preempt_one_another() {
    alone(1, async |api| {
        provide(&api, "node-0", "1000").await;
        let set = |n: i32, replicas: i32, amount: &str| {
            let labels = json!({"name": format!("pod{n}")});
            let mut template = template(&labels, "i");
            template["spec"]["priorityClassName"] = format!("p{n}").into();
            let amounts = json!({"example.com/fakecpu": amount});
            template["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
            json!({"metadata": {"name": format!("rs-pod{n}")},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}})
        };
        for (n, replicas, amount) in [(1, 5, "40"), (2, 4, "50"), (3, 4, "95"), (4, 1, "400")] {
            priority(&api, &format!("p{n}"), n).await;
            api.post(&api.apps("replicasets"), set(n, replicas, amount)).await;
            if n < 4 {
                let path = api.apps(&format!("replicasets/rs-pod{n}"));
                api.until(&path, |s| n == 3 || s["status"]["readyReplicas"] == replicas).await;
            }
        }
        // 200 + 200 + 380 are taken, 400 more are wanted: room is made of those of least priority, and no more of them
        // than needed.
        api.until(&api.apps("replicasets/rs-pod4"), |s| s["status"]["readyReplicas"] == 1).await;
        let third = api.until(&api.apps("replicasets/rs-pod3"), |s| s["status"]["readyReplicas"] == 4).await;
        assert_eq!(third["status"]["replicas"], 4);
        let waits = |pods: &[Value]| pods.len() == 5 && pods.iter().any(|p| condition(p, "PodScheduled", "False"));
        let first = api.until_list(&api.core("pods"), "name=pod1", waits).await;
        assert_eq!(names(&first).len(), 5);
        assert!(first.iter().all(|p| name(p).starts_with("rs-pod1-")));
    });
}
