//! Types that others have generated from upstream's definitions, for every built-in kind.

use api_core::Gvk;
use prost::{DecodeError, Message};

/// Reads a message and writes it again, as one of their types.
pub type Through = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

/// See [`Through`].
pub fn through<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    M::decode(bytes).map(|message| message.encode_to_vec())
}

macro_rules! peers {
    ($($group:literal $version:literal $module:path: $($kind:ident)+;)+) => {
        vec![$($({
            use $module as module;
            (Gvk::new($group, $version, stringify!($kind)), through::<module::$kind> as Through)
        }),+),+]
    };
}

/// Those of all kinds that are served.
pub fn peers() -> Vec<(Gvk, Through)> {
    peers! {
        "" "v1" k8s_pb::api::core::v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node
            PersistentVolume PersistentVolumeClaim Pod
            PodTemplate ReplicationController ResourceQuota Secret Service
            ServiceAccount;
        "admissionregistration.k8s.io" "v1" k8s_pb::api::admissionregistration::v1: MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
        "apiextensions.k8s.io" "v1" k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1:
            CustomResourceDefinition;
        "apiregistration.k8s.io" "v1" k8s_pb::kube_aggregator::pkg::apis::apiregistration::v1: APIService;
        "apps" "v1" k8s_pb::api::apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
        "authentication.k8s.io" "v1" k8s_pb::api::authentication::v1: SelfSubjectReview TokenRequest TokenReview;
        "authorization.k8s.io" "v1" k8s_pb::api::authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview
            SelfSubjectRulesReview SubjectAccessReview;
        "autoscaling" "v1" k8s_pb::api::autoscaling::v1: HorizontalPodAutoscaler Scale;
        "autoscaling" "v2" k8s_pb::api::autoscaling::v2: HorizontalPodAutoscaler;
        "batch" "v1" k8s_pb::api::batch::v1: CronJob Job;
        "certificates.k8s.io" "v1" k8s_pb::api::certificates::v1: CertificateSigningRequest;
        "coordination.k8s.io" "v1" k8s_pb::api::coordination::v1: Lease;
        "discovery.k8s.io" "v1" k8s_pb::api::discovery::v1: EndpointSlice;
        "events.k8s.io" "v1" k8s_pb::api::events::v1: Event;
        "flowcontrol.apiserver.k8s.io" "v1" k8s_pb::api::flowcontrol::v1: FlowSchema PriorityLevelConfiguration;
        "flowcontrol.apiserver.k8s.io" "v1beta3" k8s_pb::api::flowcontrol::v1beta3: FlowSchema
            PriorityLevelConfiguration;
        "networking.k8s.io" "v1" k8s_pb::api::networking::v1: Ingress IngressClass NetworkPolicy;
        "node.k8s.io" "v1" k8s_pb::api::node::v1: RuntimeClass;
        "policy" "v1" k8s_pb::api::policy::v1: Eviction PodDisruptionBudget;
        "rbac.authorization.k8s.io" "v1" k8s_pb::api::rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding;
        "scheduling.k8s.io" "v1" k8s_pb::api::scheduling::v1: PriorityClass;
        "storage.k8s.io" "v1" k8s_pb::api::storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass
            VolumeAttachment;
    }
}
