//! Clock, randomness, limits and small helpers. Knows nothing of Kubernetes.

#![forbid(unsafe_code)]

pub mod ordered_map;

pub use ordered_map::OrderedMap;
