//! A request that has passed: it holds its seats until it is answered, and its turn until it waits for something.

use super::config::Schema;
use crate::body::Body;
use crate::server::Inner;
use flow::Running;
use http::{HeaderMap, HeaderName, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Request extension: it is part of another request, which has passed already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Within;

/// What a request holds while it is executed.
#[derive(Debug)]
pub(crate) enum Passage {
    /// It is not counted.
    Free,
    /// It has a place among all, with priority and fairness off.
    #[expect(dead_code, reason = "held, not read")]
    Counted(OwnedSemaphorePermit),
    /// It has seats.
    Seated(Seat),
}

/// Seats of a request.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) server: Arc<Inner>,
    pub(super) schema: Arc<Schema>,
    /// `None` once it is given back.
    pub(super) running: Option<Running>,
    pub(super) seats: u32,
    /// 0 reads, 1 writes.
    pub(super) kind: usize,
    pub(super) watch: bool,
}

/// Names the schema and the level that the request was given.
pub(super) fn mark(headers: &mut HeaderMap, schema: &Schema) {
    headers.insert(SCHEMA_UID, schema.uid.clone());
    headers.insert(LEVEL_UID, schema.level_uid.clone());
}

impl Passage {
    /// Runs the request's work; its turn is given back as soon as it waits.
    pub(crate) async fn drive<F: Future>(&mut self, mut work: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if let (Poll::Pending, Self::Seated(seat)) = (&polled, &mut *self) {
                seat.give_turn_back();
            }
            polled
        })
        .await
    }

    /// Marks the answer, and holds what the request has until a long one is sent.
    pub(crate) fn finish(mut self, mut response: Response<Body>) -> Response<Body> {
        match &mut self {
            Self::Free => return response,
            Self::Counted(_) => {}
            Self::Seated(seat) => {
                mark(response.headers_mut(), &seat.schema);
                if seat.watch {
                    return response;
                }
                seat.give_turn_back();
            }
        }
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            body.map_frame(move |frame| {
                // It lives as long as the body.
                let _held = &self;
                frame
            })
            .boxed_unsync()
        })
    }
}

impl Seat {
    fn give_turn_back(&mut self) {
        let Some(running) = self.running.as_mut().filter(|r| r.has_turn()) else { return };
        let fairness = &self.server.fairness;
        let now = fairness.now();
        let mut state = fairness.state.lock();
        state.system.give_turn_back(running);
        state.dispatch(now, None);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let fairness = &self.server.fairness;
        let now = fairness.now();
        fairness.executing[self.kind].fetch_sub(1, Ordering::Relaxed);
        let metrics = &self.schema.metrics;
        metrics.note_running(-1, self.seats);
        let took = Duration::from_nanos(now.saturating_sub(running.started())).as_secs_f64();
        if self.watch {
            metrics.watched.observe(took)
        } else {
            metrics.executed.observe(took)
        }
        let mut state = fairness.state.lock();
        state.system.finish(now, &mut running);
        state.dispatch(now, None);
        drop(state);
        if running.extra_ns() > 0 {
            self.release_later(running);
        }
    }
}

impl Seat {
    /// Keeps the seats while watchers are told of the change.
    fn release_later(&self, running: Running) {
        let (server, extra) = (self.server.clone(), Duration::from_nanos(running.extra_ns()));
        let release = move |server: &Inner| {
            let now = server.fairness.now();
            let mut state = server.fairness.state.lock();
            state.system.release(now, &running);
            state.dispatch(now, None);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(extra).await;
                    release(&server);
                });
            }
            // The process ends.
            Err(_) => release(&server),
        }
    }
}
