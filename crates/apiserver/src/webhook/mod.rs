//! Calls of webhooks: a JSON document is posted to an HTTPS server that a client configuration names, and one comes back.
//!
//! A client configuration is the `clientConfig` of admission and conversion webhooks: a URL, or a service, and a CA.
//! [`Client::call`] is all that a caller needs; it says what went wrong in the words that upstream's clients show. Knows
//! neither admission nor conversion. Tests are in `tests/webhook_client.rs`.

mod document;
pub mod service;
pub mod transport;
mod verify;

pub use document::Document;
pub(crate) use verify::{check_certificate, covers};

use crate::body;
use crate::registry::call::read_body;
use crate::view::View;
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use transport::{ConnectError, ServicePort, Transport, Trust};

/// A longer answer is refused.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// What the caller is shown of an answer that is no document.
const SHOWN_BYTES_MAX: usize = 2 << 10;

/// Where a webhook is, and how it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// URL without the query that says how long it may take.
    url: String,
    trust: Trust,
}

/// Why a call failed; displayed in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The configuration leads nowhere.
    #[error("{0}")]
    Configuration(String),
    /// No answer came.
    #[error("Post {url:?}: {why}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// In the words of upstream's language.
        why: String,
    },
    /// The answer was a refusal.
    #[error("{message}")]
    Refused {
        /// Its HTTP status.
        code: u16,
        /// In upstream's words.
        message: String,
    },
    /// The answer was not a document.
    #[error("{0}")]
    Unreadable(String),
}

impl CallError {
    /// HTTP status that metrics of webhooks count it under.
    pub fn code(&self) -> u16 {
        match self {
            Self::Configuration(_) => 400,
            Self::NoAnswer { .. } => 503,
            Self::Refused { code, .. } => *code,
            Self::Unreadable(_) => 500,
        }
    }
}

impl Target {
    /// Reads a `clientConfig`.
    pub fn read(config: &Value) -> Result<Self, CallError> {
        let bad = |why: String| CallError::Configuration(why);
        let bundle = config["caBundle"].as_str().unwrap_or("");
        let ca_pem = base64::engine::general_purpose::STANDARD.decode(bundle);
        let ca_pem = ca_pem.map_err(|e| bad(format!("unable to load root certificates: {e}")))?;
        if let Some(service) = config.get("service").filter(|s| s.is_object()) {
            let text = |field: &str| service[field].as_str().unwrap_or("");
            let (namespace, name) = (text("namespace"), text("name"));
            let port = service["port"].as_u64().map_or(Some(443), |p| u16::try_from(p).ok());
            let port = port.ok_or_else(|| bad(format!("invalid port of service {name:?}")))?;
            let path = text("path");
            let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
            let server_name = format!("{name}.{namespace}.svc");
            let url = format!("https://{server_name}:{port}{slash}{path}");
            let service = Some(ServicePort { namespace: namespace.into(), name: name.into(), port });
            return Ok(Self { url, trust: Trust { ca_pem, server_name, service, ..Trust::default() } });
        }
        let Some(url) = config["url"].as_str() else {
            return Err(bad("webhook configuration must have either service or URL".into()));
        };
        let parsed: Uri = url.parse().map_err(|e| bad(format!("Unparsable URL: {e}")))?;
        if parsed.scheme_str() != Some("https") || parsed.host().is_none() {
            return Err(bad(format!("webhook URL {url:?} is not an https URL")));
        }
        Ok(Self { url: url.to_owned(), trust: Trust { ca_pem, ..Trust::default() } })
    }

    /// The service behind it, if it is one.
    pub fn service(&self) -> Option<&ServicePort> {
        self.trust.service.as_ref()
    }
}

/// Calls webhooks.
#[derive(Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// `own` is where this server itself is reached.
    pub fn new(view: Arc<dyn View>, own: SocketAddr) -> Result<Self, String> {
        Ok(Self::over(Arc::new(Transport::new(view, own, ("", ""))?)))
    }

    /// Over connections that others use too.
    pub fn over(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    /// Posts `document`, and gives the document that is answered. `timeout` is what the webhook is told it has (in whole
    /// seconds, 0 for not at all); `at_most` is how long it really has: the same, or what is left of the request.
    pub async fn call(
        &self,
        target: &Target,
        document: Bytes,
        wanted: Document<'_>,
        timeout_s: u64,
        at_most: Duration,
    ) -> Result<Value, CallError> {
        let separator = if target.url.contains('?') { '&' } else { '?' };
        let url =
            if timeout_s == 0 { target.url.clone() } else { format!("{}{separator}timeout={timeout_s}s", target.url) };
        let answer = tokio::time::timeout(at_most, self.exchange(target, &url, document, wanted)).await;
        answer.unwrap_or_else(|_| Err(CallError::NoAnswer { url, why: "context deadline exceeded".into() }))
    }

    async fn exchange(
        &self,
        target: &Target,
        url: &str,
        document: Bytes,
        wanted: Document<'_>,
    ) -> Result<Value, CallError> {
        let no_answer = |why: String| CallError::NoAnswer { url: url.to_owned(), why };
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(body::full(document))
            .map_err(|e| CallError::Configuration(e.to_string()))?;
        let response = self.transport.send(&target.trust, request).await.map_err(|e| no_answer(why(&*e)))?;
        let code = response.status();
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let body = http_body_util::BodyExt::map_err(response.into_body(), crate::BoxError::from);
        let body = http_body_util::BodyExt::boxed_unsync(body);
        let bytes = read_body(body, ANSWER_BYTES_MAX).await;
        let bytes = bytes.map_err(|e| CallError::Unreadable(e.message))?;
        if !code.is_success() {
            return Err(refusal(code, &bytes));
        }
        wanted.read(&bytes, code, &media).map_err(CallError::Unreadable)
    }
}

/// The failure to connect, if it is one; else the innermost cause.
pub(crate) fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    loop {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            return connect.to_string();
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return "EOF".into();
        }
        match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::UnexpectedEof) => return "EOF".into(),
            Some(std::io::ErrorKind::ConnectionReset) => return "read: connection reset by peer".into(),
            _ => {}
        }
        match error.source() {
            Some(source) => error = source,
            None => return error.to_string(),
        }
    }
}

/// An answer of 300 and more, as upstream's client reads it: the message of a `Status`, or words for the code.
fn refusal(code: StatusCode, bytes: &[u8]) -> CallError {
    let status = serde_json::from_slice::<Value>(bytes).ok().filter(|v| v["kind"] == "Status");
    let message = status.as_ref().and_then(|s| s["message"].as_str()).map(str::to_owned);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).trim().to_owned();
    let shown = if shown.is_empty() { "unknown".to_owned() } else { shown };
    let message = message.unwrap_or_else(|| match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 => shown,
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        406 => shown,
        409 => "the server reported a conflict".into(),
        410 => "the server has received a request for something that is no longer available".into(),
        415 => shown,
        422 => "the server rejected our request due to an error in our request".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .into()
        }
        500.. => format!("an error on the server ({shown:?}) has prevented the request from succeeding"),
        code => format!("the server responded with the status code {code} but did not return more information"),
    });
    CallError::Refused { code: code.as_u16(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets() {
        let url = |config: Value| Target::read(&config).map_or_else(|e| e.to_string(), |t| t.url);
        let service = |extra: Value| {
            let mut service = json!({"namespace": "n", "name": "s"});
            service.as_object_mut().expect("object").extend(extra.as_object().cloned().expect("object"));
            json!({"service": service})
        };
        assert_eq!(url(service(json!({}))), "https://s.n.svc:443");
        assert_eq!(url(service(json!({"port": 8443, "path": "/a"}))), "https://s.n.svc:8443/a");
        assert_eq!(url(service(json!({"path": "a"}))), "https://s.n.svc:443/a");
        assert_eq!(url(json!({"url": "https://h:1/x"})), "https://h:1/x");
        assert_eq!(url(json!({})), "webhook configuration must have either service or URL");
        assert_eq!(url(json!({"url": "http://h/x"})), "webhook URL \"http://h/x\" is not an https URL");
        assert!(url(json!({"url": "https://h", "caBundle": "%"})).starts_with("unable to load root certificates: "));
    }

    #[test]
    fn refusals_are_worded_by_their_code() {
        let message =
            |code: u16, body: &str| refusal(StatusCode::from_u16(code).expect("code"), body.as_bytes()).to_string();
        assert_eq!(message(404, "404 page not found"), "the server could not find the requested resource");
        assert_eq!(message(500, "oh"), "an error on the server (\"oh\") has prevented the request from succeeding");
        assert_eq!(message(500, ""), "an error on the server (\"unknown\") has prevented the request from succeeding");
        assert_eq!(message(403, r#"{"kind":"Status","message":"no"}"#), "no");
    }
}
