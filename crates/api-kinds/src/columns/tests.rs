//! Cells of made-up objects, and a cell for each column of every kind.

use super::{for_kind, human, outline, paths};
use crate::rows;
use api_core::project::Projection;
use api_schema::row::{Cell, Row};
use serde_json::{Value, json};

/// 2026-01-01T01:00:00Z.
const NOW_US: i64 = 1_767_229_200_000_000;

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
        (i64::MAX, "292y"),
    ] {
        assert_eq!(human(seconds), want, "{seconds}");
    }
}

/// The cells as they are sent.
fn shown(cells: &[Cell], now_unix_us: i64) -> Vec<Value> {
    let (mut made, mut filled) = (Vec::new(), Vec::new());
    outline::write(cells, &mut made).expect("json");
    outline::fill(&made, now_unix_us, &mut filled);
    serde_json::from_slice(&filled).expect("a list")
}

#[test]
fn an_age_is_that_of_the_moment_wherever_it_stands() {
    const S: i64 = 1_000_000;
    let since = |before: &str, then_unix_us, after| Cell::Since { before: before.into(), then_unix_us, after };
    // A time whose bytes are all those that begin a gap, and one that has a quote and a backslash among them.
    let odd = i64::from_le_bytes(*b"\"\\\0\x01\0\0\0\0");
    let cells = [
        since("", NOW_US - 5 * S, ""),
        json!(["\0", {"a": "\"\\"}]).into(),
        since("2 \"(\0", NOW_US - 300 * S, " ago)\""),
        since("", 0, ""),
        since("", odd, ""),
        Value::Null.into(),
    ];
    let cases = [
        (NOW_US, ["5s", "5m"]),
        (NOW_US + 60 * S, ["65s", "6m"]),
        // Parts of a second are cut off, in the past and in the future.
        (NOW_US + S - 1, ["5s", "5m"]),
        (NOW_US - 5 * S - 2 * S + 1, ["0s", "4m53s"]),
        (NOW_US - 5 * S - 2 * S, ["<invalid>", "4m53s"]),
    ];
    for (now, ages) in cases {
        let (first, odd) = (human(now / S), human((now - odd) / S));
        let want = json!([ages[0], ["\0", {"a": "\"\\"}], format!("2 \"(\0{} ago)\"", ages[1]), first, odd, null]);
        assert_eq!(Value::from(shown(&cells, now)), want);
    }
    assert_eq!(shown(&[], NOW_US), Vec::<Value>::new());
    assert_eq!(shown(&[since("", i64::MAX, ""), since("", i64::MIN, "")], NOW_US)[0], "<invalid>");
}

/// The cells of an object, as text with ` | ` between them.
fn check(group: &str, kind: &str, mut object: Value, want: &str) {
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let cells = for_kind(group, kind).unwrap()(&object);
    let brief = Projection::new(paths(group, kind).iter().copied()).of(&object);
    assert_eq!(cells, for_kind(group, kind).unwrap()(&brief), "{kind}: a cell reads what its paths do not name");
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    assert_eq!(shown(&cells, NOW_US).iter().map(text).collect::<Vec<_>>().join(" | "), want, "{kind}");
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

#[test]
fn what_is_empty_is_not_what_is_absent() {
    let volume = |spec: Value| json!({"spec": spec, "status": {"phase": "Bound"}});
    let named = json!({"volumeAttributesClassName": "", "volumeMode": ""});
    check("", "PersistentVolumeClaim", volume(named.clone()), "x | Bound |  |  |  |  |  | 60m | ");
    check("", "PersistentVolume", volume(named), "x | 0 |  |  | Bound |  |  |  |  | 60m | ");
    check("", "PersistentVolume", volume(json!({})), "x | 0 |  |  | Bound |  |  | <unset> |  | 60m | <unset>");
    let class = |group: Value| json!({"spec": {"controller": "c", "parameters": {"apiGroup": group, "kind": "K", "name": "n"}}});
    check("networking.k8s.io", "IngressClass", class(json!("")), "x | c | K./n | 60m");
    check("networking.k8s.io", "IngressClass", class(json!("g")), "x | c | K.g/n | 60m");
    check("networking.k8s.io", "IngressClass", class(Value::Null), "x | c | K/n | 60m");
    let slice = |ports: Value| json!({"addressType": "IPv4", "ports": ports});
    for (ports, want) in [
        (json!([{"name": ""}]), "<unset>"),
        (json!([{}]), "*"),
        (json!([{"name": ""}, {"port": 1}]), ",1"),
        (json!([{"port": 1}, {"name": "b"}, {}, {"port": 4}]), "1,b,* + 1 more..."),
    ] {
        check("discovery.k8s.io", "EndpointSlice", slice(ports), &format!("x | IPv4 | {want} | <unset> | 60m"));
    }
}

#[test]
fn hosts_are_counted_with_the_rules_that_come_after_them() {
    let rules = |hosts: &[&str]| -> Value {
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        json!({"spec": {"rules": rules}})
    };
    for (hosts, want) in [
        (&[][..], "*"),
        (&["", ""], "*"),
        (&["a", "", "b", "", "c"], "a,b,c"),
        (&["a", "b", "c", ""], "a,b,c + 1 more..."),
        (&["", "a", "b", "c", "d"], "a,b,c + 2 more..."),
    ] {
        check("networking.k8s.io", "Ingress", rules(hosts), &format!("x | <none> | {want} |  | 80 | 60m"));
    }
}

#[test]
fn a_selector_that_is_not_valid_is_shown_as_such() {
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    check("networking.k8s.io", "NetworkPolicy", json!({"spec": {"podSelector": selector}}), "x | <error> | 60m");
    let deployment = json!({"spec": {"selector": selector}});
    check("apps", "Deployment", deployment, "x | 0/0 | 0 | 0 | 60m |  |  | <invalid>");
}

#[test]
fn parameters_of_a_bound_policy_are_shown_as_what_selects_them() {
    let selector = json!({"matchLabels": {"b": "1", "a": "2"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["x", "y"]}, {"key": "d", "operator": "Exists"}]});
    let as_go = "&LabelSelector{MatchLabels:map[string]string{a: 2,b: 1,},MatchExpressions:[]LabelSelectorRequirement{\
                 LabelSelectorRequirement{Key:c,Operator:In,Values:[x y],},\
                 LabelSelectorRequirement{Key:d,Operator:Exists,Values:[],},},}";
    for (parameters, want) in [
        (Value::Null, "<unset>"),
        (json!({"namespace": "n"}), "<unset>"),
        (json!({"name": "p"}), "*/p"),
        (json!({"name": "p", "namespace": "n"}), "n/p"),
        (json!({"selector": selector.clone()}), as_go),
        (json!({"selector": selector, "namespace": "n"}), as_go),
    ] {
        let binding = json!({"spec": {"policyName": "q", "paramRef": parameters}});
        let group = "admissionregistration.k8s.io";
        check(group, "ValidatingAdmissionPolicyBinding", binding, &format!("x | q | {want} | 60m"));
    }
}

#[test]
fn an_amount_that_was_not_measured_is_unknown_and_one_that_is_missing_is_nil() {
    let scaler = |metric: Value, status: Value| json!({"spec": {"maxReplicas": 1, "metrics": [metric]}, "status": {"currentMetrics": [status]}});
    let metric = |kind: &str, field: &str, target: Value| json!({"type": kind, field: {"target": target}});
    let current = |field: &str, current: Value| json!({field: {"current": current}});
    let (average, value) = (json!({"averageValue": "5"}), json!({"value": "7"}));
    for (metric, status, want) in [
        (metric("Pods", "pods", average.clone()), Value::Null, "<unknown>/5"),
        (metric("Pods", "pods", average.clone()), current("pods", json!({})), "<nil>/5"),
        (metric("Pods", "pods", json!({})), current("pods", average.clone()), "5/<nil>"),
        (metric("External", "external", average.clone()), current("external", json!({})), "<unknown>/5 (avg)"),
        (metric("External", "external", value.clone()), current("external", json!({})), "<nil>/7"),
        (metric("Object", "object", value.clone()), Value::Null, "<unknown>/7"),
        (metric("Object", "object", value.clone()), current("object", value.clone()), "7/7"),
        (metric("Resource", "resource", average.clone()), current("resource", json!({})), ": <nil>/5"),
    ] {
        let want = format!("x | / | {want} | <unset> | 1 | 0 | 60m");
        check("autoscaling", "HorizontalPodAutoscaler", scaler(metric, status), &want);
    }
}

#[test]
fn labels_are_in_the_order_of_their_texts() {
    let service = json!({"spec": {"selector": {"app": "x", "app.kubernetes.io/name": "y"}}});
    let want = "x |  | <none> | <unknown> | <none> | 60m | app.kubernetes.io/name=y,app=x";
    check("", "Service", service, want);
    let policy = json!({"spec": {"podSelector": {"matchLabels": {"app": "x", "app.kubernetes.io/name": "y"},
        "matchExpressions": [{"key": "k", "operator": "In", "values": ["b", "a", "b"]}]}}});
    let want = "x | app=x,app.kubernetes.io/name=y,k in (a,b,b) | 60m";
    check("networking.k8s.io", "NetworkPolicy", policy, want);
}

#[test]
fn a_pod_that_has_ended_is_terminating_once_it_is_deleted() {
    let pod = |reason: &str| {
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:00Z"},
            "status": {"phase": "Succeeded", "reason": reason}})
    };
    check("", "Pod", pod(""), "x | 0/0 | Terminating | 0 | 60m | <none> | <none> | <none> | <none>");
    check("", "Pod", pod("NodeLost"), "x | 0/0 | Unknown | 0 | 60m | <none> | <none> | <none> | <none>");
}

#[test]
fn of_conditions_of_one_type_each_kind_has_its_own_that_counts() {
    let ready = |statuses: &[&str]| -> Value {
        statuses.iter().map(|status| json!({"type": "Ready", "status": status})).collect()
    };
    let node = |statuses: &[&str]| json!({"status": {"conditions": ready(statuses)}});
    let rest = "<none> | 60m |  | <none> | <none> | <unknown> | <unknown> | <unknown>";
    check("", "Node", node(&["False", "True"]), &format!("x | Ready | {rest}"));
    check("", "Node", node(&["True", "False"]), &format!("x | NotReady | {rest}"));
    let pod = |statuses: &[&str]| {
        let containers = json!([{"ready": true, "state": {"running": {}}},
            {"state": {"terminated": {"reason": "Completed"}}}]);
        json!({"status": {"phase": "Running", "conditions": ready(statuses), "containerStatuses": containers}})
    };
    let rest = "0 | 60m | <none> | <none> | <none> | <none>";
    check("", "Pod", pod(&["False", "True"]), &format!("x | 1/0 | Running | {rest}"));
    check("", "Pod", pod(&["False", "False"]), &format!("x | 1/0 | NotReady | {rest}"));
}

#[test]
fn the_first_moment_is_no_time() {
    const ZERO: &str = "0001-01-01T00:00:00Z";
    let event = json!({"firstTimestamp": ZERO, "lastTimestamp": ZERO, "eventTime": "2026-01-01T00:59:00.5Z"});
    check("", "Event", event, "59s |  |  |  |  |  |  | 59s | 1 | x");
    let last = json!({"terminated": {"finishedAt": ZERO}});
    let pod = json!({"status": {"containerStatuses": [{"restartCount": 2, "lastState": last}]}});
    check("", "Pod", pod, "x | 0/0 |  | 2 | 60m | <none> | <none> | <none> | <none>");
}

#[test]
fn an_api_service_is_unavailable_for_a_reason_if_there_is_one() {
    let service = |reason: &str| {
        let conditions = json!([{"type": "Available", "status": "False", "reason": reason}]);
        json!({"spec": {}, "status": {"conditions": conditions}})
    };
    check("apiregistration.k8s.io", "APIService", service("Gone"), "x | Local | False (Gone) | 60m");
    check("apiregistration.k8s.io", "APIService", service(""), "x | Local | False | 60m");
}

#[test]
fn an_owner_is_named_with_its_group_in_small_letters() {
    let revision = |api_version: &str| {
        let owner = json!({"controller": true, "apiVersion": api_version, "kind": "DaemonSet", "name": "D"});
        json!({"metadata": {"ownerReferences": [owner]}, "revision": 1})
    };
    for (api_version, want) in [("Apps.x/v1", "daemonset.apps.x/D"), ("v1", "daemonset/D"), ("/v1", "daemonset/D")] {
        check("apps", "ControllerRevision", revision(api_version), &format!("x | {want} | 1 | 60m"));
    }
}
