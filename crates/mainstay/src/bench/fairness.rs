//! How much a crowd of greedy clients delays one client of the system: its latencies while the server is quiet, and
//! while the greedy ones list without pause.

use super::connect::Target;
use super::meter::Meter;
use anyhow::{Context as _, Result, anyhow, bail};
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The system's client; the default flow schemas give it the level workload-high.
const SYSTEM_USER: &str = "system:kube-scheduler";
/// Pause between its requests, so that it loads nothing itself.
const PAUSE: Duration = Duration::from_millis(2);
/// Time for which the greedy clients run before latencies count.
const WARM_UP: Duration = Duration::from_secs(1);

/// What to measure.
pub struct Plan {
    /// How to reach the server.
    pub target: Target,
    /// Namespace with pods in it, for the greedy clients to list; their user is a service account of it.
    pub namespace: String,
    /// Path of a pod that the system's client gets.
    pub pod: String,
    /// Greedy clients.
    pub greedy: usize,
    /// Requests of the system's client, quiet and loaded each.
    pub requests: usize,
    /// Processes whose CPU time is the server's.
    pub pids: Vec<i32>,
}

/// Measures; gives the lines `fairness-quiet` and `fairness-loaded`, the latter with the ratio of the two p99.
///
/// # Errors
/// If the server cannot be reached or refuses the system's client.
pub async fn run(plan: &Plan) -> Result<Vec<Map<String, Value>>> {
    let quiet = measure(plan, "fairness-quiet").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let runtime = crowd_runtime()?;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..plan.greedy {
        // Its connections, too, are the work of those threads.
        let client = {
            let _within = runtime.enter();
            plan.target.client()?
        };
        let user = format!("system:serviceaccount:{}:greedy", plan.namespace);
        let path = format!("/api/v1/namespaces/{}/pods?resourceVersion=0", plan.namespace);
        let (stop, answered, refused) = (stop.clone(), answered.clone(), refused.clone());
        let greedy = async move {
            while !stop.load(Ordering::Relaxed) {
                let counter = if get(&client, &path, &user).await? { &answered } else { &refused };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        crowd.spawn_on(greedy, runtime.handle());
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, started) = (answered.load(Ordering::Relaxed), Instant::now());
    let loaded = measure(plan, "fairness-loaded").await;
    let greedy = answered.load(Ordering::Relaxed) - before;
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = crowd.join_next().await {
        ended.context("a greedy client panicked")??;
    }
    runtime.shutdown_background();
    let mut loaded = loaded?;
    let ratio = loaded["p99_ms"].as_f64().unwrap_or(0.0) / quiet["p99_ms"].as_f64().unwrap_or(0.0).max(0.01);
    loaded.insert("p99_ratio".into(), json!((ratio * 100.0).round() / 100.0));
    loaded.insert("greedy_clients".into(), plan.greedy.into());
    loaded.insert("greedy_per_second".into(), json!((greedy as f64 / seconds).round()));
    loaded.insert("greedy_refused".into(), refused.load(Ordering::Relaxed).into());
    Ok(vec![quiet, loaded])
}

/// Threads for the greedy clients that run when nobody else wants to: where they share the server's processors, what they do with
/// the answers must not stand in the way of who is measured. What they ask of the server remains.
fn crowd_runtime() -> Result<tokio::runtime::Runtime> {
    let yields = || {
        if let Err(error) = yield_to_all() {
            tracing::warn!(%error, "the greedy clients run with the priority of the others");
        }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().on_thread_start(yields).build().context("no async runtime for the greedy clients")
}

/// Gives this thread the lowest priority, and makes it one that whoever wakes interrupts at once; the latter by util-linux's `chrt`,
/// where that is.
fn yield_to_all() -> Result<()> {
    const LOWEST: i32 = 19;
    rustix::process::setpriority_process(None, LOWEST)?;
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let idle = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status().context("cannot run chrt")?;
    if idle.success() { Ok(()) } else { bail!("chrt ended with {idle}") }
}

/// The system's client at work, on a thread of its own, so that the greedy ones do not delay it in this process.
async fn measure(plan: &Plan, op: &'static str) -> Result<Map<String, Value>> {
    let (target, path, requests, pids) = (plan.target.clone(), plan.pod.clone(), plan.requests, plan.pids.clone());
    let thread = std::thread::spawn(move || {
        super::runtime()?.block_on(async move {
            let client = target.client()?;
            get(&client, &path, SYSTEM_USER).await?;
            let meter = Meter::start(&pids);
            let (mut latencies, mut errors) = (Vec::with_capacity(requests), 0);
            for _ in 0..requests {
                tokio::time::sleep(PAUSE).await;
                let started = Instant::now();
                errors += usize::from(!get(&client, &path, SYSTEM_USER).await?);
                latencies.push(started.elapsed());
            }
            if errors > requests / 2 {
                bail!(
                    "the server refuses {SYSTEM_USER}; the user of the measurement must be allowed to impersonate it"
                );
            }
            Ok(meter.line(op, requests, &mut latencies, errors))
        })
    });
    tokio::task::spawn_blocking(move || thread.join()).await?.map_err(|_| anyhow!("the system's client panicked"))?
}

/// Whether a GET as `user` is a success; reads the whole answer, and keeps nothing of it.
async fn get(client: &Client, path: &str, user: &str) -> Result<bool> {
    let mut request = Request::get(path).header("accept", "application/json").body(Body::empty())?;
    request.headers_mut().insert("impersonate-user", HeaderValue::from_str(user)?);
    let answer = client.send(request).await.context("the server does not answer")?;
    let ok = answer.status().is_success();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame.context("the answer broke off")?;
    }
    Ok(ok)
}
