//! Build, serve, drain: the server's parts put together.

use crate::admission::Admission;
use crate::admission::webhooks::{self, Webhooks};
use crate::aggregation::{self, Aggregation};
use crate::audit::{Audit, OpenError};
use crate::authn::{Authenticator, UserInfo};
use crate::authz::{Authorizer, feed};
use crate::body::{self, Body};
use crate::config::Config;
use crate::encodings::Encodings;
use crate::fairness::{self, Fairness};
use crate::long::Makers;
use crate::metrics::Metrics;
use crate::negotiate::Media;
use crate::proxy::Dialer;
use crate::query::Query;
use crate::registry::measured::Measured;
use crate::registry::{Registry, Served, custom};
use crate::request_info::RequestInfo;
use crate::request_labels::Summary;
use crate::stage_metrics::AdmissionMetrics;
use crate::webhook::transport::Transport;
use crate::{bootstrap, closing, pipeline, webhook};
use api_core::{ApiError, Reason};
use futures::future::{BoxFuture, FutureExt};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Notices of webhooks that wait to be written as events.
const NOTICES_MAX: usize = 64;

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Keys or certificates of the configuration are unusable.
    #[error("credentials in the configuration: {0}")]
    Credentials(String),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// The store failed while the caches were filled.
    #[error("reading the store failed")]
    Store(#[from] StoreError),
    /// The metrics registry holds metrics of these names already.
    #[error("registering metrics failed: {0}")]
    Metrics(String),
    /// Something in the store could not be read as an object.
    #[error("reading the store failed: {0}")]
    Registry(String),
}

/// The API server.
#[derive(Debug)]
pub struct Server {
    inner: Arc<Inner>,
}

/// The server's parts.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) admission: Admission,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dialer: Dialer,
    /// Calls webhooks.
    pub(crate) webhooks: Arc<webhook::Client>,
    /// Group versions that extension servers serve.
    pub(crate) aggregation: Aggregation,
    pub(crate) audit: Audit,
    pub(crate) fairness: Fairness,
    pub(crate) makers: Makers,
    pub(crate) encodings: Encodings,
    /// What discovery says of the rows that are served.
    pub(crate) discovered: crate::discovery::Discovered,
    /// OpenAPI documents of the rows that are served.
    pub(crate) openapi: crate::openapi::Published,
    /// Cancelled when the server drains: watches end, background work ends.
    pub(crate) drain: CancellationToken,
    /// Cancelled when new requests from outside are told to come again, to another server.
    pub(crate) refusing: CancellationToken,
    /// Cancelled when the server is not ready any more, which may be a while before it drains.
    pub(crate) ending: CancellationToken,
    /// Requests and background work that a drain waits for.
    pub(crate) tasks: TaskTracker,
    /// Whether [`bootstrap::run`] has made all that a cluster needs.
    pub(crate) bootstrapped: tokio::sync::watch::Sender<bool>,
}

/// A request that has passed authentication and authorization.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) user: UserInfo,
    /// The row, if the path names a resource that is served.
    pub(crate) served: Option<Arc<Served>>,
}

impl ApiRequest {
    /// The row; a 404 if there is none.
    pub(crate) fn served(&self) -> Result<&Arc<Served>, ApiError> {
        self.served.as_ref().ok_or_else(ApiError::no_such_resource)
    }

    /// The request as it came, for an upgrade or a proxy.
    pub(crate) fn into_http(self) -> Request<Body> {
        Request::from_parts(self.parts, self.body)
    }
}

impl Server {
    /// Reads the store into the caches and starts the background work.
    pub async fn build(config: Config, store: Arc<dyn Store>) -> Result<Server, BuildError> {
        let store = Measured::new(store, &config.metrics).map_err(|e| BuildError::Metrics(e.to_string()))?;
        let registry = Registry::build(&config, Arc::new(store)).await?;
        let definitions = custom::load(&registry).await?;
        let authenticator = Authenticator::new(&config, registry.clone()).map_err(BuildError::Credentials)?;
        let authorizer = Arc::new(Authorizer::new(bootstrap::node_rules()));
        let transport = Arc::new(transport(&config, &registry).map_err(BuildError::Credentials)?);
        let webhooks = Arc::new(webhook::Client::over(transport.clone()));
        let (notices, noticed) = tokio::sync::mpsc::channel(NOTICES_MAX);
        let reviewing = Webhooks::new(
            registry.clone(),
            authorizer.clone(),
            webhooks.clone(),
            webhooks::metrics::Metrics::new(&config.metrics).map_err(|e| BuildError::Metrics(e.to_string()))?,
            bootstrap::controller_accounts(),
            notices,
            config.limits.webhook_down_after,
        );
        let admission = AdmissionMetrics::new(&config.metrics, Admission::plugins());
        let admission = admission.map_err(|e| BuildError::Metrics(e.to_string()))?;
        let inner = Arc::new(Inner {
            admission: Admission::new(registry.clone(), authorizer.clone())
                .with_webhooks(reviewing)
                .with_metrics(admission),
            authorizer,
            authenticator,
            discovered: crate::discovery::Discovered::default(),
            openapi: crate::openapi::Published::new(&config.metrics).map_err(|e| BuildError::Metrics(e.to_string()))?,
            aggregation: Aggregation::new(&registry, transport, &config)
                .map_err(|e| BuildError::Metrics(e.to_string()))?,
            audit: Audit::open(config.audit_log.as_deref())?,
            webhooks,
            dialer: Dialer::new(&config).map_err(BuildError::Credentials)?,
            metrics: Arc::new(Metrics::new(&config.metrics).map_err(|e| BuildError::Metrics(e.to_string()))?),
            fairness: Fairness::new(&config.limits, config.priority_and_fairness, &config.metrics)
                .map_err(|e| BuildError::Metrics(e.to_string()))?,
            makers: Makers::new(),
            encodings: Encodings::new(&config.metrics).map_err(|e| BuildError::Metrics(e.to_string()))?,
            drain: CancellationToken::new(),
            ending: CancellationToken::new(),
            refusing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            bootstrapped: tokio::sync::watch::Sender::new(!config.bootstrap),
            registry,
            config,
        });
        feed::start(&inner)?;
        fairness::start(&inner)?;
        inner.tasks.spawn(custom::run(inner.clone(), definitions));
        inner.tasks.spawn(aggregation::run(inner.clone()));
        inner.tasks.spawn(webhooks::announce(inner.clone(), noticed));
        inner.tasks.spawn(crate::tokens::legacy::run(inner.clone()));
        inner.tasks.spawn(crate::own_endpoints::run(inner.clone()));
        inner.tasks.spawn(crate::identity::run(inner.clone()));
        if inner.config.bootstrap {
            inner.tasks.spawn(bootstrap::run(inner.clone()));
        }
        Ok(Server { inner })
    }

    /// The pipeline as a tower service; cheap to clone.
    pub fn service(&self) -> Service {
        Service { inner: self.inner.clone() }
    }

    /// What calls webhooks, over the connections that the server has.
    pub fn webhooks(&self) -> &Arc<webhook::Client> {
        &self.inner.webhooks
    }

    /// Returns when the objects that every cluster has are there, and all that `/readyz` waits for at the start.
    pub async fn ready(&self) {
        let aggregation = &self.inner.aggregation;
        for flag in [&self.inner.bootstrapped, &aggregation.following, &aggregation.registered] {
            // The sender lives in `self`, so this only ends with `true`.
            if flag.subscribe().wait_for(|done| *done).await.is_err() {
                tracing::error!("a flag of the start has gone while its server lives");
            }
        }
    }

    /// Fails `/readyz` from now on; all else is served as before.
    pub fn announce_end(&self) {
        self.inner.ending.cancel();
    }

    /// Tells new requests from outside to come again; what is under way goes on.
    pub fn refuse_new(&self) {
        self.inner.refusing.cancel();
    }

    /// Takes no more requests, ends watches, and waits until what is under way is done or the drain's time is over.
    /// Returns whether all of it was done.
    pub async fn shutdown(&self) -> bool {
        self.announce_end();
        self.inner.drain.cancel();
        self.inner.tasks.close();
        let done = tokio::time::timeout(self.inner.config.limits.drain_timeout, self.inner.tasks.wait()).await.is_ok();
        self.inner.registry.close().await;
        done
    }
}

fn transport(config: &Config, registry: &Arc<Registry>) -> Result<Transport, String> {
    let own = SocketAddr::new(config.advertise_address, config.secure_port);
    Transport::new(registry.clone(), own, (&config.proxy_client_cert_pem, &config.proxy_client_key_pem))
}

/// See [`Server::service`].
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        if inner.refusing.is_cancelled()
            && let Some(refusal) = closing::turn_away(&request)
        {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        Box::pin(async move {
            let tracked = inner.tasks.token();
            // A bug in one rule must not cost the client its connection.
            let handled = AssertUnwindSafe(pipeline::handle(inner, request)).catch_unwind().await;
            drop(tracked);
            Ok(handled.unwrap_or_else(|_| {
                tracing::error!("a request panicked");
                pipeline::failure(&ApiError::internal("a rule of the server failed; see its log"), Media::Json)
            }))
        })
    }
}

/// By which the server is known as a manager of fields, whose server it may be: as upstream's is.
const OWN_USER_AGENT: &str = "kube-apiserver";

impl Inner {
    /// A request of the server to itself, as `user`; JSON in, JSON out. An answer of 400 and more becomes an error.
    pub(crate) async fn call(
        self: &Arc<Self>,
        user: &UserInfo,
        method: Method,
        path: &str,
        value: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.exchange(user, method, path, (media, value)).await
    }

    /// Applies a configuration as that manager of fields, by force.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        user: &UserInfo,
        manager: &str,
        path: &str,
        configuration: &Value,
    ) -> Result<Value, ApiError> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.exchange(user, Method::PATCH, &path, ("application/apply-patch+yaml", Some(configuration))).await
    }

    async fn exchange(
        self: &Arc<Self>,
        user: &UserInfo,
        method: Method,
        path: &str,
        (media, value): (&str, Option<&Value>),
    ) -> Result<Value, ApiError> {
        let bytes = value.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media)
            .header("accept", "application/json")
            .header("user-agent", OWN_USER_AGENT)
            .body(body::full(bytes))
            .map_err(ApiError::internal)?;
        request.extensions_mut().insert(user.clone());
        request.extensions_mut().insert(fairness::Within);
        let query = Query::parse(request.uri().query());
        let info = RequestInfo::new(request.method(), request.uri().path(), &query);
        self.metrics.requests.own_request(&Summary::new(&info, &query, request.headers()));
        let response = pipeline::handle(self.clone(), request).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(ApiError::internal)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
        if code < 400 {
            return Ok(value);
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(ApiError::new(code, Reason::parse(&text("reason")), text("message")))
    }
}
