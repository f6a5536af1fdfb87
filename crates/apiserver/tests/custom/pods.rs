//! Pods in namespaces that enforce a level of pod security, as a real server answers.

use super::api::Api;
use super::steps::walk;
use serde_json::json;

/// Only other images and other containers of a pod are looked at once more; levels and versions of a namespace each.
#[tokio::test]
async fn pods_that_are_there_when_a_namespace_begins_to_enforce() {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false, "hostPID": true, "containers": [{"name": "c", "image": "i"}]}}
        => 201
        => ~

        PATCH /api/v1/namespaces/a +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.0"}}}
        => 200
        => ~existing pods in namespace "a" violate the new PodSecurity enforce level "restricted:v1.0"
        => ~p: host namespaces, runAsNonRoot != true

        PATCH /api/v1/namespaces/a +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.0"}}}
        => 200
        => ~

        PATCH /api/v1/namespaces/a?dryRun=All +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.1"}}}
        => 200
        => ~existing pods in namespace "a" violate the new PodSecurity enforce level "restricted:v1.1"
        => ~p: host namespaces, runAsNonRoot != true

        PATCH /api/v1/namespaces/a?dryRun=All +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged", "pod-security.kubernetes.io/enforce-version": "v1.1"}}}
        => 200
        => ~

        PATCH /api/v1/namespaces/a +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.0"}}}
        => 200

        PATCH /api/v1/namespaces/a +merge
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.1"}}}
        => 200
        => ~existing pods in namespace "a" violate the new PodSecurity enforce level "baseline:v1.1"
        => ~p: host namespaces

        PATCH /api/v1/namespaces/a/pods/p +merge
        {"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}, "spec": {"activeDeadlineSeconds": 5}}
        => 200

        PATCH /api/v1/namespaces/a/pods/p +strategic
        {"spec": {"containers": [{"name": "c", "image": "other"}]}}
        => 403
        => pods "p" is forbidden: violates PodSecurity "baseline:v1.1": host namespaces (hostPID=true), seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")
        "#,
    )
    .await;
}

#[tokio::test]
async fn old_annotations_of_pods_say_what_their_fields_say_in_templates_too() {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/podtemplates
        {"metadata": {"name": "t"}, "template": {"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}}, "spec": {
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c", "image": "i"}]}}}
        => 422
        => PodTemplate "t" is invalid: [template.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile, template.spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match]

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "x"}}, "spec": {"automountServiceAccountToken": false,
        "securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": [{"name": "c", "image": "i"}]}}
        => 422
        => Pod "p" is invalid: [metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: "x": invalid AppArmor profile name: "x", spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match]
        "#,
    )
    .await;
}

#[tokio::test]
async fn ports_of_the_hosts_network_and_pods_of_windows() {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}}
        => 422
        => Pod "p" is invalid: spec.containers[0].ports[0].hostPort: Invalid value: 8080: must match `containerPort` when `hostNetwork` is true

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p"}, "spec": {"os": {"name": "windows"}, "hostIPC": true, "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "Unconfined"}},
        "initContainers": [{"name": "i", "image": "i", "securityContext": {"runAsGroup": 1}}], "containers": [{"name": "c", "image": "i", "securityContext": {"runAsUser": 1}}]}}
        => 422
        => Pod "p" is invalid: [spec.hostIPC: Forbidden: cannot be set for a windows pod, spec.securityContext.seccompProfile: Forbidden: cannot be set for a windows pod, spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod, spec.initContainers[0].securityContext.runAsGroup: Forbidden: cannot be set for a windows pod, spec.containers[0].securityContext.runAsUser: Forbidden: cannot be set for a windows pod]
        "#,
    )
    .await;
}
