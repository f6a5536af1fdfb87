//! The measurements of `mainstay bench api`.

use super::Api;
use super::connect::Target;
use super::fairness;
use super::meter::Meter;
use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Longest that a watcher waits for all changes.
const WATCH_TIMEOUT: Duration = Duration::from_secs(120);

struct Run<'a> {
    args: &'a Api,
    target: Target,
    clients: Vec<Client>,
    namespace: String,
}

/// Runs the measurements that `args` names and prints a line for each.
///
/// # Errors
/// If the server cannot be reached, or an operation is not known.
pub async fn run(args: &Api) -> Result<()> {
    const KNOWN: &[&str] = &["create", "get", "list", "table", "patch", "watch", "catch-up", "fairness", "delete"];
    if let Some(unknown) = args.ops.iter().find(|op| !KNOWN.contains(&op.as_str())) {
        bail!("there is no measurement {unknown:?}; there are {}", KNOWN.join(", "));
    }
    let target = Target::new(args).await?;
    let clients = (0..args.clients.max(1)).map(|_| target.client()).collect::<Result<Vec<_>>>()?;
    let namespace = format!("bench-{:08x}", rand::random::<u32>());
    let run = Run { args, target, clients, namespace };
    run.send("POST", "/api/v1/namespaces", None, &json!({"metadata": {"name": run.namespace}}))
        .await
        .context("cannot create a namespace for the measurement")?;
    let result = run.measure().await;
    let cleaned = run.send("DELETE", &format!("/api/v1/namespaces/{}", run.namespace), None, &Value::Null).await;
    result?;
    cleaned.context("cannot remove the measurement's namespace")
}

impl Run<'_> {
    async fn measure(&self) -> Result<()> {
        self.prepare().await?;
        for op in self.args.ops.iter().filter(|op| *op != "delete") {
            match op.as_str() {
                "create" => self.each("create", |i| self.create_request(i)).await?,
                "get" => self.each("get", |i| request("GET", &self.pod(i), None, &Value::Null)).await?,
                "patch" => self.each("patch", |i| self.patch_request(i)).await?,
                "list" => {
                    self.lists("list", "application/json", "").await?;
                    self.lists("list-cached", "application/json", "?resourceVersion=0").await?;
                }
                "table" => self.lists("table", TABLE, "").await?,
                "fairness" => self.fairness().await?,
                "catch-up" => self.catch_up().await?,
                _ => self.watch().await?,
            }
        }
        let delete = json!({"gracePeriodSeconds": 0});
        self.each("delete", |i| request("DELETE", &self.pod(i), None, &delete)).await
    }

    /// Pods need a service account where no controller makes it, and must be there if they are not to be measured.
    async fn prepare(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        let account = request("POST", &path, None, &json!({"metadata": {"name": "default"}}))?;
        let answer = self.clients[0].send(account.map(Body::from)).await.context("the server does not answer")?;
        if !answer.status().is_success() && answer.status() != http::StatusCode::CONFLICT {
            bail!("cannot create a service account: the server answers {}", answer.status());
        }
        if !self.args.ops.iter().any(|op| op == "create") {
            self.each("prepare", |i| self.create_request(i)).await?;
        }
        Ok(())
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    fn pod(&self, i: usize) -> String {
        format!("{}/pod-{i:06}", self.pods())
    }

    fn create_request(&self, i: usize) -> Result<Request<Vec<u8>>> {
        request("POST", &self.pods(), None, &pod(i))
    }

    fn patch_request(&self, i: usize) -> Result<Request<Vec<u8>>> {
        let change = json!({"metadata": {"labels": {"patched": format!("{:08x}", rand::random::<u32>())}}});
        request("PATCH", &self.pod(i), Some(MERGE_PATCH), &change)
    }

    /// Sends one request for each object, from all clients at once. All are made before the clock starts.
    async fn each(&self, op: &str, make: impl Fn(usize) -> Result<Request<Vec<u8>>>) -> Result<()> {
        let requests = (0..self.args.objects).map(make).collect::<Result<Vec<_>>>()?;
        let (requests, errors) = (RefCell::new(requests.into_iter()), Cell::new(0));
        let meter = Meter::start(&self.args.pids).with_client();
        let workers = self.clients.iter().map(|client| {
            let (requests, errors) = (&requests, &errors);
            async move {
                let mut latencies = Vec::with_capacity(self.args.objects / self.clients.len() + 1);
                let next = || requests.borrow_mut().next();
                while let Some(request) = next() {
                    let started = Instant::now();
                    if !drained(client, request).await?.0 {
                        errors.set(errors.get() + 1);
                    }
                    latencies.push(started.elapsed());
                }
                anyhow::Ok(latencies)
            }
        });
        let mut latencies = try_join_all(workers).await?.concat();
        self.print(meter.line(op, self.args.objects, &mut latencies, errors.get()));
        Ok(())
    }

    async fn lists(&self, op: &str, accept: &str, query: &str) -> Result<()> {
        let meter = Meter::start(&self.args.pids).with_client();
        let (mut latencies, mut errors, mut bytes) = (Vec::new(), 0, 0);
        for _ in 0..self.args.lists {
            let mut list = request("GET", &format!("{}{query}", self.pods()), None, &Value::Null)?;
            list.headers_mut().insert("accept", accept.parse()?);
            let started = Instant::now();
            let (ok, size) = drained(&self.clients[0], list).await?;
            latencies.push(started.elapsed());
            errors += usize::from(!ok);
            bytes = size;
        }
        let mut line = meter.line(op, self.args.lists, &mut latencies, errors);
        line.insert("megabytes".into(), json!((bytes as f64 / 1e4).round() / 100.0));
        self.print(line);
        Ok(())
    }

    /// Opens the watchers, makes the changes, and waits until each watcher has seen all of them.
    async fn watch(&self) -> Result<()> {
        let (watch, counted) = self.watchers(Begin::AtOnce).await?;
        watch.ready.wait().await;
        let meter = Meter::start(&self.args.pids).with_client();
        let errors = self.change(watch.changes).await?;
        self.print_watch("watch", &meter, &watch, counted, errors).await
    }

    /// Makes the changes, and then lets all watchers begin before them, on connections that are there.
    async fn catch_up(&self) -> Result<()> {
        let (watch, counted) = self.watchers(Begin::WhenAllAreReady).await?;
        let errors = self.change(watch.changes).await?;
        let meter = Meter::start(&self.args.pids).with_client();
        watch.ready.wait().await;
        self.print_watch("catch-up", &meter, &watch, counted, errors).await
    }

    /// Threads of watchers from now on, each of which gives how many changes its watchers have seen.
    async fn watchers(&self, begin: Begin) -> Result<(Arc<Watch>, Vec<JoinHandle<Result<usize>>>)> {
        let start =
            self.clients[0].request_text(request("GET", &format!("{}?limit=1", self.pods()), None, &Value::Null)?);
        let list: Value = serde_json::from_str(&start.await.context("cannot list")?)?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let watch = Watch {
            target: self.target.clone(),
            path: format!("{}?watch=1&resourceVersion={revision}", self.pods()),
            begin,
            changes: self.args.changes.min(self.args.objects),
            ready: Barrier::new(self.args.watchers + 1),
        };
        let watch = Arc::new(watch);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(self.args.watchers);
        let share = |i| self.args.watchers / threads + usize::from(i < self.args.watchers % threads);
        let spawned = |i| anyhow::Ok(watch.clone().spawn(super::runtime()?, share(i)));
        let counted = (0..threads).map(spawned).collect::<Result<Vec<_>>>()?;
        Ok((watch, counted))
    }

    /// Makes so many changes; returns how many failed.
    async fn change(&self, changes: usize) -> Result<usize> {
        futures::stream::iter(0..changes)
            .map(|i| async move {
                let client = &self.clients[i % self.clients.len()];
                anyhow::Ok(drained(client, self.patch_request(i)?).await?.0)
            })
            .buffer_unordered(self.clients.len())
            .try_fold(0, |errors, ok| async move { Ok(errors + usize::from(!ok)) })
            .await
    }

    async fn print_watch(
        &self,
        op: &str,
        meter: &Meter,
        watch: &Watch,
        counted: Vec<JoinHandle<Result<usize>>>,
        errors: usize,
    ) -> Result<()> {
        let mut seen = 0;
        for thread in counted {
            seen += thread.await.context("a thread of watchers panicked")??;
        }
        let mut line = meter.line(op, seen, &mut [], errors + watch.changes * self.args.watchers - seen);
        line.insert("watchers".into(), self.args.watchers.into());
        self.print(line);
        Ok(())
    }

    /// Lets the greedy clients' account read, and measures what they do to a client of the system.
    async fn fairness(&self) -> Result<()> {
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.namespace);
        let role = json!({"metadata": {"name": "read"}, "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]});
        self.send("POST", &format!("{rbac}/roles"), None, &role).await?;
        let binding = json!({"metadata": {"name": "read"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
            "subjects": [{"kind": "ServiceAccount", "namespace": self.namespace, "name": "greedy"}]});
        self.send("POST", &format!("{rbac}/rolebindings"), None, &binding).await?;
        let plan = fairness::Plan {
            target: self.target.clone(),
            namespace: self.namespace.clone(),
            pod: self.pod(0),
            greedy: self.args.greedy,
            requests: self.args.changes,
            pids: self.args.pids.clone(),
        };
        fairness::run(&plan).await?.into_iter().for_each(|line| self.print(line));
        Ok(())
    }

    async fn send(&self, method: &str, path: &str, content_type: Option<&str>, body: &Value) -> Result<()> {
        self.clients[0].request_text(request(method, path, content_type, body)?).await?;
        Ok(())
    }

    fn print(&self, mut line: serde_json::Map<String, Value>) {
        if let Some(label) = &self.args.label {
            line.insert("label".into(), label.as_str().into());
        }
        line.insert("clients".into(), self.clients.len().into());
        line.insert("objects".into(), self.args.objects.into());
        println!("{}", Value::Object(line));
    }
}

/// When a watcher asks for its watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtOnce,
    WhenAllAreReady,
}

/// What all watchers do.
struct Watch {
    target: Target,
    path: String,
    begin: Begin,
    /// That each must see.
    changes: usize,
    /// Passed by each watcher that has done what it does before, and by who makes the changes.
    ready: Barrier,
}

impl Watch {
    /// Starts a thread with so many watchers, which gives how many changes they have seen in all.
    fn spawn(self: Arc<Self>, runtime: Runtime, watchers: usize) -> JoinHandle<Result<usize>> {
        tokio::task::spawn_blocking(move || {
            let counted = runtime.block_on(try_join_all((0..watchers).map(|_| self.count())))?;
            Ok(counted.into_iter().sum())
        })
    }

    /// Reads a watch until it has brought all changes; returns how many it brought.
    async fn count(&self) -> Result<usize> {
        let prepared = self.prepare().await;
        self.ready.wait().await;
        let (client, answer) = prepared?;
        let answer = match answer {
            Some(answer) => answer,
            None => self.open(&client).await?,
        };
        if !answer.status().is_success() {
            bail!("cannot watch: the server answers {}", answer.status());
        }
        let (mut body, mut changes) = (answer.into_body(), Changes::default());
        let counting = async {
            while changes.seen < self.changes {
                let Some(frame) = body.frame().await else { break };
                changes.take(frame?.data_ref().map_or(&[][..], |data| data));
            }
            anyhow::Ok(())
        };
        // Whoever has not seen all of them by then has failed to see the rest.
        tokio::time::timeout(WATCH_TIMEOUT, counting).await.unwrap_or(Ok(()))?;
        drop(client);
        Ok(changes.seen)
    }

    /// A client with a connection, and the answer that comes through it if the watch begins at once.
    async fn prepare(&self) -> Result<(Client, Option<http::Response<Body>>)> {
        let client = self.target.client()?;
        let answer = match self.begin {
            Begin::AtOnce => Some(self.open(&client).await?),
            Begin::WhenAllAreReady => {
                drained(&client, request("GET", "/version", None, &Value::Null)?).await?;
                None
            }
        };
        Ok((client, answer))
    }

    async fn open(&self, client: &Client) -> Result<http::Response<Body>> {
        let request = request("GET", &self.path, None, &Value::Null)?;
        client.send(request.map(Body::from)).await.context("cannot watch")
    }
}

/// Counts lines that tell a change, and does no more with them: the server is measured, not its client.
#[derive(Default)]
struct Changes {
    seen: usize,
    /// As much of the line that has begun as tells what it is.
    start: Vec<u8>,
}

impl Changes {
    const START: &[u8] = b"{\"type\":\"MODIFIED\"";

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let missing = Self::START.len() - self.start.len();
            let end = memchr::memchr(b'\n', bytes);
            let line = &bytes[..end.unwrap_or(bytes.len())];
            self.start.extend_from_slice(&line[..missing.min(line.len())]);
            let Some(end) = end else { return };
            self.seen += usize::from(self.start == Self::START);
            self.start.clear();
            bytes = &bytes[end + 1..];
        }
    }
}

/// Sends a request and reads the whole answer: whether it was a success, and its bytes.
async fn drained(client: &Client, request: Request<Vec<u8>>) -> Result<(bool, usize)> {
    let answer = client.send(request.map(Body::from)).await.context("the server does not answer")?;
    let ok = answer.status().is_success();
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.context("the answer broke off")?.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok((ok, bytes))
}

fn request(method: &str, path: &str, content_type: Option<&str>, body: &Value) -> Result<Request<Vec<u8>>> {
    let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type.unwrap_or("application/json"))
        .header("accept", "application/json")
        .body(bytes)
        .context("not a request")
}

/// A pod of 4.0 KB as it is served, that no scheduler places.
fn pod(i: usize) -> Value {
    let env: Vec<Value> = (0..11)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}-of-pod-{i}")}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("pod-{i:06}"), "labels": {"app": "bench", "shard": format!("{}", i % 100)}},
        "spec": {
            "schedulerName": "none",
            "containers": [{
                "name": "main",
                "image": "example.com/app:1",
                "env": env,
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "ports": [{"containerPort": 8080, "name": "http"}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}}
            }]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_wherever_the_stream_is_cut() {
        let stream = b"{\"type\":\"MODIFIED\",\"object\":{}}\n{\"type\":\"ADDED\",\"object\":{}}\n\n{\"type\":\"MODIFIED\"}\n{\"ty";
        for size in 1..stream.len() {
            let mut changes = Changes::default();
            stream.chunks(size).for_each(|chunk| changes.take(chunk));
            assert_eq!(changes.seen, 2, "pieces of {size} bytes");
        }
    }
}
