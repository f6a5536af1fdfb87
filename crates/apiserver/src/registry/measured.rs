//! A store that is timed: each read and write by what it does and the resource that it is about, under the names that
//! upstream has for its own store.
//!
//! Changes nothing of what passes through.

use api_core::GroupResource;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use store::{Compare, Op, Range, RangeResult, Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchRequest};
use telemetry::metrics::{self, Error, HistogramVec, IntCounterVec, Registry};

/// What all keys begin with.
const ROOT: &str = "/registry/";
/// Upper bounds of the time that a request takes, in seconds.
const DURATIONS_S: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The store, and what is counted of it.
pub(crate) struct Measured {
    inner: Arc<dyn Store>,
    /// Names of built-in resources by the part of their keys after [`ROOT`].
    types: HashMap<String, String>,
    durations: HistogramVec,
    requests: IntCounterVec,
    errors: IntCounterVec,
    lists: IntCounterVec,
    /// Objects that lists have read, have looked at and have given: here they are the same.
    listed: [IntCounterVec; 3],
}

impl Measured {
    /// Registers the metrics; fails if the registry has metrics of these names already.
    pub(crate) fn new(inner: Arc<dyn Store>, registry: &Registry) -> Result<Self, Error> {
        let labels = &["operation", "type"];
        let listed = |what: &str, help: &str| {
            metrics::counter(registry, &format!("apiserver_storage_list_{what}"), help, &["resource"])
        };
        let types = api_kinds::rows().iter().filter_map(|row| {
            let key = row.storage_prefix.strip_prefix(ROOT)?.trim_end_matches('/').to_owned();
            (!key.is_empty()).then(|| (key, row.gvr.group_resource().to_string()))
        });
        Ok(Self {
            inner,
            types: types.collect(),
            durations: metrics::histogram(
                registry,
                "etcd_request_duration_seconds",
                "Time of a request to the store.",
                labels,
                DURATIONS_S,
            )?,
            requests: metrics::counter(registry, "etcd_requests_total", "Requests to the store.", labels)?,
            errors: metrics::counter(registry, "etcd_request_errors_total", "Requests that failed.", labels)?,
            lists: listed("total", "Lists from the store.")?,
            listed: [
                listed("fetched_objects_total", "Objects that lists from the store read.")?,
                listed("evaluated_objects_total", "Objects that lists from the store looked at.")?,
                listed("returned_objects_total", "Objects that lists from the store gave.")?,
            ],
        })
    }

    /// The resource that a key belongs to.
    fn type_of(&self, key: &[u8]) -> String {
        let rest = std::str::from_utf8(key).ok().and_then(|k| k.strip_prefix(ROOT)).unwrap_or("");
        let mut parts = rest.split('/');
        let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let known = self.types.get(&format!("{first}/{second}")).or_else(|| self.types.get(first));
        match known {
            Some(name) => name.clone(),
            // A custom resource's keys begin with its group.
            None if first.contains('.') => {
                GroupResource { group: first.to_owned(), resource: second.to_owned() }.to_string()
            }
            None => "other".to_owned(),
        }
    }

    fn measured<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        kind: String,
        work: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            let (started, labels) = (Instant::now(), [operation, &kind]);
            let answer = work.await;
            self.durations.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
            self.requests.with_label_values(&labels).inc();
            if answer.is_err() {
                self.errors.with_label_values(&labels).inc();
            }
            answer
        })
    }
}

/// What a transaction does, and to which key.
fn operation_of(txn: &Txn) -> (&'static str, &[u8]) {
    let is_new = txn.compare.iter().any(|c| matches!(c, Compare::ModRevision(_, 0)));
    match txn.success.first() {
        Some(Op::Put { key, .. }) => (if is_new { "create" } else { "update" }, key),
        Some(Op::Delete { start, .. }) => ("delete", start),
        Some(Op::Get(range)) => ("get", &range.start),
        None => ("get", &[]),
    }
}

impl Store for Measured {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RangeResult, StoreError>> {
        let kind = self.type_of(&range.start);
        if range.end.is_none() {
            return self.measured("get", kind, self.inner.range(range));
        }
        let work = self.inner.range(range);
        let of = kind.clone();
        let counted = async move {
            let found = work.await?;
            self.lists.with_label_values(&[&of]).inc();
            self.listed.iter().for_each(|c| c.with_label_values(&[&of]).inc_by(found.kvs.len() as u64));
            Ok(found)
        };
        self.measured("list", kind, Box::pin(counted))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        let (operation, key) = operation_of(&txn);
        let kind = self.type_of(key);
        self.measured(operation, kind, self.inner.txn(txn))
    }

    fn watch(&self, request: WatchRequest) -> BoxStream<'static, Result<WatchBatch, StoreError>> {
        self.inner.watch(request)
    }

    fn lease_grant(&self, ttl_s: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.inner.lease_grant(ttl_s)
    }

    fn lease_keep_alive(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_keep_alive(lease)
    }

    fn lease_revoke(&self, lease: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.lease_revoke(lease)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.compact(revision)
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.inner.revision()
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.size_bytes()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_a_resource() {
        let directory = tempfile::tempdir().expect("directory");
        let store = store::Embedded::open(directory.path().join("store"), store::Limits::default()).expect("store");
        let measured = Measured::new(Arc::new(store), &Registry::new()).expect("registered");
        for (key, wanted) in [
            ("/registry/pods/a/b", "pods"),
            ("/registry/services/specs/a/b", "services"),
            ("/registry/services/endpoints/a/b", "endpoints"),
            ("/registry/deployments/a/b", "deployments.apps"),
            ("/registry/example.com/widgets/a/b", "widgets.example.com"),
            ("/registry/masterleases/10.0.0.1", "other"),
            ("elsewhere", "other"),
        ] {
            assert_eq!(measured.type_of(key.as_bytes()), wanted, "{key}");
        }
    }
}
