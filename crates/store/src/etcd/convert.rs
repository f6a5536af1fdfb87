//! The contract's terms in etcd's, and back.

use bytes::Bytes;
use etcd_client::{CompareOp, DeleteOptions, Error, GetOptions, PutOptions, ResponseHeader, TxnOp, TxnOpResponse};

use crate::contract::{Compare, KeyValue, Op, OpResult, Range, RangeResult, Revision, StoreError, Txn, TxnResult};

pub(super) fn key_value(kv: etcd_client::KeyValue) -> KeyValue {
    let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
    let (version, lease) = (kv.version(), kv.lease());
    let (key, value) = kv.into_key_value();
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease }
}

pub(super) fn copy_key_value(kv: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: kv.create_revision(),
        mod_revision: kv.mod_revision(),
        version: kv.version(),
        lease: kv.lease(),
    }
}

pub(super) fn to_revision(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let header = header.ok_or_else(|| StoreError::Unavailable("etcd answered without a header".to_owned()))?;
    Ok(header.revision())
}

pub(super) fn get_options(range: &Range) -> GetOptions {
    let mut options = GetOptions::new().with_revision(range.revision);
    options = options.with_limit(i64::try_from(range.limit).unwrap_or(i64::MAX));
    if let Some(end) = &range.end {
        options = options.with_range(end.to_vec());
    }
    if range.count_only {
        options = options.with_count_only();
    }
    if range.keys_only {
        options = options.with_keys_only();
    }
    options
}

pub(super) fn txn_request(txn: Txn) -> etcd_client::Txn {
    let compare: Vec<_> = txn
        .compare
        .into_iter()
        .map(|compare| match compare {
            Compare::ModRevision(key, revision) => {
                etcd_client::Compare::mod_revision(key.to_vec(), CompareOp::Equal, revision)
            }
            Compare::CreateRevision(key, revision) => {
                etcd_client::Compare::create_revision(key.to_vec(), CompareOp::Equal, revision)
            }
        })
        .collect();
    let ops = |ops: Vec<Op>| ops.into_iter().map(op).collect::<Vec<_>>();
    etcd_client::Txn::new().when(compare).and_then(ops(txn.success)).or_else(ops(txn.failure))
}

fn op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            TxnOp::put(Vec::from(key), Vec::from(value), Some(PutOptions::new().with_lease(lease)))
        }
        Op::Delete { start, end } => {
            let options = end.map(|end| DeleteOptions::new().with_range(end.to_vec()));
            TxnOp::delete(start.to_vec(), options)
        }
        Op::Get(range) => TxnOp::get(range.start.to_vec(), Some(get_options(&range))),
    }
}

pub(super) fn txn_result(answer: &etcd_client::TxnResponse) -> Result<TxnResult, StoreError> {
    let revision = to_revision(answer.header())?;
    let results = answer
        .op_responses()
        .into_iter()
        .map(|result| match result {
            TxnOpResponse::Put(_) => Ok(OpResult::Put { previous: None }),
            TxnOpResponse::Delete(deleted) => {
                Ok(OpResult::Delete { deleted: usize::try_from(deleted.deleted()).unwrap_or_default() })
            }
            TxnOpResponse::Get(mut found) => Ok(OpResult::Get(RangeResult {
                count: usize::try_from(found.count()).unwrap_or_default(),
                more: found.more(),
                revision,
                kvs: found.take_kvs().into_iter().map(key_value).collect(),
            })),
            TxnOpResponse::Txn(_) => Err(StoreError::Unavailable("etcd answered what was not asked".to_owned())),
        })
        .collect::<Result<_, _>>()?;
    Ok(TxnResult { succeeded: answer.succeeded(), revision, results })
}

/// The first lease that a transaction names: etcd does not say which one it misses.
pub(super) fn first_lease(txn: &Txn) -> i64 {
    let leases = txn.success.iter().chain(&txn.failure).map(|op| match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } | Op::Get(_) => 0,
    });
    leases.into_iter().find(|lease| *lease != 0).unwrap_or_default()
}

/// Names the lease that is missing.
pub(super) fn with_lease(error: StoreError, lease: i64) -> StoreError {
    match error {
        StoreError::LeaseNotFound(_) => StoreError::LeaseNotFound(lease),
        error => error,
    }
}

/// etcd's errors, which are told apart by their text only.
pub(super) fn failure(error: &Error) -> StoreError {
    let text = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        Error::LeaseKeepAliveError(what) if what == "lease not found" => return StoreError::LeaseNotFound(0),
        Error::InvalidArgs(_) | Error::InvalidUri(_) => {
            return StoreError::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()));
        }
        other => other.to_string(),
    };
    let what = text.strip_prefix("etcdserver: ").unwrap_or(&text);
    match what {
        "mvcc: required revision has been compacted" => StoreError::Compacted { oldest: 0 },
        "mvcc: required revision is a future revision" => StoreError::FutureRevision { current: 0 },
        "mvcc: database space exceeded" => StoreError::NoSpace(None),
        "requested lease not found" => StoreError::LeaseNotFound(0),
        "duplicate key given in txn request" => StoreError::DuplicateKey,
        "key is not provided" => StoreError::EmptyKey,
        "request is too large" => StoreError::TooLarge { bytes: 0, limit: 0 },
        "too many operations in txn request" => {
            StoreError::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, text))
        }
        _ => StoreError::Unavailable(text),
    }
}
