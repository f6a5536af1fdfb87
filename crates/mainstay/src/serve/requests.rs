//! Requests of this process' own components, counted under the names that upstream's client library has for them.
//!
//! Changes nothing of what passes through. Tests are below.

use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use telemetry::metrics::{self, Error, HistogramVec, IntCounterVec, Registry};
use tower::Service;

/// Upper bounds of the time that a request takes, in seconds, as upstream's.
const DURATIONS_S: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// Stands for the host of a server in this process.
const IN_PROCESS: &str = "in-process";

/// Handles of the metrics.
#[derive(Debug, Clone)]
pub struct Requests {
    answered: IntCounterVec,
    took: HistogramVec,
}

impl Requests {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            answered: metrics::counter(
                registry,
                "rest_client_requests_total",
                "Requests of components by how they were answered.",
                &["code", "host", "method"],
            )?,
            took: metrics::histogram(
                registry,
                "rest_client_request_duration_seconds",
                "Time until a component's request is answered.",
                &["host", "verb"],
                DURATIONS_S,
            )?,
        })
    }

    /// Counts what goes through `service`.
    pub fn of<S>(&self, service: S) -> Counted<S> {
        Counted { service, requests: self.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    service: S,
    requests: Requests,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (started, requests, method) = (Instant::now(), self.requests.clone(), request.method().clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or_else(|_| "<error>".to_owned(), |a| a.status().as_u16().to_string());
            requests.answered.with_label_values(&[&code, IN_PROCESS, method.as_str()]).inc();
            requests.took.with_label_values(&[IN_PROCESS, method.as_str()]).observe(started.elapsed().as_secs_f64());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn requests_are_counted_by_how_they_are_answered() {
        let registry = Registry::new();
        let service = tower::service_fn(async |request: Request<()>| {
            let code = if request.uri().path() == "/there" { 200 } else { 404 };
            Ok::<_, Infallible>(Response::builder().status(code).body(()).expect("an answer"))
        });
        let counted = Requests::new(&registry).expect("registered").of(service);
        for path in ["/there", "/there", "/elsewhere"] {
            let answer = counted.clone().oneshot(Request::get(path).body(()).expect("a request")).await;
            answer.expect("it does not fail");
        }
        let text = metrics::encode(&registry).expect("text");
        for line in [
            "rest_client_requests_total{code=\"200\",host=\"in-process\",method=\"GET\"} 2",
            "rest_client_requests_total{code=\"404\",host=\"in-process\",method=\"GET\"} 1",
            "rest_client_request_duration_seconds_count{host=\"in-process\",verb=\"GET\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
