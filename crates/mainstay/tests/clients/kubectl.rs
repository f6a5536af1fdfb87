//! Every `kubectl` that is installed: what people type most, with each.

use testbed::{ApiServer, Kubectl, ServerOptions};

const MANIFEST: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: x}}
data: {k: v}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
";

#[test]
fn every_kubectl_that_is_installed_works() {
    let options = ServerOptions { roles: "api,controllers".into(), ..ServerOptions::default() };
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), options).expect("a server");
    let all = Kubectl::all(&server.kubeconfig(), server.root());
    assert!(!all.is_empty(), "no kubectl is installed");
    for (number, kubectl) in all.iter().enumerate() {
        println!("{}", kubectl.shell_line());
        use_it(kubectl, &format!("k{number}"));
    }
}

fn use_it(kubectl: &Kubectl, namespace: &str) {
    assert!(kubectl.ok("version").contains("v1.30."), "it names the server's version");
    kubectl.ok(&format!("create namespace {namespace}"));
    let k = kubectl.with_flags(&["--namespace", namespace]);
    k.eventually("get serviceaccount default -o name", |out| out.contains("default"));
    let applied = k.ok_with("apply -f -", MANIFEST);
    assert!(applied.contains("deployment.apps/web created"), "{applied}");
    assert!(k.ok_with("apply -f -", MANIFEST).contains("configmap/settings unchanged"));
    let server_side = k.ok_with("apply --server-side --force-conflicts -f -", MANIFEST);
    assert!(server_side.contains("deployment.apps/web serverside-applied"), "{server_side}");
    assert!(k.ok_with("apply --dry-run=server -f -", MANIFEST).contains("(server dry run)"));
    let wide = k.ok("get deployments -o wide");
    assert!(wide.contains("CONTAINERS") && wide.contains("nginx"), "{wide}");
    k.eventually("get replicasets -o name", |out| out.lines().count() == 1);
    k.ok("scale deployment web --replicas=3");
    k.eventually("get pods -o name", |out| out.lines().count() == 3);
    k.ok("label configmap settings more=yes");
    k.ok("annotate configmap settings note=x");
    k.ok_args(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"k":"w"}}"#]);
    k.ok_args(&["patch", "configmap", "settings", "--type=json", "-p", r#"[{"op":"remove","path":"/data/k"}]"#]);
    assert_eq!(k.ok("get configmaps -l more=yes -o jsonpath={.items[0].metadata.annotations.note}"), "x");
    k.ok("set image deployment/web c=busybox");
    k.ok("rollout history deployment web");
    k.ok("expose deployment web --port=80");
    let described = k.ok("describe service web");
    assert!(described.contains("Selector:") && described.contains("app=web"), "{described}");
    assert!(k.ok("explain deployment.spec.replicas").contains("integer"), "explain reads the OpenAPI documents");
    assert!(k.ok("api-resources --namespaced=false").contains("nodes"));
    assert_eq!(k.ok("auth can-i create pods").trim(), "yes");
    let refused = k.fails("auth can-i create pods --as=nobody");
    assert!(refused.is_empty() || refused.contains("no"), "{refused}");
    assert!(k.fails("get configmap absent").contains(r#"Error from server (NotFound): configmaps "absent" not found"#));
    let unknown = k.run_args(
        &["apply", "--validate=strict", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\nextra: 1\n",
    );
    assert!(unknown.code != 0 && unknown.stderr.contains("unknown field \"extra\""), "{unknown:?}");
    k.ok("delete deployment web --cascade=foreground --timeout=60s");
    assert_eq!(k.ok("get replicasets,pods -o name"), "");
    k.ok(&format!("delete namespace {namespace} --timeout=60s"));
}
