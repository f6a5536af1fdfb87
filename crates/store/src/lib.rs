//! The MVCC contract of etcd v3, and its backends: embedded and etcd.
//!
//! Knows neither JSON nor kinds: keys and values are bytes.

#![forbid(unsafe_code)]

pub mod contract;

pub use contract::{
    Compare, Event, EventKind, KeyValue, Op, OpResult, Range, RangeResult, Revision, Store, StoreError, Txn, TxnResult,
    WatchBatch, WatchRequest,
};
