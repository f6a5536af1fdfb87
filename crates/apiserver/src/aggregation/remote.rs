//! An extension server: where it is at this moment, and how a request gets there.

use super::Aggregation;
use crate::authn::{UserInfo, request_header};
use crate::body::{self, Body};
use crate::registry::Registry;
use crate::registry::call::read_body;
use crate::server::Inner;
use crate::view::View;
use crate::webhook::service;
use crate::webhook::transport::{ServicePort, Trust};
use crate::{BoxError, webhook};
use api_kinds::aggregation::{ApiService, Backend};
use api_kinds::names;
use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// A group version and the server that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) service: ApiService,
    /// Of the object that says so.
    pub(super) revision: i64,
    pub(super) backend: Backend,
    pub(super) trust: Trust,
}

/// An answer that is all there.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Answer {
    /// The text of a header; empty if there is none.
    pub(super) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

/// `host:port`.
pub(super) fn authority((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The same path and query there.
pub(super) fn at(authority: &str, path: PathAndQuery) -> Result<Uri, http::Error> {
    Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build()
}

impl Remote {
    /// `None` for what is served here.
    pub(super) fn new(service: &ApiService, revision: i64) -> Option<Self> {
        let backend = service.backend.clone()?;
        let trust = Trust {
            ca_pem: backend.ca_pem.clone(),
            insecure: backend.insecure,
            as_front_proxy: true,
            server_name: backend.server_name(),
            // Found for each request, so that an endpoint that has gone is not used.
            service: None,
        };
        Some(Self { service: service.clone(), revision, backend, trust })
    }

    /// Path of its group version.
    pub(super) fn path(&self) -> String {
        format!("/apis/{}/{}", self.service.group, self.service.version)
    }

    /// All places where it can be reached now; never empty.
    pub(super) fn places(&self, aggregation: &Aggregation, registry: &Registry) -> Result<Vec<(String, u16)>, String> {
        let Backend { namespace, service, port, .. } = &self.backend;
        let found = registry.get("", names::SERVICES, namespace, service);
        if let Some(found) = found.filter(|s| s["spec"]["type"] == "ExternalName") {
            return Ok(vec![(found["spec"]["externalName"].as_str().unwrap_or("").to_owned(), *port)]);
        }
        let wanted = ServicePort { namespace: namespace.clone(), name: service.clone(), port: *port };
        service::endpoints(registry, &wanted, aggregation.own)
    }

    /// One of them.
    pub(super) fn place(&self, aggregation: &Aggregation, registry: &Registry) -> Result<(String, u16), String> {
        let mut places = self.places(aggregation, registry)?;
        Ok(places.swap_remove(rand::random::<u32>() as usize % places.len()))
    }

    /// A path at one of them.
    pub(super) fn uri(&self, server: &Inner, path: &str) -> Result<Uri, String> {
        let place = self.place(&server.aggregation, &server.registry)?;
        let path: PathAndQuery = path.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
        at(&authority(&place), path).map_err(|e| e.to_string())
    }
}

/// A question of this server's own.
pub(super) struct Question<'a> {
    pub(super) trust: &'a Trust,
    pub(super) uri: Uri,
    pub(super) user: &'a UserInfo,
    /// Media types.
    pub(super) accept: &'a str,
    /// Tag of the answer that is known already; empty for none.
    pub(super) known: &'a str,
    /// A longer answer is none; without a limit it is not read, for only its status counts.
    pub(super) answer_bytes_max: Option<usize>,
    pub(super) timeout: Duration,
}

impl Aggregation {
    /// Sends a request that is ready to go.
    pub(super) async fn send(&self, trust: &Trust, request: Request<Body>) -> Result<Response<Incoming>, String> {
        self.transport.send(trust, request).await.map_err(|e| webhook::why(&*e))
    }

    /// Asks on this server's own behalf.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, String> {
        let timeout = question.timeout;
        let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        tokio::time::timeout(timeout, self.exchange(question)).await.unwrap_or_else(|_| Err(late.into()))
    }

    async fn exchange(&self, question: Question<'_>) -> Result<Answer, String> {
        let mut request = Request::builder().method(Method::GET).uri(question.uri);
        request = request.header(header::ACCEPT, question.accept).header(header::USER_AGENT, "mainstay-apiserver");
        if !question.known.is_empty() {
            request = request.header(header::IF_NONE_MATCH, question.known);
        }
        let mut request = request.body(body::empty()).map_err(|e| e.to_string())?;
        request_header::write(request.headers_mut(), question.user).map_err(|e| e.to_string())?;
        let (parts, body) = self.send(question.trust, request).await?.into_parts();
        let bytes = match question.answer_bytes_max {
            None => Bytes::new(),
            Some(max) => {
                let body = BodyExt::map_err(body, BoxError::from).boxed_unsync();
                read_body(body, max).await.map_err(|e| e.message)?
            }
        };
        Ok(Answer { status: parts.status, headers: parts.headers, bytes })
    }
}
