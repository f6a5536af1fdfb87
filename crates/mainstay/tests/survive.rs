//! Containers outlive the server and containerd: killed without warning, both come back and find their pods.

use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use testbed::{Cluster, Kubectl};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

/// Says a number five times a second.
const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  containers:
  - name: main
    image: mainstay.local/hello:1
    command: [sh, -c, "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done"]
"#;

/// The page of the first demo pod, asked for at its own address.
fn page(cluster: &Cluster, ip: &str) -> Result<String> {
    let script = format!("exec 3<>/dev/tcp/{ip}/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; timeout 5 cat <&3");
    let ended = cluster.namespace().shell(&script)?;
    ensure!(ended.stdout.contains("Mainstay works"), "no page from {ip}: {}{}", ended.stdout, ended.stderr);
    Ok(ended.stdout)
}

/// Name, restarts and readiness of all pods.
fn pods(kubectl: &Kubectl) -> String {
    let columns = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount} \
                   {.status.containerStatuses[0].ready} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}";
    kubectl.ok_args(&["get", "pods", "-o", columns])
}

/// Follows the talker's log from now on until it has said three more lines, one after the other.
fn follow_log(kubectl: &Kubectl) -> Result<()> {
    let mut command: Command = kubectl.background("logs -f --tail=1 talker");
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let lines: Vec<String> = output.lines().take(4).collect::<Result<_, _>>()?;
    child.kill()?;
    child.wait()?;
    let numbers: Vec<u32> = lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    ensure!(numbers.len() == 4 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "the log says {lines:?}");
    Ok(())
}

#[test]
fn pods_go_on_when_the_server_and_containerd_are_killed() -> Result<()> {
    let mut cluster = Cluster::up(BINARY, &[])?;
    let kubectl = cluster.kubectl()?;
    kubectl.ok_with("create -f -", TALKER);
    kubectl.ok("wait --for=condition=Ready pod/talker --timeout=60s");
    // What its user made of the demo stays.
    kubectl.ok("scale deployment hello --replicas 3");
    kubectl.ok("rollout status deployment hello --timeout=60s");
    let ip = kubectl.ok_args(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].status.podIP}"]);
    let (tasks, before) = (cluster.tasks()?, pods(&kubectl));

    let server = cluster.server_pid()?;
    cluster.kill(server)?;
    ensure!(cluster.mainstay("status", &[])?.code == 1, "status does not see that the server has ended");
    assert_eq!(cluster.tasks()?, tasks, "containers ended with the server");
    page(&cluster, &ip)?;
    let up = cluster.mainstay("up", &[])?;
    ensure!(up.code == 0, "up after kill -9: {}{}", up.stdout, up.stderr);
    assert!(cluster.server_pid()? != server);
    assert_eq!(cluster.tasks()?, tasks, "containers were restarted with the server");
    kubectl.ok("wait --for=condition=Ready pods --all --timeout=30s");
    assert_eq!(pods(&kubectl), before);
    page(&cluster, &ip)?;
    follow_log(&kubectl)?;

    let containerd = cluster.containerd_pid()?;
    cluster.kill(containerd)?;
    page(&cluster, &ip)?;
    // A new pod needs the new containerd.
    kubectl.ok_with("create -f -", &TALKER.replace("name: talker", "name: second"));
    kubectl.ok("wait --for=condition=Ready pod/second --timeout=60s");
    assert!(cluster.containerd_pid()? != containerd);
    let now = cluster.tasks()?;
    assert!(tasks.iter().all(|task| now.contains(task)), "containers ended with containerd: {tasks:?} {now:?}");
    follow_log(&kubectl)?;
    assert_eq!(kubectl.ok("exec talker -- echo works"), "works\n");
    kubectl.ok("delete pod second --grace-period=1");
    kubectl.ok("wait --for=condition=Ready node --all --timeout=30s");
    assert_eq!(pods(&kubectl), before);
    let again = cluster.mainstay("up", &["--no-demo"])?;
    ensure!(again.code == 0 && again.stdout.contains("running already"), "up twice: {}{}", again.stdout, again.stderr);
    cluster.down()
}
