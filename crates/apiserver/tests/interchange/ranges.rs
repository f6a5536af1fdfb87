//! Addresses and ports of services: recorded where and as upstream records them, and never given out twice.

use super::world::{Api, World, bare, put};
use apiserver::Config;
use bytes::Bytes;
use k8s_pb::api::core::v1::RangeAllocation;
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/registry/ranges/serviceips";
const PORTS: &str = "/registry/ranges/servicenodeports";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// The numbers that a record says are taken, read as upstream reads them: one large number, its highest byte first.
async fn recorded(api: &Api, key: &str, range: &str) -> BTreeSet<usize> {
    let record = api.stored_json(key).await;
    assert_eq!((&record["kind"], &record["apiVersion"]), (&json!("RangeAllocation"), &json!("v1")));
    assert_eq!(record["range"], range);
    let data = api_schema::protobuf::encode_value(
        api_kinds::schema(),
        api_kinds::message_type_of(&api_core::Gvk::new("", "v1", "RangeAllocation")).expect("a type"),
        &record,
    );
    let read = RangeAllocation::decode(data.expect("it fits its type").as_slice()).expect("a message");
    let data = read.data.unwrap_or_default();
    assert_ne!(data.first(), Some(&0), "a number has no leading zeros");
    let bit = |at: usize| data[data.len() - 1 - at / 8] & 1 << (at % 8) != 0;
    (0..data.len() * 8).filter(|at| bit(*at)).collect()
}

/// A record as another server writes it.
fn record(range: &str, taken: &[usize]) -> Bytes {
    let mut data = vec![0u8; taken.iter().max().map_or(0, |most| most / 8 + 1)];
    let length = data.len();
    taken.iter().for_each(|at| data[length - 1 - at / 8] |= 1 << (at % 8));
    let message = RangeAllocation { metadata: None, range: Some(range.into()), data: Some(data) };
    let unknown = Unknown {
        type_meta: Some(TypeMeta { api_version: Some("v1".into()), kind: Some("RangeAllocation".into()) }),
        raw: Some(message.encode_to_vec()),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [b"k8s\0".as_slice(), &unknown.encode_to_vec()].concat().into()
}

fn offset(service: &Value, first: [u8; 4]) -> usize {
    let ip: Ipv4Addr = service["spec"]["clusterIP"].as_str().expect("an address").parse().expect("IPv4");
    usize::try_from(ip.to_bits() - Ipv4Addr::from(first).to_bits()).expect("small")
}

#[tokio::test]
async fn what_services_hold_is_recorded_as_upstream_records_it() {
    let world = World::over(&[]).await;
    let api = &world.api;
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.10"});
    let (code, made) = api.send("POST", SERVICES, Some(&service("dns", spec))).await;
    assert_eq!(code, 201, "{made}");
    let port = usize::try_from(made["spec"]["ports"][0]["nodePort"].as_u64().expect("a port")).expect("small");
    assert_eq!(recorded(api, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([9]));
    assert_eq!(recorded(api, PORTS, "30000-32767").await, BTreeSet::from([port - 30000]));
    let (_, made) = api.send("POST", SERVICES, Some(&service("any", json!({})))).await;
    let any = offset(&made, [10, 96, 0, 1]);
    assert_eq!(recorded(api, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([9, any]));
    // What a dry run or a refused write would take is not taken.
    let dry = format!("{SERVICES}?dryRun=All");
    assert_eq!(api.send("POST", &dry, Some(&service("dry", json!({})))).await.0, 201);
    let bad = service("bad", json!({"type": "NodePort", "sessionAffinity": "x"}));
    assert_eq!(api.send("POST", SERVICES, Some(&bad)).await.0, 422);
    assert_eq!(recorded(api, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([9, any]));
    // A change of type gives the port back, a deletion all.
    let mut dns = api.get(&format!("{SERVICES}/dns")).await;
    dns["spec"]["type"] = "ClusterIP".into();
    assert_eq!(api.send("PUT", &format!("{SERVICES}/dns"), Some(&dns)).await.0, 200);
    assert_eq!(recorded(api, PORTS, "30000-32767").await, BTreeSet::new());
    assert_eq!(api.send("DELETE", &format!("{SERVICES}/dns"), None).await.0, 200);
    assert_eq!(recorded(api, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([any]));
}

#[tokio::test]
async fn what_another_server_has_taken_is_not_given_out() {
    let world = World::over(&[]).await;
    let api = &world.api;
    put(&api.store, ADDRESSES, record("10.96.0.0/16", &[0, 41]), 0).await;
    put(&api.store, PORTS, record("30000-32767", &[7]), 0).await;
    let wanted = |name: &str| service(name, json!({"type": "NodePort", "clusterIP": "10.96.0.42"}));
    let (code, status) = api.send("POST", SERVICES, Some(&wanted("a"))).await;
    assert_eq!(code, 422, "{status}");
    assert!(status["message"].as_str().is_some_and(|m| m.ends_with("provided IP is already allocated")), "{status}");
    let mut port = service("b", json!({"type": "NodePort"}));
    port["spec"]["ports"][0]["nodePort"] = 30007.into();
    let (code, status) = api.send("POST", SERVICES, Some(&port)).await;
    assert_eq!(code, 422, "{status}");
    // Given back there, it can be had here; what else is recorded stays.
    put(&api.store, ADDRESSES, record("10.96.0.0/16", &[0, 3]), 0).await;
    let (code, made) = api.send("POST", SERVICES, Some(&wanted("a"))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(recorded(api, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([0, 3, 41]));
    let of_port = recorded(api, PORTS, "30000-32767").await;
    assert!(of_port.contains(&7) && of_port.len() == 2, "{of_port:?}");
}

#[tokio::test]
async fn two_servers_give_no_address_twice() {
    let world = World::over(&[]).await;
    let small = || Config { service_cidr: "10.96.0.0/26".parse().expect("a range"), ..bare() };
    let (a, b) = (world.another(small()).await, world.another(small()).await);
    // 62 addresses, and as many services at once.
    let make = async |api: &Api, name: String| {
        let (code, made) = api.send("POST", SERVICES, Some(&service(&name, json!({"type": "NodePort"})))).await;
        assert_eq!(code, 201, "{made}");
        made
    };
    let both = (0..31).flat_map(|i| [make(&a, format!("a{i}")), make(&b, format!("b{i}"))]);
    let made = futures::future::join_all(both).await;
    let addresses: BTreeSet<usize> = made.iter().map(|s| offset(s, [10, 96, 0, 1])).collect();
    assert_eq!(addresses, (0..62).collect());
    let ports: BTreeSet<u64> = made.iter().filter_map(|s| s["spec"]["ports"][0]["nodePort"].as_u64()).collect();
    assert_eq!(ports.len(), 62);
    assert_eq!(recorded(&a, ADDRESSES, "10.96.0.0/26").await, addresses);
    let (code, status) = a.send("POST", SERVICES, Some(&service("more", json!({})))).await;
    assert_eq!(code, 422, "{status}");
    // What one server frees the other gives out.
    assert_eq!(b.send("DELETE", &format!("{SERVICES}/a0"), None).await.0, 200);
    let freed = offset(&made[0], [10, 96, 0, 1]);
    let more = service("more", json!({"type": "NodePort"}));
    let late = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    // It learns of it by its watch.
    let given = loop {
        match a.send("POST", SERVICES, Some(&more)).await {
            (201, given) => break given,
            (422, _) if tokio::time::Instant::now() < late => tokio::task::yield_now().await,
            (code, refused) => panic!("{code} {refused}"),
        }
    };
    assert_eq!(offset(&given, [10, 96, 0, 1]), freed);
}

#[tokio::test]
async fn what_one_server_has_given_another_gives_back() {
    let world = World::over(&[]).await;
    let (a, b) = (world.another(bare()).await, world.another(bare()).await);
    let (code, made) = a.send("POST", SERVICES, Some(&service("s", json!({"type": "NodePort"})))).await;
    assert_eq!(code, 201, "{made}");
    let taken = (recorded(&a, ADDRESSES, "10.96.0.0/16").await.len(), recorded(&a, PORTS, "30000-32767").await.len());
    assert_eq!(taken, (1, 1));
    assert_eq!(b.send("DELETE", &format!("{SERVICES}/s"), None).await.0, 200);
    let left = (recorded(&a, ADDRESSES, "10.96.0.0/16").await, recorded(&a, PORTS, "30000-32767").await);
    assert_eq!(left, Default::default());
}

#[tokio::test]
async fn the_first_address_is_that_of_the_servers_themselves() {
    let world = World::over(&[]).await;
    let own = world.another(Config::default()).await;
    own.ready().await;
    let service = own.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!((offset(&service, [10, 96, 0, 1]), &service["metadata"]["namespace"]), (0, &json!("default")));
    assert_eq!(recorded(&own, ADDRESSES, "10.96.0.0/16").await, BTreeSet::from([0]));
    own.stop().await;
}

#[tokio::test]
async fn a_record_that_lacks_something_is_completed_at_the_start() {
    let world = World::over(&[]).await;
    let (_, made) = world.api.send("POST", SERVICES, Some(&service("a", json!({"type": "NodePort"})))).await;
    let (held, range) = (offset(&made, [10, 96, 0, 1]), "10.96.0.0/16");
    for before in [record(range, &[5]), record("10.1.0.0/24", &[5, 6])] {
        let keeps = before == record(range, &[5]);
        put(&world.api.store, ADDRESSES, before, 0).await;
        let delete = store::Op::Delete { start: PORTS.into(), end: None };
        let txn = store::Txn { compare: Vec::new(), success: vec![delete], failure: Vec::new() };
        world.api.store.txn(txn).await.expect("deleted");
        let again = world.another(bare()).await;
        let expected = if keeps { BTreeSet::from([5, held]) } else { BTreeSet::from([held]) };
        assert_eq!(recorded(&again, ADDRESSES, range).await, expected);
        assert_eq!(recorded(&again, PORTS, "30000-32767").await.len(), 1);
        again.stop().await;
    }
}
