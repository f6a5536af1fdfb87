//! The MVCC contract of etcd v3, and its backends: embedded and etcd.
//!
//! Knows neither JSON nor kinds: keys and values are bytes.

#![forbid(unsafe_code)]

mod check;
pub mod contract;
pub mod embedded;
pub mod etcd;
mod hub;

pub use contract::{
    Compare, Event, EventKind, KeyValue, Op, OpResult, Progress, Range, RangeResult, Revision, Store, StoreError, Txn,
    TxnResult, WatchBatch, WatchRequest, in_range, prefix_end,
};
pub use embedded::{Embedded, Limits};
pub use etcd::{Etcd, EtcdConfig};
