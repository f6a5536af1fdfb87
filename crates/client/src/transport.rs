//! Two ways to reach an API server: a tower service in this process, or what a kubeconfig names.

use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::Service;

/// Any error of a transport or a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request as an in-process server receives it.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Why no client could be made from a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file cannot be read or is no kubeconfig.
    #[error("cannot read the kubeconfig {path}")]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// The cause.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Its current context does not make a usable client.
    #[error("cannot use the kubeconfig {path}")]
    Use {
        /// The file asked for.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client over `service`, without a socket.
///
/// `identify` sees the head of each request before the service does: it inserts the caller's identity as a request
/// extension and, if it wants to be known in `managedFields`, a `User-Agent` header.
/// Must be called within a tokio runtime.
pub fn in_process<S, B, F>(service: S, identify: F) -> kube::Client
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: Fn(&mut request::Parts) + Send + 'static,
{
    kube::Client::new(InProcess { service, identify }, "default")
}

/// A client for the current context of the kubeconfig at `path`.
///
/// Fails with [`ConnectError`] when the file is unreadable or names credentials that are; no request is sent yet.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, ConnectError> {
    let read = |source| ConnectError::Read { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(read)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(read)?;
    // A watch lives as long as the server lets it; a read limit would cut quiet ones.
    config.read_timeout = None;
    kube::Client::try_from(config)
        .map_err(|source| ConnectError::Use { path: path.to_owned(), source: Box::new(source) })
}

struct InProcess<S, F> {
    service: S,
    identify: F,
}

impl<S, F> Service<Request<kube::client::Body>> for InProcess<S, F>
where
    S: Service<Request<RequestBody>>,
    F: Fn(&mut request::Parts),
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        (self.identify)(&mut parts);
        let body = body.map_err(BoxError::from).boxed_unsync();
        self.service.call(Request::from_parts(parts, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Namespace;
    use std::convert::Infallible;

    #[derive(Clone)]
    struct Who(&'static str);

    #[tokio::test]
    async fn the_identity_reaches_the_service_and_the_answer_comes_back() {
        let service = tower::service_fn(|request: Request<RequestBody>| async move {
            let who = request.extensions().get::<Who>().map_or("nobody", |who| who.0);
            let body = format!(
                r#"{{"kind":"Namespace","apiVersion":"v1","metadata":{{"name":"{who}","labels":{{"path":"{}"}}}}}}"#,
                request.uri().path()
            );
            Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(body))))
        });
        let client = in_process(service, |parts| {
            parts.extensions.insert(Who("system:kube-scheduler"));
        });
        let got = kube::Api::<Namespace>::all(client).get("x").await.unwrap();
        assert_eq!(got.metadata.name.as_deref(), Some("system:kube-scheduler"));
        assert_eq!(got.metadata.labels.unwrap()["path"], "/api/v1/namespaces/x");
    }
}
