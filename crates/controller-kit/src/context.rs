//! What a controller is given, and what it declares.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use client::informer::{Cached, Handle, Informers, Selector};
use kube::Resource;
use tokio_util::sync::CancellationToken;

use crate::driver::Observer;
use crate::events::Recorder;
use crate::writer::Writer;

/// Where the time comes from.
pub type Clock = fn() -> DateTime<Utc>;

/// A controller as data.
#[derive(Debug)]
pub struct Row {
    /// Its name, as in logs and metrics: `replicaset`.
    pub name: &'static str,
    /// The service account in kube-system as which it writes, as upstream has them; empty for none.
    pub account: &'static str,
    /// Kinds whose informers it reads.
    pub inputs: &'static [&'static str],
    /// Kinds that it writes, with the subresource after a slash: `Pod`, `ReplicaSet/status`.
    pub outputs: &'static [&'static str],
    /// Reconciliations that may run at a time.
    pub workers: usize,
}

/// What a controller works with. Reading or writing a kind that its row does not declare is refused in debug builds.
#[derive(Clone)]
pub struct Context {
    /// The row of the controller this context was made for.
    pub row: &'static Row,
    /// For reads past the cache.
    pub client: kube::Client,
    /// Shared caches.
    pub informers: Informers,
    /// Where events go.
    pub events: Recorder,
    /// The time.
    pub clock: Clock,
    /// Is told what reconciliations did.
    pub observer: Arc<dyn Observer>,
    /// Cancelled when the controller has to end.
    pub stop: CancellationToken,
}

impl Context {
    /// The same context for another controller.
    pub fn for_row(&self, row: &'static Row) -> Context {
        Context { row, ..self.clone() }
    }

    /// The shared informer of `K`.
    pub fn informer<K: Cached + Resource<DynamicType = ()>>(&self) -> Handle<K> {
        self.check_input::<K>();
        self.informers.get::<K>()
    }

    /// The shared informer of the objects of kind `K` that `selector` chooses.
    pub fn informer_of<K: Cached + Resource<DynamicType = ()>>(&self, selector: Selector) -> Handle<K> {
        self.check_input::<K>();
        self.informers.select::<K>(selector)
    }

    /// Writes as this controller.
    pub fn writer(&self) -> Writer {
        Writer::new(self.client.clone(), self.row)
    }

    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    fn check_input<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&());
        debug_assert!(self.row.inputs.contains(&&*kind), "{} does not declare the input {kind}", self.row.name);
    }
}

/// Rows as text, one line each: `name: Inputs -> Outputs`.
pub fn graph<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = String::new();
    for row in rows {
        writeln!(text, "{}: {} -> {}", row.name, row.inputs.join(", "), row.outputs.join(", "))
            .expect("writing to a string");
    }
    text
}
