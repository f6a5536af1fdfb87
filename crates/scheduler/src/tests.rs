//! Decisions as data: nodes and pods in, a node or a message out.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::decide::{Decision, Round};
use crate::driver::place;
use crate::needs::Needs;
use crate::preempt::{self, Budget, Outcome};
use crate::report;
use crate::snapshot::{Placed, Snapshot};

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

fn node(name: &str, rest: Value) -> Node {
    let mut value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "10Gi"}}});
    merge(&mut value, rest);
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str, rest: Value) -> Pod {
    let mut value = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}});
    merge(&mut value, rest);
    serde_json::from_value(value).unwrap()
}

fn zone(zone: &str) -> Value {
    json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})
}

struct World {
    snapshot: Snapshot,
}

impl World {
    fn new(nodes: &[Node]) -> Self {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            snapshot.set_node(node);
        }
        World { snapshot }
    }

    fn with(mut self, node: &str, pod: &Pod) -> Self {
        self.put(node, pod);
        self
    }

    fn put(&mut self, node: &str, pod: &Pod) {
        self.snapshot.place(node, place(&Key::of(pod), pod, None));
    }

    fn decide(&self, pod: &Pod) -> Decision {
        Round::new(Arc::new(Needs::of(pod)), &self.snapshot).decide(&self.snapshot, &Key::of(pod), 0)
    }

    /// The node's name, or the message that the pod gets.
    fn answer(&self, pod: &Pod) -> String {
        match self.decide(pod) {
            Decision::Node(node) => node,
            Decision::Nowhere(refused) => {
                report::unschedulable(self.snapshot.nodes.len(), &refused, &self.preempt(pod, &[]))
            }
        }
    }

    fn preempt(&self, pod: &Pod, budgets: &[Budget]) -> Outcome {
        let Decision::Nowhere(refused) = self.decide(pod) else { panic!("it fits") };
        preempt::plan(&Needs::of(pod), &Key::of(pod), None, &refused, &self.snapshot, budgets)
    }
}

#[test]
fn every_rule_says_no_in_its_own_words() {
    let nodes = [
        node("off", json!({"spec": {"unschedulable": true}})),
        node("tainted", json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}})),
        node("small", json!({"status": {"allocatable": {"cpu": "500m"}}})),
        node("full", json!({"status": {"allocatable": {"pods": "0"}}})),
    ];
    let world = World::new(&nodes);
    assert_eq!(
        world.answer(&pod("a", json!({}))),
        "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint {gpu: yes}, \
         1 node(s) were unschedulable. preemption: 0/4 nodes are available: 1 No preemption victims found for incoming \
         pod, 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(World::new(&[]).answer(&pod("a", json!({}))), "no nodes available to schedule pods");
    let tolerant = pod("a", json!({"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}));
    assert_eq!(world.answer(&tolerant), "tainted");
}

#[test]
fn selectors_affinity_and_fields() {
    let world = World::new(&[node("a", zone("east")), node("b", zone("west"))]);
    let selecting = |spec: Value| world.answer(&pod("p", json!({"spec": spec})));
    assert_eq!(selecting(json!({"nodeSelector": {"topology.kubernetes.io/zone": "west"}})), "b");
    let required = |term: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [term]}}}})
    };
    let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]});
    assert_eq!(selecting(required(by_name)), "b");
    let nothing = selecting(required(json!({})));
    assert!(nothing.contains("2 node(s) didn't match Pod's node affinity/selector"), "{nothing}");
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions":
            [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["west"]}]}}]}}});
    assert_eq!(selecting(preferred), "b");
}

#[test]
fn ports_and_resources_are_used_up() {
    let hungry = |name: &str| {
        pod(
            name,
            json!({"spec": {"containers": [{"name": "c",
        "ports": [{"containerPort": 80, "hostPort": 80}], "resources": {"requests": {"cpu": "3"}}}]}}),
        )
    };
    let world = World::new(&[node("a", json!({})), node("b", json!({}))]).with("a", &hungry("first"));
    assert_eq!(world.answer(&hungry("second")), "b");
    let world = world.with("b", &hungry("second"));
    assert!(
        world
            .answer(&hungry("third"))
            .starts_with("0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.")
    );
    assert_eq!(world.answer(&pod("small", json!({}))), "a");
}

#[test]
fn pods_alike_spread_over_nodes_and_zones() {
    let nodes: Vec<Node> = (0..6).map(|n| node(&format!("n{n}"), zone(["x", "y", "z"][n % 3]))).collect();
    let mut world = World::new(&nodes);
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]);
    let one = |n: usize| pod(&format!("p{n}"), json!({"metadata": {"ownerReferences": owner.clone()}}));
    let needs = Arc::new(Needs::of(&one(0)));
    let mut round = Round::new(needs.clone(), &world.snapshot);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..12 {
        let (pod, key) = (one(n), Key::of(&one(n)));
        let Decision::Node(node) = round.decide(&world.snapshot, &key, n) else { panic!("no node for {n}") };
        world.snapshot.place(&node, Placed { needs: needs.clone(), ..place(&key, &pod, None) });
        round.placed(&key, &world.snapshot);
        *counts.entry(node).or_default() += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [2; 6], "{counts:?}");
}

#[test]
fn hard_spreading_holds_the_skew() {
    let constraint = json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let web = |name: &str| {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"topologySpreadConstraints": constraint.clone()}}),
        )
    };
    let nodes = [node("a", zone("east")), node("b", zone("west")), node("c", json!({}))];
    let world = World::new(&nodes).with("a", &web("1"));
    assert_eq!(world.answer(&web("2")), "b");
    let full = World::new(&nodes[..1]).with("a", &web("1"));
    assert_eq!(full.answer(&web("2")), "a", "one zone alone has no skew");
    let lone = World::new(&nodes[2..]);
    assert!(lone.answer(&web("1")).contains("(missing required label)"));
}

#[test]
fn affinity_and_anti_affinity() {
    let term = json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]);
    let far = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term.clone()}});
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    let db = |name: &str, affinity: &Value| {
        pod(name, json!({"metadata": {"labels": {"app": "db"}}, "spec": {"affinity": affinity}}))
    };
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let world = World::new(&nodes).with("a", &db("1", &far));
    assert_eq!(world.answer(&db("2", &far)), "b");
    assert_eq!(world.answer(&db("2", &json!({}))), "b", "those there keep others away");
    assert_eq!(world.answer(&pod("web", json!({"spec": {"affinity": near.clone()}}))), "a");
    let empty = World::new(&nodes);
    assert_eq!(empty.answer(&db("first", &near)), "a", "the first of its group may start");
    let lost = empty.answer(&pod("web", json!({"spec": {"affinity": near}})));
    assert!(lost.starts_with("0/2 nodes are available: 2 node(s) didn't match pod affinity rules."), "{lost}");
}

#[test]
fn preemption_takes_the_least_important_and_heeds_budgets() {
    let with = |name: &str, priority: i32, cpu: &str| {
        pod(
            name,
            json!({"metadata": {"labels": {"name": name}},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}),
        )
    };
    let world = World::new(&[node("a", json!({})), node("b", json!({}))])
        .with("a", &with("low", 1, "2"))
        .with("a", &with("mid", 5, "2"))
        .with("b", &with("high", 8, "4"));
    let incoming = with("new", 9, "2");
    let Outcome::Evict(eviction) = world.preempt(&incoming, &[]) else { panic!("nobody to evict") };
    let names =
        |eviction: &preempt::Eviction| eviction.victims.iter().map(|pod| pod.key.name.to_string()).collect::<Vec<_>>();
    assert_eq!((eviction.node.as_str(), names(&eviction)), ("a", vec!["low".to_owned()]));

    let selector = kube::core::Expression::Equal("name".into(), "low".into()).into();
    let budget = Budget { namespace: "n".into(), selector, left: 0 };
    let Outcome::Evict(eviction) = world.preempt(&incoming, &[budget]) else { panic!("nobody to evict") };
    assert_eq!(names(&eviction), ["mid"]);
    assert!(matches!(world.preempt(&with("new", 0, "2"), &[]), Outcome::Useless(why) if why.len() == 2));
}

#[test]
fn a_promised_node_is_not_given_to_the_less_important() {
    let mut world = World::new(&[node("a", json!({}))]);
    let big = |priority: i32| {
        pod(
            "big",
            json!({"spec": {"priority": priority,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]}}),
        )
    };
    let needs = Arc::new(Needs::of(&big(9)));
    world.snapshot.nominate(&Key::new("n", "big"), Some("a"), &needs);
    assert!(world.answer(&pod("small", json!({}))).contains("Insufficient cpu"));
    assert_eq!(world.answer(&big(9)), "a");
}

#[test]
fn explains_each_node() {
    let nodes = [Arc::new(node("a", json!({}))), Arc::new(node("off", json!({"spec": {"unschedulable": true}})))];
    let said = crate::explain(&pod("p", json!({})), &nodes, &[]);
    assert!(said["a"].as_ref().unwrap().total() > 0.0);
    assert_eq!(said["off"].as_ref().unwrap_err()[0].text, "node(s) were unschedulable");
}

/// Not a benchmark, but a bound that a mistake in the order of growth would break.
#[test]
fn two_thousand_pods_on_a_hundred_nodes_are_decided_quickly() {
    let room = json!({"status": {"allocatable": {"cpu": "64", "pods": "110"}}});
    let nodes: Vec<Node> = (0..100).map(|n| node(&format!("n{n}"), room.clone())).collect();
    let mut world = World::new(&nodes);
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]);
    let one = pod("p", json!({"metadata": {"ownerReferences": owner}}));
    let needs = Arc::new(Needs::of(&one));
    let start = std::time::Instant::now();
    let mut round = Round::new(needs.clone(), &world.snapshot);
    for n in 0..2_000 {
        let key = Key::new("n", &format!("p{n}"));
        let Decision::Node(node) = round.decide(&world.snapshot, &key, n % 100) else { panic!("no node for {n}") };
        world.snapshot.place(&node, Placed { needs: needs.clone(), ..place(&key, &one, None) });
        round.placed(&key, &world.snapshot);
    }
    assert!(world.snapshot.nodes.iter().all(|node| node.pods.len() == 20));
    let took = start.elapsed();
    assert!(took.as_secs() < 10, "took {took:?} in a debug build");
    println!("2,000 pods on 100 nodes: {took:?}");
}
