//! A namespace of a step's own, and what steps ask of it.

use crate::terminal::Terminal;
use std::ops::Deref;
use std::path::PathBuf;
use testbed::{Cluster, Kubectl, Namespace};

/// The image that every cluster of `mainstay up` has.
pub const IMAGE: &str = "mainstay.local/hello:1";

/// Where a step works: `kubectl` with the step's namespace, which goes when the step ends.
pub struct Place<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The step's namespace.
    pub namespace: String,
    kubectl: Kubectl,
}

impl<'a> Place<'a> {
    /// Makes the namespace and waits until pods can be made in it.
    pub fn new(cluster: &'a Cluster, step: &str) -> Self {
        let namespace = step.replace(' ', "-");
        let plain = cluster.kubectl().expect("kubectl is installed");
        plain.ok(&format!("create namespace {namespace}"));
        let kubectl = plain.with_flags(&[&format!("--namespace={namespace}")]);
        kubectl.eventually("get serviceaccounts -o name", |names| names.contains("serviceaccount/default"));
        Self { cluster, namespace, kubectl }
    }

    /// Applies `manifest` and returns what `kubectl` said.
    pub fn apply(&self, manifest: &str) -> String {
        self.ok_with("apply -f -", &yaml(&manifest.replace("IMAGE", IMAGE)))
    }

    /// Makes a pod that runs `script` in the shell and waits until it is ready.
    pub fn shell_pod(&self, name: &str, script: &str) {
        self.apply(&shell_pod(name, script));
        self.ready(name);
    }

    /// Waits until the pod `name` is ready.
    pub fn ready(&self, name: &str) {
        self.ok(&format!("wait pod/{name} --for=condition=Ready --timeout=60s"));
    }

    /// What `script` prints in the pod `name`.
    pub fn sh(&self, name: &str, script: &str) -> String {
        self.ok_args(&["exec", name, "--", "sh", "-c", script])
    }

    /// `kubectl` with `arguments` on a terminal.
    pub fn terminal(&self, arguments: &str) -> Terminal {
        let line = format!("{} {arguments}", self.kubectl.shell_line());
        let mut command = self.kubectl.command("script".as_ref());
        command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm");
        Terminal::start(command)
    }

    /// A file for this step with `content`.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// The path of a file for this step.
    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.scratch().join(format!("{}-{name}", self.namespace))
    }

    /// What `ask` brings on a thread in the network of the machine that the cluster runs on.
    pub fn in_network<T: Send + 'static>(&self, ask: impl FnOnce() -> T + Send + 'static) -> T {
        let path = self.cluster.namespace().path();
        let asked = std::thread::spawn(move || {
            Namespace::enter(&path).expect("the namespace is there");
            ask()
        });
        asked.join().expect("it does not panic")
    }

    /// What a shell script prints on the machine that the cluster runs on.
    pub fn on_host(&self, script: &str) -> String {
        let ended = self.cluster.namespace().shell(script).expect("the shell runs");
        assert!(ended.code == 0, "{script}: exit code {}: {}{}", ended.code, ended.stderr, ended.stdout);
        ended.stdout
    }
}

impl Deref for Place<'_> {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.kubectl
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = self.run("get pods,events -o wide");
            eprintln!("{}:\n{}{}", self.namespace, state.stdout, state.stderr);
        }
        self.run(&format!("delete namespace {} --wait=false", self.namespace));
    }
}

/// `manifest` so that `kubectl` does not take YAML in braces for JSON.
pub fn yaml(manifest: &str) -> String {
    format!("---\n{manifest}")
}

/// A pod that runs `script` in the shell and ends at once when told to.
pub fn shell_pod(name: &str, script: &str) -> String {
    let script = serde_json::to_string(script).expect("text is JSON");
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, {script}]
"
    )
}

/// A deployment whose pods serve their name over HTTP on port 8080.
pub fn web(name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www']
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
"
    )
}
