//! The same with all roles and a pod that runs: the node agent is killed with the API server.

use super::{BINARY, Victim, crash_often, use_crypto};
use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use testbed::{Cluster, Kubectl, Namespace, Task};

/// Says the next number ten times a second.
const TALKER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: mainstay.local/hello:1
    command: [sh, -c, 'i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done']
";

/// A cluster with containers that must not notice.
struct Host {
    cluster: Cluster,
    tasks: Vec<Task>,
}

impl Host {
    fn unharmed(&self, when: &str) -> Result<()> {
        let now = self.cluster.tasks()?;
        ensure!(now == self.tasks, "{when} other containers run: {now:?}, not {:?}", self.tasks);
        Ok(())
    }
}

impl Victim for Host {
    fn kubeconfig(&self) -> PathBuf {
        self.cluster.root().join("etc/kubernetes/admin.conf")
    }

    fn kill(&mut self) -> Result<()> {
        self.cluster.kill(self.cluster.server_pid()?)?;
        self.unharmed("after kill -9")
    }

    fn restart(&mut self) -> Result<()> {
        let up = self.cluster.mainstay("up", &["--no-demo"])?;
        ensure!(up.code == 0, "up after kill -9: {}{}", up.stdout, up.stderr);
        self.unharmed("after the restart")
    }
}

/// Restarts and readiness of the talker, and the number of its container.
fn state(kubectl: &Kubectl) -> String {
    let columns = "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} \
                   {.status.containerStatuses[0].containerID}";
    kubectl.ok_args(&["get", "pod", "talker", "-o", columns])
}

fn fifty_crashes() -> Result<()> {
    use_crypto();
    let cluster = Cluster::up(BINARY, &["--no-demo"])?;
    let kubectl = cluster.kubectl()?;
    kubectl.eventually("get serviceaccounts -o name", |names| names.contains("serviceaccount/default"));
    kubectl.ok_with("create -f -", TALKER);
    kubectl.ok("wait --for=condition=Ready pod/talker --timeout=60s");
    let before = state(&kubectl);
    let path = cluster.namespace().path();
    // The clients of this test are in the cluster's network too.
    Namespace::enter(&path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || Namespace::enter(&path).expect("the namespace is there"))
        .build()?;
    let mut host = Host { tasks: cluster.tasks()?, cluster };
    runtime.block_on(crash_often(&mut host, 50))?;
    host.restart()?;
    kubectl.ok("wait --for=condition=Ready pod/talker --timeout=30s");
    ensure!(state(&kubectl) == before, "the pod is {}, not {before}", state(&kubectl));
    let log = kubectl.ok("logs talker");
    let numbers = log.lines().map(str::parse).collect::<Result<Vec<u32>, _>>().context("the log is not numbers")?;
    let whole = numbers.iter().zip(0..).all(|(said, wanted)| *said == wanted);
    ensure!(whole && numbers.len() > 50, "the log has gaps or is short: {numbers:?}");
    kubectl.ok("delete pod talker");
    host.cluster.down()
}

#[test]
fn containers_go_on_through_fifty_crashes() -> Result<()> {
    // On a thread that may move to another network.
    std::thread::spawn(fifty_crashes).join().expect("it does not panic")
}
