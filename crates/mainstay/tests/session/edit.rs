//! Changing: the patches, set, label, annotate, replace, edit, diff, server-side apply.

use crate::Step;
use crate::place::{Place, web};

pub const STEPS: &[Step] = &[
    ("patch", patch),
    ("label and annotate", label),
    ("replace and edit", replace),
    ("diff", diff),
    ("apply with pruning of fields", apply),
    ("apply on the server", server_side),
];

/// A deployment that need not run.
fn idle(name: &str) -> String {
    web(name, 0)
}

fn patch(place: &Place) {
    place.apply(&idle("web"));
    let strategic =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#;
    assert_eq!(place.ok_args(&["patch", "deployment", "web", "-p", strategic]), "deployment.apps/web patched\n");
    place.ok("rollout status deployment/web --timeout=30s");
    assert_eq!(
        place.ok_args(&["patch", "deployment", "web", "-p", strategic]),
        "deployment.apps/web patched (no change)\n"
    );
    let image = place.ok("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}");
    assert_eq!(image, crate::place::IMAGE, "the container was merged by its name");
    place.ok_args(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"x":"y","app":null}}}"#,
    ]);
    assert_eq!(place.ok("get deployment web -o jsonpath={.metadata.labels}"), r#"{"x":"y"}"#);
    let json =
        r#"[{"op":"test","path":"/spec/replicas","value":0},{"op":"add","path":"/metadata/labels/z","value":"1"}]"#;
    place.ok_args(&["patch", "deployment", "web", "--type=json", "-p", json]);
    assert_eq!(place.ok("get deployment web -o jsonpath={.metadata.labels.z}"), "1");
    let bad = place
        .run_args(&["patch", "deployment", "web", "--type=json", "-p", r#"[{"op":"remove","path":"/absent"}]"#], "");
    assert!(bad.stderr.contains("the server rejected our request due to an error in our request"), "{}", bad.stderr);
    let fixed = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    let bad = place.run_args(&["patch", "deployment", "web", "-p", fixed], "");
    assert!(bad.stderr.contains("field is immutable"), "{}", bad.stderr);
    let scale = r#"{"spec":{"replicas":3}}"#;
    place.ok_args(&["patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", scale]);
    assert_eq!(place.ok("get deployment web --subresource=scale -o jsonpath={.spec.replicas}"), "3");
    place.ok("set env deployment/web B=2");
    assert!(place.ok("set env deployment/web --list").contains("A=1\nB=2"));
    place.ok("set resources deployment/web --requests=cpu=10m --limits=memory=64Mi");
    place.ok("set serviceaccount deployment/web default");
}

fn label(place: &Place) {
    place.ok("create configmap a --from-literal=k=v");
    assert_eq!(place.ok("label configmap a tier=front"), "configmap/a labeled\n");
    assert_eq!(place.ok("get configmaps -l tier=front -o name"), "configmap/a\n");
    assert_eq!(place.ok("get configmaps -o name -l tier!=front,tier"), "");
    assert!(place.fails("label configmap a tier=back").contains("--overwrite is false"));
    place.ok("label configmap a tier=back --overwrite");
    assert_eq!(place.ok("label configmap a tier-"), "configmap/a unlabeled\n");
    assert_eq!(place.ok("annotate configmap a note=hello"), "configmap/a annotated\n");
    assert!(
        place.fails("label configmap a x=not/valid").contains("a valid label must be an empty string or consist of")
    );
}

fn replace(place: &Place) {
    place.ok("create configmap a --from-literal=k=v");
    let yaml = place.ok("get configmap a -o yaml");
    assert_eq!(place.ok_with("replace -f -", &yaml.replace("k: v", "k: w")), "configmap/a replaced\n");
    let stale = place.run_args(&["replace", "-f", "-"], &yaml);
    assert!(stale.stderr.contains("Error from server (Conflict)"), "{}", stale.stderr);
    assert!(
        stale.stderr.contains("the object has been modified; please apply your changes to the latest version"),
        "{}",
        stale.stderr
    );
    let mut edit = place.background("edit configmap a");
    let edited = testbed::run(edit.env("KUBE_EDITOR", "sed -i 's/k: w/k: edited/'"), "").expect("it runs");
    assert_eq!((edited.code, edited.stdout.as_str()), (0, "configmap/a edited\n"), "{}", edited.stderr);
    assert_eq!(place.ok("get configmap a -o jsonpath={.data.k}"), "edited");
    let manifest = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: forced}}";
    let forced = place.ok_with("replace --force -f -", manifest);
    assert!(forced.contains("configmap \"a\" deleted") && forced.contains("configmap/a replaced"), "{forced}");
}

fn diff(place: &Place) {
    place.apply(&idle("web"));
    assert_eq!(place.ok_with("diff -f -", &idle("web")), "");
    let answer = place.run_args(&["diff", "-f", "-"], &idle("web").replace("replicas: 0", "replicas: 5"));
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stdout.contains("-  replicas: 0\n+  replicas: 5\n"), "{}", answer.stdout);
    assert_eq!(
        place.run_args(&["diff", "--server-side", "-f", "-"], &idle("web")).code,
        1,
        "another manager takes part"
    );
}

fn apply(place: &Place) {
    let base = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1', z: '2'}}";
    place.apply(base);
    assert_eq!(place.apply(&base.replace(", z: '2'", "")), "configmap/a configured\n");
    assert_eq!(place.ok("get configmap a -o jsonpath={.data}"), r#"{"x":"1"}"#);
    let path = place.file("two.yaml", &format!("---\n{base}\n---\n{}", base.replace("name: a", "name: b")));
    let said = place.ok(&format!("apply -f {}", path.display()));
    assert_eq!(said, "configmap/a configured\nconfigmap/b created\n");
    let last = place.ok(&format!("apply view-last-applied -f {}", path.display()));
    assert!(last.contains("x: \"1\""), "{last}");
    let said = place.ok(&format!("delete -f {}", path.display()));
    assert_eq!(said, "configmap \"a\" deleted\nconfigmap \"b\" deleted\n");
}

fn server_side(place: &Place) {
    let base = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1', z: '2'}}";
    assert_eq!(place.ok_with("apply --server-side -f -", base), "configmap/a serverside-applied\n");
    let other = base.replace("x: '1'", "x: '9'").replace(", z: '2'", "");
    let conflict = place.run_args(&["apply", "--server-side", "--field-manager=other", "-f", "-"], &other);
    assert_eq!(conflict.code, 1, "{}", conflict.stdout);
    assert!(
        conflict.stderr.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.x"),
        "{}",
        conflict.stderr
    );
    place.ok_with("apply --server-side --force-conflicts --field-manager=other -f -", &other);
    assert_eq!(place.ok("get configmap a -o jsonpath={.data}"), r#"{"x":"9","z":"2"}"#);
    place.ok_with("apply --server-side -f -", "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {}}");
    assert_eq!(place.ok("get configmap a -o jsonpath={.data}"), r#"{"x":"9"}"#, "what it no longer names goes");
    let managers = place.ok("get configmap a --show-managed-fields -o jsonpath={.metadata.managedFields[*].operation}");
    assert_eq!(managers, "Apply Apply");
    assert_eq!(place.ok_with("apply --server-side -f -", &idle("web")), "deployment.apps/web serverside-applied\n");
    assert_eq!(place.ok_with("apply --server-side -f -", &idle("web")), "deployment.apps/web serverside-applied\n");
}
