//! Connections through the server to a kubelet, a pod or a service: logs, exec, attach, port-forward, proxy.
//!
//! [`location`] says where a stream of a pod is found, [`target`] what a proxied name means; both are pure. [`dial`] goes
//! there; [`pass`] is how requests and upgraded connections are passed through.

mod dial;
mod location;
pub(crate) mod pass;
mod redirect;
mod review;
mod target;

pub(crate) use dial::{Destination, Dialer, Trust};

use crate::Body;
use crate::admission::Asked;
use crate::audit::Annotations;
use crate::body;
use crate::registry::call::read_body;
use crate::server::{ApiRequest, Inner};
use crate::view::View;
use api_core::{ApiError, GroupResource, Reason};
use api_kinds::names;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, header};
use location::Stream;
use serde_json::Value;
use std::sync::Arc;

/// Subresources that are served here.
pub(crate) const SUBRESOURCES: &[&str] = &["log", "exec", "attach", "portforward", "proxy"];
/// More of a kubelet's refusal is not passed on.
const REFUSAL_BYTES_MAX: usize = 50_000;

/// Reads what a proxied request says of its target; for `crate::fuzz`.
pub(crate) fn read_url(path: &str, info: &crate::request_info::RequestInfo, query: &crate::query::Query) {
    for subresource in ["log", "exec", "attach", "portforward"] {
        let Ok(stream) = location::Stream::read(subresource, &info.name, query) else { continue };
        let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "node", "containers": [{"name": "c"}]}});
        let location = location::locate(&stream, &pod).ok().flatten();
        let uri = location.map(|l| l.path.parse::<http::Uri>());
        assert!(uri.is_none_or(|uri| uri.is_ok()), "{path:?} leads nowhere");
    }
    if let Ok(asked) = target::Asked::parse(&info.resource, &info.name) {
        drop(asked.number());
    }
    let (start, rest) = target::split_path(path, &info.resource, &info.namespace);
    assert_eq!(format!("{start}{rest}"), path);
    redirect::read(path);
}

/// Any method on one of [`SUBRESOURCES`]; the verb is checked already.
pub(crate) async fn connect(server: &Arc<Inner>, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let (served, annotations) = (request.served()?.clone(), Annotations::of(&request.parts.extensions).clone());
    let asked = Asked { info: &request.info, query: &request.query, annotations: &annotations };
    review::connection(server, &served, &request.user, asked).await?;
    if request.info.subresource == "proxy" {
        return proxy(server, request).await;
    }
    let (namespace, name) = (request.info.namespace.clone(), request.info.name.clone());
    let pod = find(server, names::PODS, &namespace, &name).await?;
    let stream = Stream::read(&request.info.subresource, &name, &request.query)?;
    let Some(found) = location::locate(&stream, &pod)? else {
        // There is no log of a pod that is not placed yet.
        let mut nothing = Response::new(body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    };
    let node = find(server, names::NODES, "", &found.node).await?;
    let destination = kubelet(&found.node, &node)?;
    let is_log = matches!(stream, Stream::Log(_));
    let response = server.dialer.forward(server, &destination, &found.path, request.into_http(), None).await?;
    if is_log { checked_log(response, &name).await } else { Ok(response) }
}

async fn find(server: &Inner, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
    let registry = &server.registry;
    let found = match registry.get("", resource, namespace, name) {
        Some(found) => Some(found),
        None => registry.live("", resource, namespace, name).await,
    };
    found.ok_or_else(|| ApiError::not_found(&GroupResource { group: String::new(), resource: resource.into() }, name))
}

/// Where a node's kubelet listens.
fn kubelet(name: &str, node: &Value) -> Result<Destination, ApiError> {
    let (host, port) = target::kubelet(node).ok_or_else(|| {
        tracing::debug!(node = name, "no address of it can be reached");
        ApiError::new(500, Reason::Unknown, "no preferred addresses found; known addresses: []")
    })?;
    Ok(Destination { host, port, trust: Trust::Kubelet })
}

/// A log as it is; what the kubelet refuses, as an error of the pod.
async fn checked_log(response: Response<Body>, pod: &str) -> Result<Response<Body>, ApiError> {
    let code = response.status();
    if code.is_success() {
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        let mut log = Response::new(response.into_body());
        let plain = http::HeaderValue::from_static("text/plain");
        log.headers_mut().insert(header::CONTENT_TYPE, content_type.unwrap_or(plain));
        return Ok(log);
    }
    // Without its words it is refused all the same.
    let bytes = read_body(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Err(match code.as_u16() {
        400 => ApiError::bad_request(text),
        404 => {
            let details =
                api_core::status::Details { name: pod.into(), kind: names::PODS.into(), ..Default::default() };
            let message = format!("the server could not find the requested resource ( pods {pod}): {text}");
            ApiError::new(404, Reason::NotFound, message).with_details(details)
        }
        500 => ApiError::internal(text),
        other => ApiError::new(other, Reason::Unknown, text),
    })
}

/// Any request to the HTTP server of a node's kubelet, a pod or a service.
async fn proxy(server: &Arc<Inner>, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let info = &request.info;
    let asked = target::Asked::parse(&info.resource, &info.name)?;
    let (prefix, rest) = target::split_path(request.parts.uri.path(), &info.resource, &info.namespace);
    let destination = match info.resource.as_str() {
        names::NODES => {
            let node = find(server, names::NODES, "", &asked.name).await?;
            let mut destination = kubelet(&asked.name, &node)?;
            let own_port = asked.port.is_empty() || asked.port == destination.port.to_string();
            if !own_port {
                destination.port = asked.number()?;
                destination.trust = asked.trust();
            }
            destination
        }
        names::PODS => {
            let pod = find(server, names::PODS, &info.namespace, &asked.name).await?;
            let (host, port) = target::pod(&pod, &asked)?;
            Destination { host, port, trust: asked.trust() }
        }
        _ => {
            let service = find(server, names::SERVICES, &info.namespace, &asked.name).await?;
            let endpoints = server.registry.get("", names::ENDPOINTS, &info.namespace, &asked.name).unwrap_or_default();
            let pick = rand::random::<u32>() as usize;
            let (host, port) = target::service(&service, &endpoints, &asked, pick)?;
            Destination { host, port, trust: asked.trust() }
        }
    };
    if rest.is_empty() && request.parts.method == http::Method::GET && !pass::is_upgrade(&request.parts.headers) {
        // So that relative links of the page work.
        return Ok(redirect::to_directory(&request.parts.uri));
    }
    let query = request.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let path: PathAndQuery =
        format!("{rest}{query}").parse().map_err(|_| ApiError::bad_request("the path is not valid"))?;
    let seen = request.parts.uri.path().to_owned();
    let http: Request<Body> = request.into_http();
    let response = server.dialer.forward(server, &destination, path.as_str(), http, Some(&seen)).await;
    let mut response = response.map_err(|e| unreachable(&e))?;
    redirect::rewrite(&mut response, &destination.authority(), &prefix);
    Ok(response)
}

fn unreachable(error: &ApiError) -> ApiError {
    let why = error.message.strip_prefix("Internal error occurred: ").unwrap_or(&error.message);
    ApiError::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}
