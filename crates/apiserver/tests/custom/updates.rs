//! Updates of built-in kinds as a real server answers them: what was compared with one, class by class.

use super::api::Api;
use super::steps::walk;
use serde_json::json;

async fn with_account() -> Api {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    api
}

/// Not all kinds count from 1, nor the same changes.
#[tokio::test]
async fn generations_count_what_their_kind_says() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /apis/storage.k8s.io/v1/csidrivers
        {"metadata": {"name": "d.io"}, "spec": {}}
        => 201
        => /metadata/generation null

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.io +merge
        {"metadata": {"labels": {"a": "b"}}}
        => 200
        => /metadata/generation null

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.io +merge
        {"spec": {"requiresRepublish": true}}
        => 200
        => /metadata/generation 1

        POST /apis/scheduling.k8s.io/v1/priorityclasses
        {"metadata": {"name": "p"}, "value": 7}
        => 201
        => /metadata/generation 1

        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/p +merge
        {"description": "of little weight"}
        => 200
        => /metadata/generation 1

        POST /apis/discovery.k8s.io/v1/namespaces/a/endpointslices
        {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": []}
        => 201
        => /metadata/generation 1

        PATCH /apis/discovery.k8s.io/v1/namespaces/a/endpointslices/s +merge
        {"metadata": {"annotations": {"a": "b"}}}
        => 200
        => /metadata/generation 1

        PATCH /apis/discovery.k8s.io/v1/namespaces/a/endpointslices/s +merge
        {"metadata": {"labels": {"a": "b"}}}
        => 200
        => /metadata/generation 2
        "#,
    )
    .await;
}

#[tokio::test]
async fn updates_warn_of_templates_only_with_a_new_generation() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "storageos": {}}]}}
        => 422

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}]}}
        => 201
        => ~spec.volumes[0].gitRepo: deprecated in v1.11

        PATCH /api/v1/namespaces/a/pods/p +merge
        {"metadata": {"labels": {"a": "b"}}}
        => 200
        => ~

        POST /apis/apps/v1/namespaces/a/deployments
        {"metadata": {"name": "d.x"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}]}}}}
        => 201
        => ~metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        => ~spec.template.spec.volumes[0].gitRepo: deprecated in v1.11

        PATCH /apis/apps/v1/namespaces/a/deployments/d.x +merge
        {"metadata": {"labels": {"a": "b"}}}
        => 200
        => /metadata/generation 1
        => ~

        PATCH /apis/apps/v1/namespaces/a/deployments/d.x +merge
        {"metadata": {"annotations": {"a": "b"}}}
        => 200
        => /metadata/generation 2
        => ~spec.template.spec.volumes[0].gitRepo: deprecated in v1.11

        PATCH /apis/apps/v1/namespaces/a/deployments/d.x/status +merge
        {"metadata": {"labels": {"c": "d"}}, "status": {"replicas": 1}}
        => 200
        => /metadata/labels {"a": "b"}
        => /metadata/generation 2
        => ~
        "#,
    )
    .await;
}

#[tokio::test]
async fn metadata_of_updates() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/configmaps
        {"metadata": {"name": "c"}}
        => 201

        PATCH /api/v1/namespaces/a/configmaps/c +merge
        {"metadata": {"generateName": "X"}}
        => 422
        => ConfigMap "c" is invalid: metadata.generateName: Invalid value: "X": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')

        PATCH /api/v1/namespaces/a/configmaps/c +merge
        {"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}
        => 422
        => ConfigMap "c" is invalid: metadata.deletionTimestamp: Invalid value: 2026-01-02 03:04:05 +0000 UTC: field is immutable

        PATCH /api/v1/namespaces/a/configmaps/c +merge
        {"metadata": {"resourceVersion": "-1"}}
        => 500
        => strconv.ParseUint: parsing "-1": invalid syntax

        PATCH /api/v1/namespaces/a/configmaps/c +merge
        {"metadata": {"selfLink": "x"}}
        => 200
        => /metadata/selfLink "x"

        POST /apis/scheduling.k8s.io/v1/priorityclasses
        {"metadata": {"name": "p", "namespace": "a"}, "value": 1}
        => 201
        => /metadata/namespace null

        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/p +merge
        {"metadata": {"namespace": "a"}}
        => 200
        => /metadata/namespace null

        PATCH /api/v1/namespaces/a +merge
        {"metadata": {"finalizers": ["x"]}}
        => 422

        POST /api/v1/namespaces/a/serviceaccounts
        {"metadata": {"name": "s"}, "secrets": [{"name": "x", "kind": "Secret"}]}
        => 201
        => /secrets [{"name": "x"}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn what_is_applied_must_have_a_name_and_be_readable() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        PATCH /api/v1/namespaces/a/configmaps/c?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
        => 201

        PATCH /api/v1/namespaces/a/configmaps/c?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"a": "b"}}
        => 200
        => /data/a "b"

        PATCH /api/v1/namespaces/a/configmaps/other?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"a": "b"}}
        => 400
        => the name of the object (other based on URL) was undeterminable: name must be provided

        PATCH /api/v1/namespaces/a/configmaps/c?fieldManager=n +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "b"}}
        => 400
        => the name of the object (d) does not match the name on the URL (c)

        PATCH /api/v1/namespaces/a/configmaps/c?fieldManager=n +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "c"}}
        => 409

        PATCH /api/v1/namespaces/a/configmaps/c?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "binaryData": {"a": "!"}}
        => 500
        => failed to convert new object (/c; /v1, Kind=ConfigMap) to proper version: unable to convert unstructured object to /v1, Kind=ConfigMap: error decoding from json: illegal base64 data at input byte 0

        PATCH /api/v1/namespaces/a/limitranges/l?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "x"}}]}}
        => 500
        => failed to convert new object (/l; /v1, Kind=LimitRange) to proper version: unable to convert unstructured object to /v1, Kind=LimitRange: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
        "#,
    )
    .await;
}

#[tokio::test]
async fn pods_that_wait_at_a_gate() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false, "schedulingGates": [{"name": "x.y/z"}], "containers": [{"name": "c", "image": "i"}],
         "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}}
        => 201

        PATCH /api/v1/namespaces/a/pods/p +json
        [{"op": "add", "path": "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields", "value": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]
        => 200

        PATCH /api/v1/namespaces/a/pods/p +json
        [{"op": "replace", "path": "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/key", "value": "b"}]
        => 422
        => /details/causes/0/field "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        => /details/causes/1 null

        PATCH /api/v1/namespaces/a/pods/p +json
        [{"op": "add", "path": "/spec/affinity/podAffinity", "value": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "labelSelector": {}}]}}]
        => 422
        => /details/causes/0/field "spec"

        PATCH /api/v1/namespaces/a/pods/p +json
        [{"op": "add", "path": "/spec/schedulingGates/-", "value": {"name": "x.y/w"}}]
        => 422
        => Pod "p" is invalid: spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'x.y/w'

        PATCH /api/v1/namespaces/a/pods/p +json
        [{"op": "add", "path": "/spec/containers/0/resources", "value": {"requests": {"cpu": "1"}}}]
        => 422
        => /details/causes/0/field "metadata"
        => /details/causes/1/field "spec"
        "#,
    )
    .await;
}

#[tokio::test]
async fn services_keep_what_they_were_given() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/services
        {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.7.7", "ports": [{"name": "a", "port": 80, "nodePort": 30080}]}}
        => 201

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"clusterIP": "", "ports": [{"name": "a", "port": 81}]}}
        => 200
        => /spec/clusterIPs ["10.96.7.7"]
        => /spec/ports/0/nodePort 30080

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"clusterIP": "10.96.7.8"}}
        => 422
        => Service "s" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.96.7.8"}: may not change once set

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"ipFamilyPolicy": "RequireDualStack"}}
        => 422
        => Service "s" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"externalName": "x"}}
        => 200
        => ~spec.externalName is ignored when spec.type is not "ExternalName"

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"loadBalancerClass": "x"}}
        => 422
        => Service "s" is invalid: spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'
        => /details/causes/1/field "spec.loadBalancerClass"

        POST /api/v1/namespaces/a/services
        {"metadata": {"name": "t"}, "spec": {"type": "x", "ports": [{"port": 80}]}}
        => 422
        => Service "t" is invalid: spec.type: Unsupported value: "x": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
        "#,
    )
    .await;
}

#[tokio::test]
async fn statuses_of_volumes_and_nodes() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/persistentvolumes
        {"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "nfs": {"server": "s", "path": "/p"}}}
        => 201

        PATCH /api/v1/persistentvolumes/v/status +merge
        {"status": {"phase": "Bound", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}}
        => 200
        => /status/lastPhaseTransitionTime "2026-01-01T00:00:00Z"

        PATCH /api/v1/persistentvolumes/v/status +merge
        {"status": {"lastPhaseTransitionTime": null}}
        => 200
        => /status/lastPhaseTransitionTime "2026-01-01T00:00:00Z"

        PATCH /api/v1/persistentvolumes/v +merge
        {"spec": {"volumeAttributesClassName": "x"}}
        => 422
        => PersistentVolume "v" is invalid: spec.volumeAttributesClassName: Forbidden: update is forbidden when the VolumeAttributesClass feature gate is disabled

        POST /api/v1/nodes
        {"metadata": {"name": "n"}, "status": {"runtimeHandlers": [{"name": "r"}]}}
        => 201
        => /status/runtimeHandlers null

        PATCH /api/v1/nodes/n/status +merge
        {"status": {"runtimeHandlers": [{"name": "r"}]}}
        => 200
        => /status/runtimeHandlers [{"name": "r"}]

        PATCH /api/v1/nodes/n +merge
        {"spec": {"externalID": "x"}}
        => 422

        POST /apis/storage.k8s.io/v1/volumeattachments
        {"metadata": {"name": "va"}, "spec": {"attacher": "x", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}
        => 201

        PATCH /apis/storage.k8s.io/v1/volumeattachments/va/status +merge
        {"metadata": {"labels": {"a": "b"}}, "status": {"attached": true}}
        => 200
        => /metadata/labels null
        => /metadata/managedFields/1/subresource "status"

        POST /apis/storage.k8s.io/v1/csinodes
        {"metadata": {"name": "n"}, "spec": {"drivers": [{"name": "d", "nodeID": "n"}]}}
        => 201

        PATCH /apis/storage.k8s.io/v1/csinodes/n +merge
        {"spec": {"drivers": [{"name": "d", "nodeID": "m"}]}}
        => 422
        => /details/causes/0/field "CSINodeDriver"

        POST /apis/discovery.k8s.io/v1/namespaces/a/endpointslices
        {"metadata": {"name": "e"}, "addressType": "FQDN", "endpoints": [{"addresses": ["a.b"], "deprecatedTopology": {"a": "b"}}]}
        => 201
        => /endpoints/0/deprecatedTopology null
        => ~spec.addressType: FQDN endpoints are deprecated
        "#,
    )
    .await;
}

#[tokio::test]
async fn jobs_and_autoscalers() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /apis/batch/v1/namespaces/a/jobs
        {"metadata": {"name": "j"}, "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
        => 201

        PATCH /apis/batch/v1/namespaces/a/jobs/j +merge
        {"spec": {"template": {"metadata": {"labels": {"job-name": "x"}}}}}
        => 422
        => /details/causes/0/field "spec.template.metadata.labels[job-name]"

        PATCH /apis/batch/v1/namespaces/a/jobs/j +merge
        {"spec": {"managedBy": "x"}}
        => 422
        => Job.batch "j" is invalid: [spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo"), spec.managedBy: Invalid value: "x": field is immutable]

        PATCH /apis/batch/v1/namespaces/a/jobs/j +merge
        {"spec": {"template": {"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}}}}
        => 200

        PATCH /apis/batch/v1/namespaces/a/jobs/j +merge
        {"spec": {"template": {"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "labelSelector": {}}]}}}}}}
        => 422

        POST /apis/batch/v1/namespaces/a/jobs
        {"metadata": {"name": "k"}, "spec": {"podFailurePolicy": {"rules": [{"action": "Ignore"}]}, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
        => 422
        => Job.batch "k" is invalid: spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required

        POST /apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers
        {"metadata": {"name": "h"}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "D", "name": "d"}, "metrics": [{"type": "ContainerResource", "containerResource": {"name": "x", "container": "A", "target": {"type": "AverageValue", "averageValue": "1"}}}]}}
        => 422
        => /details/causes/0/field "spec.metrics[0].containerResource.name"
        => /details/causes/2/field "spec.metrics[0].containerResource.container"

        POST /apis/autoscaling/v1/namespaces/a/horizontalpodautoscalers
        {"metadata": {"name": "h"}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "D", "name": "d"}, "targetCPUUtilizationPercentage": 5}}
        => 201

        PATCH /apis/autoscaling/v1/namespaces/a/horizontalpodautoscalers/h/status +merge
        {"status": {"currentReplicas": 1, "desiredReplicas": 1, "currentCPUUtilizationPercentage": 5}}
        => 200
        => /metadata/annotations {"autoscaling.alpha.kubernetes.io/current-metrics": "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":5,\"currentAverageValue\":\"0\"}}]"}

        POST /apis/rbac.authorization.k8s.io/v1/clusterroles
        {"metadata": {"name": "c"}, "aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "x", "operator": "a"}]}]}}
        => 422
        => ClusterRole.rbac.authorization.k8s.io "c" is invalid: [aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "a": not a valid selector operator, aggregationRule.clusterRoleSelectors[0]: Invalid value: "null": invalid label selector.]

        POST /apis/events.k8s.io/v1/namespaces/a/events
        {"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x.y/z", "reportingInstance": "i", "action": "A", "reason": "R", "regarding": {"kind": "Pod", "name": "p", "namespace": "a"}, "type": "Normal"}
        => 201

        PATCH /apis/events.k8s.io/v1/namespaces/a/events/e +merge
        {"eventTime": "2026-01-02T00:00:00.000000Z"}
        => 422
        => /details/causes/0/message "Invalid value: 2026-01-02 00:00:00 +0000 UTC: field is immutable"
        "#,
    )
    .await;
}

#[tokio::test]
async fn numbers_are_converted_as_go_converts_them() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/p?fieldManager=m +apply
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1000.0}
        => 201
        => /value 1000

        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/q?fieldManager=m +apply
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "q"}, "value": 9223372036854775807}
        => 201
        => /value -1

        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/p +strategic
        {"value": 1000.0, "description": "d"}
        => 200
        => /description "d"

        PATCH /apis/scheduling.k8s.io/v1/priorityclasses/p?fieldManager=m +apply
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1.5}
        => 500
        => failed to convert new object (/p; scheduling.k8s.io/v1, Kind=PriorityClass) to proper version: unable to convert unstructured object to scheduling.k8s.io/v1, Kind=PriorityClass: cannot convert float64 to int32

        PATCH /apis/coordination.k8s.io/v1/namespaces/a/leases/l?fieldManager=m +apply
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"acquireTime": 1.5}}
        => 500
        => failed to convert new object (/l; coordination.k8s.io/v1, Kind=Lease) to proper version: unable to convert unstructured object to coordination.k8s.io/v1, Kind=Lease: json: cannot unmarshal number into Go value of type string
        "#,
    )
    .await;
}

#[tokio::test]
async fn what_patches_make() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        PATCH /apis/storage.k8s.io/v1/csinodes/n?fieldManager=m +apply
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "n"}, "spec": {"drivers": []}}
        => 201
        => /spec/drivers null

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.x?fieldManager=m +apply
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "d.x"}, "spec": {"podInfoOnMount": true}}
        => 201

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.x +merge
        {"spec": {"podInfoOnMount": false}}
        => 200
        => /metadata/generation 1

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.x +merge
        {"spec": {"volumeLifecycleModes": ["true"]}}
        => 422
        => /details/causes/0/message "Unsupported value: \"true\": supported values: \"Persistent\", \"Ephemeral\""

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.x +json
        [{"op": "remove", "path": "/apiVersion"}]
        => 400
        => the name of the object (d.x based on URL) was undeterminable: name must be provided

        PATCH /apis/storage.k8s.io/v1/csidrivers/d.x?fieldValidation=Strict +merge
        {"apiVersion": null}
        => 422

        PATCH /api/v1/namespaces/a/services/s/status?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        => 201

        PATCH /api/v1/namespaces/a/pods/q/status?fieldManager=m +apply
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": "x"}
        => 404
        "#,
    )
    .await;
}

#[tokio::test]
async fn the_order_and_the_words_of_what_is_wrong() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /apis/networking.k8s.io/v1/ingressclasses
        {"metadata": {"name": "i"}, "spec": {"controller": "http://x"}}
        => 422
        => /details/causes/0/message "Invalid value: \"http:\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

        POST /apis/batch/v1/namespaces/a/cronjobs
        {"metadata": {"name": "c"}, "spec": {"schedule": "* *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}
        => 422
        => /details/causes/0/message "Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]"

        POST /apis/batch/v1/namespaces/a/jobs
        {"metadata": {"name": "j"}, "spec": {"maxFailedIndexes": 1, "completionMode": "x", "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
        => 422
        => /details/causes/0/field "spec.backoffLimitPerIndex"
        => /details/causes/1/field "spec.completionMode"

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "readinessProbe": {"periodSeconds": 1}, "startupProbe": {"periodSeconds": 1}}]}}
        => 422
        => /details/causes/0/field "spec.containers[0].readinessProbe"
        => /details/causes/1/field "spec.containers[0].startupProbe"

        POST /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations
        {"metadata": {"name": "w"}, "webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {}, "reinvocationPolicy": "x"}]}
        => 422
        => /details/causes/0/field "webhooks[0].reinvocationPolicy"
        => /details/causes/1/field "webhooks[0].clientConfig"

        POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies
        {"metadata": {"name": "v"}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]}, "validations": [{"expression": "variables.v == 2"}]}}
        => 422
        => /details/causes/0/message "Invalid value: \"variables.v == 2\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')\n | variables.v == 2\n | ^"
        "#,
    )
    .await;
}

#[tokio::test]
async fn what_is_posted_to_a_subresource_names_its_namespace() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        => 201

        POST /api/v1/namespaces/a/pods/p/eviction
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "b"}}
        => 400
        => the namespace of the provided object does not match the namespace sent on the request

        POST /api/v1/namespaces/a/pods/p/eviction?fieldValidation=Strict
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"zz": 1}}
        => 400
        => Eviction in version "v1" cannot be handled as a Eviction: strict decoding error: unknown field "deleteOptions.zz"

        GET /api/v1/namespaces/a/pods/p/log
        => 204

        POST /api/v1/namespaces/a/pods/p/binding
        {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "namespace": "b"}, "target": {"kind": "Node", "name": "n"}}
        => 400
        => the namespace of the provided object does not match the namespace sent on the request

        POST /apis/apps/v1/namespaces/a/deployments
        {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}
        => 201

        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale?fieldManager=m&force=true +apply
        {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "b"}, "spec": {"replicas": 1}}
        => 400
        => the namespace of the provided object does not match the namespace sent on the request
        "#,
    )
    .await;
}
