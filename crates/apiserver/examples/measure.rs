//! Measures the pipeline in process, without sockets: `measure [OBJECTS]`. Prints wall and CPU time of each operation.

use apiserver::authn::UserInfo;
use apiserver::{Body, Config, Server, Service, body};
use futures::stream::{self, StreamExt};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tower::Service as _;

/// Clock ticks a second in `/proc`.
const TICKS_PER_S: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let objects: usize = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let directory = tempfile::tempdir()?;
    let started = Instant::now();
    let store = store::Embedded::open(directory.path().join("store"), store::Limits::default())?;
    let server = Server::build(Config { bootstrap: false, ..Config::default() }, Arc::new(store)).await?;
    println!("ready after {:?}", started.elapsed());
    let service = server.service();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    send(&service, "POST", "/api/v1/namespaces", "application/json", Some(&namespace)).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    send(&service, "POST", "/api/v1/namespaces/a/serviceaccounts", "application/json", Some(&account)).await?;
    let pods = "/api/v1/namespaces/a/pods";
    many("create", objects, &service, |i| ("POST", pods.to_owned(), "application/json", Some(pod(i)))).await?;
    many("get", objects, &service, |i| ("GET", format!("{pods}/pod-{i}"), "application/json", None)).await?;
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let merge = "application/merge-patch+json";
    many("patch", objects, &service, |i| ("PATCH", format!("{pods}/pod-{i}"), merge, Some(patch.clone()))).await?;
    for (name, accept) in [("list", "application/json"), ("table", "application/json;as=Table;v=v1;g=meta.k8s.io")] {
        for _ in 0..3 {
            let (wall, cpu) = (Instant::now(), cpu_s());
            let bytes = send(&service, "GET", pods, accept, None).await?;
            println!("{name}: {} bytes in {:?}, {:.0} ms CPU", bytes, wall.elapsed(), (cpu_s() - cpu) * 1e3);
        }
    }
    println!("resident: {} MB", rss_mb());
    Ok(())
}

type Ask = (&'static str, String, &'static str, Option<Value>);

async fn many(
    what: &str,
    count: usize,
    service: &Service,
    ask: impl Fn(usize) -> Ask,
) -> Result<(), Box<dyn std::error::Error>> {
    let (wall, cpu) = (Instant::now(), cpu_s());
    let mut work = stream::iter((0..count).map(|i| {
        let (method, path, media, body) = ask(i);
        let service = service.clone();
        async move {
            tokio::spawn(
                async move { send(&service, method, &path, media, body.as_ref()).await.map_err(|e| e.to_string()) },
            )
            .await
        }
    }))
    .buffer_unordered(16);
    while let Some(result) = work.next().await {
        result??;
    }
    let (wall, cpu) = (wall.elapsed(), cpu_s() - cpu);
    let each = cpu * 1e3 / count as f64;
    println!("{what}: {:.0}/s, {each:.3} ms CPU each", count as f64 / wall.as_secs_f64());
    Ok(())
}

async fn send(
    service: &Service,
    method: &str,
    path: &str,
    media: &str,
    value: Option<&Value>,
) -> Result<usize, Box<dyn std::error::Error>> {
    let body: Body = value.map_or_else(body::empty, |v| body::full(v.to_string()));
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes())?)
        .uri(path)
        .header("accept", if method == "GET" { media } else { "application/json" })
        .header("content-type", media)
        .body(body)?;
    request.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
    let response = service.clone().call(request).await?;
    if response.status().as_u16() >= 400 {
        let bytes = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        return Err(String::from_utf8_lossy(&bytes).into_owned().into());
    }
    let mut bytes = 0;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        bytes += frame.map_err(|e| e.to_string())?.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(bytes)
}

/// A pod of about 4 KB once stored.
fn pod(i: usize) -> Value {
    let env: Vec<Value> =
        (0..20).map(|e| json!({"name": format!("VARIABLE_{e}"), "value": "some value of some length"})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{i}"), "labels": {"app": "web", "tier": "front"}, "annotations": {"note": "x".repeat(200)}},
        "spec": {"containers": [{"name": "main", "image": "registry.example.com/team/web:1.2.3", "env": env,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "ports": [{"containerPort": 8080}]}]}})
}

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or("");
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_S
}

fn rss_mb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) / 1024
}
