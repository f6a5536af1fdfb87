//! The demo workload: two web servers behind a Service, to see that all parts of the cluster work together.

use super::progress::Progress;
use super::state::Paths;
use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
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

/// Deploys the demo and waits until its page is served through the Service.
///
/// # Errors
/// If it does not become available or does not answer in time, with the reason that the cluster gives.
pub async fn deploy(_paths: &Paths, client: &Client, progress: &Progress) -> Result<()> {
    progress.step("deploying the demo");
    let apply = PatchParams { field_manager: Some("mainstay-up".into()), ..PatchParams::default() };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    create_or_merge(&deployments, &deployment(), &apply).await.context("cannot deploy the demo")?;
    create_or_merge(&services, &service(), &apply).await.context("cannot create the demo's Service")?;
    progress.step("waiting for the demo's pods");
    wait_until_available(&deployments).await?;
    progress.step("asking the demo for its page");
    let address = address(client).await?.context("the demo's Service has no address")?;
    wait_for_answer(address).await
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

async fn create_or_merge<K>(api: &Api<K>, object: &serde_json::Value, params: &PatchParams) -> Result<()>
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let typed: K = serde_json::from_value(object.clone())?;
    let post = kube::api::PostParams { field_manager: params.field_manager.clone(), ..Default::default() };
    match api.create(&post, &typed).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(e)) if e.code == 409 => {
            api.patch(NAME, params, &Patch::Merge(object)).await?;
            Ok(())
        }
        Err(e) => Err(e.into()),
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
