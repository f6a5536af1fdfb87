//! Labels, annotations and directory names of the kubelet's contract with the runtime. Names only.

/// Pod name, on sandboxes and containers.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Pod namespace, on sandboxes and containers.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Pod UID, on sandboxes and containers.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Container name, on containers.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Hash of the container's spec, to notice that it changed.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// How often the container was restarted before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Where the container writes its last words.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// `File` or `FallbackToLogsOnError`.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// JSON of the preStop hook, so that it runs even if the pod object is gone.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// JSON of the container's ports, for named ports of a preStop hook.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// The pod's deletion grace period, if it was being deleted when the container started.
pub const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
/// The pod's termination grace period.
pub const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Where the pod came from: `api` or `file`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// When the agent first saw the pod, as RFC 3339.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Hash of a static pod's manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Marks the API object that mirrors a static pod.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
