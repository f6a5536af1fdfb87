//! Service accounts.

use crate::kit::{pod, with};
use serde_json::{Value, json};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn mounts(pod: &Value) -> bool {
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array();
    mounts.is_some_and(|all| all.iter().any(|m| m["mountPath"] == MOUNT))
}

/// [sig-auth] ServiceAccounts should allow opting out of API token automount
#[test]
fn tokens_are_mounted_as_the_pod_or_the_account_says() {
    with(async |api| {
        let accounts = [("says-nothing", Value::Null), ("mounts", json!(true)), ("mounts-not", json!(false))];
        for (account, says) in &accounts {
            let account = json!({"metadata": {"name": account}, "automountServiceAccountToken": says});
            api.post(&api.core("serviceaccounts"), account).await;
        }
        for (account, account_says) in &accounts {
            for pod_says in [Value::Null, json!(true), json!(false)] {
                let spec = json!({"serviceAccountName": account, "automountServiceAccountToken": pod_says});
                let made = api.post(&api.core("pods?dryRun=All"), pod("p", json!({}), spec)).await;
                let wanted = pod_says.as_bool().or(account_says.as_bool()).unwrap_or(true);
                assert_eq!(mounts(&made), wanted, "{account} {pod_says}");
            }
        }
    });
}

/// [sig-auth] ServiceAccounts should update a ServiceAccount
#[test]
fn an_account_is_updated() {
    with(async |api| {
        let account = json!({"metadata": {"name": "a"}, "automountServiceAccountToken": false});
        let made = api.post(&api.core("serviceaccounts"), account).await;
        assert_eq!(made["automountServiceAccountToken"], false);
        let path = api.core("serviceaccounts/a");
        let updated = api.update(&path, |a| a["automountServiceAccountToken"] = true.into()).await;
        assert_eq!(updated["automountServiceAccountToken"], true);
        assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);
        assert_eq!(api.get(&path).await, updated);
    });
}
