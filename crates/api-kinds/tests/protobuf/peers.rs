//! The same messages, read and written by types that others have generated from upstream's definitions.

use super::generate::Maker;
use api_core::Gvk;
use api_kinds::{message_type_of, schema};
use api_schema::normalize::normalize;
use api_schema::protobuf;
use proptest::prelude::*;
use prost::{DecodeError, Message};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Reads a message and writes it again, as one of their types.
type Through = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

fn through<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
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

fn peers() -> Vec<(Gvk, Through)> {
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

/// Fields that v1.30 has and later versions, which the peers are of, have dropped.
const DROPPED: [&str; 1] = [".resourceClaims[].source"];

#[test]
fn every_built_in_kind_has_its_peer() {
    let peers = peers();
    // Lists are messages of their items; these are in every group.
    let shared = |kind: &&Gvk| kind.kind.ends_with("List") || ["DeleteOptions", "WatchEvent"].contains(&&*kind.kind);
    let alone: Vec<String> = schema()
        .kinds
        .keys()
        .filter(|kind| !shared(kind) && !peers.iter().any(|(peer, _)| peer == *kind))
        .map(|kind| format!("{} {}", kind.api_version(), kind.kind))
        .collect();
    // The machinery's own kinds have no generated type.
    assert_eq!(alone, ["v1 APIGroup", "v1 APIVersions", "v1 Status", "resource.k8s.io/v1alpha2 Status"]);
}

/// The places where two values differ.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |object: &Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                differences(&of(a), &of(b), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differences(a, b, &format!("{path}[]"), found));
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: {ours} is {theirs}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn others_read_what_we_write_and_we_read_what_they_write(seed in 1u64..) {
        let mut maker = Maker(seed);
        for (kind, through) in peers() {
            let root = message_type_of(&kind).expect("a type");
            let mut object = maker.object(root, 0);
            normalize(schema(), root, &mut object);
            let ours = protobuf::encode_value(schema(), root, &object).expect("it has its type");
            let theirs = match through(&ours) {
                Ok(theirs) => theirs,
                Err(error) => return Err(TestCaseError::fail(format!("{kind:?}: {error}"))),
            };
            let read = protobuf::decode(schema(), root, &theirs).expect("what they wrote can be read");
            let mut found = Vec::new();
            differences(&object, &read, "", &mut found);
            found.retain(|place| !DROPPED.iter().any(|dropped| place.contains(dropped)));
            prop_assert!(found.is_empty(), "{:?} {:?}", kind, found);
        }
    }
}
