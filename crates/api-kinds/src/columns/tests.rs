//! Cells of made-up objects, and a cell for each column of every kind.

use super::{for_kind, human, outline, paths};
use crate::rows;
use api_core::project::Projection;
use api_schema::row::{Cell, Row};
use serde_json::{Value, json};

/// 2026-01-01T01:00:00Z.
const NOW: i64 = 1_767_229_200;

#[test]
fn there_is_a_cell_for_each_column_whatever_the_object() {
    for row in rows().iter().filter(|r| !r.columns.is_empty()) {
        let cells = row.hooks.table_cells.unwrap();
        for object in [json!({}), Value::Null, json!({"metadata": {"name": "x"}})] {
            assert_eq!(cells(&object).len(), row.columns.len(), "{:?}", row.gvr);
        }
    }
}

/// What is made for one version is shown in all.
#[test]
fn the_versions_of_a_kind_have_the_same_cells() {
    let object = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, "count": 3,
        "spec": {"replicas": 3}, "status": {"phase": "p"}, "involvedObject": {"kind": "Pod", "name": "y"}});
    let mut compared = Vec::new();
    for row in rows().iter().filter(|r| !r.storage_prefix.is_empty()) {
        let others = rows().iter().filter(|other| other.storage_prefix == row.storage_prefix && other.gvr != row.gvr);
        for other in others {
            let shown = |row: &Row| {
                let hooks = row.hooks;
                let conditions = hooks.table_conditions.map(|conditions| conditions(&object));
                (
                    row.storage_version.clone(),
                    hooks.table_paths,
                    hooks.table_cells.map(|cells| cells(&object)),
                    conditions,
                )
            };
            assert_eq!(shown(row), shown(other), "{:?} {:?}", row.gvr, other.gvr);
            compared.push(row.gvr.resource.as_str());
        }
    }
    assert!(
        ["events", "horizontalpodautoscalers", "flowschemas"].iter().all(|kind| compared.contains(kind)),
        "{compared:?}"
    );
}

#[test]
fn durations_have_as_many_digits_as_matter() {
    for (seconds, want) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (252_288_000, "8y"),
    ] {
        assert_eq!(human(seconds), want, "{seconds}");
    }
}

/// The cells as they are sent.
fn shown(cells: &[Cell], now_unix_s: i64) -> Vec<Value> {
    let (mut made, mut filled) = (Vec::new(), Vec::new());
    outline::write(cells, &mut made).expect("json");
    outline::fill(&made, now_unix_s, &mut filled);
    serde_json::from_slice(&filled).expect("a list")
}

#[test]
fn an_age_is_that_of_the_moment_wherever_it_stands() {
    let since = |before: &str, then_unix_s, after| Cell::Since { before: before.into(), then_unix_s, after };
    // A time whose bytes are all those that begin a gap, and one that has a quote and a backslash among them.
    let odd = i64::from_le_bytes(*b"\"\\\0\x01\0\0\0\0");
    let cells = [
        since("", NOW - 5, ""),
        json!(["\0", {"a": "\"\\"}]).into(),
        since("2 \"(\0", NOW - 300, " ago)\""),
        since("", 0, ""),
        since("", odd, ""),
        Value::Null.into(),
    ];
    for (now, ages) in [(NOW, ["5s", "5m"]), (NOW + 60, ["65s", "6m"]), (NOW - 6, ["0s", "4m54s"])] {
        let want = json!([ages[0], ["\0", {"a": "\"\\"}], format!("2 \"(\0{} ago)\"", ages[1]), human(now), human(now - odd), null]);
        assert_eq!(Value::from(shown(&cells, now)), want);
    }
    assert_eq!(shown(&[], NOW), Vec::<Value>::new());
    assert_eq!(shown(&[since("", i64::MAX, ""), since("", i64::MIN, "")], NOW)[0], "<invalid>");
}

/// The cells of an object, as text with ` | ` between them.
fn check(group: &str, kind: &str, mut object: Value, want: &str) {
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let cells = for_kind(group, kind).unwrap()(&object);
    let brief = Projection::new(paths(group, kind).iter().copied()).of(&object);
    assert_eq!(cells, for_kind(group, kind).unwrap()(&brief), "{kind}: a cell reads what its paths do not name");
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    assert_eq!(shown(&cells, NOW).iter().map(text).collect::<Vec<_>>().join(" | "), want, "{kind}");
}

#[test]
fn a_pod_shows_its_state_in_a_word() {
    let pod = |status: Value, more: Value| {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}], "nodeName": "n"}, "status": status});
        for (key, value) in more.as_object().unwrap() {
            pod[key] = value.clone();
        }
        pod
    };
    let one = |state: Value| json!({"phase": "Running", "containerStatuses": [state]});
    let running = one(json!({"ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}));
    check(
        "",
        "Pod",
        pod(running.clone(), json!({})),
        "x | 1/1 | Running | 2 (5m ago) | 60m | <none> | n | <none> | <none>",
    );
    let crash = one(json!({"ready": false, "restartCount": 0, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}));
    check("", "Pod", pod(crash, json!({})), "x | 0/1 | CrashLoopBackOff | 0 | 60m | <none> | n | <none> | <none>");
    let failed = one(json!({"restartCount": 0, "state": {"terminated": {"exitCode": 3}}}));
    check("", "Pod", pod(failed, json!({})), "x | 0/1 | ExitCode:3 | 0 | 60m | <none> | n | <none> | <none>");
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:00Z"}});
    check("", "Pod", pod(running, deleted), "x | 1/1 | Terminating | 2 (5m ago) | 60m | <none> | n | <none> | <none>");
    let init = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]});
    let spec = json!({"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}});
    check("", "Pod", pod(init, spec), "x | 0/1 | Init:0/1 | 0 | 60m | <none> | <none> | <none> | <none>");
}

#[test]
fn a_sidecar_counts_as_a_container() {
    let pod = json!({
        "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}],
            "readinessGates": [{"conditionType": "g"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "g", "status": "True"}],
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1,
                "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}}]}
    });
    check("", "Pod", pod, "x | 2/2 | Running | 1 | 60m | 10.0.0.1 | <none> | <none> | 1/1");
}

#[test]
fn other_kinds_show_what_upstream_shows() {
    let service = json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.5"], "selector": {"a": "b"},
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    check("", "Service", service, "x | LoadBalancer | 10.96.0.5 | <pending> | 80:30080/TCP,53/UDP | 60m | a=b");
    let node = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.30.3"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    let want = "x | Ready,SchedulingDisabled | control-plane | 60m | v1.30.3 | 10.0.0.1 | <none> | <unknown> | <unknown> | <unknown>";
    check("", "Node", node, want);
    let endpoints = json!({"subsets": [{"ports": [{"port": 80}, {"port": 81}],
        "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}]});
    check("", "Endpoints", endpoints, "x | 10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more... | 60m");
    let job = json!({"spec": {"completions": 1}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:30Z", "conditions": [{"type": "Complete", "status": "True"}]}});
    check("batch", "Job", job, "x | Complete | 1/1 | 30s | 60m |  |  | <none>");
    let scaler = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 3,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "10"}}}, {"type": "Object"}]}});
    let want = "x | Deployment/d | cpu: <unknown>/50%, <unknown>/10 + 1 more... | 1 | 3 | 0 | 60m";
    check("autoscaling", "HorizontalPodAutoscaler", scaler, want);
    let claim = json!({"spec": {"volumeName": "v", "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}});
    check("", "PersistentVolumeClaim", claim, "x | Bound | v | 1Gi | RWO,RWX | fast | <unset> | 60m | <unset>");
    let policy = json!({"spec": {"podSelector": {"matchLabels": {"b": "c"},
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["z", "y"]}, {"key": "c", "operator": "DoesNotExist"}]}}});
    check("networking.k8s.io", "NetworkPolicy", policy, "x | a in (y,z),b=c,!c | 60m");
    let request = json!({"spec": {"signerName": "s", "username": "u"},
        "status": {"certificate": "QQ==", "conditions": [{"type": "Approved"}]}});
    check("certificates.k8s.io", "CertificateSigningRequest", request, "x | 60m | s | u | <none> | Approved,Issued");
}
