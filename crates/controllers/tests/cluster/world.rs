//! A cluster in one process: the real API server over the embedded store, the controllers, the scheduler, and nodes
//! that only pretend to run pods.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apiserver::authn::UserInfo;
use apiserver::{Config, Server};
use client::informer::{Informers, Nudge};
use k8s_openapi::api::core::v1::{Event, Node, Pod, PodSpec};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Everything should have happened long before.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two reports of a node.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub struct World {
    server: Server,
    pub admin: kube::Client,
    stop: CancellationToken,
    pub ca: pki::Pair,
    tokens: pki::Pair,
    _directory: tempfile::TempDir,
}

fn client_of(server: &Server, user: UserInfo) -> kube::Client {
    client::in_process(server.service(), move |parts| {
        parts.extensions.insert(user.clone());
    })
}

impl World {
    /// A cluster with `nodes` nodes named `node-0`, ...
    pub async fn start(nodes: usize) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            drop(
                tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init(),
            );
        }
        let directory = tempfile::tempdir().unwrap();
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).unwrap();
        let tokens = pki::key_pair().unwrap();
        let server = Server::build(
            Config {
                advertise_address: Ipv4Addr::new(10, 0, 0, 1).into(),
                service_account_key_pem: tokens.key_pem.clone(),
                ..Config::default()
            },
            Arc::new(store),
        )
        .await
        .unwrap();
        server.ready().await;
        let ca = pki::certificate_authority("kubernetes", chrono::Utc::now().timestamp(), 3650).unwrap();
        let admin = client_of(&server, UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        let world = World { server, admin, stop: CancellationToken::new(), ca, tokens, _directory: directory };
        world.run_controllers();
        world.run_scheduler();
        for n in 0..nodes {
            let name = format!("node-{n}");
            world.create::<Node>(json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})).await;
            let status = json!({"status": {"capacity": capacity(), "allocatable": capacity()}});
            world.api::<Node>().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
            report(&world.api(), &name).await;
        }
        for n in 0..nodes {
            // A new node takes no pods until the controller of nodes has seen that it is ready.
            let untainted = |node: Option<&Node>| node.and_then(|n| n.spec.as_ref()).is_none_or(|s| s.taints.is_none());
            world.until(&world.api::<Node>(), &format!("node-{n}"), untainted).await;
        }
        tokio::spawn(keep_ready(world.api(), nodes, world.stop.clone()));
        tokio::spawn(run_pods(world.admin.clone(), world.stop.clone()));
        world
    }

    fn run_controllers(&self) {
        let manager = client_of(&self.server, UserInfo::authenticated("system:kube-controller-manager", [""; 0]));
        let service = self.server.service();
        let accounts = move |name: &str| {
            let name = format!("system:serviceaccount:kube-system:{name}");
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
            let user = UserInfo::authenticated(name, groups);
            client::in_process(service.clone(), move |parts| {
                parts.extensions.insert(user.clone());
            })
        };
        let config = controllers::Config {
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            root_ca_pem: "the root".into(),
            signing_ca: Some((self.ca.cert_pem.clone(), self.ca.key_pem.clone())),
            service_account_key_pem: Some(self.tokens.key_pem.clone()),
            accounts: Some(Arc::new(accounts)),
            observer: Arc::new(()),
        };
        let (informers, stop) = (Informers::new(manager.clone()), self.stop.clone());
        tokio::spawn(async move { controllers::run(manager, informers, config, stop).await.unwrap() });
    }

    fn run_scheduler(&self) {
        let client = client_of(&self.server, UserInfo::authenticated("system:kube-scheduler", [""; 0]));
        let (informers, stop) = (Informers::new(client.clone()), self.stop.clone());
        tokio::spawn(scheduler::run(client, informers, stop));
    }

    /// A client that acts as somebody.
    pub fn client_as(&self, name: &str, groups: &[&str]) -> kube::Client {
        client_of(&self.server, UserInfo::authenticated(name, groups.iter().copied()))
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Api::all(self.admin.clone())
    }

    pub fn in_default<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        Api::namespaced(self.admin.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let namespace = object.meta().namespace.clone();
        let request = kube::core::Request::new(K::url_path(&(), namespace.as_deref()));
        let request = request.create(&PostParams::default(), serde_json::to_vec(&object).unwrap()).unwrap();
        self.admin.request(request).await.unwrap()
    }

    /// Waits until `holds` of the object `name`; the last state is shown when it never does.
    pub async fn until<K>(&self, api: &Api<K>, name: &str, holds: impl Fn(Option<&K>) -> bool) -> Option<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug + Send + Sync + 'static,
    {
        let condition = |object: Option<&K>| holds(object);
        let waiting = kube::runtime::wait::await_condition(api.clone(), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found.unwrap(),
            Err(_) => {
                let last = api.get_opt(name).await.unwrap();
                self.show().await;
                let last = serde_json::to_string_pretty(&last).unwrap();
                late(&format!("{} {name} does not get there: {last}", K::kind(&())))
            }
        }
    }

    /// Prints what helps to see why something does not happen.
    async fn show(&self) {
        for node in self.api::<Node>().list(&ListParams::default()).await.unwrap().items {
            println!("node {:?} {:?} {:?}", node.metadata.name, node.spec, node.status.map(|status| status.conditions));
        }
        for pod in self.api::<Pod>().list(&ListParams::default()).await.unwrap().items {
            let node = pod.spec.and_then(|spec| spec.node_name);
            println!("pod {:?} on {node:?}: {}", pod.metadata.name, serde_json::to_string(&pod.status).unwrap());
        }
        for event in self.api::<Event>().list(&ListParams::default()).await.unwrap().items {
            println!("event {:?} {:?} {:?}", event.involved_object.name, event.reason, event.message);
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        assert!(self.server.shutdown().await, "the server drains");
    }
}

fn capacity() -> Value {
    json!({"cpu": "64", "memory": "256Gi", "pods": "1100", "ephemeral-storage": "100Gi"})
}

/// Says that a node is ready, as its kubelet does.
async fn report(nodes: &Api<Node>, name: &str) {
    let status = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": chrono::Utc::now()}]}});
    ignore_gone(nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await.map(drop));
}

/// A node that is silent for long is taken for lost.
async fn keep_ready(nodes: Api<Node>, count: usize, stop: CancellationToken) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = heartbeat.tick() => {}
        }
        for n in 0..count {
            report(&nodes, &format!("node-{n}")).await;
        }
    }
}

/// Plays all kubelets: a bound pod runs and is ready at once (never, if that is its command), a deleted one goes at once,
/// one that wants to end ends.
async fn run_pods(client: kube::Client, stop: CancellationToken) {
    let informers = Informers::new(client.clone());
    let pods = informers.get::<Pod>();
    let mut nudges = pods.subscribe();
    let mut last_ip: u32 = u32::from(Ipv4Addr::new(10, 244, 0, 1));
    loop {
        let nudge = tokio::select! {
            () = stop.cancelled() => return,
            nudge = nudges.next() => nudge,
        };
        let keys = match nudge {
            Nudge::Look { key, .. } => vec![key],
            Nudge::All => pods.store().keys(),
        };
        for pod in keys.iter().filter_map(|key| pods.store().get(key)) {
            if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
                last_ip += 1;
                run_pod(&client, &pod, IpAddr::V4(last_ip.into())).await;
            }
        }
    }
}

async fn run_pod(client: &kube::Client, pod: &Pod, ip: IpAddr) {
    let name = pod.metadata.name.as_deref().unwrap();
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() {
        if pod.metadata.deletion_grace_period_seconds != Some(0) || pod.metadata.finalizers.is_none() {
            ignore_gone(api.delete(name, &DeleteParams::default().grace_period(0)).await.map(drop));
        }
        return;
    }
    let spec = pod.spec.as_ref().unwrap();
    if phase != Some("Pending") || spec.containers[0].command.as_deref().is_some_and(|c| c == ["never"]) {
        return;
    }
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let status = if ends(spec).is_some() { "False" } else { "True" };
    let condition = |kind: &str| json!({"type": kind, "status": status, "lastTransitionTime": now});
    let state = match ends(spec) {
        Some(code) => json!({"terminated": {"exitCode": code, "finishedAt": now, "startedAt": now}}),
        None => json!({"running": {"startedAt": now}}),
    };
    let phase = match ends(spec) {
        None => "Running",
        Some(0) => "Succeeded",
        Some(_) => "Failed",
    };
    let statuses: Vec<Value> = spec.containers.iter().map(|container| {
        json!({"name": container.name, "ready": status == "True", "restartCount": 0, "image": "i", "imageID": "i", "state": state})
    }).collect();
    let patch = json!({"status": {"phase": phase, "podIP": ip.to_string(), "podIPs": [{"ip": ip.to_string()}],
        "startTime": now, "conditions": [condition("Ready"), condition("ContainersReady")], "containerStatuses": statuses}});
    ignore_gone(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await.map(drop));
}

/// The code with which the pod's command says that it ends, as in `["exit", "1"]`.
fn ends(spec: &PodSpec) -> Option<i32> {
    match spec.containers[0].command.as_deref()? {
        [exit, code] if exit == "exit" => code.parse().ok(),
        _ => None,
    }
}

fn ignore_gone(result: Result<(), kube::Error>) {
    match result {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
        Err(error) => {
            FAULTS.lock().unwrap().push(error.to_string());
            panic!("{error}");
        }
    }
}

/// What those ended with who play nodes: nobody waits for them, and what they print belongs to another test.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says that something does not happen, and why that may be.
#[track_caller]
pub fn late(what: &str) -> ! {
    let faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    panic!("{what}\nfaults of the nodes: {faults:?}")
}
