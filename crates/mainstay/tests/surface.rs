//! A running server's limits, deadlines, health, and its end, as a client over the network sees them.
//!
//! Knows the server only by its kubeconfig and its flags.

use bytes::Bytes;
use futures::channel::mpsc;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::{ApiServer, ServerOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Body = BoxBody<Bytes, Infallible>;

const PATIENCE: Duration = Duration::from_secs(60);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Answer {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("text"))
    }
}

/// The administrator, with a connection of its own for each request.
#[derive(Clone)]
struct Client {
    tls: TlsConnector,
    address: String,
}

impl Client {
    async fn of(server: &ApiServer) -> Self {
        let file = Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a context");
        let address = config.cluster_url.authority().expect("an address").to_string();
        Self { tls: Arc::new(config.rustls_client_config().expect("credentials")).into(), address }
    }

    async fn send(&self, mut request: Request<Body>) -> Response<Incoming> {
        let stream = TcpStream::connect(&self.address).await.expect("a connection");
        let host = self.address.rsplit_once(':').expect("a port").0.to_owned();
        let stream = self.tls.connect(host.try_into().expect("a name"), stream).await.expect("a handshake");
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(8 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection.with_upgrades());
        request.headers_mut().insert("host", self.address.parse().expect("a value"));
        sender.send_request(request).await.expect("an answer")
    }
}

/// A server with these flags, and a client of it.
fn with_server<F: Future<Output = ()>>(flags: &[&str], test: impl FnOnce(ApiServer, Client) -> F) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let flags = flags.iter().map(|f| (*f).to_owned()).collect();
    let options = ServerOptions { flags, ..ServerOptions::default() };
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), options).expect("a server");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::of(&server).await;
        tokio::time::timeout(PATIENCE, test(server, client)).await.expect("it takes no longer than that");
    });
}

async fn send(client: &Client, request: Request<Body>) -> Answer {
    let response = client.send(request).await;
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    Answer { code, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

fn empty() -> Body {
    Empty::new().boxed()
}

async fn get(client: &Client, path: &str) -> Answer {
    send(client, Request::get(path).body(empty()).expect("a request")).await
}

fn post(path: &str, body: Body) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body).expect("a request")
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn create(client: &Client, path: &str, value: &Value) -> Answer {
    send(client, post(path, whole(value))).await
}

fn whole(value: &Value) -> Body {
    Full::new(Bytes::from(value.to_string())).boxed()
}

/// A body whose pieces are sent when the test says so.
fn slow_body() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>, Body) {
    let (sender, pieces) = mpsc::unbounded();
    (sender, StreamBody::new(pieces).boxed())
}

#[test]
fn what_is_too_large_is_refused() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let text = "x".repeat(3 << 20);
        let mut large = map("large");
        large["data"] = json!({"k": text});
        let answer = create(&client, MAPS, &large).await;
        assert_eq!((answer.code, &answer.value()["reason"]), (413, &json!("RequestEntityTooLarge")));
        assert_eq!(answer.value()["message"], "Request entity too large: limit is 3145728");

        let mut many = Request::get(MAPS).header("impersonate-user", "jane");
        for n in 0..500 {
            many = many.header("impersonate-group", format!("group-{n}"));
        }
        let answer = send(&client, many.body(empty()).expect("a request")).await;
        assert_eq!(answer.code, 403, "as jane, not as one with too many headers");
        let long = Request::get(MAPS).header("x-long", "x".repeat((1 << 20) + 1)).body(empty());
        let answer = send(&client, long.expect("a request")).await;
        assert_eq!(answer.code, 431);
    });
}

#[test]
fn a_request_ends_at_its_deadline() {
    with_server(&["--request-timeout", "2"], |server, client| async move {
        let _server = server;
        let stuck = async |query: &str| {
            let (_sender, body) = slow_body();
            let started = Instant::now();
            let answer = send(&client, post(&format!("{MAPS}{query}"), body)).await;
            (answer, started.elapsed())
        };
        for (query, at_least, at_most) in [("?timeout=300ms", 0.3, 1.9), ("", 2.0, 10.0), ("?timeout=1h", 2.0, 10.0)] {
            let (answer, took) = stuck(query).await;
            assert!((at_least..at_most).contains(&took.as_secs_f64()), "{query} {took:?}");
            assert_eq!(
                (answer.code, answer.value()),
                (
                    504,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 504,
                    "reason": "Timeout", "details": {},
                    "message": "Timeout: request did not complete within the allotted timeout"})
                )
            );
        }
        let answer = get(&client, &format!("{MAPS}?timeout=soon")).await;
        let why = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
        assert_eq!((answer.code, &answer.value()["message"]), (400, &json!(why)));
        assert_eq!(get(&client, &format!("{MAPS}?timeout=0s")).await.code, 200);
        // A watch lasts as long as it says, not as long as a request may.
        let started = Instant::now();
        let watch = get(&client, &format!("{MAPS}?watch=1&timeoutSeconds=3")).await;
        assert!(watch.code == 200 && started.elapsed() >= Duration::from_secs(3));
    });
}

fn as_jane(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("impersonate-user", "jane".parse().expect("a value"));
    Request::from_parts(parts, body)
}

#[test]
fn without_fairness_there_are_so_many_at_once() {
    let flags =
        ["--enable-priority-and-fairness=false", "--max-requests-inflight=5", "--max-mutating-requests-inflight=1"];
    with_server(&flags, |server, client| async move {
        let _server = server;
        let binding = json!({"metadata": {"name": "jane"}, "subjects": [{"kind": "User", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        assert_eq!(create(&client, path, &binding).await.code, 201);
        let body = || whole(&map("m"));
        // The binding is in effect in a moment.
        while send(&client, as_jane(post(&format!("{MAPS}?dryRun=All"), body()))).await.code == 403 {
            tokio::task::yield_now().await;
        }
        let (sender, slow) = slow_body();
        let whole = map("slow").to_string();
        let (begin, end) = whole.split_at(10);
        sender.unbounded_send(Ok(Frame::data(Bytes::copy_from_slice(begin.as_bytes())))).expect("it is read");
        let holding = tokio::spawn({
            let client = client.clone();
            async move { send(&client, as_jane(post(MAPS, slow))).await.code }
        });
        let refused = loop {
            let answer = send(&client, as_jane(post(&format!("{MAPS}?dryRun=All"), body()))).await;
            if answer.code != 201 {
                break answer;
            }
        };
        assert_eq!((refused.code, refused.header("retry-after")), (429, "1"));
        assert_eq!(refused.text, "Too many requests, please try again later.\n");
        // Reads have a limit of their own, and administrators none.
        let read = as_jane(Request::get(MAPS).body(empty()).expect("a request"));
        assert_eq!(send(&client, read).await.code, 200);
        assert_eq!(create(&client, MAPS, &map("admins")).await.code, 201);
        sender.unbounded_send(Ok(Frame::data(Bytes::copy_from_slice(end.as_bytes())))).expect("it is read");
        drop(sender);
        assert_eq!(holding.await.expect("no panic"), 201);
        let answer = send(&client, as_jane(post(MAPS, body()))).await;
        assert_eq!(answer.code, 201, "the place is free again");
    });
}

/// Lines of upstream's checks that mean something here, in upstream's order, as `/readyz?verbose` shows them.
const READY_CHECKS: &str = include_str!("data/readyz.txt");

#[test]
fn health_is_told_as_upstream_tells_it() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let verbose = get(&client, "/readyz?verbose").await;
        assert_eq!((verbose.code, verbose.text.as_str()), (200, READY_CHECKS));
        assert_eq!(verbose.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(verbose.header("x-content-type-options"), "nosniff");
        let alive: String = READY_CHECKS
            .lines()
            .filter(|l| !["[+]etcd-readiness ok", "[+]informer-sync ok", "[+]shutdown ok"].contains(l))
            .map(|l| l.replace("readyz check", "livez check") + "\n")
            .collect();
        assert_eq!(get(&client, "/livez?verbose").await.text, alive);
        assert_eq!(get(&client, "/healthz?verbose").await.text, alive.replace("livez check", "healthz check"));
        for path in [
            "/livez",
            "/readyz",
            "/healthz",
            "/livez?exclude=etcd",
            "/readyz/etcd",
            "/readyz/shutdown",
            "/livez/poststarthook/rbac/bootstrap-roles",
        ] {
            let answer = get(&client, path).await;
            assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
        }
        let left_out = get(&client, "/livez?verbose&exclude=etcd&exclude=nothing").await.text;
        assert!(left_out.contains("[+]etcd excluded: ok\n"), "{left_out}");
        assert!(
            left_out.ends_with(
                "warn: some health checks cannot be excluded: no matches for \"nothing\"\nlivez check passed\n"
            ),
            "{left_out}"
        );
        for path in ["/livez/nothing", "/livez/shutdown", "/logs", "/logs/", "/debug/pprof", "/nowhere"] {
            assert_eq!(get(&client, path).await.code, 404, "{path}");
        }
    });
}

/// Metrics of upstream's API server that this one serves too, each with its type and the labels that it has.
const METRICS: &str = include_str!("data/metrics.txt");

/// `name type label,label` of each metric of upstream's that has a sample, sorted. A histogram's `le` is left out.
fn families(text: &str) -> Vec<String> {
    let mut found = std::collections::BTreeMap::new();
    let mut types = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).expect("a value");
            let full = &line[..end];
            let family = ["_bucket", "_count", "_sum"].iter().filter_map(|s| full.strip_suffix(s));
            let name = family.chain([full]).find(|n| types.contains_key(*n)).expect("a family").to_owned();
            let labels = regex::Regex::new("([a-z_]+)=\"").expect("a pattern");
            let labels: Vec<String> =
                labels.captures_iter(&line[end..]).map(|c| c[1].to_owned()).filter(|l| l != "le").collect();
            found.insert(name, labels.join(","));
        }
    }
    found
        .iter()
        .filter(|(n, _)| !n.starts_with("mainstay_"))
        .map(|(n, l)| format!("{n} {} {l}", types[n]).trim_end().to_owned())
        .collect()
}

#[test]
fn metrics_have_upstreams_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("audit.log").to_string_lossy().into_owned();
    with_server(&["--audit-log-path", &log], |server, client| async move {
        let _server = server;
        assert_eq!(create(&client, MAPS, &map("counted")).await.code, 201);
        assert_eq!(get(&client, MAPS).await.code, 200);
        let anonymous = Request::get(MAPS).header("authorization", "Bearer nonsense").body(empty());
        assert_eq!(send(&client, anonymous.expect("a request")).await.code, 200, "the certificate counts first");
        let metrics = get(&client, "/metrics").await;
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let found = families(&metrics.text);
        let missing: Vec<&str> = METRICS.lines().filter(|l| !found.iter().any(|f| f == l)).collect();
        assert!(missing.is_empty(), "{missing:#?} are not in {found:#?}");
        for line in [
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} ",
            "etcd_requests_total{operation=\"create\",type=\"configmaps\"} ",
            "authentication_attempts{result=\"success\"} ",
            "authorization_attempts_total{result=\"allowed\"} ",
            "apiserver_storage_objects{resource=\"configmaps\"} ",
        ] {
            assert!(metrics.text.contains(line), "{line}");
        }
    });
}

/// Reads a frame of a server: its kind and payload.
async fn frame(socket: &mut (impl AsyncRead + Unpin)) -> (u8, String) {
    let kind = socket.read_u8().await.expect("a frame");
    let length = match socket.read_u8().await.expect("a length") {
        126 => u64::from(socket.read_u16().await.expect("a length")),
        127 => socket.read_u64().await.expect("a length"),
        length => length.into(),
    };
    let mut payload = vec![0; usize::try_from(length).expect("a length")];
    socket.read_exact(&mut payload).await.expect("a payload");
    (kind, String::from_utf8_lossy(&payload).into_owned())
}

#[test]
fn a_browser_watches_over_websocket() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let upgrade = |version: &str| {
            let request = Request::get(format!("{MAPS}?watch=1&labelSelector=x&timeoutSeconds=4"))
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("origin", "https://example.com")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .header("sec-websocket-version", version);
            request.body(empty()).expect("a request")
        };
        assert_eq!(send(&client, upgrade("8")).await.code, 400);
        let response = client.send(upgrade("13")).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut socket = TokioIo::new(hyper::upgrade::on(response).await.expect("a socket"));
        let mut wanted = map("seen");
        wanted["metadata"]["labels"] = json!({"x": "y"});
        assert_eq!(create(&client, MAPS, &wanted).await.code, 201);
        let path = format!("{MAPS}/seen");
        assert_eq!(send(&client, Request::delete(path).body(empty()).expect("a request")).await.code, 200);
        for change in ["ADDED", "DELETED"] {
            let (kind, text) = frame(&mut socket).await;
            let event: Value = serde_json::from_str(&text).expect("an event");
            assert_eq!(
                (kind, &event["type"], &event["object"]["metadata"]["name"]),
                (0x81, &json!(change), &json!("seen"))
            );
        }
        let (kind, status) = frame(&mut socket).await;
        assert_eq!((kind, status.as_bytes()[0]), (0x88, 3), "it ends in good order when its time is over");
    });
}

#[test]
fn the_end_is_in_order() {
    with_server(&["--shutdown-delay-duration", "2"], |mut server, client| async move {
        let (sender, slow) = slow_body();
        let under_way = tokio::spawn({
            let client = client.clone();
            async move { send(&client, post(MAPS, slow)).await.code }
        });
        let watch = Request::get(format!("{MAPS}?watch=1")).body(empty()).expect("a request");
        let watch = client.send(watch).await;
        assert_eq!(watch.status(), 200);
        let watching = tokio::spawn(async move { watch.into_body().collect().await.map(drop) });
        let kubeconfig = std::fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
        let ending = std::thread::spawn(move || server.process().terminate());
        let ready = loop {
            let answer = get(&client, "/readyz").await;
            if answer.code != 200 {
                break answer;
            }
        };
        assert_eq!(ready.code, 500);
        assert!(
            ready.text.contains("[-]shutdown failed: reason withheld\n")
                && ready.text.ends_with("readyz check failed\n"),
            "{}",
            ready.text
        );
        assert_eq!(get(&client, "/livez").await.code, 200, "it is served until the delay is over");
        assert!(!watching.is_finished());
        assert_eq!(create(&client, MAPS, &map("late")).await.code, 201);
        watching.await.expect("no panic").expect("the watch ends as one that has ended, not as one that broke");
        // What was under way when it began goes to its end.
        sender.unbounded_send(Ok(Frame::data(Bytes::from(map("slow").to_string())))).expect("it is read");
        drop(sender);
        assert_eq!(under_way.await.expect("no panic"), 201);
        assert_eq!(ending.join().expect("no panic").expect("it ends"), 0);
        let address = kubeconfig.lines().find_map(|l| l.trim().strip_prefix("server: https://")).expect("an address");
        assert!(std::net::TcpStream::connect(address.trim()).is_err(), "nobody listens any more");
    });
}
