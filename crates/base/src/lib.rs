//! Clock, randomness, limits and small helpers. Knows nothing of Kubernetes.

#![forbid(unsafe_code)]
