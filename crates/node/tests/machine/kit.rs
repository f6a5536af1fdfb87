//! A machine for the agent: fresh network and mount namespaces, a containerd of its own, an API server in this process.
//! No scheduler and no controllers: tests bind their pods themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use apiserver::authn::UserInfo;
use apiserver::{Config as ServerConfig, Server};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use node::{Tls, containerd, image};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The image that tests run.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.35";
/// The node's name.
pub const NODE: &str = "n1";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` in namespaces of its own, by running this test again below `unshare`.
pub fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INNER).is_some() {
        return test();
    }
    let root = rustix::process::geteuid().is_root();
    let busybox = std::path::Path::new("/bin/busybox").exists();
    let found = |program: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|d| d.join(program).exists())
    };
    let missing = [
        (root, "root"),
        (busybox, "a static /bin/busybox"),
        (found("containerd"), "containerd"),
        (found("unshare"), "unshare"),
    ];
    let missing: Vec<&str> = missing.iter().filter(|(there, _)| !there).map(|(_, what)| *what).collect();
    assert!(missing.is_empty(), "this test needs {}; `make test` sees to it", missing.join(", "));
    let dir = tempfile::Builder::new().prefix("mn").tempdir().expect("directory");
    // With its pid namespace ends everything that was started in it.
    let status = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INNER, dir.path())
        .status()
        .expect("unshare runs");
    remove_cgroups(Path::new("/sys/fs/cgroup"), &cgroup(dir.path()), 2);
    assert!(status.success(), "the test failed in its namespaces");
}

const INNER: &str = "NODE_TEST_INNER";

/// The cgroup that a test's pods live below.
fn cgroup(dir: &Path) -> String {
    format!("mainstay-test-{}", dir.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes what pods that were killed left behind in every hierarchy.
fn remove_cgroups(dir: &Path, name: &str, depth: usize) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let ours = depth == 0 || entry.file_name().to_str() == Some(name);
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if ours {
            remove_cgroups(&entry.path(), name, 0);
            if let Err(error) = std::fs::remove_dir(entry.path()) {
                eprintln!("{}: {error}", entry.path().display());
            }
        } else if depth > 1 {
            remove_cgroups(&entry.path(), name, depth - 1);
        }
    }
}

/// The machine.
pub struct Machine {
    pub containerd: Option<containerd::Containerd>,
    pub admin: kube::Client,
    pub config: node::Config,
    pub cluster: pki::Cluster,
    server: Server,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    dir: PathBuf,
}

impl Machine {
    /// Starts everything but the agent.
    pub async fn start() -> Self {
        if let Err(error) = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init()
        {
            eprintln!("{error}");
        }
        run("ip", &["link", "set", "lo", "up"]);
        run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        let dir = PathBuf::from(std::env::var_os(INNER).expect("namespaces"));
        let options = containerd::Options::new(&dir);
        std::fs::create_dir_all(&options.cni_conf_dir).expect("CNI directory");
        std::fs::write(options.cni_conf_dir.join("10-test.conflist"), cni(&dir).to_string())
            .expect("CNI configuration");
        let containerd = containerd::start(options.clone()).await.expect("containerd starts");
        containerd.import_pause().await.expect("pause image");
        let program = std::fs::read("/bin/busybox").expect("busybox");
        let applets = [
            "sh", "cat", "sleep", "echo", "httpd", "nc", "id", "ls", "stat", "wget", "hostname", "touch", "kill",
            "true", "false", "env", "ps", "test", "wc",
        ];
        containerd
            .import(BUSYBOX, &image::archive(&image::busybox(BUSYBOX, program, &applets)))
            .await
            .expect("busybox image");

        let now = chrono::Utc::now().timestamp();
        let cluster = pki::Cluster::load_or_create(&pki::ClusterSpec {
            root: dir.clone(),
            dns_names: Vec::new(),
            ip_addresses: vec![IpAddr::from([127, 0, 0, 1])],
            server_url: "https://127.0.0.1:6443".into(),
            cluster_domain: "cluster.local".into(),
            now_unix_s: now,
        })
        .expect("PKI");
        let store = store::Embedded::open(dir.join("store"), store::Limits::default()).expect("store");
        let server = Server::build(
            ServerConfig {
                client_ca_pem: cluster.ca.cert_pem.clone(),
                root_ca_pem: cluster.ca.cert_pem.clone(),
                service_account_key_pem: cluster.service_account.key_pem.clone(),
                kubelet_client_cert_pem: cluster.kubelet_client.cert_pem.clone(),
                kubelet_client_key_pem: cluster.kubelet_client.key_pem.clone(),
                ..ServerConfig::default()
            },
            Arc::new(store),
        )
        .await
        .expect("server");
        server.ready().await;
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let node_pki = pki::NodePki::load_or_create(&dir, &cluster.ca, NODE, &[ip], now).expect("node PKI");
        let mut config = node::Config::new(NODE, ip, &dir);
        config.tls = Some(Tls { cert_pem: node_pki.serving.cert_pem, key_pem: node_pki.serving.key_pem });
        config.client_ca_pem.clone_from(&cluster.ca.cert_pem);
        // The tests do not depend on how full the disk is.
        config.limits.thresholds = "nodefs.available<1%".parse().expect("thresholds");
        config.listen = "127.0.0.1:10250".parse().expect("address");
        config.pod_cgroup_root = format!("/{}/kubepods", cgroup(&dir));
        let admin = client(&server, "admin", &["system:masters"]);
        let machine = Self { containerd: Some(containerd), admin, config, cluster, server, agent: None, dir };
        machine.create("", "serviceaccounts", json!({"kind": "ServiceAccount", "metadata": {"name": "default"}})).await;
        machine
    }

    /// Starts the agent.
    pub fn start_agent(&mut self) {
        let token = CancellationToken::new();
        let client = client(&self.server, &format!("system:node:{NODE}"), &["system:nodes"]);
        let run = node::run(self.config.clone(), client, token.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = run.await {
                panic!("the agent failed: {error:?}");
            }
        });
        self.agent = Some((token, task));
    }

    /// Stops the agent; containers go on.
    pub async fn stop_agent(&mut self) {
        if let Some((token, task)) = self.agent.take() {
            token.cancel();
            task.await.expect("the agent ends");
        }
    }

    /// Pods of the default namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), "default")
    }

    /// Root of the node's files.
    pub fn root(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Creates an object of the core group in the default namespace.
    pub async fn create(&self, _group: &str, resource: &str, object: Value) -> Value {
        let request = http::Request::post(format!("/api/v1/namespaces/default/{resource}"))
            .header("Content-Type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("request");
        self.admin.request(request).await.unwrap_or_else(|e| panic!("create {object}: {e}"))
    }

    /// Creates a pod on this node. `spec` needs no image, no node and no grace period.
    pub async fn pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!(NODE);
        if spec.get("terminationGracePeriodSeconds").is_none() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        if spec.get("automountServiceAccountToken").is_none() {
            spec["automountServiceAccountToken"] = json!(false);
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container.get("image").is_none() {
                    container["image"] = json!(BUSYBOX);
                }
            }
        }
        if spec["initContainers"].is_null() {
            spec.as_object_mut().expect("object").remove("initContainers");
        }
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}))
                .expect("pod");
        self.pods().create(&PostParams::default(), &pod).await.unwrap_or_else(|e| panic!("create {name}: {e}"));
    }

    /// Waits until a pod fulfils a condition, and returns it.
    pub async fn until(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let wait = await_condition(self.pods(), name, |pod: Option<&Pod>| pod.is_some_and(&condition));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(Some(pod))) => pod,
            other => {
                let now = self.pods().get_opt(name).await.expect("get");
                let now = serde_json::to_string_pretty(&now.map(|p| p.status)).expect("JSON");
                panic!(
                    "{name} is never {what}: {other:?}\nit is {now}\nevents:\n{}",
                    self.events(name).await.join("\n")
                );
            }
        }
    }

    /// Waits for a phase.
    pub async fn phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, phase, |p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase)).await
    }

    /// Waits until a pod is Ready.
    pub async fn ready(&self, name: &str) -> Pod {
        self.until(name, "ready", |p| condition(p, "Ready") == "True").await
    }

    /// Deletes a pod and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.expect("delete");
        let gone = await_condition(self.pods(), name, |pod: Option<&Pod>| pod.is_none());
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            panic!("{name} is never gone\nevents:\n{}", self.events(name).await.join("\n"));
        }
    }

    /// Waits until the node is Ready.
    pub async fn node_ready(&self) -> Node {
        let api: Api<Node> = Api::all(self.admin.clone());
        let ready = |n: Option<&Node>| {
            n.and_then(|n| {
                n.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready").map(|c| c.status == "True")
            })
            .unwrap_or(false)
        };
        tokio::time::timeout(PATIENCE, await_condition(api, NODE, ready))
            .await
            .expect("in time")
            .expect("watch")
            .expect("a node")
    }

    /// A container's log so far, without the runtime's prefixes.
    pub fn log(&self, pod: &Pod, container: &str, attempt: u32) -> String {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let path = self.root().join(format!("var/log/pods/default_{name}_{uid}/{container}/{attempt}.log"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    /// Serves the API on 127.0.0.1:6443, where the administrator's kubeconfig expects it.
    pub async fn serve_api(&self) {
        let server = self.server.service();
        let (cert, key) = (&self.cluster.apiserver.cert_pem, &self.cluster.apiserver.key_pem);
        let certs =
            CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>().expect("certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("key");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.cluster.ca.cert_pem.as_bytes()).expect("CA")).expect("CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_client_cert_verifier(clients.expect("client CA"))
            .with_single_cert(certs, key)
            .expect("TLS");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:6443").await.expect("port");
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else { return };
                    let chain: Vec<Vec<u8>> =
                        tls.get_ref().1.peer_certificates().unwrap_or_default().iter().map(der).collect();
                    let chain = Arc::new(chain);
                    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let mut request: http::Request<apiserver::Body> = request.map(boxed);
                        if !chain.is_empty() {
                            request.extensions_mut().insert(apiserver::PeerCertificates(chain.clone()));
                        }
                        request.extensions_mut().insert(apiserver::RemoteAddr(remote));
                        ask(server.clone(), request)
                    });
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service);
                    if let Err(error) = connection.with_upgrades().await {
                        tracing::debug!(%error, "connection");
                    }
                });
            }
        });
    }

    /// Runs kubectl as the administrator: whether it succeeded, and what it said.
    pub async fn kubectl(&self, args: &[&str]) -> (bool, String) {
        self.kubectl_fed(Stdio::null(), args).await
    }

    /// Runs kubectl with something on its standard input.
    pub async fn kubectl_fed(&self, input: Stdio, args: &[&str]) -> (bool, String) {
        let output = tokio::process::Command::new(kubectl())
            .arg("--kubeconfig")
            .arg(self.root().join("etc/kubernetes/admin.conf"))
            .args(args)
            .env("HOME", self.root())
            .stdin(input)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .unwrap_or_else(|_| panic!("kubectl {args:?} hangs"))
            .expect("kubectl runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    }

    /// Gets a path of the kubelet API as the API server does: status and body.
    pub fn kubelet(&self, path: &str) -> (u16, String) {
        let pki = self.root().join("etc/kubernetes/pki");
        let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
        let (cert, key) = (file("apiserver-kubelet-client.crt"), file("apiserver-kubelet-client.key"));
        curl(&["--cert", &cert, "--key", &key, "--cacert", &file("ca.crt"), &format!("https://127.0.0.1:10250{path}")])
    }

    /// Status of a path of the kubelet API for a stranger.
    pub fn anonymous(&self, path: &str) -> u16 {
        curl(&["--insecure", &format!("https://127.0.0.1:10250{path}")]).0
    }

    /// Status of an upgrade to SPDY.
    pub fn upgrade(&self, path: &str) -> u16 {
        let pki = self.root().join("etc/kubernetes/pki");
        let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
        let (cert, key) = (file("apiserver-kubelet-client.crt"), file("apiserver-kubelet-client.key"));
        let headers = [
            "-H",
            "Connection: Upgrade",
            "-H",
            "Upgrade: SPDY/3.1",
            "-H",
            "X-Stream-Protocol-Version: v4.channel.k8s.io",
        ];
        let url = format!("https://127.0.0.1:10250{path}");
        let mut args = vec!["--max-time", "3", "-X", "POST", "--cert", &cert, "--key", &key, "--cacert"];
        let ca = file("ca.crt");
        args.push(&ca);
        args.extend(headers);
        args.push(&url);
        curl(&args).0
    }

    /// Events of a pod as `Reason message`.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.admin.clone(), "default");
        let all = api.list(&kube::api::ListParams::default()).await.expect("events");
        let mine = all.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(name));
        mine.map(|e| format!("{} {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        self.stop_agent().await;
        if let Some(containerd) = self.containerd.take() {
            containerd.remove_pods().await.expect("pods are removed");
            node::release(&self.config).expect("nothing is held");
            containerd.stop().await.expect("containerd stops");
        }
        drop(self.server);
    }
}

/// A condition's status.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> &'a str {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|c| c.type_ == type_).map_or("", |c| c.status.as_str())
}

fn client(server: &Server, name: &str, groups: &[&str]) -> kube::Client {
    let mut all = groups.to_vec();
    all.push("system:authenticated");
    let user = UserInfo::new(name, &all);
    client::in_process(server.service(), move |parts: &mut http::request::Parts| {
        parts.extensions.insert(user.clone());
    })
}

fn run(program: &str, args: &[&str]) {
    let status = std::process::Command::new(program).args(args).status().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(status.success(), "{program} {args:?}");
}

fn der(certificate: &CertificateDer<'static>) -> Vec<u8> {
    certificate.to_vec()
}

fn boxed(body: hyper::body::Incoming) -> apiserver::Body {
    body.map_err(|e| Box::new(e) as apiserver::BoxError).boxed_unsync()
}

type Answer = Result<http::Response<apiserver::Body>, std::convert::Infallible>;

fn ask(
    mut server: apiserver::Service,
    request: http::Request<apiserver::Body>,
) -> futures::future::BoxFuture<'static, Answer> {
    let answer = tower::Service::call(&mut server, request);
    Box::pin(answer)
}

/// A kubectl, of this version if there is one.
pub fn kubectl() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = PathBuf::from("/usr/lib/google-cloud-sdk/bin");
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain([extra]).collect();
    ["kubectl.1.30", "kubectl"]
        .iter()
        .flat_map(|name| dirs.iter().map(move |d| d.join(name)))
        .find(|p| p.exists())
        .expect("kubectl is installed; `make test` installs it where a package has it")
}

/// Runs curl; status and body.
pub fn curl(args: &[&str]) -> (u16, String) {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(args)
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap_or_default();
    (code.parse().unwrap_or(0), body.to_owned())
}

fn cni(dir: &Path) -> Value {
    json!({"cniVersion": "0.4.0", "name": "test", "plugins": [{
        "type": "ptp", "ipMasq": false,
        "ipam": {"type": "host-local", "dataDir": dir.join("cni"), "ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    }]})
}
