//! Pod, and the pod template that the workloads carry.

pub(in crate::hooks) mod defaults;
