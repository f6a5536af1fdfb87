//! Where the `kubernetes` service leads: to every API server that lives, however many share the store.
//!
//! Each server holds a key under `/registry/masterleases/` for its address, kept by a lease of the store: a server that
//! stops takes its key away, the key of one that dies goes with its lease. Whoever sees such a change writes Endpoints
//! and EndpointSlice anew. The keys are those of upstream, so that its servers and ours can stand side by side.

use crate::bootstrap::{self, Wanted};
use crate::registry::object;
use crate::registry::txn::failed;
use crate::server::Inner;
use api_core::ApiError;
use api_kinds::names;
use futures::StreamExt;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Op, Range, StoreError, Txn, WatchRequest};

const PREFIX: &str = "/registry/masterleases/";
/// A server that is silent for so long is taken for dead.
const LEASE_S: i64 = 15;
/// Between signs of life.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Until a broken watch is begun again.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the endpoints until the server drains; then takes this server out of them.
pub(crate) async fn run(server: Arc<Inner>) {
    // Endpoints may not be loopback addresses: a server that only this machine reaches has none.
    if server.config.advertise_address.is_loopback() || !server.config.bootstrap {
        return;
    }
    let mut bootstrapped = server.bootstrapped.subscribe();
    let mut lease = None;
    let work = async {
        // The sender lives in `server`, so this only ends with `true`.
        if bootstrapped.wait_for(|done| *done).await.is_ok() {
            keep(&server, &mut lease).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
    if let Some(lease) = lease {
        let end = async {
            server.registry.store.lease_revoke(lease).await.map_err(|e| failed(&e))?;
            reconcile(&server, false).await
        };
        if let Err(error) = end.await {
            tracing::warn!(%error, "this server could not be taken out of the endpoints of the API");
        }
    }
}

async fn keep(server: &Arc<Inner>, lease: &mut Option<i64>) {
    let mut first = true;
    loop {
        match hold(server, lease).await {
            Ok(()) => {
                // Only a server that starts says on which ports; else servers with different ones would never agree.
                let reconciled = reconcile(server, first).await;
                first &= reconciled.is_err();
                if let Err(error) = reconciled {
                    tracing::warn!(%error, "the endpoints of the API could not be written");
                }
            }
            Err(error) => tracing::warn!(%error, "this server's sign of life could not be stored"),
        }
        if tokio::time::timeout(RENEW_EVERY, changed(server)).await.is_ok() {
            tracing::debug!("API servers have come or gone");
        }
    }
}

/// Returns when another server has come or gone.
async fn changed(server: &Inner) {
    loop {
        let mut watch = server.registry.store.watch(WatchRequest::prefix(PREFIX, 0));
        let own = key(server.config.advertise_address);
        while let Some(Ok(batch)) = watch.next().await {
            let other = |event: &store::Event| event.kv.key != own.as_bytes();
            let news = |event: &store::Event| event.kind == store::EventKind::Delete || event.kv.version == 1;
            if batch.events.iter().any(|event| other(event) && news(event)) {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn key(address: IpAddr) -> String {
    format!("{PREFIX}{address}")
}

/// Gives a sign of life.
async fn hold(server: &Inner, lease: &mut Option<i64>) -> Result<(), StoreError> {
    let store = &server.registry.store;
    if let Some(held) = *lease {
        match store.lease_keep_alive(held).await {
            Err(StoreError::LeaseNotFound(_)) => *lease = None,
            other => return other,
        }
    }
    let granted = store.lease_grant(LEASE_S).await?;
    let address = server.config.advertise_address;
    let value = json!({"kind": names::ENDPOINTS_KIND, "apiVersion": "v1", "metadata": {"generation": 1},
        "subsets": [{"addresses": [{"ip": address}]}]});
    let put = Op::Put { key: key(address).into(), value: object::encode(&value), lease: granted };
    store.txn(Txn { success: vec![put], ..Txn::default() }).await?;
    *lease = Some(granted);
    Ok(())
}

/// Addresses of the servers that live.
async fn alive(server: &Inner) -> Result<Vec<IpAddr>, StoreError> {
    let range = Range { keys_only: true, ..Range::prefix(PREFIX) };
    let kvs = server.registry.store.range(range).await?.kvs;
    let address = |kv: store::KeyValue| std::str::from_utf8(&kv.key).ok()?.strip_prefix(PREFIX)?.parse().ok();
    let mut addresses: Vec<IpAddr> = kvs.into_iter().filter_map(address).collect();
    addresses.sort_unstable();
    Ok(addresses)
}

/// Writes the endpoints, if they say something else.
async fn reconcile(server: &Arc<Inner>, with_ports: bool) -> Result<(), ApiError> {
    let addresses = alive(server).await.map_err(|e| failed(&e))?;
    // Nobody left: those that come next find the last one's address, as upstream leaves it.
    if addresses.is_empty() {
        return Ok(());
    }
    for wanted in wanted(&addresses, server.config.secure_port, with_ports) {
        bootstrap::one(server.clone(), wanted).await?;
    }
    Ok(())
}

/// Endpoints and slice of these servers.
pub(crate) fn wanted(addresses: &[IpAddr], port: u16, with_ports: bool) -> Vec<Wanted> {
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let listed: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let endpoints = json!({"apiVersion": "v1", "kind": names::ENDPOINTS_KIND,
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": listed, "ports": ports}]});
    let merge = if with_ports { merge_all } else { merge_addresses };
    let mut out = vec![Wanted::new("v1", names::ENDPOINTS, endpoints, merge)];
    for (family, name) in [("IPv4", "kubernetes"), ("IPv6", "kubernetes-ipv6")] {
        let of_family: Vec<&IpAddr> = addresses.iter().filter(|ip| ip.is_ipv4() == (family == "IPv4")).collect();
        if of_family.is_empty() {
            continue;
        }
        let name = if of_family.len() == addresses.len() { "kubernetes" } else { name };
        let ready: Vec<Value> =
            of_family.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        let mut slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": bootstrap::SLICE,
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": family, "ports": ports});
        slice[names::ENDPOINTS] = ready.into();
        out.push(Wanted::new("discovery.k8s.io/v1", "endpointslices", slice, merge));
    }
    out
}

fn merge_all(found: &Value, wanted: &Value) -> Option<Value> {
    bootstrap::merge::fields(found, wanted)
}

/// Leaves the ports as whoever started last wrote them.
fn merge_addresses(found: &Value, wanted: &Value) -> Option<Value> {
    let mut wanted = wanted.clone();
    for place in ["/ports", "/subsets/0/ports"] {
        if let (Some(found), Some(wanted)) = (found.pointer(place), wanted.pointer_mut(place)) {
            *wanted = found.clone();
        }
    }
    bootstrap::merge::fields(found, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_are_listed_and_ports_are_left_alone() {
        let of = |ips: &[&str]| ips.iter().map(|ip| ip.parse().expect("an address")).collect::<Vec<IpAddr>>();
        let one = wanted(&of(&["10.0.0.1"]), 6443, true);
        assert_eq!(one.len(), 2);
        let two = wanted(&of(&["10.0.0.1", "10.0.0.2"]), 7443, false);
        for (one, two) in one.iter().zip(&two) {
            let merged = (two.merge)(&one.object, &two.object).expect("another address");
            let text = merged.to_string();
            assert!(text.contains("10.0.0.2") && text.contains("6443") && !text.contains("7443"), "{text}");
            assert_eq!((two.merge)(&merged, &two.object), None);
        }
        let restarted = wanted(&of(&["10.0.0.1"]), 7443, true);
        let merged = (restarted[0].merge)(&one[0].object, &restarted[0].object).expect("another port");
        assert_eq!(merged["subsets"][0]["ports"][0]["port"], 7443);
        assert_eq!(wanted(&of(&["10.0.0.1", "fd00::1"]), 6443, true).len(), 3);
    }
}
