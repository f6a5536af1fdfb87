//! Pods and what they violate, in the words that the API gives.

use super::*;
use serde_json::json;

/// A pod that every level allows, with `patch` put over its spec and `container` over its container.
fn pod(patch: Value, container: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
    put(&mut pod["spec"], &patch);
    put(&mut pod["spec"]["containers"][0], &container);
    pod
}

fn put(to: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        if value.is_null() {
            to.as_object_mut().expect("object").remove(key);
        } else if value.is_object() && to[key].is_object() {
            put(&mut to[key], value);
        } else {
            to[key] = value.clone();
        }
    }
}

#[track_caller]
fn check(level: Level, pod: &Value, want: &str) {
    let found = evaluate(LevelVersion { level, version: Version::Latest }, pod);
    assert_eq!(describe(&found), want);
}

#[test]
fn restricted() {
    let none = || json!({});
    let security = |v: Value| json!({"securityContext": v});
    let volume = |v: Value| json!({"volumes": [v]});
    let table = [
        (none(), none(), ""),
        (json!({"hostNetwork": true, "hostPID": true}), none(), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            none(),
            security(json!({"capabilities": {"drop": null, "add": ["CHOWN"]}})),
            "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (none(), security(json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}})), ""),
        (none(), json!({"ports": [{"hostPort": 80}]}), "hostPort (container \"c\" uses hostPort 80)"),
        (
            volume(json!({"name": "v", "hostPath": {}})),
            none(),
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
        ),
        (volume(json!({"name": "v", "emptyDir": {}})), none(), ""),
        (
            none(),
            security(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"seccompProfile": null}}),
            none(),
            "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (none(), security(json!({"runAsUser": 0})), "runAsUser=0 (container \"c\" must not set runAsUser=0)"),
        (
            json!({"securityContext": {"runAsNonRoot": false}}),
            none(),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        (
            none(),
            security(json!({"allowPrivilegeEscalation": true})),
            "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
            none(),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            none(),
            security(json!({"seLinuxOptions": {"user": "x"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: user may not be set)",
        ),
        (
            none(),
            security(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({"hostIPC": true}),
            security(json!({"allowPrivilegeEscalation": null, "procMount": "Unmasked"})),
            "host namespaces (hostIPC=true), procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\"), \
             allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
    ];
    for (patch, container, want) in table {
        check(Level::Restricted, &pod(patch, container), want);
    }
}

/// What a check of the restricted level says more of is left out from the version on that has that check.
#[test]
fn old_versions() {
    let with = json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}, "ports": [{"containerPort": 1, "hostPort": 2}]});
    let pod = pod(json!({}), with);
    let capabilities = "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in \
                        securityContext.capabilities.add)";
    let port = "hostPort (container \"c\" uses hostPort 2)";
    let found = |level, minor| describe(&evaluate(LevelVersion { level, version: Version::Minor(minor) }, &pod));
    assert_eq!(found(Level::Baseline, 20), format!("{capabilities}, {port}"));
    assert_eq!(found(Level::Baseline, 22), format!("{capabilities}, {port}"));
    assert!(found(Level::Restricted, 20).starts_with(&format!("{capabilities}, {port}")));
    assert!(!found(Level::Restricted, 22).contains(capabilities));
}

#[test]
fn baseline() {
    let bare = json!({"spec": {"containers": [{"name": "c"}, {"name": "d"}]}});
    check(Level::Baseline, &bare, "");
    check(Level::Privileged, &pod(json!({"hostPID": true}), json!({})), "");
    let privileged =
        pod(json!({"volumes": [{"name": "v", "hostPath": {}}]}), json!({"securityContext": {"privileged": true}}));
    check(
        Level::Baseline,
        &privileged,
        "hostPath volumes (volume \"v\"), privileged (container \"c\" must not set securityContext.privileged=true)",
    );
    check(
        Level::Restricted,
        &bare,
        "allowPrivilegeEscalation != false (containers \"c\", \"d\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"c\", \"d\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"c\", \"d\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"c\", \"d\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
}

#[test]
fn labels_of_a_namespace() {
    let namespace = |labels: Value| json!({"metadata": {"labels": labels}});
    let table = [
        (json!({}), "privileged:latest privileged:latest privileged:latest", ""),
        (
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.24"}),
            "baseline:v1.24 privileged:latest baseline:v1.24",
            "",
        ),
        (
            json!({"pod-security.kubernetes.io/enforce": "privileged", "pod-security.kubernetes.io/warn": "restricted"}),
            "privileged:latest privileged:latest restricted:latest",
            "",
        ),
        (
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.24",
                   "pod-security.kubernetes.io/warn-version": "v1.19"}),
            "baseline:v1.24 privileged:latest baseline:v1.19",
            "",
        ),
        (
            json!({"pod-security.kubernetes.io/enforce": "none"}),
            "restricted:latest privileged:latest privileged:latest",
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"none\": must be one of privileged, baseline, restricted",
        ),
    ];
    for (labels, want, errors) in table {
        let (policy, found) = Policy::of_namespace(&namespace(labels));
        assert_eq!(format!("{} {} {}", policy.enforce, policy.audit, policy.warn), want);
        assert_eq!(found.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), errors);
    }
}

#[test]
fn only_some_updates_matter() {
    let old = pod(json!({"tolerations": []}), json!({"image": "a"}));
    let table = [
        ("/spec/containers/0/image", json!("b"), true),
        ("/spec/tolerations", json!([{"operator": "Exists"}]), false),
        ("/metadata", json!({"name": "p", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}}), false),
    ];
    for (pointer, value, want) in table {
        let mut new = old.clone();
        *new.pointer_mut(pointer).expect(pointer) = value;
        assert_eq!(is_significant_update(&new, &old), want, "{pointer}");
    }
    let mut debug = old.clone();
    debug["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "a"}]);
    assert!(is_significant_update(&debug, &old));
    assert!(!is_significant_update(&debug, &debug));
    assert!(!is_significant_update(&old, &debug));
}
