//! Probes: the state of one (pure) and the task that asks. A task lives as long as its container runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, GRPCAction, HTTPGetAction, Pod, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;

use super::plan::Health;
use super::spec;
use crate::cri::Cri;

/// Bytes of an HTTP probe's answer that are read.
const BODY_BYTES_MAX: usize = 10 * 1024;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// The container has started.
    Startup,
    /// The container still works.
    Liveness,
    /// The container takes requests.
    Readiness,
}

impl Purpose {
    /// As it is named in events.
    pub fn title(self) -> &'static str {
        match self {
            Purpose::Startup => "Startup",
            Purpose::Liveness => "Liveness",
            Purpose::Readiness => "Readiness",
        }
    }

    fn of(self, c: &Container) -> Option<&Probe> {
        match self {
            Purpose::Startup => c.startup_probe.as_ref(),
            Purpose::Liveness => c.liveness_probe.as_ref(),
            Purpose::Readiness => c.readiness_probe.as_ref(),
        }
    }
}

/// Counts answers until a threshold is reached.
#[derive(Clone, Debug)]
struct Counter {
    last: Option<bool>,
    run: i32,
    /// The verdict so far; `None` until a threshold was reached.
    verdict: Option<bool>,
}

impl Counter {
    fn new() -> Self {
        Self { last: None, run: 0, verdict: None }
    }

    /// Takes an answer in; returns whether the verdict changed.
    fn answer(&mut self, ok: bool, success_threshold: i32, failure_threshold: i32) -> bool {
        self.run = if self.last == Some(ok) { self.run + 1 } else { 1 };
        self.last = Some(ok);
        let threshold = if ok { success_threshold } else { failure_threshold };
        let changed = self.run >= threshold.max(1) && self.verdict != Some(ok);
        if changed {
            self.verdict = Some(ok);
        }
        changed
    }
}

/// Probe results of one running container.
#[derive(Debug)]
pub struct Results {
    startup: Option<Counter>,
    liveness: Option<Counter>,
    readiness: Option<Counter>,
}

impl Results {
    /// Results for a container with these probes, before the first answer.
    pub fn new(c: &Container) -> Self {
        let counter = |p: &Option<Probe>| p.as_ref().map(|_| Counter::new());
        Self {
            startup: counter(&c.startup_probe),
            liveness: counter(&c.liveness_probe),
            readiness: counter(&c.readiness_probe),
        }
    }

    /// Takes over that the container was started and ready before this agent was.
    pub fn assume_ready(&mut self) {
        for counter in [&mut self.startup, &mut self.readiness].into_iter().flatten() {
            counter.verdict = Some(true);
        }
    }

    fn counter(&mut self, purpose: Purpose) -> Option<&mut Counter> {
        match purpose {
            Purpose::Startup => self.startup.as_mut(),
            Purpose::Liveness => self.liveness.as_mut(),
            Purpose::Readiness => self.readiness.as_mut(),
        }
    }

    /// The verdict: a container is not ready and not started until a probe says so, but alive until one says no.
    pub fn health(&self) -> Health {
        let verdict = |c: &Option<Counter>| c.as_ref().map(|c| c.verdict);
        let startup = verdict(&self.startup);
        Health {
            started: startup.is_none_or(|v| v == Some(true)),
            ready: verdict(&self.readiness).is_none_or(|v| v == Some(true)),
            startup_failed: startup == Some(Some(false)),
            liveness_failed: verdict(&self.liveness) == Some(Some(false)),
        }
    }
}

/// What is told of every failed answer.
pub type OnFailure = Box<dyn Fn(Purpose, &str) + Send + Sync>;

/// Everything a probe's task needs.
pub struct Prober {
    /// The runtime.
    pub cri: Cri,
    /// The container's spec.
    pub container: Container,
    /// The runtime's id of the container.
    pub container_id: String,
    /// When the container started.
    pub started: DateTime<Utc>,
    /// The pod's address.
    pub pod_ip: String,
    /// Where results go.
    pub results: Arc<Mutex<Results>>,
    /// Called after a verdict changed.
    pub changed: Box<dyn Fn() + Send + Sync>,
    /// Called with every failed answer.
    pub failed: OnFailure,
}

impl Prober {
    /// Runs all probes of the container until the future is dropped.
    pub async fn run(self) {
        let startup = self.repeat(Purpose::Startup);
        let rest = async { tokio::join!(self.repeat(Purpose::Liveness), self.repeat(Purpose::Readiness)) };
        startup.await;
        rest.await;
    }

    /// One probe over and over. A startup probe ends when it succeeds, a failed startup or liveness probe when it has
    /// made its point: the container will be replaced.
    async fn repeat(&self, purpose: Purpose) {
        let Some(probe) = purpose.of(&self.container) else { return };
        let seconds =
            |v: Option<i32>, default: i32| Duration::from_secs(u64::try_from(v.unwrap_or(default)).unwrap_or(0));
        let first = self.started + seconds(probe.initial_delay_seconds, 0);
        tokio::time::sleep((first - Utc::now()).to_std().unwrap_or_default()).await;
        let mut ticks = tokio::time::interval(seconds(probe.period_seconds, 10).max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let limit = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
            let answer = self.ask(probe, limit).await;
            if let Err(reason) = &answer {
                (self.failed)(purpose, reason);
            }
            let ok = answer.is_ok();
            let (success, failure) = (probe.success_threshold.unwrap_or(1), probe.failure_threshold.unwrap_or(3));
            let changed = self.results.lock().counter(purpose).is_some_and(|c| c.answer(ok, success, failure));
            if !changed {
                continue;
            }
            (self.changed)();
            match (purpose, ok) {
                (Purpose::Startup, true) => return,
                (Purpose::Startup | Purpose::Liveness, false) => std::future::pending::<()>().await,
                _ => {}
            }
        }
    }

    async fn ask(&self, probe: &Probe, limit: Duration) -> Result<(), String> {
        if let Some(exec) = &probe.exec {
            return self.ask_command(exec.command.clone().unwrap_or_default(), limit).await;
        }
        let question = async {
            if let Some(get) = &probe.http_get {
                return http_get(get, &self.container, &self.pod_ip, "kube-probe/1.30").await;
            }
            if let Some(tcp) = &probe.tcp_socket {
                return tcp_connect(tcp, &self.container, &self.pod_ip).await;
            }
            if let Some(grpc) = &probe.grpc {
                return grpc_health(grpc, &self.pod_ip).await;
            }
            Ok(())
        };
        match tokio::time::timeout(limit, question).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timeout_message(probe, limit)),
        }
    }

    fn timeout_message(&self, probe: &Probe, limit: Duration) -> String {
        match (&probe.http_get, &probe.tcp_socket) {
            (Some(get), _) => {
                let url = http_url(get, &self.container, &self.pod_ip).unwrap_or_default();
                format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
            }
            (_, Some(tcp)) => {
                let address = tcp_address(tcp, &self.container, &self.pod_ip).unwrap_or_default();
                format!("dial tcp {address}: i/o timeout")
            }
            _ => format!("timeout: health rpc did not complete within {}s", limit.as_secs()),
        }
    }

    async fn ask_command(&self, command: Vec<String>, limit: Duration) -> Result<(), String> {
        match self.cri.exec_sync(&self.container_id, command, limit).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                Err(text)
            }
            Err(error) if error.code == tonic::Code::DeadlineExceeded => {
                Err(format!("command timed out after {}s", limit.as_secs()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The number of a port given by number or by the container's name for it.
pub fn port_number(port: &IntOrString, c: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(name) => {
            let named = c.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("invalid port number: {port:?}"))
}

/// Reads the probes of a container; for `crate::fuzz`.
pub fn read(c: &Container, pod_ip: &str) {
    for probe in [&c.liveness_probe, &c.readiness_probe, &c.startup_probe].into_iter().flatten() {
        drop(probe.http_get.as_ref().map(|get| http_url(get, c, pod_ip)));
        drop(probe.tcp_socket.as_ref().map(|tcp| tcp_address(tcp, c, pod_ip)));
    }
}

fn bracketed(host: &str) -> String {
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host.to_owned() }
}

fn http_url(get: &HTTPGetAction, c: &Container, pod_ip: &str) -> Result<String, String> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let host = get.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let path = get.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{}:{}{slash}{path}", bracketed(host), port_number(&get.port, c)?))
}

fn tcp_address(tcp: &TCPSocketAction, c: &Container, pod_ip: &str) -> Result<String, String> {
    let host = tcp.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    Ok(format!("{}:{}", bracketed(host), port_number(&tcp.port, c)?))
}

async fn tcp_connect(tcp: &TCPSocketAction, c: &Container, pod_ip: &str) -> Result<(), String> {
    let address = tcp_address(tcp, c, pod_ip)?;
    let connected = tokio::net::TcpStream::connect(&address).await;
    connected.map(drop).map_err(|e| format!("dial tcp {address}: connect: {}", io_text(&e)))
}

/// An I/O error as the kernel words it, without Rust's error number.
fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An HTTP GET of a probe or a hook; 2xx and 3xx are success. Certificates are not verified, as upstream does.
pub async fn http_get(get: &HTTPGetAction, c: &Container, pod_ip: &str, agent: &str) -> Result<(), String> {
    let url = http_url(get, c, pod_ip)?;
    let wrap = |cause: String| format!("Get \"{url}\": {cause}");
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrap(e.to_string()))?;
    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
    let stream = tokio::net::TcpStream::connect(&address).await;
    let stream = stream.map_err(|e| wrap(format!("dial tcp {address}: connect: {}", io_text(&e))))?;
    let mut request = http::Request::get(uri.path_and_query().map_or("/", |p| p.as_str()))
        .header("Host", &address)
        .header("User-Agent", agent)
        .header("Accept", "*/*")
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| wrap(e.to_string()))?;
    for header in get.http_headers.iter().flatten() {
        let name = http::HeaderName::from_bytes(header.name.as_bytes()).map_err(|e| wrap(e.to_string()))?;
        let value = http::HeaderValue::from_str(&header.value).map_err(|e| wrap(e.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    let (code, body) = if uri.scheme_str() == Some("https") {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = crate::server::tls::connect_unverified(stream, &host).await.map_err(|e| wrap(e.to_string()))?;
        exchange(tls, request).await.map_err(wrap)?
    } else {
        exchange(stream, request).await.map_err(wrap)?
    };
    if (200..400).contains(&code) { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {code}{body}")) }
}

async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<(u16, &'static str), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let code = response.status().as_u16();
        // The body does not matter, but a server that is cut off in the middle of it would complain.
        drop(Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await);
        Ok((code, ""))
    };
    // The connection may end before the answer was taken up, or outlive it.
    tokio::pin!(conversation);
    tokio::select! {
        biased;
        answer = &mut conversation => answer,
        _ = connection => conversation.await,
    }
}

/// The request and answer of the gRPC health protocol; two fields are not worth a generated file.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc_health(grpc: &GRPCAction, pod_ip: &str) -> Result<(), String> {
    let endpoint = format!("http://{}:{}", bracketed(pod_ip), grpc.port);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).map_err(|e| e.to_string())?;
    let channel = endpoint.connect().await.map_err(|e| format!("error: {e}"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| format!("error: {e}"))?;
    let codec = tonic_prost::ProstCodec::<HealthRequest, HealthResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthRequest { service: grpc.service.clone().unwrap_or_default() });
    let response = client.unary(request, path, codec).await.map_err(|s| match s.code() {
        tonic::Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            s.message()
        ),
        _ => format!("error: health rpc failed: {}", s.message()),
    })?;
    match response.into_inner().status {
        1 => Ok(()),
        0 => Err("service unhealthy (responded with \"UNKNOWN\")".into()),
        2 => Err("service unhealthy (responded with \"NOT_SERVING\")".into()),
        other => Err(format!("service unhealthy (responded with \"{other}\")")),
    }
}

/// Whether a container has any probe.
pub fn has_probes(c: &Container) -> bool {
    c.startup_probe.is_some() || c.liveness_probe.is_some() || c.readiness_probe.is_some()
}

/// The address that probes of a pod go to.
pub fn pod_address(pod: &Pod, ips: &[String], host_ip: &str) -> String {
    if spec::host_network(pod) { host_ip.to_owned() } else { ips.first().cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let mut c = Counter::new();
        let mut verdicts = Vec::new();
        for ok in [false, false, true, false, false, false, true, true] {
            c.answer(ok, 2, 3);
            verdicts.push(c.verdict);
        }
        assert_eq!(verdicts, [None, None, None, None, None, Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn alive_until_proven_dead_but_unready_until_proven_ready() {
        let c: Container = serde_json::from_value(
            serde_json::json!({"name": "c", "livenessProbe": {}, "readinessProbe": {}, "startupProbe": {}}),
        )
        .unwrap();
        assert_eq!(
            Results::new(&c).health(),
            Health { started: false, ready: false, startup_failed: false, liveness_failed: false }
        );
        let plain = Container::default();
        assert_eq!(
            Results::new(&plain).health(),
            Health { started: true, ready: true, startup_failed: false, liveness_failed: false }
        );
    }

    #[test]
    fn urls() {
        let c: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        let get: HTTPGetAction = serde_json::from_value(serde_json::json!({"path": "ok?x=1", "port": "web"})).unwrap();
        assert_eq!(http_url(&get, &c, "10.0.0.1").unwrap(), "http://10.0.0.1:8080/ok?x=1");
        let get: HTTPGetAction =
            serde_json::from_value(serde_json::json!({"scheme": "HTTPS", "port": 1, "host": "fd00::1"})).unwrap();
        assert_eq!(http_url(&get, &c, "10.0.0.1").unwrap(), "https://[fd00::1]:1/");
    }
}
