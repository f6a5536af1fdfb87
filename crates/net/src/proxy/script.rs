//! `nft` commands: the table as it starts, and the difference between two states of one object. Pure text.
//!
//! Named maps only. Anonymous sets and maps load in time that grows faster than their number.

use super::rules::{Contribution, MASQUERADE_MARK};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Name of our table.
pub const TABLE: &str = "mainstay";

/// Addresses that the base rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// Pod addresses of the whole cluster.
    pub pods: ipnet::Ipv4Net,
    /// Service addresses.
    pub services: ipnet::Ipv4Net,
}

/// What the kernel has already that is not of one object alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    cluster: BTreeSet<usize>,
    node_port: BTreeSet<usize>,
    /// Endpoints that may be clients of themselves, with the number of objects that say so.
    hairpins: BTreeMap<Ipv4Addr, usize>,
}

/// Replaces whatever table of ours there is by an empty one, in one transaction.
pub fn base(ranges: &Ranges) -> String {
    let Ranges { pods, services } = ranges;
    format!(
        "add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node_ports {{ type inet_proto . inet_service : verdict; }}
  map without_endpoints {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node_ports_without_endpoints {{ type inet_proto . inet_service : verdict; }}
  map host_ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  map host_ports_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain to_host_ports {{
    meta l4proto tcp dnat ip to ip daddr . meta l4proto . th dport map @host_ports
    meta l4proto udp dnat ip to ip daddr . meta l4proto . th dport map @host_ports
    meta l4proto tcp dnat ip to meta l4proto . th dport map @host_ports_any
    meta l4proto udp dnat ip to meta l4proto . th dport map @host_ports_any
  }}
  chain to_services {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr 127.0.0.0/8 return
    fib daddr type local meta l4proto . th dport vmap @node_ports
    fib daddr type local goto to_host_ports
  }}
  chain nat_prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump to_services
  }}
  chain nat_output {{
    type nat hook output priority -100; policy accept;
    jump to_services
  }}
  chain to_nothing {{
    ip daddr . meta l4proto . th dport vmap @without_endpoints
    fib daddr type local meta l4proto . th dport vmap @node_ports_without_endpoints
  }}
  chain filter_input {{
    type filter hook input priority filter; policy accept;
    ct state new jump to_nothing
  }}
  chain filter_forward {{
    type filter hook forward priority filter; policy accept;
    ct state new jump to_nothing
  }}
  chain filter_output {{
    type filter hook output priority filter; policy accept;
    ct state new jump to_nothing
  }}
  chain nat_postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & {MASQUERADE_MARK:#x} == {MASQUERADE_MARK:#x} masquerade fully-random
    ip saddr . ip daddr @hairpin masquerade fully-random
    ct status dnat ct original ip daddr {services} ip saddr != {pods} fib saddr type != local masquerade fully-random
    ip saddr {pods} ip daddr != {pods} masquerade fully-random
  }}
}}
"
    )
}

/// Turns what `old` put into the kernel into what `new` needs; empty if nothing changes. What must exist before it is
/// referred to comes first.
pub fn difference(old: &Contribution, new: &Contribution, present: &mut Present) -> String {
    let mut text = String::new();
    for (n, _) in new.cluster.keys() {
        if present.cluster.insert(*n) {
            cluster_chain(&mut text, *n);
        }
    }
    for (n, _) in new.node_port.keys() {
        if present.node_port.insert(*n) {
            node_port_chains(&mut text, *n);
        }
    }
    for (set, timeout_s) in new.affinity_sets.iter().filter(|(set, _)| !old.affinity_sets.contains_key(*set)) {
        line(
            &mut text,
            &format!("add set ip {TABLE} {set} {{ type ipv4_addr; flags dynamic,timeout; timeout {timeout_s}s; }}"),
        );
    }
    for name in new.chains.keys() {
        line(&mut text, &format!("add chain ip {TABLE} {name}"));
    }
    for (name, rules) in new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(rules)) {
        line(&mut text, &format!("flush chain ip {TABLE} {name}"));
        for rule in rules {
            line(&mut text, &format!("add rule ip {TABLE} {name} {rule}"));
        }
    }
    elements(&mut text, &flat(old), &flat(new));
    hairpins(&mut text, old, new, present);
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        line(&mut text, &format!("flush chain ip {TABLE} {name}"));
    }
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        line(&mut text, &format!("delete chain ip {TABLE} {name}"));
    }
    for set in old.affinity_sets.keys().filter(|set| !new.affinity_sets.contains_key(*set)) {
        line(&mut text, &format!("delete set ip {TABLE} {set}"));
    }
    if old.chains == new.chains
        && old.affinity_sets == new.affinity_sets
        && flat(old) == flat(new)
        && old.hairpins == new.hairpins
    {
        // Only chains that exist already would have been added again.
        text.clear();
    }
    text
}

/// `(map, key)` to value, in the order of their names.
type Flat = BTreeMap<(String, String), String>;

fn flat(c: &Contribution) -> Flat {
    let plain = c.elements.iter().map(|((map, key), value)| (((*map).to_owned(), key.clone()), value.clone()));
    let cluster =
        c.cluster.iter().map(|((n, key), value)| ((format!("cluster_endpoints_{n}"), key.clone()), value.clone()));
    let ports =
        c.node_port.iter().map(|((n, key), value)| ((format!("node_port_endpoints_{n}"), key.clone()), value.clone()));
    plain.chain(cluster).chain(ports).collect()
}

fn elements(text: &mut String, old: &Flat, new: &Flat) {
    for ((map, key), value) in old.iter().filter(|(at, value)| new.get(*at) != Some(value)) {
        element(text, "delete", map, key, value);
    }
    for ((map, key), value) in new.iter().filter(|(at, value)| old.get(*at) != Some(value)) {
        element(text, "add", map, key, value);
    }
}

fn hairpins(text: &mut String, old: &Contribution, new: &Contribution, present: &mut Present) {
    for ip in old.hairpins.difference(&new.hairpins) {
        if let Some(count) = present.hairpins.get_mut(ip) {
            *count -= 1;
            if *count == 0 {
                present.hairpins.remove(ip);
                element(text, "delete", "hairpin", &format!("{ip} . {ip}"), "");
            }
        }
    }
    for ip in new.hairpins.difference(&old.hairpins) {
        let count = present.hairpins.entry(*ip).or_insert(0);
        *count += 1;
        if *count == 1 {
            element(text, "add", "hairpin", &format!("{ip} . {ip}"), "");
        }
    }
}

fn element(text: &mut String, verb: &str, map: &str, key: &str, value: &str) {
    let value = if value.is_empty() { String::new() } else { format!(" : {value}") };
    line(text, &format!("{verb} element ip {TABLE} {map} {{ {key}{value} }}"));
}

/// One of `n` endpoints of a service address, chosen at random.
fn cluster_chain(text: &mut String, n: usize) {
    line(
        text,
        &format!(
            "add map ip {TABLE} cluster_endpoints_{n} {{ type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }}"
        ),
    );
    line(text, &format!("add chain ip {TABLE} cluster_{n}"));
    line(text, &format!("add rule ip {TABLE} cluster_{n} meta mark set numgen random mod {n}"));
    for protocol in ["tcp", "udp"] {
        line(
            text,
            &format!(
                "add rule ip {TABLE} cluster_{n} meta l4proto {protocol} dnat ip to ip daddr . meta l4proto . th dport . meta mark map @cluster_endpoints_{n}"
            ),
        );
    }
}

/// One of `n` endpoints of a node port, chosen at random; masqueraded unless the client's address must be kept.
fn node_port_chains(text: &mut String, n: usize) {
    line(
        text,
        &format!(
            "add map ip {TABLE} node_port_endpoints_{n} {{ type inet_proto . inet_service . mark : ipv4_addr . inet_service; }}"
        ),
    );
    for (name, offset) in [("local", 0), ("cluster", MASQUERADE_MARK)] {
        let chain = format!("node_port_{name}_{n}");
        line(text, &format!("add chain ip {TABLE} {chain}"));
        line(text, &format!("add rule ip {TABLE} {chain} meta mark set numgen random mod {n} offset {offset}"));
        for protocol in ["tcp", "udp"] {
            line(
                text,
                &format!(
                    "add rule ip {TABLE} {chain} meta l4proto {protocol} dnat ip to meta l4proto . th dport . meta mark map @node_port_endpoints_{n}"
                ),
            );
        }
    }
}

fn line(text: &mut String, command: &str) {
    writeln!(text, "{command}").expect("writing to a string");
}
