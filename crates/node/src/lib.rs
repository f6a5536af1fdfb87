//! The node agent: pod state machine, CRI, volumes, probes, stats, the kubelet API.
