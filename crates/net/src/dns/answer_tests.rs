//! Whole messages: what a resolver of a pod sends and gets.

use super::*;
use hickory_proto::op::{Edns, MessageType, OpCode};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// One ClusterIP Service `web` and one external name `out`, in the namespace `default`.
struct Two;

impl Cluster for Two {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let spec = match (namespace, name) {
            ("default", "web") => json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]}),
            ("default", "out") => json!({"type": "ExternalName", "externalName": "example.com"}),
            _ => return None,
        };
        let value = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        Some(Arc::new(serde_json::from_value(value).expect("a service")))
    }
    fn slices(&self, _: &str, _: &str) -> Vec<Arc<EndpointSlice>> {
        Vec::new()
    }
    fn has_namespace(&self, name: &str) -> bool {
        name == "default"
    }
    fn services_at(&self, ip: Ipv4Addr) -> Vec<Arc<Service>> {
        let web = self.service("default", "web");
        if ip == Ipv4Addr::new(10, 96, 0, 20) { web.into_iter().collect() } else { Vec::new() }
    }
    fn slices_at(&self, _: Ipv4Addr) -> Vec<Arc<EndpointSlice>> {
        Vec::new()
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut request = Message::new(7, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    request
}

/// Code, answers and authorities of the answer as text; or what else happens.
fn ask(name: &str, kind: RecordType) -> String {
    let zone = Zone::new("cluster.local").expect("a zone");
    match zone.decide(&question(name, kind), &Two) {
        Outcome::Forward => "forward".into(),
        Outcome::Ignore => "nothing".into(),
        Outcome::FollowAlias(_, target) => format!("follow {target}"),
        Outcome::Answer(answer) => {
            let data: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
            let soa = if answer.authorities.is_empty() { "" } else { " +soa" };
            format!("{:?} [{}]{soa}", answer.metadata.response_code, data.join(", "))
        }
    }
}

#[test]
fn questions_have_the_answers_that_resolvers_expect() {
    use RecordType::{A, AAAA, CNAME, PTR, SRV, TXT};
    let cases = [
        ("web.default.svc.cluster.local.", A, "NoError [10.96.0.20]"),
        ("WEB.Default.svc.Cluster.Local.", A, "NoError [10.96.0.20]"),
        ("web.default.svc.cluster.local.", AAAA, "NoError [] +soa"),
        ("none.default.svc.cluster.local.", A, "NXDomain [] +soa"),
        ("_http._tcp.web.default.svc.cluster.local.", SRV, "NoError [0 100 80 web.default.svc.cluster.local.]"),
        ("20.0.96.10.in-addr.arpa.", PTR, "NoError [web.default.svc.cluster.local.]"),
        ("1.2.0.192.in-addr.arpa.", PTR, "forward"),
        ("out.default.svc.cluster.local.", A, "follow example.com."),
        ("out.default.svc.cluster.local.", CNAME, "NoError [example.com.]"),
        ("dns-version.cluster.local.", TXT, "NoError [1.1.0]"),
        ("example.com.", A, "forward"),
        ("notcluster.local.", A, "forward"),
    ];
    for (name, kind, want) in cases {
        assert_eq!(ask(name, kind), want, "{name} {kind}");
    }
}

#[test]
fn an_answer_repeats_the_question_its_id_and_that_edns_is_spoken() {
    let mut request = question("web.default.svc.cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    request.set_edns(edns);
    let zone = Zone::new("cluster.local").expect("a zone");
    let Outcome::Answer(answer) = zone.decide(&request, &Two) else { panic!("no answer") };
    let bytes = for_udp(&answer).expect("bytes");
    let read = Message::from_vec(&bytes).expect("a message");
    assert_eq!((read.metadata.id, read.queries.as_slice()), (7, request.queries.as_slice()));
    assert!(read.metadata.authoritative && read.edns.is_some());
}

#[test]
fn an_answer_that_is_too_long_for_udp_is_cut_off_and_says_so() {
    let mut answer = question("web.default.svc.cluster.local.", RecordType::A);
    let name = answer.queries[0].name().clone();
    answer.add_answers((0..200).map(|i| Record::from_rdata(name.clone(), 5, RData::A(A(Ipv4Addr::from(i))))));
    let bytes = for_udp(&answer).expect("bytes");
    assert!(bytes.len() <= 512);
    let read = Message::from_vec(&bytes).expect("a message");
    assert!(read.metadata.truncation && read.answers.is_empty());
}

/// Answers to answers would go to and fro for ever.
#[test]
fn an_answer_is_not_answered() {
    let mut answer = question("web.shop.svc.cluster.local.", RecordType::A);
    answer.metadata.message_type = hickory_proto::op::MessageType::Response;
    let zone = Zone::new("cluster.local").expect("a zone");
    assert!(matches!(zone.decide(&answer, &Two), Outcome::Ignore));
    assert!(ask("*.cluster.local.", RecordType::A).contains("NXDomain"), "an asterisk is a name as others");
}

#[test]
fn two_questions_at_once_are_refused() {
    let mut request = question("web.default.svc.cluster.local.", RecordType::A);
    request.add_query(request.queries[0].clone());
    let zone = Zone::new("cluster.local").expect("a zone");
    let Outcome::Answer(answer) = zone.decide(&request, &Two) else { panic!("no answer") };
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
}
