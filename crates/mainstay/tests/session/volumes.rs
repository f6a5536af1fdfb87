//! Volumes that the cluster itself fills: configMap, secret, downward API, projected; and those of the node.

use crate::Step;
use crate::place::{Place, shell_pod};

pub const STEPS: &[Step] = &[("volumes", volumes), ("volumes that change", updates), ("persistent files", files)];

/// [sig-auth] ServiceAccounts should mount projected service account token
fn volumes(place: &Place) {
    place.ok("create configmap settings --from-literal=a=1 --from-literal=b=2");
    place.ok("create secret generic hidden --from-literal=word=sesame");
    place.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: vol, labels: {tier: front}, annotations: {note: hi}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4321}
  volumes:
  - {name: config, configMap: {name: settings, items: [{key: a, path: deep/renamed, mode: 0400}]}}
  - {name: secret, secret: {secretName: hidden, defaultMode: 0440}}
  - {name: none, configMap: {name: absent, optional: true}}
  - name: down
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
  - name: all
    projected:
      sources:
      - {configMap: {name: settings}}
      - {secret: {name: hidden, items: [{key: word, path: secret-word}]}}
      - {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
      - {serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, sleep 3600]
    resources: {limits: {cpu: 250m, memory: 32Mi}}
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: config, mountPath: /single, subPath: deep/renamed}
    - {name: secret, mountPath: /secret, readOnly: true}
    - {name: none, mountPath: /none}
    - {name: down, mountPath: /down}
    - {name: all, mountPath: /all}
    - {name: memory, mountPath: /memory}
",
    );
    place.ready("vol");
    assert_eq!(place.sh("vol", "cat /config/deep/renamed /single"), "11");
    assert_eq!(place.sh("vol", "cat /secret/word; ls /none"), "sesame");
    assert_eq!(place.sh("vol", "cat /down/labels /down/cpu"), "tier=\"front\"250");
    assert_eq!(place.sh("vol", "cd /all; cat a b secret-word name; [ -s token ] && echo yes"), "12sesamevolyes\n");
    assert!(
        place.sh("vol", "ls -lnL /secret").contains("-r--r-----")
            && place.sh("vol", "ls -lnL /secret").contains(" 4321 ")
    );
    assert!(place.sh("vol", "grep ' /memory ' /proc/mounts").starts_with("tmpfs /memory tmpfs rw"));
    let answer = place.run_args(&["exec", "vol", "--", "sh", "-c", "echo x > /config/new"], "");
    assert!(answer.stderr.contains("Read-only file system"), "{}", answer.stderr);
    place.apply(
        &shell_pod("lacks", "true")
            .replace("containers:", "volumes: [{name: v, secret: {secretName: absent}}]\n  containers:"),
    );
    place.eventually("describe pod lacks", |text| {
        text.contains("MountVolume.SetUp failed for volume \"v\" : secret \"absent\" not found")
    });
}

fn updates(place: &Place) {
    place.ok("create configmap settings --from-literal=a=1");
    let pod = shell_pod("vol", "sleep 3600")
        .replace("containers:", "volumes: [{name: v, configMap: {name: settings}}]\n  containers:")
        .replace("image:", "volumeMounts: [{name: v, mountPath: /v}]\n    image:");
    place.apply(&pod);
    place.ready("vol");
    place.ok_args(&["patch", "configmap", "settings", "-p", r#"{"data":{"a":"2"}}"#]);
    place.eventually("exec vol -- cat /v/a", |text| text == "2");
}

fn files(place: &Place) {
    let dir = place.path("host");
    let pod = shell_pod("host", "echo kept > /host/file; sleep 3600")
        .replace(
            "containers:",
            &format!(
                "volumes: [{{name: v, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]\n  containers:",
                dir.display()
            ),
        )
        .replace("image:", "volumeMounts: [{name: v, mountPath: /host}]\n    image:");
    place.apply(&pod);
    place.ready("host");
    place.eventually("exec host -- cat /host/file", |text| text == "kept\n");
    place.ok("delete pod host");
    assert_eq!(std::fs::read_to_string(dir.join("file")).expect("it stays"), "kept\n");
}
