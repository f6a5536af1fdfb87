//! What makes a transaction invalid whatever the store holds; the same for every backend.

use bytes::Bytes;

use crate::contract::{Op, StoreError, Txn, in_range};

/// Refuses empty keys, keys written twice, and requests that are too large.
pub(crate) fn txn(txn: &Txn, request_bytes_max: usize) -> Result<(), StoreError> {
    let mut bytes = 0;
    for ops in [&txn.success, &txn.failure] {
        for op in ops {
            let (key, value) = match op {
                Op::Put { key, value, .. } => (key, value.len()),
                Op::Delete { start, .. } => (start, 0),
                Op::Get(range) => (&range.start, 0),
            };
            if key.is_empty() {
                return Err(StoreError::EmptyKey);
            }
            bytes += key.len() + value;
        }
        if writes_twice(ops) {
            return Err(StoreError::DuplicateKey);
        }
    }
    if bytes > request_bytes_max {
        return Err(StoreError::TooLarge { bytes, limit: request_bytes_max });
    }
    Ok(())
}

fn writes_twice(ops: &[Op]) -> bool {
    let mut puts: Vec<&Bytes> = Vec::new();
    let mut deletes = Vec::new();
    for op in ops {
        match op {
            Op::Put { key, .. } => puts.push(key),
            Op::Delete { start, end } => deletes.push((start, end.as_deref())),
            Op::Get(_) => {}
        }
    }
    puts.sort_unstable();
    puts.windows(2).any(|pair| pair[0] == pair[1])
        || puts.iter().any(|key| deletes.iter().any(|(start, end)| in_range(key, start, *end)))
}
