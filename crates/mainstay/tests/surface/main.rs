//! A running server's limits, deadlines, health, and its end, as a client over the network sees them.
//!
//! Knows the server only by its kubeconfig and its flags.

mod ending;
mod limits;
mod metrics;
mod paths;
mod websocket;

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
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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
        Self::new(config(server).await, &[])
    }

    /// Somebody without credentials.
    async fn stranger(server: &ApiServer, protocols: &[&[u8]]) -> Self {
        let mut config = config(server).await;
        config.auth_info = kube::config::AuthInfo::default();
        Self::new(config, protocols)
    }

    fn new(config: kube::Config, protocols: &[&[u8]]) -> Self {
        let address = config.cluster_url.authority().expect("an address").to_string();
        let mut tls = config.rustls_client_config().expect("credentials");
        tls.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        Self { tls: Arc::new(tls).into(), address }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.expect("a connection");
        let host = self.address.rsplit_once(':').expect("a port").0.to_owned();
        self.tls.connect(host.try_into().expect("a name"), stream).await.expect("a handshake")
    }

    async fn send(&self, mut request: Request<Body>) -> Response<Incoming> {
        let stream = self.connect().await;
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

/// The administrator's.
async fn config(server: &ApiServer) -> kube::Config {
    let file = Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a context")
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
