//! Which API servers there are: a lease in kube-system for each, renewed while it lives, and removed by whichever server
//! sees that it has long ended.

use crate::authn::{self, UserInfo};
use crate::server::Inner;
use crate::view::View;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::names;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
/// Label of such leases, with this value.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
const DURATION_S: i64 = 3600;
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Name of the lease of the server on this host.
fn name(host: &str) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(host);
    let bits = |n: usize| {
        (0..5).fold(0usize, |value, i| {
            let bit = n * 5 + i;
            let byte = if bit / 8 < 16 { hash[bit / 8] } else { 0 };
            value << 1 | usize::from(byte >> (7 - bit % 8) & 1)
        })
    };
    let letters: String = (0..26).map(|n| char::from(LETTERS[bits(n)])).collect();
    format!("apiserver-{letters}")
}

/// Holds the lease until the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    if server.config.host_name.is_empty() || !server.config.bootstrap {
        return;
    }
    let holder = format!("{}_{}", name(&server.config.host_name), uuid::Uuid::new_v4());
    let work = async {
        let mut bootstrapped = server.bootstrapped.subscribe();
        // The sender lives in `server`, so this only ends with `true`.
        if bootstrapped.wait_for(|done| *done).await.is_err() {
            return;
        }
        loop {
            if let Err(error) = renew(&server, &holder).await {
                tracing::warn!(%error, "this server's identity lease could not be renewed");
            }
            if let Err(error) = collect(&server).await {
                tracing::warn!(%error, "the identity lease of a server that is gone could not be removed");
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

fn collection() -> String {
    format!("/apis/{GROUP}/v1/namespaces/{NAMESPACE}/{}", names::LEASES)
}

async fn renew(server: &Arc<Inner>, holder: &str) -> Result<(), ApiError> {
    let host = &server.config.host_name;
    let (me, name) = (UserInfo::apiserver(), name(host));
    let now = api_core::time::format_micro(jiff::Timestamp::now());
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": DURATION_S, "renewTime": now});
    let labels = json!({LABEL.0: LABEL.1, "kubernetes.io/hostname": host});
    if server.registry.get(GROUP, names::LEASES, NAMESPACE, &name).is_some() {
        let patch = json!({"metadata": {"labels": labels}, "spec": spec});
        match server.call(&me, Method::PATCH, &format!("{}/{name}", collection()), Some(&patch)).await {
            Err(e) if e.code == 404 => {}
            other => return other.map(drop),
        }
    }
    let lease = json!({"metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": spec});
    match server.call(&me, Method::POST, &collection(), Some(&lease)).await {
        // Another server of this host; the next renewal finds it.
        Err(e) if e.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// Removes the leases of servers that are gone.
async fn collect(server: &Arc<Inner>) -> Result<(), ApiError> {
    let now = authn::now();
    for lease in server.registry.list(GROUP, names::LEASES, NAMESPACE).iter().filter(|lease| has_ended(lease, now)) {
        let preconditions = json!({"preconditions": {"uid": lease.uid()}});
        let path = format!("{}/{}", collection(), lease.name());
        match server.call(&UserInfo::apiserver(), Method::DELETE, &path, Some(&preconditions)).await {
            Err(e) if e.code != 404 && e.code != 409 => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn has_ended(lease: &Value, now_unix_s: i64) -> bool {
    let spec = &lease["spec"];
    let renewed = spec["renewTime"].as_str().and_then(api_core::time::parse_unix_s);
    lease.label(LABEL.0) == Some(LABEL.1)
        && match (renewed, spec["leaseDurationSeconds"].as_i64()) {
            (Some(at), Some(lasts)) => at + lasts < now_unix_s,
            // A lease without a time was never held.
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_upstream_makes_them() {
        let name = name("node-1");
        assert_eq!(name.len(), "apiserver-".len() + 26);
        // `printf node-1 | sha256sum | cut -c1-32 | xxd -r -p | base32`
        assert_eq!(name, "apiserver-gwlrxzxjxmbevckvql7a4qxaja");
    }

    #[test]
    fn only_leases_of_servers_end_here() {
        let lease = |labels: Value, spec: Value| json!({"metadata": {"name": "a", "labels": labels}, "spec": spec});
        let spec = json!({"renewTime": "2024-01-01T00:00:00.000000Z", "leaseDurationSeconds": 3600});
        let end = api_core::time::parse_unix_s("2024-01-01T01:00:00Z").expect("a time");
        let ours = json!({LABEL.0: LABEL.1});
        assert!(has_ended(&lease(ours.clone(), spec.clone()), end + 1));
        assert!(!has_ended(&lease(ours, spec.clone()), end));
        assert!(!has_ended(&lease(json!({}), spec), end + 1));
    }
}
