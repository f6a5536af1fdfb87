//! What the server gives to services: addresses, families, node ports; and what it takes back when the type changes.

use super::validate::{cluster_ips, is_external, is_headless};
use crate::hooks::check::Node;
use crate::hooks::fill::Fill;
use api_core::field::{Errors, Path};
use api_core::names;
use api_schema::row::{Allocation, Pool, WriteContext};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn needs_cluster_ip(spec: &Value) -> bool {
    spec.text("type") != "ExternalName"
}

fn needs_node_ports(spec: &Value) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn needs_check_port(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn is_external_value(spec: &Value) -> bool {
    is_external(&Node::root(spec))
}

/// A field of a feature that is off in this version.
pub(super) fn drop_disabled(spec: &mut Value) {
    spec.as_object_mut().map(|map| map.remove("trafficDistribution"));
}

/// Drops what the new type has no use for, unless the update asked for it; keeps what was allocated.
pub(super) fn prepare_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    if context.subresource == "status" {
        new.adopt("spec", old);
        return;
    }
    new.adopt("status", old);
    let was = &old["spec"];
    let spec = new.make("spec");
    drop_disabled(spec);
    if needs_cluster_ip(was) && needs_cluster_ip(spec) {
        keep_addresses(spec, was);
    }
    one_first_address(spec, was);
    keep_ports(spec, was);
    drop_unused(spec, was);
    if spec.text("type") != "LoadBalancer" {
        new["status"]["loadBalancer"] = json!({});
    }
}

/// What an update does not name stays.
fn keep_addresses(spec: &mut Value, was: &Value) {
    for field in ["clusterIP", "clusterIPs", "ipFamilyPolicy"] {
        if is_unset(spec, field) && !is_unset(was, field) {
            spec[field] = was[field].clone();
        }
    }
}

/// Whether a field says nothing. A policy is there even if it is an empty text.
fn is_unset(spec: &Value, field: &str) -> bool {
    if field == "ipFamilyPolicy" { spec.lacks(field) } else { Node::new(&spec[field], Path::ROOT).is_empty() }
}

/// Who changes only the first address means the list too.
fn one_first_address(spec: &mut Value, was: &Value) {
    let (first, first_was) = (spec.text("clusterIP").to_owned(), was.text("clusterIP"));
    let same_list =
        || spec["clusterIPs"] == was["clusterIPs"] || (is_unset(spec, "clusterIPs") && is_unset(was, "clusterIPs"));
    if first == first_was || !same_list() {
        return;
    }
    match spec.as_object_mut() {
        Some(map) if first.is_empty() => drop(map.remove("clusterIPs")),
        Some(map) => drop(map.insert("clusterIPs".into(), json!([first]))),
        None => {}
    }
}

fn keep_ports(spec: &mut Value, was: &Value) {
    if needs_node_ports(was) && needs_node_ports(spec) {
        let numbers = |of: &Value| -> Vec<u16> {
            of["ports"].as_array().into_iter().flatten().filter_map(|port| number(&port["nodePort"])).collect()
        };
        let (now, before) = (numbers(spec), numbers(was));
        let by_name: BTreeMap<&str, u16> = (was["ports"].as_array().into_iter().flatten())
            .map(|port| (port.text("name"), number(&port["nodePort"]).unwrap_or(0)))
            .collect();
        spec.each_mut("ports", |port| {
            let had = by_name.get(port.text("name")).filter(|n| **n > 0 && !(now.contains(n) && before.contains(n)));
            if let Some(had) = had {
                port.fill_zero("nodePort", *had);
            }
        });
    }
    if needs_check_port(was) && needs_check_port(spec) && !was.lacks("healthCheckNodePort") {
        let number = was["healthCheckNodePort"].clone();
        spec.fill_zero("healthCheckNodePort", number);
    }
}

fn drop_unused(spec: &mut Value, was: &Value) {
    let mut gone: Vec<&str> = Vec::new();
    let mut no_more = |now: bool, before: bool, fields: &[&'static str]| {
        if before && !now {
            gone.extend(fields);
        }
    };
    let both: [fn(&Value) -> bool; 4] =
        [needs_cluster_ip, needs_check_port, |s| s.text("type") == "LoadBalancer", is_external_value];
    let fields: [&[&'static str]; 4] = [
        &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
        &["healthCheckNodePort"],
        &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        &["externalTrafficPolicy"],
    ];
    for (needs, fields) in both.iter().zip(fields) {
        no_more(needs(spec), needs(was), fields);
    }
    let clear_ports = needs_node_ports(was) && !needs_node_ports(spec);
    let Some(map) = spec.as_object_mut() else { return };
    let same_addresses = ["clusterIP", "clusterIPs"].iter().all(|f| map.get(*f).unwrap_or(&Value::Null) == &was[*f]);
    for field in gone {
        let same = if field.starts_with("clusterIP") { same_addresses } else { map.get(field) == was.get(field) };
        if same {
            map.remove(field);
        }
    }
    let ports_of = |spec: &Value| -> Vec<u16> {
        spec["ports"].as_array().into_iter().flatten().filter_map(|p| number(&p["nodePort"])).collect()
    };
    let had = ports_of(was);
    if clear_ports && ports_of(spec).iter().all(|port| had.contains(port)) {
        spec.each_mut("ports", |port| {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        });
    }
}

/// Gives a service what it needs and has not, or takes from the pool what it asks for.
pub(super) fn allocate(new: &mut Value, old: Option<&Value>, pool: &mut dyn Pool, e: &mut Errors) {
    let none = Value::Null;
    let was = old.map_or(&none, |old| &old["spec"]);
    let spec = new.make("spec");
    if !needs_cluster_ip(spec) {
        return;
    }
    if spec.lacks("clusterIPs") && !spec.text("clusterIP").is_empty() {
        spec["clusterIPs"] = json!([spec.text("clusterIP")]);
    }
    let mut own = Errors::new();
    cluster_ips(&Node::new(spec, Path::new("spec")), &mut own);
    if own.is_empty() {
        families(spec, was, pool.families(), &mut own);
    }
    if own.is_empty() {
        addresses(spec, was, pool, &mut own);
    }
    if own.is_empty() {
        node_ports(spec, old.map(|old| &old["spec"]), pool, &mut own);
    }
    e.extend(own);
}

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// Fills in families and policy from what the service says, what it was, and what the cluster has.
fn families(spec: &mut Value, was: &Value, available: &[bool], e: &mut Errors) {
    let path = Path::new("spec");
    let bare = spec.text("clusterIP") == "None" && is_unset(spec, "selector");
    if is_unset(spec, "ipFamilyPolicy") {
        let given = if bare { "RequireDualStack" } else { "SingleStack" };
        spec["ipFamilyPolicy"] =
            if is_unset(was, "ipFamilyPolicy") { given.into() } else { was["ipFamilyPolicy"].clone() };
    }
    let policy = spec.text("ipFamilyPolicy").to_owned();
    if policy == "SingleStack" {
        for field in ["clusterIPs", "ipFamilies"] {
            if spec[field] == was[field] {
                spec.at_mut(field).and_then(Value::as_array_mut).into_iter().for_each(|list| list.truncate(1));
            }
        }
    }
    let node = Node::new(spec, path);
    let mut list: Vec<String> = node.at("ipFamilies").items().map(|f| f.str().to_owned()).collect();
    let mut own = Errors::new();
    stacks(&node, was, &mut own);
    let has = |wanted: &str| available.iter().any(|v6| family(*v6) == wanted);
    let ips = node.at("clusterIPs");
    for (i, ip) in ips.items().enumerate().take_while(|(_, ip)| ip.str() != "None").skip(list.len()) {
        match names::parse_ip(ip.str()).map(|ip| family(ip.is_ipv6())) {
            Some(family) if !has(family) => {
                own.invalid(&ips.path.index(i), ips.value, &format!("{family} is not configured on this cluster"));
            }
            Some(family) => list.push(family.to_owned()),
            None => {}
        }
    }
    if own.is_empty() && !bare {
        if policy == "RequireDualStack" && available.len() < 2 {
            node.at("ipFamilyPolicy").invalid("this cluster is not configured for dual-stack services", &mut own);
        }
        let families_path = path.child("ipFamilies");
        for (i, wanted) in list.iter().enumerate().filter(|(_, f)| !has(f)) {
            own.invalid(&families_path.index(i), wanted.as_str(), "not configured on this cluster");
        }
    }
    if !own.is_empty() {
        e.extend(own);
        return;
    }
    let wanted = if policy == "SingleStack" { 1 } else { 2 };
    let mine = available.iter().map(|v6| family(*v6));
    let all: Vec<&str> = if bare { mine.chain(["IPv4", "IPv6"]).collect() } else { mine.collect() };
    for candidate in all {
        if list.len() < wanted && !list.iter().any(|f| f == candidate) {
            list.push(candidate.to_owned());
        }
    }
    spec["ipFamilies"] = list.into();
}

/// Whether the policy allows for as many families and addresses.
fn stacks(spec: &Node<'_, '_>, was: &Value, e: &mut Errors) {
    let policy = spec.at("ipFamilyPolicy");
    for (field, one, many) in [("clusterIPs", "cluster IP", "cluster IPs"), ("ipFamilies", "IP family", "IP families")]
    {
        let (now, before) = (spec.at(field).len(), was[field].as_array().map_or(0, Vec::len));
        if policy.str() != "SingleStack" && now > 0 && now < before {
            policy.invalid(&format!("must be 'SingleStack' to release the secondary {one}"), e);
        }
        if policy.str() == "SingleStack" && now == 2 {
            let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {many} are specified");
            policy.invalid(&why, e);
        }
    }
}

fn addresses(spec: &mut Value, was: &Value, pool: &mut dyn Pool, e: &mut Errors) {
    if is_headless(&Node::root(spec)) {
        return;
    }
    let path = Path::new("spec");
    let list_path = path.child("clusterIPs");
    let families: Vec<bool> = spec["ipFamilies"].as_array().into_iter().flatten().map(|f| f == "IPv6").collect();
    let mut ips: Vec<String> =
        spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let held: Vec<&str> = was["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (i, v6) in families.iter().enumerate() {
        let wanted = ips.get(i).filter(|ip| !ip.is_empty()).cloned();
        // Who has an address gets no other one: that it was to be another one is refused later on.
        if wanted.as_deref().is_some_and(|ip| held.contains(&ip)) || (i == 0 && wanted.is_some() && !held.is_empty()) {
            continue;
        }
        let parsed: Option<IpAddr> = wanted.as_deref().and_then(names::parse_ip);
        match pool.ip(*v6, parsed) {
            Ok(ip) if i < ips.len() => ips[i] = wanted.unwrap_or_else(|| ip.to_string()),
            Ok(ip) => ips.push(ip.to_string()),
            Err(why) => {
                let shown = wanted.unwrap_or_default();
                let why = format!("failed to allocate IP {shown}: {why}");
                Node::new(&spec["clusterIPs"], list_path).invalid(&why, e);
            }
        }
    }
    if let Some(first) = ips.first() {
        spec["clusterIP"] = first.clone().into();
        spec["clusterIPs"] = ips.into();
    }
}

fn protocol(port: &Value) -> Option<&'static str> {
    PROTOCOLS.into_iter().find(|p| *p == port.text("protocol"))
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().filter(|n| *n > 0).and_then(|n| n.try_into().ok())
}

/// A node port is one number for all protocols. A new service whose port is there over two protocols gets one for both.
fn node_ports(spec: &mut Value, was: Option<&Value>, pool: &mut dyn Pool, e: &mut Errors) {
    let path = Path::new("spec");
    let ports_path = path.child("ports");
    let any = needs_node_ports(spec);
    let asked_only = spec.text("type") == "LoadBalancer" && !any;
    let ports = |spec: &Value| spec["ports"].as_array().cloned().unwrap_or_default();
    let numbers = |ports: Vec<Value>| -> Vec<(Option<i64>, u16)> {
        ports.iter().filter_map(|p| Some((p["port"].as_i64(), number(&p["nodePort"])?))).collect()
    };
    let asked: BTreeMap<Option<i64>, u16> = numbers(ports(spec)).into_iter().rev().collect();
    let mut mine: Vec<u16> = was.map(|was| numbers(ports(was))).unwrap_or_default().iter().map(|p| p.1).collect();
    let mut by_port: BTreeMap<Option<i64>, u16> = BTreeMap::new();
    let list = spec.get_mut("ports").and_then(Value::as_array_mut);
    for (i, port) in list.into_iter().flatten().enumerate().filter(|_| any || asked_only) {
        let (service_port, wanted) = (port["port"].as_i64(), number(&port["nodePort"]));
        let sensible = protocol(port).is_some() && port["nodePort"].as_i64().is_none_or(|n| (0..=65535).contains(&n));
        if !sensible || (asked_only && wanted.is_none()) {
            continue;
        }
        let known = by_port.get(&service_port).copied().filter(|_| was.is_none());
        let given = match (wanted, known) {
            (None, Some(known)) => Ok(known),
            (None, None) => pool.port(asked.get(&service_port).copied().filter(|_| was.is_none())),
            (Some(wanted), known) if known == Some(wanted) => Ok(wanted),
            (Some(wanted), _) if was.is_some() && mine.contains(&wanted) => Ok(wanted),
            (Some(wanted), _) => pool.port(Some(wanted)),
        };
        match given {
            Ok(given) => {
                by_port.entry(service_port).or_insert(given);
                mine.push(given);
                port["nodePort"] = given.into();
            }
            Err(why) => {
                let at = ports_path.index(i);
                e.invalid(&at.child("nodePort"), i64::from(wanted.unwrap_or(0)), &why);
            }
        }
    }
    check_port(spec, was, pool, e);
}

fn check_port(spec: &mut Value, was: Option<&Value>, pool: &mut dyn Pool, e: &mut Errors) {
    let path = Path::new("spec");
    if needs_check_port(spec) {
        let wanted = number(&spec["healthCheckNodePort"]);
        // What is no port is refused by who validates.
        if wanted.is_none() && spec["healthCheckNodePort"].as_i64().is_some_and(|port| port != 0) {
            return;
        }
        if wanted.is_none() || wanted != was.and_then(|was| number(&was["healthCheckNodePort"])) {
            match pool.port(wanted) {
                Ok(given) => spec["healthCheckNodePort"] = given.into(),
                Err(why) => e.internal(
                    &path.child("healthCheckNodePort"),
                    &format!("failed to allocate requested HealthCheck NodePort: {why}"),
                ),
            }
        }
    }
}

/// What a stored service holds.
pub(super) fn allocated(service: &Value) -> Vec<Allocation> {
    let spec = &service["spec"];
    let ips = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut held: Vec<Allocation> = ips.filter_map(names::parse_ip).map(Allocation::Ip).collect();
    for port in spec["ports"].as_array().into_iter().flatten() {
        held.extend(number(&port["nodePort"]).map(Allocation::Port));
    }
    held.extend(number(&spec["healthCheckNodePort"]).map(Allocation::Port));
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Some10(BTreeSet<u16>);

    impl Pool for Some10 {
        fn ip(&mut self, _: bool, wanted: Option<IpAddr>) -> Result<IpAddr, String> {
            Ok(wanted.unwrap_or(IpAddr::from([10, 96, 0, 5])))
        }
        fn port(&mut self, wanted: Option<u16>) -> Result<u16, String> {
            let given = wanted.unwrap_or_else(|| (30001..).find(|port| !self.0.contains(port)).unwrap());
            if self.0.insert(given) { Ok(given) } else { Err("provided port is already allocated".into()) }
        }
        fn families(&self) -> &[bool] {
            &[false]
        }
    }

    fn with(spec: Value, old: Option<&Value>) -> (Value, Errors) {
        let mut service = json!({"spec": spec});
        let mut e = Errors::new();
        allocate(&mut service, old, &mut Some10::default(), &mut e);
        (service["spec"].take(), e)
    }

    #[test]
    fn a_service_gets_an_address_and_node_ports() {
        let (spec, e) = with(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}), None);
        assert!(e.is_empty(), "{e:?}");
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.5"]));
        assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
        assert_eq!(spec["ports"][0]["nodePort"], 30001);
        assert_eq!(allocated(&json!({"spec": spec})).len(), 2);
    }

    #[test]
    fn a_node_port_is_a_number_for_all_protocols() {
        let ports = |list: &[(i64, &str, i64)]| -> Value {
            let port = |(port, protocol, node): &(i64, &str, i64)| json!({"port": port, "protocol": protocol, "nodePort": node});
            json!({"type": "NodePort", "ports": list.iter().map(port).collect::<Vec<_>>()})
        };
        let given = |spec: &Value| -> Vec<i64> {
            spec["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_i64().unwrap()).collect()
        };
        for (new, old, expected) in [
            (&[(53, "TCP", 0), (53, "UDP", 0)][..], None, Ok(vec![30001, 30001])),
            (&[(53, "TCP", 0), (53, "UDP", 30005)], None, Ok(vec![30005, 30005])),
            (&[(53, "TCP", 30005), (53, "UDP", 30006)], None, Ok(vec![30005, 30006])),
            (&[(53, "TCP", 30005), (54, "UDP", 30005)], None, Err("spec.ports[1].nodePort")),
            (&[(53, "TCP", 30005), (54, "UDP", 30005)], Some(&[(53, "TCP", 30005)][..]), Ok(vec![30005, 30005])),
            (&[(53, "TCP", 30005), (54, "UDP", 30006)], Some(&[(53, "TCP", 30005)]), Ok(vec![30005, 30006])),
        ] {
            let old = old.map(|old| json!({"spec": ports(old)}));
            let (spec, e) = with(ports(new), old.as_ref());
            match expected {
                Ok(numbers) => assert_eq!((given(&spec), e.is_empty()), (numbers, true), "{new:?}"),
                Err(field) => assert!(format!("{e:?}").contains(field), "{new:?}: {e:?}"),
            }
        }
    }

    #[test]
    fn a_headless_service_gets_none() {
        let (spec, _) = with(json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}), None);
        assert_eq!(spec["clusterIPs"], json!(["None"]));
        let (spec, _) = with(json!({"type": "ClusterIP", "clusterIP": "None"}), None);
        assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert!(allocated(&json!({"spec": spec})).is_empty());
    }

    #[test]
    fn an_update_keeps_what_it_has_and_drops_what_it_does_not_need() {
        let context = WriteContext::default();
        let old = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"],
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}],
        }});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
        prepare_update(&context, &mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.5");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
        let mut new = old.clone();
        new["spec"]["type"] = "ExternalName".into();
        prepare_update(&context, &mut new, &old);
        assert_eq!(new["spec"], json!({"type": "ExternalName", "ports": [{"port": 80, "protocol": "TCP"}]}));
    }
}
