//! Names of the few resources and kinds that the server's security must know by name, whatever it is asked for: who runs
//! where, who holds which secret, what a cluster begins with.

/// Pods.
pub const PODS: &str = "pods";
/// Nodes.
pub const NODES: &str = "nodes";
/// Services.
pub const SERVICES: &str = "services";
/// Endpoints.
pub const ENDPOINTS: &str = "endpoints";
/// Endpoint slices.
pub const ENDPOINT_SLICES: &str = "endpointslices";
/// Secrets.
pub const SECRETS: &str = "secrets";
/// Config maps.
pub const CONFIG_MAPS: &str = "configmaps";
/// Events.
pub const EVENTS: &str = "events";
/// Kind of events.
pub const EVENT: &str = "Event";
/// Leases.
pub const LEASES: &str = "leases";
/// Kind of pods.
pub const POD: &str = "Pod";
/// Kind of nodes.
pub const NODE: &str = "Node";
/// Kind of secrets.
pub const SECRET: &str = "Secret";
/// Kind of service accounts.
pub const SERVICE_ACCOUNT: &str = "ServiceAccount";
/// Kind of namespaces.
pub const NAMESPACE: &str = "Namespace";
/// Kind of services.
pub const SERVICE: &str = "Service";
/// Kind of config maps.
pub const CONFIG_MAP: &str = "ConfigMap";
/// Kind of endpoints.
pub const ENDPOINTS_KIND: &str = "Endpoints";
/// Version and kind of an entry of the audit log.
pub const AUDIT_EVENT: (&str, &str) = ("audit.k8s.io/v1", "Event");
