//! New built-in objects as a real server answers them: what was compared with one, rule by rule.

use super::api::Api;
use super::steps::walk;
use serde_json::json;

async fn with_account() -> Api {
    let api = Api::start().await;
    api.post("/api/v1/namespaces/a/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok(201);
    api
}

#[tokio::test]
async fn a_generated_name_is_known_to_what_is_made_of_it() {
    let api = with_account().await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"metadata": {"generateName": "j-"}, "spec": {"template": template}});
    let made = api.post("/apis/batch/v1/namespaces/a/jobs", &job).await.ok(201);
    let name = &made["metadata"]["name"];
    assert!(name.as_str().is_some_and(|name| name.len() == 7), "{made}");
    assert_eq!(&made["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"], name);
    let made = api.post("/api/v1/namespaces", &json!({"metadata": {"generateName": "n-"}})).await.ok(201);
    assert_eq!(made["metadata"]["labels"], json!({"kubernetes.io/metadata.name": made["metadata"]["name"]}));
}

#[tokio::test]
async fn metadata_is_looked_at_last_where_a_kind_has_no_rules_for_it() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /apis/policy/v1/namespaces/a/poddisruptionbudgets
        {"metadata": {}, "spec": {"unhealthyPodEvictionPolicy": "X"}}
        => 422
        => PodDisruptionBudget.policy "" is invalid: spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget"

        POST /apis/policy/v1/namespaces/a/poddisruptionbudgets
        {"metadata": {}, "spec": {}}
        => 422
        => PodDisruptionBudget.policy "" is invalid: metadata.name: Required value: name or generateName is required

        POST /api/v1/namespaces/a/events
        {"metadata": {"name": "e", "finalizers": ["other"]}, "involvedObject": {"namespace": "a"}}
        => 201

        GET /api/v1/namespaces/a/events?resourceVersion=abc
        => 400
        => invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax
        "#,
    )
    .await;
}

#[tokio::test]
async fn addresses_of_services_are_given_before_anything_else_is_checked() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/services
        {"metadata": {}, "spec": {"clusterIP": "a/b", "clusterIPs": ["10.96.0.77"], "ports": [{"port": 1}]}}
        => 422
        => Service "" is invalid: spec.clusterIPs: Invalid value: []string{"10.96.0.77"}: first value must match `clusterIP`

        POST /api/v1/namespaces/a/services
        {"metadata": {"name": "s"}, "spec": {"clusterIP": "224.0.0.1", "ports": [{"port": 1}]}}
        => 422
        => /details/causes/0/field "spec.clusterIPs"

        POST /api/v1/namespaces/a/services
        {"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": "1.5", "ipFamilyPolicy": ""}}
        => 422
        => Service "s" is invalid: [spec.clusterIPs: Forbidden: may not be set for ExternalName services, spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services]

        POST /api/v1/namespaces/a/services?dryRun=All
        {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 100}]}}
        => 201
        => /spec/ports/0/nodePort 100

        POST /api/v1/namespaces/a/services
        {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 1}]}}
        => 201

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"clusterIP": "10.0.0.1"}}
        => 422
        => Service "s" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.0.0.1"}: may not change once set

        PATCH /api/v1/namespaces/a/services/s +merge
        {"spec": {"ipFamilyPolicy": ""}}
        => 422
        => Service "s" is invalid: spec.ipFamilyPolicy: Unsupported value: "": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"
        "#,
    )
    .await;
}

#[tokio::test]
async fn warnings_about_pods_come_in_upstreams_order() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/podtemplates
        {"metadata": {"name": "t"}, "template": {"spec": {"terminationGracePeriodSeconds": -1, "imagePullSecrets": [{}, {}], "containers": [
        {"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)"}], "ports": [{"containerPort": 1, "hostIP": "1.2.3.4"}, {"containerPort": 1}]},
        {"name": "d", "image": "i", "ports": [{"containerPort": 1, "hostPort": 1}]}]}}}
        => 201
        => ~template.spec.imagePullSecrets[1].name: duplicate name ""
        => ~template.spec.imagePullSecrets[0].name: invalid empty name ""
        => ~template.spec.imagePullSecrets[1].name: invalid empty name ""
        => ~template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
        => ~template.spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:1 Protocol:TCP HostIP:1.2.3.4}
        => ~template.spec.containers[0].ports[1]: overlapping port definition with template.spec.containers[0].ports[0]
        => ~template.spec.containers[1].ports[0]: overlapping port definition with template.spec.containers[0].ports[0]
        => ~template.spec.containers[1].ports[0]: overlapping port definition with template.spec.containers[0].ports[1]
        => ~template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "p.x"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "../x"}]}}
        => 201
        => ~metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        => /spec/containers/0/imagePullPolicy "IfNotPresent"

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "q", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}}
        => 201
        => ~metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "q2", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}, "spec": {"automountServiceAccountToken": false, "restartPolicy": "x", "containers": [{"name": "c", "image": "i"}]}}
        => 422
        => ~metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "r"}, "spec": {"automountServiceAccountToken": false, "securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": [{"name": "c", "image": "i"}]}}
        => 201
        => ~

        POST /api/v1/namespaces/a/pods
        {"metadata": {"name": "s", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}, "spec": {"automountServiceAccountToken": false, "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c", "image": "i"}]}}
        => 422
        => Pod "s" is invalid: spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match

        POST /api/v1/namespaces/a/persistentvolumeclaims
        {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "9223372036854775807"}}}}
        => 201
        => ~

        GET /api/v1/namespaces/a/pods/a%25b
        => 400
        => Name parameter invalid: "a%b": may not contain '%'
        "#,
    )
    .await;
}

#[tokio::test]
async fn rules_that_were_found_to_differ() {
    let api = with_account().await;
    walk(
        &api,
        r#"
        POST /api/v1/namespaces/a/events
        {"metadata": {"name": "e"}, "involvedObject": {"namespace": "a"}, "eventTime": "2024-01-01T00:00:00.000000Z", "action": "a", "reason": "r", "reportingInstance": "i"}
        => 422
        => /details/causes/0/field "reportingComponent"

        POST /apis/events.k8s.io/v1/namespaces/a/events
        {"metadata": {"name": "e"}, "type": "Normal", "eventTime": "2024-01-01T00:00:00.000000Z", "action": "a", "reason": "r", "reportingInstance": "i", "regarding": {"namespace": "a"}}
        => 422
        => /details/causes/0/field "reportingController"

        POST /api/v1/namespaces/a/events?dryRun=x +merge
        {}
        => 415

        POST /apis/batch/v1/namespaces/a/jobs
        {"metadata": {"name": "j"}, "spec": {"completionMode": "", "backoffLimitPerIndex": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
        => 422
        => Job.batch "j" is invalid: spec.completionMode: Unsupported value: "": supported values: "NonIndexed", "Indexed"

        POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings
        {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"], "matchResources": {"objectSelector": {"matchLabels": {"a": "-"}}}}}
        => 422
        => /details/causes/0/field "spec.matchResouces.objectSelector.matchLabels"

        POST /api/v1/persistentvolumes
        {"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageos": {"volumeName": "v"}}}
        => 201
        => ~spec.storageOS: deprecated in v1.22, non-functional in v1.25+

        POST /api/v1/persistentvolumes
        {"metadata": {"name": "w"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "quobyte": {"registry": "r:1", "volume": "v"}}}
        => 201
        => ~

        POST /api/v1/nodes
        {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.1.0.0/24", "x"]}}
        => 422
        => /details/causes/1/reason "InternalError"

        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews
        {"metadata": {"namespace": "x", "selfLink": "y"}, "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
        => 201

        POST /api/v1/namespaces/a/limitranges
        {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "maxLimitRequestRatio": {"storage": "2"}}]}}
        => 201

        POST /apis/discovery.k8s.io/v1/namespaces/a/endpointslices
        {"metadata": {"name": "e"}, "addressType": "FQDN", "endpoints": [{"addresses": [""]}]}
        => 422
        => EndpointSlice.discovery.k8s.io "e" is invalid: endpoints[0].addresses[0]: Required value
        "#,
    )
    .await;
}

/// What is shown of a percentage that is none, and which rules still hold for it; a job's policies in a cron job's template.
#[tokio::test]
async fn percentages_and_templates_of_jobs() {
    let api = with_account().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let shown = |text: &str| format!("Invalid value: intstr.IntOrString{{Type:1, IntVal:0, StrVal:{text:?}}}: ");
    let none = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                validation is '[0-9]+%')";
    let (zero, all) = ("may not be 0 when `maxSurge` is 0", "must not be greater than 100%");
    let both = "may not be set when maxUnavailable is non-zero";
    for (kind, rolling, causes) in [
        ("deployments", json!({"maxUnavailable": "abc%", "maxSurge": 0}), vec![("abc%", none), ("abc%", zero)]),
        ("deployments", json!({"maxUnavailable": "-5%", "maxSurge": 0}), vec![("-5%", none), ("-5%", zero)]),
        ("deployments", json!({"maxUnavailable": "5", "maxSurge": 0}), vec![("5", none)]),
        ("deployments", json!({"maxUnavailable": "101%"}), vec![("101%", all)]),
        ("daemonsets", json!({"maxSurge": "5"}), vec![("5", none), ("5", both)]),
        (
            "daemonsets",
            json!({"maxUnavailable": "101%", "maxSurge": "101%"}),
            vec![("101%", all), ("101%", all), ("101%", both)],
        ),
        ("daemonsets", json!({"maxUnavailable": "99999999999999999999%"}), vec![("99999999999999999999%", all)]),
    ] {
        let strategy = if kind == "deployments" { "strategy" } else { "updateStrategy" };
        let body = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            strategy: {"rollingUpdate": rolling}, "template": template}});
        let refused = api.post(&format!("/apis/apps/v1/namespaces/a/{kind}"), &body).await;
        let found = refused.value["details"]["causes"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = found.iter().filter_map(|cause| cause["message"].as_str()).collect();
        let causes: Vec<String> = causes.into_iter().map(|(text, why)| shown(text) + why).collect();
        assert_eq!(found, causes, "{kind} {rolling}");
    }
    walk(
        &api,
        r#"
        POST /apis/batch/v1/namespaces/a/cronjobs
        {"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"completionMode": "Indexed", "completions": 3, "managedBy": "a.b/c", "successPolicy": {"rules": [{"succeededIndexes": "0-1"}]}, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}
        => 201
        => /spec/jobTemplate/spec/successPolicy {"rules": [{"succeededIndexes": "0-1"}]}
        => /spec/jobTemplate/spec/managedBy "a.b/c"

        POST /apis/batch/v1/namespaces/a/cronjobs
        {"metadata": {"name": "d"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededCount": 5}]}, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}
        => 422
        => CronJob.batch "d" is invalid: spec.jobTemplate.spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 3 (the number of specified completions)

        POST /apis/batch/v1/namespaces/a/jobs
        {"metadata": {"name": "j"}, "spec": {"completionMode": "Indexed", "completions": 3, "managedBy": "a.b/c", "successPolicy": {"rules": [{"succeededCount": 5}]}, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
        => 201
        => /spec/successPolicy null
        => /spec/managedBy null
        "#,
    )
    .await;
}
