//! `mainstay status`, and the few lines that `up` ends with.

use super::demo;
use super::state::{Paths, State};
use crate::cli::{Output, Status};
use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;
use std::fs;

/// What runs, as `status -o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    running: bool,
    pid: i32,
    secure_port: u16,
    rss_bytes: u64,
    nodes: Vec<NodeReport>,
    pods: usize,
    pods_ready: usize,
    demo: Option<String>,
    adaptations: Vec<Adaptation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeReport {
    name: String,
    ready: bool,
    address: String,
    runtime: String,
    /// Conditions such as `DiskPressure`, for which the node takes no pods.
    pressures: Vec<String>,
}

/// How the server had to adapt to this machine.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Adaptation {
    /// Short stable name.
    pub name: String,
    /// What is lacking and what is done instead.
    pub reason: String,
}

/// Prints what runs.
///
/// # Errors
/// If no cluster was started, if it does not run, or if it does not answer.
pub async fn status(args: &Status) -> Result<()> {
    crate::tls::install()?;
    let paths = Paths::new(&args.place.root)?;
    let Some(state) = State::load(&paths)? else {
        bail!("no cluster was started at {}; start one with: mainstay up", paths.root.display())
    };
    if !state.server.is_running() {
        bail!(
            "the server (process {}) has ended; see {}, and start it with: mainstay up",
            state.server.pid,
            paths.log().display()
        );
    }
    let client = client::from_kubeconfig(&paths.kubeconfig()).await?;
    let report = gather(&paths, &state, &client).await?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Text => print_text(&paths, &report),
    }
    Ok(())
}

/// What `up` ends with: what runs, where, and what to try next.
///
/// # Errors
/// If the cluster does not answer.
pub async fn print_summary(paths: &Paths, client: &Client, no_demo: bool) -> Result<()> {
    let state = State::load(paths)?.context("the cluster's state is gone")?;
    let report = gather(paths, &state, client).await?;
    print_text(paths, &report);
    println!("\n  export KUBECONFIG={}\n", paths.kubeconfig().display());
    println!("Try:\n  kubectl get pods -A -o wide");
    if no_demo {
        println!("  kubectl create deployment web --image=nginx");
    } else {
        println!("  kubectl scale deployment {} --replicas 4", demo::NAME);
    }
    println!("  mainstay status");
    Ok(())
}

async fn gather(paths: &Paths, state: &State, client: &Client) -> Result<Report> {
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await.context("the API server does not answer")?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await.context("the API server does not answer")?;
    let adaptations = match fs::read(paths.adaptations()) {
        Ok(text) => serde_json::from_slice(&text).context("the list of adaptations is damaged")?,
        Err(_) => Vec::new(),
    };
    Ok(Report {
        running: true,
        pid: state.server.pid,
        secure_port: state.secure_port,
        rss_bytes: state.server.rss_bytes().unwrap_or(0),
        nodes: nodes.items.into_iter().map(node_report).collect(),
        pods_ready: pods.items.iter().filter(|p| is_ready(p)).count(),
        pods: pods.items.len(),
        demo: demo::address(client).await?.map(|address| format!("http://{address}/")),
        adaptations,
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// What a node with these conditions is short of.
pub fn pressures(conditions: &[NodeCondition]) -> Vec<String> {
    let short = conditions.iter().filter(|c| c.type_.ends_with("Pressure") && c.status == "True");
    short.map(|c| c.type_.clone()).collect()
}

fn node_report(node: Node) -> NodeReport {
    let status = node.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    let addresses = status.addresses.unwrap_or_default();
    let address = addresses.into_iter().find(|a| a.type_ == "InternalIP").map(|a| a.address).unwrap_or_default();
    let runtime = status.node_info.map(|i| i.container_runtime_version).unwrap_or_default();
    NodeReport {
        name: node.metadata.name.unwrap_or_default(),
        ready,
        address,
        runtime,
        pressures: pressures(&conditions),
    }
}

fn print_text(paths: &Paths, report: &Report) {
    let mb = report.rss_bytes / 1_000_000;
    println!("  server   process {}, {mb} MB, log {}", report.pid, paths.log().display());
    println!("  API      https://127.0.0.1:{}", report.secure_port);
    for node in &report.nodes {
        let state = if node.ready { "ready" } else { "not ready" };
        println!("  node     {} ({}), {state}, {}", node.name, node.address, node.runtime);
        for pressure in &node.pressures {
            println!("           {pressure}: it takes no pods; see: kubectl describe node {}", node.name);
        }
    }
    println!("  pods     {} ready of {}", report.pods_ready, report.pods);
    if let Some(demo) = &report.demo {
        println!("  demo     {demo}");
    }
    for adaptation in &report.adaptations {
        println!("  adapted  {}: {}", adaptation.name, adaptation.reason);
    }
}
