//! Ends: deletion in its ways, garbage collection, namespaces with content; and what takes a node out of service.

use crate::Step;
use crate::place::{Place, shell_pod, web};

pub const STEPS: &[Step] =
    &[("delete", delete), ("cascade", cascade), ("namespace with content", namespace), ("finalizers", finalizers)];

/// Steps that no other step may run beside.
pub const DISTURBING: &[Step] = &[("taints", taints), ("drain", drain), ("status of mainstay", status)];

fn delete(place: &Place) {
    place.shell_pod("a", "sleep 3600");
    place.shell_pod("b", "sleep 3600");
    assert_eq!(place.ok("delete pod a b --now"), "pod \"a\" deleted\npod \"b\" deleted\n");
    assert!(place.fails("delete pod a").contains("pods \"a\" not found"));
    assert_eq!(place.ok("delete pod a --ignore-not-found"), "");
    place.shell_pod("c", "sleep 3600");
    place.ok("delete pod c --wait=false");
    place.ok("wait pod/c --for=delete --timeout=30s");
    place.ok("create configmap one");
    place.ok("create configmap two");
    place.ok("label configmap two go=yes");
    assert_eq!(place.ok("delete configmaps -l go=yes"), "configmap \"two\" deleted\n");
    assert!(
        place.ok("delete configmaps --all --dry-run=server").contains("configmap \"one\" deleted (server dry run)")
    );
    place.ok("get configmap one");
}

fn cascade(place: &Place) {
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    place.ok("delete deployment web --cascade=orphan");
    let set = place.ok("get replicasets -o name");
    assert!(set.starts_with("replicaset.apps/web-"), "{set}");
    let owners = place.ok(&format!("get {} -o jsonpath={{.metadata.ownerReferences}}", set.trim()));
    assert_eq!(owners, "", "an orphan has no owner");
    assert_eq!(place.ok("get pods -o name").lines().count(), 2);
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok("get replicasets -o name"), set, "the orphan is adopted");
    place.ok("delete deployment web --cascade=foreground");
    assert_eq!(place.ok("get replicasets,pods -o name"), "", "foreground waits for the dependents");
    foreground(place);
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    place.ok("delete deployment web");
    place.eventually("get replicasets,pods -o name", str::is_empty);
}

/// Deletes in the foreground what was adopted the moment before, again and again, with pods that are slow to end.
fn foreground(place: &Place) {
    let slow = web("web", 2)
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 2")
        .replace("exec httpd", "trap \"\" TERM; httpd")
        .replace("-h /www'", "-h /www; sleep 3600'");
    for round in 0..6 {
        place.apply(&slow);
        place.ok("rollout status deployment/web --timeout=60s");
        place.ok("delete deployment web --cascade=orphan");
        place.apply(&slow);
        place.eventually("get replicasets -o jsonpath={.items[*].metadata.ownerReferences[*].kind}", |kind| {
            kind == "Deployment"
        });
        place.ok("delete deployment web --cascade=foreground");
        assert_eq!(place.ok("get replicasets,pods -o name"), "", "round {round}");
    }
    // A pod that may not go holds all above it.
    place.apply(&slow);
    place.ok("rollout status deployment/web --timeout=60s");
    let pod = place.ok("get pods -o jsonpath={.items[0].metadata.name}");
    place.ok_args(&["patch", "pod", &pod, "-p", r#"{"metadata":{"finalizers":["example.com/held"]}}"#]);
    place.ok("delete deployment web --cascade=foreground --wait=false");
    place.eventually("get pods -o name", |names| names.lines().count() == 1);
    for kind in ["deployments", "replicasets"] {
        let finalizers = place.ok(&format!("get {kind} -o jsonpath={{.items[*].metadata.finalizers}}"));
        assert_eq!(finalizers, r#"["foregroundDeletion"]"#, "{kind}");
    }
    place.ok_args(&["patch", "pod", &pod, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    place.ok("wait deployment/web --for=delete --timeout=60s");
    assert_eq!(place.ok("get replicasets,pods -o name"), "");
}

fn namespace(place: &Place) {
    let name = format!("{}-2", place.namespace);
    place.ok(&format!("create namespace {name}"));
    place.eventually(&format!("get serviceaccounts -n {name}"), |text| text.contains("default"));
    place.ok_with(&format!("apply -n {name} -f -"), &web("web", 1));
    place.ok(&format!("create configmap held -n {name}"));
    place.ok(&format!("rollout status deployment/web -n {name} --timeout=60s"));
    let finalizer = r#"{"metadata":{"finalizers":["example.com/held"]}}"#;
    place.ok_args(&["patch", "configmap", "held", "-n", &name, "-p", finalizer]);
    place.ok(&format!("delete namespace {name} --wait=false"));
    assert!(place.ok(&format!("get namespace {name}")).contains("Terminating"));
    let refused = place.fails(&format!("create configmap late -n {name}"));
    assert!(refused.contains("because it is being terminated"), "{refused}");
    place.eventually(&format!("get namespace {name} -o yaml"), |text| text.contains("SomeFinalizersRemain"));
    place.ok_args(&[
        "patch",
        "configmap",
        "held",
        "-n",
        &name,
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    place.ok(&format!("wait namespace/{name} --for=delete --timeout=60s"));
}

fn finalizers(place: &Place) {
    place.ok("create configmap held");
    place.ok_args(&["patch", "configmap", "held", "-p", r#"{"metadata":{"finalizers":["example.com/held"]}}"#]);
    place.ok("delete configmap held --wait=false");
    assert_ne!(place.ok("get configmap held -o jsonpath={.metadata.deletionTimestamp}"), "");
    place.ok_args(&[
        "patch",
        "configmap",
        "held",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
    ]);
    place.fails("get configmap held");
}

fn node(place: &Place) -> String {
    place.ok("get nodes -o jsonpath={.items[0].metadata.name}")
}

fn taints(place: &Place) {
    let node = node(place);
    place.shell_pod("stays", "sleep 3600");
    let tolerant =
        shell_pod("tolerant", "sleep 3600").replace("spec:", "spec:\n  tolerations: [{key: test, operator: Exists}]");
    place.ok(&format!("taint node {node} test=yes:NoSchedule"));
    place.apply(&shell_pod("waits", "sleep 3600"));
    place.eventually("describe pod waits", |text| text.contains("had untolerated taint {test: yes}"));
    place.apply(&tolerant);
    place.ready("tolerant");
    place.ok(&format!("taint node {node} test=yes:NoExecute"));
    place.ok("wait pod/stays --for=delete --timeout=60s");
    place.ok("get pod tolerant");
    place.ok(&format!("taint node {node} test-"));
    place.ready("waits");
}

fn drain(place: &Place) {
    let node = node(place);
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    place.shell_pod("bare", "sleep 3600");
    let refused = place.run(&format!("drain {node} --timeout=20s --pod-selector=app"));
    assert!(
        refused.stderr.contains("cannot delete Pods that declare no controller"),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    assert!(place.ok(&format!("get node {node}")).contains("Ready,SchedulingDisabled"));
    let drained = place.ok(&format!("drain {node} --force --delete-emptydir-data --ignore-daemonsets --timeout=60s"));
    assert!(drained.contains(&format!("node/{node} drained")) && drained.contains("evicted"), "{drained}");
    place.eventually("get pods --field-selector=status.phase=Pending -o name", |text| text.lines().count() == 2);
    assert_eq!(place.ok(&format!("uncordon {node}")), format!("node/{node} uncordoned\n"));
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok(&format!("cordon {node}")), format!("node/{node} cordoned\n"));
    place.ok(&format!("uncordon {node}"));
    place.ok("create poddisruptionbudget web --selector=app=web --min-available=2");
    let pod = place.ok("get pods -l app=web -o jsonpath={.items[0].metadata.name}");
    let eviction = format!(
        "{{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{{\"name\":\"{pod}\",\"namespace\":\"{}\"}}}}",
        place.namespace
    );
    let path = place.file("eviction.json", &eviction);
    let refused = place.fails(&format!(
        "create --raw /api/v1/namespaces/{}/pods/{pod}/eviction -f {}",
        place.namespace,
        path.display()
    ));
    assert!(refused.contains("disruption budget"), "{refused}");
}

fn status(place: &Place) {
    let report = place.cluster.mainstay("status", &["-o", "json"]).expect("it runs");
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(report["running"], true);
    assert_eq!(report["nodes"][0]["ready"], true);
    let again = place.cluster.mainstay("up", &[]).expect("it runs");
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.contains("running already"), "{}", again.stdout);
}
