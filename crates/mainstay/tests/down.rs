//! `mainstay down` leaves nothing: no process, mount, namespace, link, table, cgroup, setting or file, however the
//! cluster was ended before.

use anyhow::{Result, ensure};
use testbed::{Cluster, Traces};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

/// A pod that does not end when it is asked to, under a finalizer besides.
const STUBBORN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: stubborn, finalizers: [example.com/never]}
spec:
  terminationGracePeriodSeconds: 600
  containers:
  - name: main
    image: mainstay.local/hello:1
    command: [sh, -c, "trap '' TERM; while true; do sleep 1; done"]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {medium: Memory}}]
"#;

fn succeed(cluster: &Cluster, command: &str, flags: &[&str]) -> Result<String> {
    let ended = cluster.mainstay(command, flags)?;
    ensure!(ended.code == 0, "mainstay {command}: {}{}", ended.stdout, ended.stderr);
    Ok(ended.stdout)
}

fn nothing_left(traces: &Traces, cluster: &Cluster, files: bool) -> Result<()> {
    let left = traces.left(cluster, files)?;
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

#[test]
fn nothing_stays_and_kept_data_are_found_again() -> Result<()> {
    let mut cluster = Cluster::prepare(BINARY)?;
    let mut traces = Traces::before(&cluster)?;
    cluster.take_down_later();

    // The server and containerd are killed before; the data are kept.
    succeed(&cluster, "up", &[])?;
    traces.note_pods(&cluster)?;
    cluster.kubectl()?.ok("create configmap kept --from-literal=a=b");
    cluster.kill(cluster.server_pid()?)?;
    cluster.kill(cluster.containerd_pid()?)?;
    succeed(&cluster, "down", &["--keep-data"])?;
    nothing_left(&traces, &cluster, false)?;
    ensure!(!cluster.root().join("run").exists() && !cluster.root().join("var/log").exists(), "files besides the data");

    // The next `up` finds the objects; pods that hang in termination do not hold `down` up.
    succeed(&cluster, "up", &["--no-demo"])?;
    let kubectl = cluster.kubectl()?;
    assert_eq!(kubectl.ok_args(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");
    kubectl.ok_with("create -f -", STUBBORN);
    kubectl.ok("wait --for=condition=Ready pod/stubborn --timeout=60s");
    kubectl.ok("delete pod stubborn --wait=false");
    traces.note_pods(&cluster)?;
    succeed(&cluster, "down", &[])?;
    nothing_left(&traces, &cluster, true)?;

    assert!(succeed(&cluster, "down", &[])?.contains("No cluster runs at"));
    Ok(())
}
