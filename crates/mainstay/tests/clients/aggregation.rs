//! `kubectl` with an extension server that this test plays: its resources, and what is told of one that is down.

use crate::support::extension::Extension;
use crate::support::{authority, bundle};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use testbed::{ApiServer, Kubectl, ServerOptions};

const NAME: &str = "v1alpha1.wardle.example.com";
const FLUNDER: &str = "apiVersion: wardle.example.com/v1alpha1
kind: Flunder
metadata: {name: f, labels: {app: x}}
spec: {reference: here}
";

fn api_service(name: &str, service: Value, bundle: &str) -> String {
    let (version, group) = name.split_once('.').expect("a version and a group");
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": bundle, "service": service}})
    .to_string()
}

/// A v2 document of flunders, as servers of old have nothing else.
fn document() -> Value {
    let kind = json!({"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"});
    let operation = json!({"operationId": "listFlunders", "produces": ["application/json"],
        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Flunder"}}},
        "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": kind});
    let reference = json!({"description": "What it refers to.", "type": "string"});
    json!({"swagger": "2.0", "info": {"title": "wardle", "version": "v1"},
        "paths": {"/apis/wardle.example.com/v1alpha1/namespaces/{namespace}/flunders": {"get": operation}},
        "definitions": {
            "Flunder": {"type": "object", "x-kubernetes-group-version-kind": [kind],
                "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                    "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                    "spec": {"$ref": "#/definitions/FlunderSpec"}}},
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object"},
            "FlunderSpec": {"type": "object", "properties": {"reference": reference}}}})
}

#[test]
fn aggregated_resources_are_used_like_others_and_one_server_that_is_down_hides_no_others() {
    let options = ServerOptions { roles: "api,controllers".into(), ..ServerOptions::default() };
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), options).expect("a server");
    let front_proxies = server.root().join("etc/kubernetes/pki/front-proxy-ca.crt");
    let front_proxies = fs::read_to_string(front_proxies).expect("the front proxies' authority");
    let front_proxies = pki::Pair { cert_pem: front_proxies, key_pem: String::new() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ca = authority();
    let extension = runtime.block_on(Extension::start(&ca, "wardle.default.svc", &front_proxies, false));
    *extension.state.v2.lock() = document();
    let k = server.kubectl().expect("kubectl");
    k.eventually("get serviceaccount default -o name", |out| out.contains("default"));

    // No endpoint may be a loopback address, so the service names the machine.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: wardle}\nspec: {type: ExternalName, externalName: localhost}\n";
    k.ok_with("create -f -", service);
    let there = json!({"name": "wardle", "namespace": "default", "port": extension.backend.port});
    let joined = api_service(NAME, there, &bundle(&ca));
    k.ok_with("create -f -", &joined);
    k.ok(&format!("wait --for=condition=Available apiservice/{NAME} --timeout=60s"));
    k.ok_with(
        "create -f -",
        &api_service("v1.broken.example.com", json!({"name": "none", "namespace": "default"}), ""),
    );
    k.eventually("get apiservice v1.broken.example.com --no-headers", |out| out.contains("ServiceNotFound"));
    let table = k.ok("get apiservices");
    let row = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {table}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(row("NAME").starts_with("NAME SERVICE AVAILABLE AGE"), "{table}");
    assert!(row(NAME).starts_with(&format!("{NAME} default/wardle True ")), "{table}");
    assert!(row("v1.broken").starts_with("v1.broken.example.com default/none False (ServiceNotFound) "), "{table}");
    assert!(row("v1.apps").starts_with("v1.apps Local True "), "{table}");

    // What can be found out is, and what cannot is said.
    k.eventually("api-resources --api-group=wardle.example.com -o name", |out| out.contains("flunders"));
    let all = k.ok("api-resources");
    assert!(all.contains("flunders") && all.contains("deployments"), "{all}");
    let broken = k.fails("get --raw /apis/broken.example.com/v1");
    assert!(broken.contains("the server is currently unable to handle the request"), "{broken}");
    assert!(k.ok("get --raw /apis").contains("broken.example.com"), "its group is listed all the same");

    k.ok_with("apply -f -", FLUNDER);
    assert!(k.ok("get flunders").contains("f "), "they are listed");
    assert_eq!(k.ok("get fl f -o jsonpath={.spec.reference}"), "here");
    k.ok_args(&["patch", "flunder", "f", "--type=merge", "-p", r#"{"spec":{"reference":"z"}}"#]);
    assert_eq!(k.ok("get flunders -o jsonpath={.items[0].spec.reference}"), "z");
    k.eventually("explain flunder.spec.reference", |out| out.contains("What it refers to."));
    let by = extension.last("PATCH").expect("a patch").headers;
    assert_eq!(by["x-remote-user"], "kubernetes-admin");

    owners_and_owned_outlive_the_api_service(&k, &joined);
}

/// Flunder `f`, what it owns and what owns another one, while nobody serves flunders and when they are served again.
fn owners_and_owned_outlive_the_api_service(k: &Kubectl, joined: &str) {
    // What a flunder owns outlives the API service, not the flunder.
    let owner = json!([{"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "name": "f", "uid": "uid-f"}]);
    let owned =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": owner}});
    k.ok_with("create -f -", &owned.to_string());
    // What owns flunders goes while nobody can be asked about flunders.
    for (name, blocks) in [("keeper", false), ("parent", true), ("guardian", false)] {
        k.ok(&format!("create configmap {name}"));
        let keeper = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "blockOwnerDeletion": blocks,
            "uid": k.ok(&format!("get configmap {name} -o jsonpath={{.metadata.uid}}"))}]);
        let kept = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder",
            "metadata": {"name": format!("of-{name}"), "namespace": "default", "ownerReferences": keeper}});
        k.ok_with("create -f -", &kept.to_string());
    }
    k.ok(&format!("delete apiservice {NAME} v1.broken.example.com"));
    // What kubectl has found out it remembers for a while.
    let gone = k.fails("get flunders");
    assert!(gone.contains("the server could not find the requested resource"), "{gone}");
    k.ok("delete configmap keeper");
    k.ok("delete configmap parent --cascade=foreground --wait=false");
    k.ok("delete configmap guardian --cascade=orphan --wait=false");
    // Nothing tells that nothing is collected; what goes wrong goes wrong within a second.
    std::thread::sleep(Duration::from_secs(2));
    let waiting = k.ok("get configmaps -o name");
    assert!(waiting.contains("/parent") && waiting.contains("/guardian"), "{waiting}");
    k.ok_with("create -f -", joined);
    k.ok(&format!("wait --for=condition=Available apiservice/{NAME} --timeout=60s"));
    k.eventually("get flunders -o name", |out| out.contains("/f"));
    k.ok("get configmap owned");
    k.eventually("get configmaps -o name", |out| !out.contains("/parent") && !out.contains("/guardian"));
    k.eventually("get flunders -o name", |out| !out.contains("/of-keeper") && !out.contains("/of-parent"));
    assert_eq!(k.ok("get flunder of-guardian -o jsonpath={.metadata.ownerReferences}"), "", "it was let go");
    k.ok("delete flunder f");
    k.eventually("get configmaps -o name", |out| !out.contains("owned"));
}
