//! Names in, records out.

use super::*;
use serde_json::{Value, json};

#[derive(Default)]
struct Fixed {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl Cluster for Fixed {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let is = |s: &&Arc<Service>| {
            s.metadata.name.as_deref() == Some(name) && s.metadata.namespace.as_deref() == Some(namespace)
        };
        self.services.iter().find(is).cloned()
    }
    fn slices(&self, _: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
        let label = |s: &&Arc<EndpointSlice>| {
            s.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name")).map(String::as_str)
                == Some(name)
        };
        self.slices.iter().filter(label).cloned().collect()
    }
    fn has_namespace(&self, name: &str) -> bool {
        name == "default"
    }
    fn services_at(&self, ip: Ipv4Addr) -> Vec<Arc<Service>> {
        self.services.iter().filter(|s| cluster_ip(s) == Some(ip)).cloned().collect()
    }
    fn slices_at(&self, ip: Ipv4Addr) -> Vec<Arc<EndpointSlice>> {
        let has = |s: &&Arc<EndpointSlice>| s.endpoints.iter().any(|e| addresses(e).any(|a| a == ip));
        self.slices.iter().filter(has).cloned().collect()
    }
}

fn service(name: &str, spec: Value) -> Arc<Service> {
    let value = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    Arc::new(serde_json::from_value(value).expect("a service"))
}

fn cluster() -> Fixed {
    let slice = json!({
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.1.7"], "conditions": {"ready": true}},
            {"addresses": ["10.244.1.8"], "hostname": "db-2", "conditions": {"ready": false}}
        ]
    });
    Fixed {
        services: vec![
            service(
                "web",
                json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
            ),
            service("db", json!({"clusterIP": "None"})),
            service("out", json!({"type": "ExternalName", "externalName": "example.com"})),
            service("empty", json!({"clusterIP": "None"})),
        ],
        slices: vec![Arc::new(serde_json::from_value(slice).expect("a slice"))],
    }
}

fn records(name: &str) -> Option<Vec<Record>> {
    let labels: Vec<&str> = name.split('.').filter(|l| !l.is_empty()).collect();
    match lookup(&labels, &cluster()) {
        Meaning::Records(records) => Some(records),
        Meaning::Nothing => None,
    }
}

fn a(ip: &str) -> Record {
    Record::A(ip.parse().expect("an address"))
}

fn srv(weight: u16, port: u16, target: &str, address: &str) -> Record {
    Record::Srv { weight, port, target: target.into(), address: address.parse().expect("an address") }
}

#[test]
fn names_mean_what_the_specification_says() {
    let sql =
        [srv(50, 5432, "10-244-1-7.db.default.svc", "10.244.1.7"), srv(50, 5432, "db-0.db.default.svc", "10.244.0.5")];
    let http = srv(100, 80, "web.default.svc", "10.96.0.20");
    let cases: Vec<(&str, Option<Vec<Record>>)> = vec![
        ("web.default.svc", Some(vec![a("10.96.0.20"), http.clone()])),
        ("_http._tcp.web.default.svc", Some(vec![http])),
        ("_http._udp.web.default.svc", None),
        ("db.default.svc", Some([vec![a("10.244.0.5"), a("10.244.1.7")], sql.to_vec()].concat())),
        ("_sql._tcp.db.default.svc", Some(sql.to_vec())),
        ("db-0.db.default.svc", Some(vec![a("10.244.0.5")])),
        ("10-244-1-7.db.default.svc", Some(vec![a("10.244.1.7")])),
        ("db-2.db.default.svc", None),
        ("x.web.default.svc", None),
        ("out.default.svc", Some(vec![Record::Cname("example.com".into())])),
        ("empty.default.svc", None),
        ("none.default.svc", None),
        ("web.other.svc", None),
        ("10-1-2-3.default.pod", Some(vec![a("10.1.2.3")])),
        ("10-1-2.default.pod", None),
        ("10-1-2-3.other.pod", None),
        ("default.svc", Some(vec![])),
        ("other.svc", None),
        ("svc", Some(vec![])),
        ("", Some(vec![])),
        ("dns-version", Some(vec![Record::Txt("1.1.0".into())])),
        ("a.b.c.d.e.f", None),
    ];
    for (name, want) in cases {
        assert_eq!(records(name), want, "{name}");
    }
}

#[test]
fn addresses_have_the_names_of_their_service_or_endpoint() {
    let names = |ip: &str| reverse(ip.parse().expect("an address"), &cluster());
    assert_eq!(names("10.96.0.20"), [Record::Ptr("web.default.svc".into())]);
    assert_eq!(names("10.244.0.5"), [Record::Ptr("db-0.db.default.svc".into())]);
    assert_eq!(names("10.244.1.7"), [Record::Ptr("10-244-1-7.db.default.svc".into())]);
    assert!(names("192.0.2.1").is_empty());
}
