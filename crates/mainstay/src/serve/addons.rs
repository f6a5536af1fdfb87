//! Objects that every cluster has beside those of the API server: the DNS Service.

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Port that cluster DNS listens on at the node's address; the Service has it on 53.
pub const DNS_PORT: u16 = 10053;
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";

/// Creates the DNS Service, or brings it up to date, with this node as an endpoint.
///
/// # Errors
/// If the API refuses, for example because the address is another Service's.
pub async fn dns_service(client: &Client, service_ip: Ipv4Addr, node: Ipv4Addr, node_name: &str) -> Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let labels = json!({"k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "clusterIP": service_ip,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": DNS_PORT},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": DNS_PORT}
            ]
        }
    });
    let slice_name = format!("{NAME}-{node_name}");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": NAME,
                "endpointslice.kubernetes.io/managed-by": "mainstay"
            }
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [node], "nodeName": node_name, "conditions": {"ready": true}}],
        "ports": [
            {"name": "dns", "port": DNS_PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "port": DNS_PORT, "protocol": "TCP"}
        ]
    });
    ensure(&services, NAME, &service).await?;
    ensure(&slices, &slice_name, &slice).await
}

/// Merges `object` into the one that is there, or creates it. Looked up first: creating a Service that is there fails
/// for its address, which is taken by itself.
async fn ensure<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    if api.get_opt(name).await?.is_some() {
        api.patch(name, &PatchParams::default(), &Patch::Merge(object)).await?;
    } else {
        api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
    }
    Ok(())
}
