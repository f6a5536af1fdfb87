//! The service account of a pod: its default, its token volume, its pull secrets, and what a mirror pod may not name.

use super::{items, list_mut, text};
use api_core::meta::Meta;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Where a token is mounted.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What names of token volumes start with.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds; one that is recognised, so that such a token can live on while clients learn to read it again.
const EXPIRATION_S: i64 = 3607;

/// Whether a node agent made this pod known from a file of its own.
pub fn is_mirror(pod: &Value) -> bool {
    pod.annotation("kubernetes.io/config.mirror").is_some()
}

/// Names the account `default` unless the pod names one; returns the name.
pub fn name_account(pod: &mut Value) -> String {
    let named = text(&pod["spec"], "serviceAccountName");
    let name = if named.is_empty() { "default" } else { named }.to_owned();
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.as_str().into();
    name
}

/// Gives a pod what its account has: the token volume (unless pod or account want none) and the pull secrets.
/// `suffix` ends the volume's name.
pub fn apply(pod: &mut Value, account: &Value, suffix: &str) -> Result<(), String> {
    if account.annotation("kubernetes.io/enforce-mountable-secrets") == Some("true") {
        check_secrets(pod, account)?;
    }
    let automount = pod["spec"]["automountServiceAccountToken"].as_bool();
    if automount.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
        mount_token(pod, suffix);
    }
    let spec = &mut pod["spec"];
    if items(spec, "imagePullSecrets").next().is_none() {
        let secrets: Vec<Value> = items(account, "imagePullSecrets").cloned().collect();
        if !secrets.is_empty() {
            spec["imagePullSecrets"] = secrets.into();
        }
    }
    Ok(())
}

fn mount_token(pod: &mut Value, suffix: &str) {
    let spec = &mut pod["spec"];
    let present =
        items(spec, "volumes").map(|v| text(v, "name")).find(|n| n.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if items(container, "volumeMounts").any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            used = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            list_mut(container, "volumeMounts").push(mount);
        }
    }
    if used && present.is_none() {
        list_mut(spec, "volumes").push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": EXPIRATION_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// Refuses secrets that an account which lists its secrets does not list.
fn check_secrets(pod: &Value, account: &Value) -> Result<(), String> {
    let allowed: HashSet<&str> = items(account, "secrets").map(|s| text(s, "name")).collect();
    let account_name = account.name();
    let spec = &pod["spec"];
    for volume in items(spec, "volumes") {
        let secret = text(&volume["secret"], "secretName");
        if volume.get("secret").is_some() && !allowed.contains(secret) {
            return Err(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {account_name} does not reference that secret"
            ));
        }
    }
    for (list, kind) in [("initContainers", "init container"), ("containers", "container")] {
        for container in items(spec, list) {
            for env in items(container, "env") {
                let reference = &env["valueFrom"]["secretKeyRef"];
                let secret = text(reference, "name");
                if reference.is_object() && !allowed.contains(secret) {
                    return Err(format!(
                        "{kind} {} with envVar {} referencing secret.secretName={secret:?} is not allowed because service account {account_name} does not reference that secret",
                        text(container, "name"),
                        text(env, "name")
                    ));
                }
            }
        }
    }
    let pull: HashSet<&str> = items(account, "imagePullSecrets").map(|s| text(s, "name")).collect();
    for (i, secret) in items(spec, "imagePullSecrets").map(|s| text(s, "name")).enumerate() {
        if !pull.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{i}].name={secret:?} is not allowed because service account {account_name} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// What a mirror pod may not refer to: it would let a node reach objects by its own word.
pub fn check_mirror(pod: &Value) -> Result<(), String> {
    let spec = &pod["spec"];
    if !text(spec, "serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts".into());
    }
    let containers = ["initContainers", "containers"].into_iter().flat_map(|list| items(spec, list));
    let secret_in_env = containers.into_iter().any(|c| {
        items(c, "env").any(|e| e["valueFrom"].get("secretKeyRef").is_some())
            || items(c, "envFrom").any(|e| e.get("secretRef").is_some())
    });
    if secret_in_env || items(spec, "volumes").any(|v| v.get("secret").is_some()) {
        return Err("a mirror pod may not reference secrets".into());
    }
    let tokens = |v: &Value| items(&v["projected"], "sources").any(|s| s.get("serviceAccountToken").is_some());
    if items(spec, "volumes").any(tokens) {
        return Err("a mirror pod may not use service account token volume projections".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_the_token_of_its_account() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}});
        assert_eq!(name_account(&mut pod), "default");
        let account = json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]});
        assert_eq!(apply(&mut pod, &account, "abcde"), Ok(()));
        let spec = &pod["spec"];
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}])
        );
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        let once = pod.clone();
        assert_eq!(apply(&mut pod, &account, "other"), Ok(()));
        assert_eq!(pod, once, "a second time changes nothing");
    }

    #[test]
    fn pod_and_account_may_want_no_token() {
        let table = [
            (None, None, true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), None, false),
        ];
        for (of_pod, of_account, mounted) in table {
            let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
            let mut account = json!({"metadata": {"name": "x"}});
            if let Some(v) = of_pod {
                pod["spec"]["automountServiceAccountToken"] = v.into();
            }
            if let Some(v) = of_account {
                account["automountServiceAccountToken"] = v.into();
            }
            assert_eq!(apply(&mut pod, &account, "s"), Ok(()));
            assert_eq!(pod["spec"]["volumes"].is_array(), mounted, "{of_pod:?} {of_account:?}");
        }
    }

    #[test]
    fn a_mirror_pod_names_nothing() {
        assert_eq!(check_mirror(&json!({"spec": {"containers": [{}]}})), Ok(()));
        assert!(check_mirror(&json!({"spec": {"serviceAccountName": "x"}})).is_err());
        assert!(check_mirror(&json!({"spec": {"volumes": [{"secret": {}}]}})).is_err());
    }
}
