//! The scheduler: filter and score over an immutable snapshot.
