//! The demo workload: two web servers behind a Service, to see that all parts of the cluster work together.

use super::progress::Progress;
use super::state::Paths;
use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Service, ServiceSpec};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Name of the Deployment and of the Service.
pub const NAME: &str = "hello";
/// Namespace of both.
pub const NAMESPACE: &str = "default";
/// The image, built on this machine and never pulled.
pub const IMAGE: &str = "mainstay.local/hello:1";
const REPLICAS: i32 = 2;
const PORT: u16 = 8080;
/// Longest that the replicas may take to become available.
const AVAILABLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest that the Service may take to answer once its pods are available.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before a connection that was refused is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Deploys the demo and waits until its page is served through the Service. A demo that is there stays as it is; one that
/// its user has changed is not waited for, for it may show anything.
///
/// # Errors
/// If it does not become available or does not answer in time, with the reason that the cluster gives.
pub async fn deploy(_paths: &Paths, client: &Client, progress: &Progress) -> Result<()> {
    progress.step("deploying the demo");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let made = create(&deployments, deployment()).await.context("cannot deploy the demo")?;
    let shown = create(&services, service()).await.context("cannot create the demo's Service")?;
    if !is_as_made(&made, &shown) {
        return Ok(());
    }
    progress.step("waiting for the demo's pods");
    wait_until_available(&deployments).await?;
    progress.step("asking the demo for its page");
    let address = address(client).await?.context("the demo's Service has no address")?;
    wait_for_answer(address).await
}

/// Whether nobody has changed what the demo runs and where it is served.
fn is_as_made(deployment: &Deployment, service: &Service) -> bool {
    let labels = BTreeMap::from([("app".to_owned(), NAME.to_owned())]);
    let is_shown =
        |spec: &ServiceSpec| spec.type_.as_deref() == Some("NodePort") && spec.selector.as_ref() == Some(&labels);
    // Every change of what it runs is another generation.
    deployment.metadata.generation == Some(1)
        && deployment.metadata.labels.as_ref() == Some(&labels)
        && service.spec.as_ref().is_some_and(is_shown)
}

/// Where the demo is served: a node's address and the Service's node port. `None` if there is no demo.
///
/// # Errors
/// If the API does not answer.
pub async fn address(client: &Client) -> Result<Option<SocketAddr>> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let Some(service) = services.get_opt(NAME).await? else { return Ok(None) };
    let ports = service.spec.and_then(|s| s.ports).unwrap_or_default();
    let port = ports.first().and_then(|p| p.node_port).and_then(|p| u16::try_from(p).ok());
    let nodes = Api::<Node>::all(client.clone()).list(&kube::api::ListParams::default()).await?;
    let addresses = nodes.items.into_iter().filter_map(|n| n.status?.addresses).flatten();
    let ip = addresses.filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse::<IpAddr>().ok());
    Ok(ip.zip(port).map(SocketAddr::from))
}

/// Makes an object if there is none of its name; gives the one that is there then.
async fn create<K>(api: &Api<K>, object: serde_json::Value) -> Result<K>
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let params = PostParams { field_manager: Some("mainstay-up".into()), ..PostParams::default() };
    match api.create(&params, &serde_json::from_value(object)?).await {
        Err(kube::Error::Api(e)) if e.reason == "AlreadyExists" => Ok(api.get(NAME).await?),
        made => Ok(made?),
    }
}

async fn wait_until_available(deployments: &Api<Deployment>) -> Result<()> {
    let one = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut changes = pin!(watcher(deployments.clone(), one).default_backoff().applied_objects().boxed());
    let mut last = String::from("no replica has started");
    let available = async {
        while let Some(deployment) = changes.try_next().await? {
            let generation = deployment.metadata.generation;
            let status = deployment.status.unwrap_or_default();
            let ready = status.available_replicas.unwrap_or(0);
            if ready >= REPLICAS && status.observed_generation >= generation {
                return anyhow::Ok(());
            }
            last = format!("{ready} of {REPLICAS} replicas are available");
        }
        bail!("the server closed the connection")
    };
    match tokio::time::timeout(AVAILABLE_TIMEOUT, available).await {
        Ok(result) => result,
        Err(_) => bail!(
            "the demo is not available after {} s: {last}; see: kubectl describe pods -l app={NAME}",
            AVAILABLE_TIMEOUT.as_secs()
        ),
    }
}

/// The service proxy learns of the endpoints a moment after we do; until then connections are refused.
async fn wait_for_answer(address: SocketAddr) -> Result<()> {
    let answered = async {
        loop {
            match page(address).await {
                Ok(text) if text.contains("200 OK") => return,
                Ok(_) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, answered)
        .await
        .with_context(|| format!("the demo does not answer at http://{address}/"))
}

async fn page(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn deployment() -> serde_json::Value {
    let script = format!(
        "mkdir -p /tmp/www && echo \"<h1>Mainstay works</h1><p>Served by $(hostname).</p>\" > /tmp/www/index.html && \
         exec httpd -f -p {PORT} -h /tmp/www"
    );
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app": NAME}},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "web",
                        "image": IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c", script],
                        "ports": [{"name": "http", "containerPort": PORT}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
                        "securityContext": {
                            "runAsNonRoot": true,
                            "runAsUser": 65534,
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"}
                        }
                    }]
                }
            }
        }
    })
}

fn service() -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app": NAME}},
        "spec": {"type": "NodePort", "selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": "http"}]}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_that_its_user_has_changed_is_told_from_ours() {
        let demo = || {
            let mut made = deployment();
            made["metadata"]["generation"] = 1.into();
            [made, service()]
        };
        let is_ours = |[deployment, service]: [serde_json::Value; 2]| {
            let deployment = serde_json::from_value(deployment).expect("a Deployment");
            is_as_made(&deployment, &serde_json::from_value(service).expect("a Service"))
        };
        assert!(is_ours(demo()));
        for (object, pointer, value) in [
            (0, "/metadata/generation", json!(2)),
            (0, "/metadata/labels", json!({"app": "mine"})),
            (1, "/spec/type", json!("ClusterIP")),
            (1, "/spec/selector/app", json!("mine")),
        ] {
            let mut changed = demo();
            *changed[object].pointer_mut(pointer).expect("a field") = value;
            assert!(!is_ours(changed), "{pointer}");
        }
    }
}
