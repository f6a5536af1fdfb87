//! exec, attach and port-forward: the runtime's streaming server does the work; we find its URL, pass the caller's
//! upgrade on to it, and copy bytes. Which protocol they speak (SPDY/3.1 or WebSocket) is between the two of them: one
//! that the runtime refuses is refused to the caller, who then falls back.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;

use super::route::{self, Query};
use super::{Body, Kubelet, text};
use crate::pod::spec;
use crate::pod::view::{PodView, State};

/// Bytes that are on their way in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

fn refuse(message: impl Into<String>) -> Box<Response<Body>> {
    Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, message))
}

/// Runs a command in a container.
pub async fn exec(
    kubelet: &Arc<Kubelet>,
    target: (&str, &str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let url = async {
        let container_id = running_container(kubelet, target).await?;
        let (stdin, stdout, stderr, tty) = streams(query);
        let ask =
            cri::ExecRequest { container_id, cmd: query.all("command"), tty, stdin, stdout, stderr: stderr && !tty };
        kubelet.agent.cri.exec(ask).await.map_err(|e| refuse(e.to_string()))
    };
    pass_on(url.await, request).await
}

/// Attaches to a container's main process.
pub async fn attach(
    kubelet: &Arc<Kubelet>,
    target: (&str, &str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let url = async {
        let container_id = running_container(kubelet, target).await?;
        let (stdin, stdout, stderr, _) = streams(query);
        let pod = route::find_container(kubelet, target.0, target.1, target.2)?;
        let tty = spec::find_container(&pod, target.2).is_some_and(|(_, c)| c.tty == Some(true));
        let ask = cri::AttachRequest { container_id, stdin, tty, stdout, stderr: stderr && !tty };
        kubelet.agent.cri.attach(ask).await.map_err(|e| refuse(e.to_string()))
    };
    pass_on(url.await, request).await
}

/// Forwards ports of a pod.
pub async fn port_forward(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    name: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let url = async {
        let pod = route::find(kubelet, namespace, name)?;
        let sandboxes =
            kubelet.agent.cri.list_pod_sandboxes(Some(spec::uid(&pod))).await.map_err(|e| refuse(e.to_string()))?;
        let ready = sandboxes.into_iter().find(|s| s.state == cri::PodSandboxState::SandboxReady as i32);
        let Some(sandbox) = ready else { return Err(refuse(format!("sandbox of pod \"{name}\" is not running"))) };
        let ports = query
            .all("port")
            .iter()
            .chain(&query.all("ports"))
            .flat_map(|p| p.split(','))
            .filter_map(|p| p.parse().ok())
            .collect();
        kubelet.agent.cri.port_forward(&sandbox.id, ports).await.map_err(|e| refuse(e.to_string()))
    };
    pass_on(url.await, request).await
}

/// The kubelet's names of the streams, and the API's, which some clients use.
fn streams(query: &Query) -> (bool, bool, bool, bool) {
    let either = |a: &str, b: &str| query.flag(a) || query.flag(b);
    (either("input", "stdin"), either("output", "stdout"), either("error", "stderr"), query.flag("tty"))
}

async fn running_container(
    kubelet: &Kubelet,
    (namespace, name, container): (&str, &str, &str),
) -> Result<String, Box<Response<Body>>> {
    let pod = route::find_container(kubelet, namespace, name, container)?;
    let view = PodView::read(&kubelet.agent.cri, spec::uid(&pod)).await.map_err(|e| refuse(e.to_string()))?;
    match view.newest(container) {
        Some(c) if c.state == State::Running => Ok(c.id.clone()),
        _ => Err(refuse(format!("container not found (\"{container}\")"))),
    }
}

async fn pass_on(url: Result<String, Box<Response<Body>>>, request: Request<Incoming>) -> Response<Body> {
    let url = match url {
        Ok(url) => url,
        Err(answer) => return *answer,
    };
    match forward(&url, request).await {
        Ok(answer) => answer,
        Err(cause) => text(StatusCode::BAD_GATEWAY, format!("the runtime's streaming server: {cause}")),
    }
}

/// Repeats the request at `url`; if it is upgraded there, upgrades here too and copies until both sides are done.
async fn forward(url: &str, mut request: Request<Incoming>) -> Result<Response<Body>, String> {
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
    let stream = tokio::net::TcpStream::connect(&address).await.map_err(|e| e.to_string())?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "streams may lag");
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to the streaming server broke off");
        }
    });
    let mut onward = Request::builder()
        .method(request.method())
        .uri(uri.path_and_query().map_or("/", |p| p.as_str()))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    *onward.headers_mut() = onward_headers(request.headers(), &address);
    let mut answer = sender.send_request(onward).await.map_err(|e| e.to_string())?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let (ours, theirs) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
    tokio::spawn(async move {
        let (ours, theirs) = match tokio::try_join!(ours, theirs) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "stream not upgraded"),
        };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        if let Err(error) =
            tokio::io::copy_bidirectional_with_sizes(&mut ours, &mut theirs, BUFFER_BYTES, BUFFER_BYTES).await
        {
            tracing::debug!(%error, "stream broke off");
        }
    });
    let (parts, _) = answer.into_parts();
    let mut here = Response::new(super::full(Bytes::new()));
    *here.status_mut() = parts.status;
    *here.headers_mut() = parts.headers;
    Ok(here)
}

/// Headers of the caller that concern the stream; credentials stay here.
fn onward_headers(headers: &HeaderMap, address: &str) -> HeaderMap {
    let mut out = headers.clone();
    out.remove(header::AUTHORIZATION);
    out.remove(header::COOKIE);
    if let Ok(host) = HeaderValue::from_str(address) {
        out.insert(header::HOST, host);
    }
    out
}
