//! Reading: get in its forms, describe, explain, discovery, permissions; and what bad manifests are told.

use crate::Step;
use crate::place::{Place, shell_pod, web, yaml};
use crate::terminal::Terminal;

pub const STEPS: &[Step] = &[
    ("get in all forms", get),
    ("get and watch", watch),
    ("describe", describe),
    ("explain", explain),
    ("api resources", api_resources),
    ("auth", auth),
    ("errors", errors),
    ("events", events),
];

fn get(place: &Place) {
    let created = place.apply(&web("web", 2));
    assert_eq!(created, "deployment.apps/web created\n");
    assert_eq!(place.apply(&web("web", 2)), "deployment.apps/web unchanged\n");
    place.ok("rollout status deployment/web --timeout=60s");
    let table = place.ok("get deployment web");
    assert!(
        table.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    2/2     2            2 "),
        "{table}"
    );
    let wide = place.ok("get pods -o wide");
    for column in ["READY", "STATUS", "RESTARTS", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"] {
        assert!(wide.contains(column), "{column}: {wide}");
    }
    assert_eq!(wide.matches(" 10.244.").count(), 2, "{wide}");
    assert!(place.ok("get pods -o name").starts_with("pod/web-"));
    let yaml = place.ok("get deployment web -o yaml");
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n") && yaml.contains("availableReplicas: 2"),
        "{yaml}"
    );
    assert!(!yaml.contains("managedFields"), "{yaml}");
    assert!(place.ok("get deployment web -o yaml --show-managed-fields").contains("managedFields"));
    let json: serde_json::Value = serde_json::from_str(&place.ok("get pods -o json")).expect("JSON");
    assert_eq!(json["kind"], "List");
    assert_eq!(json["items"].as_array().map(Vec::len), Some(2));
    let columns = place.ok("get pods -o custom-columns=PHASE:.status.phase --no-headers");
    assert_eq!(columns, "Running\nRunning\n");
    let sorted = place.ok("get pods --sort-by=.metadata.name -l app=web -o jsonpath={.items[*].status.qosClass}");
    assert_eq!(sorted, "BestEffort BestEffort");
    let labels = place.ok("get pods --show-labels -L app --field-selector=status.phase=Running");
    assert!(labels.contains("pod-template-hash=") && labels.contains("APP"), "{labels}");
    let all = place.ok("get all");
    for kind in ["pod/web-", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(kind), "{all}");
    }
    assert!(place.fails("get pod absent").contains("Error from server (NotFound): pods \"absent\" not found"));
    let raw = place.ok(&format!("get --raw /api/v1/namespaces/{}/pods?limit=1", place.namespace));
    assert!(raw.contains("\"remainingItemCount\":1"), "{raw}");
}

fn watch(place: &Place) {
    let mut watching = Terminal::start(place.background("get pods -w"));
    place.apply(&shell_pod("seen", "echo here; sleep 3600"));
    watching.expect("NAME").expect("seen").expect("Pending").expect("ContainerCreating").expect("Running");
    place.ok("delete pod seen");
    watching.expect("Terminating");
    let mut events = Terminal::start(place.background("get pods -w --output-watch-events"));
    place.apply(&shell_pod("again", "sleep 3600"));
    events.expect("ADDED").expect("again").expect("MODIFIED");
    place.ok("delete pod again");
    events.expect("DELETED").expect("again");
}

fn describe(place: &Place) {
    place.apply(&web("web", 1));
    place.ok("expose deployment web --port=80 --target-port=http");
    place.ok("rollout status deployment/web --timeout=60s");
    let pod = place.eventually("describe pods -l app=web", |text| text.contains("Started container web"));
    for part in [
        "Status:           Running",
        "Controlled By:  ReplicaSet/web-",
        "Ready:          True",
        "http-get http://:http/",
        "kube-api-access-",
        "QoS Class:                   BestEffort",
        "Successfully assigned",
        "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        "Image ID:",
    ] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    let deployment = place.ok("describe deployment web");
    for part in [
        "1 desired | 1 updated | 1 total | 1 available | 0 unavailable",
        "Scaled up replica set web-",
        "MinimumReplicasAvailable",
    ] {
        assert!(deployment.contains(part), "{part}: {deployment}");
    }
    let service = place.eventually("describe service web", |text| text.contains(":8080"));
    assert!(service.contains("TargetPort:        http/TCP") && service.contains("ClusterIP"), "{service}");
    let name = place.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    let node = place.ok(&format!("describe node {name}"));
    for part in [
        "KubeletReady",
        "Allocatable:",
        "Non-terminated Pods:",
        "PodCIDR:",
        "Container Runtime Version:  containerd://",
        "Allocated resources:",
        "Lease:",
    ] {
        assert!(node.contains(part), "{part}: {node}");
    }
    assert!(node.contains("Taints:             <none>"), "{node}");
    assert!(place.ok("describe namespace default").contains("Status:       Active"));
    place.ok("describe replicasets,serviceaccounts,configmaps,endpoints");
}

fn explain(place: &Place) {
    let pod = place.ok("explain pods");
    assert!(
        pod.contains("KIND:       Pod") && pod.contains("VERSION:    v1") && pod.contains("spec\t<PodSpec>"),
        "{pod}"
    );
    let probe = place.ok("explain deployment.spec.template.spec.containers.livenessProbe.httpGet");
    assert!(probe.contains("GROUP:      apps") && probe.contains("FIELD: httpGet <HTTPGetAction>"), "{probe}");
    assert!(probe.contains("-required-"), "{probe}");
    let recursive = place.ok("explain cronjob --recursive");
    assert!(recursive.contains("terminationMessagePath\t<string>"), "{recursive}");
    let old = place.ok("explain services.spec --output=plaintext-openapiv2");
    assert!(old.contains("clusterIP\t<string>"), "{old}");
    assert!(place.fails("explain pods.spec.absent").contains("field \"absent\" does not exist"));
}

fn api_resources(place: &Place) {
    let all = place.ok("api-resources");
    for line in [
        "deployments                         deploy",
        "pods                                po",
        "networkpolicies                     netpol",
    ] {
        assert!(all.contains(line), "{line}: {all}");
    }
    let wide = place.ok("api-resources -o wide --namespaced=false --api-group=rbac.authorization.k8s.io");
    assert!(
        wide.contains("clusterroles") && wide.contains("create,delete,deletecollection,get,list,patch,update,watch"),
        "{wide}"
    );
    let versions = place.ok("api-versions");
    for version in ["apps/v1\n", "batch/v1\n", "v1\n", "discovery.k8s.io/v1\n"] {
        assert!(versions.contains(version), "{versions}");
    }
    assert!(place.ok("version").contains("Server Version: v1.30.3"));
    assert!(place.ok("cluster-info").contains("Kubernetes control plane"));
    assert_eq!(place.ok("get --raw /readyz"), "ok");
    let nodes = place.ok("get nodes -o wide");
    assert!(nodes.contains(" Ready ") && nodes.contains("containerd://"), "{nodes}");
    let components = place.ok("get componentstatuses --no-headers");
    let mut lines: Vec<Vec<&str>> = components.lines().map(|line| line.split_whitespace().collect()).collect();
    lines.sort();
    let healthy = ["controller-manager", "etcd-0", "scheduler"].map(|name| vec![name, "Healthy", "ok"]);
    assert_eq!(lines, healthy, "{components}");
}

fn auth(place: &Place) {
    assert_eq!(place.ok("auth can-i create deployments").trim(), "yes");
    let account = format!("--as=system:serviceaccount:{}:default", place.namespace);
    assert_eq!(place.run(&format!("auth can-i list secrets {account}")).stdout.trim(), "no");
    let whoami = place.ok("auth whoami");
    assert!(whoami.contains("kubernetes-admin") && whoami.contains("system:authenticated"), "{whoami}");
    place.ok("create role reader --verb=get,list --resource=configmaps");
    place.ok(&format!("create rolebinding reader --role=reader --serviceaccount={}:default", place.namespace));
    assert_eq!(place.ok(&format!("auth can-i list configmaps {account}")).trim(), "yes");
    assert!(place.ok(&format!("auth can-i --list {account}")).contains("configmaps"));
    let denied = place.fails(&format!("delete configmaps --all {account}"));
    assert!(
        denied.contains("Error from server (Forbidden)") && denied.contains("cannot list resource")
            || denied.contains("cannot delete"),
        "{denied}"
    );
    let denied = place.fails(&format!("get secrets {account}"));
    let expected = format!(
        "Error from server (Forbidden): secrets is forbidden: User \"system:serviceaccount:{0}:default\" cannot list resource \
         \"secrets\" in API group \"\" in the namespace \"{0}\"",
        place.namespace
    );
    assert!(denied.contains(&expected), "{denied}");
    let token = place.ok("create token default --duration=10m");
    assert_eq!(token.matches('.').count(), 2, "{token}");
}

fn errors(place: &Place) {
    let refused = |manifest: &str| {
        let answer = place.run_args(&["create", "-f", "-"], &yaml(manifest));
        assert_ne!(answer.code, 0, "{manifest}: {}", answer.stdout);
        answer.stderr
    };
    let unknown = refused(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicaz: 1, selector: {matchLabels: {a: b}}, \
         template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}}",
    );
    assert!(unknown.contains("strict decoding error: unknown field \"spec.replicaz\""), "{unknown}");
    let invalid = refused("{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: [{name: a}]}}");
    assert!(invalid.contains("The Pod \"Bad_Name\" is invalid:"), "{invalid}");
    assert!(
        invalid.contains("* metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"),
        "{invalid}"
    );
    assert!(invalid.contains("* spec.containers[0].image: Required value"), "{invalid}");
    let wrong = refused("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: many}]}}");
    assert!(
        wrong.contains("cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"),
        "{wrong}"
    );
    let mismatch = refused(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {selector: {matchLabels: {a: b}}, \
         template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}}",
    );
    assert!(mismatch.contains("`selector` does not match template `labels`"), "{mismatch}");
    let kind = refused("{apiVersion: v1, kind: Pot, metadata: {name: a}}");
    assert!(kind.contains("no matches for kind \"Pot\" in version \"v1\""), "{kind}");
    place.ok("create configmap twice --from-literal=a=b");
    assert_eq!(
        place.fails("create configmap twice"),
        "error: failed to create configmap: configmaps \"twice\" already exists\n"
    );
    assert!(place.fails("create configmap x -n absent").contains("namespaces \"absent\" not found"));
    let dry = place.ok("create deployment dry --image=x --dry-run=server -o yaml");
    assert!(dry.contains("progressDeadlineSeconds: 600"), "{dry}");
    place.fails("get deployment dry");
}

fn events(place: &Place) {
    place.apply(&shell_pod("noisy", "sleep 3600").replace("image: ", "imagePullPolicy: Never\n    image: absent-"));
    let seen = place.eventually("get events", |text| text.contains("ErrImageNeverPull"));
    assert!(seen.contains("Scheduled") && seen.contains("pod/noisy"), "{seen}");
    place.eventually("get pods", |text| text.contains("ErrImageNeverPull"));
    place.eventually("events --for pod/noisy --types=Warning", |text| text.contains("ErrImageNeverPull"));
    let sorted =
        place.ok("get events --sort-by=.metadata.creationTimestamp --field-selector=involvedObject.name=noisy");
    assert!(sorted.contains("LAST SEEN"), "{sorted}");
    let impossible = shell_pod("big", "true").replace("image:", "resources: {requests: {cpu: 1000}}\n    image:");
    place.apply(&impossible);
    place.eventually("describe pod big", |text| text.contains("FailedScheduling") && text.contains("Insufficient cpu"));
}
