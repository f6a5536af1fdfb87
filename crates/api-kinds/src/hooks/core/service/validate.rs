//! Rules of services.

use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::{labels, meta, net};
use api_core::field::{BadValue, Errors, Path};
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;
use std::collections::HashSet;

const KUBELET_PORT: i64 = 10250;
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub(super) fn is_headless(spec: &Node<'_, '_>) -> bool {
    spec.text("clusterIP") == "None" || spec.at("clusterIPs").index(0).str() == "None"
}

/// Whether traffic from outside of the cluster may reach it.
pub(super) fn is_external(spec: &Node<'_, '_>) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.at("externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether allocation got past [`cluster_ips`]; where it did not, upstream says nothing else.
fn addresses_agree(spec: &Node<'_, '_>) -> bool {
    let mut own = Errors::new();
    if spec.text("type") != "ExternalName" {
        cluster_ips(spec, &mut own);
    }
    own.is_empty()
}

pub(super) fn service(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let kind = spec.text("type");
    if !addresses_agree(&spec) {
        return;
    }
    let ports = spec.at("ports");
    if ports.is_empty() && !is_headless(&spec) && kind != "ExternalName" {
        ports.path_required("", e);
    }
    by_type(&spec, e);
    each_port(&spec, e);
    labels::labels(&spec.at("selector"), e);
    session_affinity(&spec, e);
    for ip in spec.at("externalIPs").items() {
        if names::parse_ip(ip.str()).is_some() {
            net::not_special(&ip, e);
        } else {
            ip.text_is(names::is_ip, e);
        }
    }
    spec.at("type").required_one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], e);
    repeated_ports(&spec, e);
    load_balancer(&root, &spec, e);
    traffic_policies(&spec, e);
}

fn by_type(spec: &Node<'_, '_>, e: &mut Errors) {
    let kind = spec.text("type");
    let ips = spec.at("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" => {
            if kind == "LoadBalancer" {
                for port in spec.at("ports").items().filter(|p| p.at("port").int() == Some(KUBELET_PORT)) {
                    let why = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
                    e.invalid(&port.path, KUBELET_PORT, &why);
                }
            }
            if is_headless(spec) {
                ips.index(0).invalid(&format!("may not be set to 'None' for {kind} services"), e);
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                // The only address is the first of the list.
                let given = match field {
                    "clusterIPs" => !spec.at(field).is_empty() || !spec.text("clusterIP").is_empty(),
                    "ipFamilyPolicy" => spec.has(field),
                    _ => !spec.at(field).is_empty(),
                };
                if given {
                    spec.at(field).forbidden("may not be set for ExternalName services", e);
                }
            }
            let name = spec.at("externalName");
            let canonical = name.str().strip_suffix('.').unwrap_or(name.str());
            if canonical.is_empty() {
                name.path_required("", e);
            }
            for why in names::is_dns1123_subdomain(canonical).iter().filter(|_| !canonical.is_empty()) {
                e.invalid(&name.path, canonical, why);
            }
        }
        _ => {}
    }
}

fn each_port(spec: &Node<'_, '_>, e: &mut Errors) {
    let ports = spec.at("ports");
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.at("name");
        if ports.len() > 1 && name.is_empty() {
            name.path_required("", e);
        } else if !name.is_empty() {
            name.text_is(names::is_dns1123_label, e);
            if !seen.insert(name.str()) {
                name.duplicate(e);
            }
        }
        port.at("port").port_number(e);
        port.at("protocol").required_one_of(&["SCTP", "TCP", "UDP"], e);
        port.at("targetPort").port(e);
        let application = port.at("appProtocol");
        if application.present() {
            application.text_is(names::is_qualified_name, e);
        }
    }
}

fn repeated_ports(spec: &Node<'_, '_>, e: &mut Errors) {
    let ports = spec.at("ports");
    if spec.text("type") == "ClusterIP" {
        for port in ports.items().filter(|p| p.at("nodePort").int_or_zero() != 0) {
            port.at("nodePort").forbidden("may not be used when `type` is 'ClusterIP'", e);
        }
    }
    let (mut node_ports, mut numbers) = (HashSet::new(), HashSet::new());
    for port in ports.items() {
        let at = port.at("nodePort");
        if at.int_or_zero() != 0 && !node_ports.insert((port.text("protocol"), at.int_or_zero())) {
            at.duplicate(e);
        }
    }
    for port in ports.items() {
        if !numbers.insert((port.text("protocol"), port.at("port").int_or_zero())) {
            port.duplicate(e);
        }
    }
}

fn session_affinity(spec: &Node<'_, '_>, e: &mut Errors) {
    let affinity = spec.at("sessionAffinity");
    affinity.required_one_of(&["ClientIP", "None"], e);
    let config = spec.at("sessionAffinityConfig");
    match affinity.str() {
        "ClientIP" => {
            let client = config.at("clientIP");
            let timeout = client.at("timeoutSeconds");
            if !timeout.present() {
                config.path_required("when session affinity type is ClientIP", e);
            } else if !(1..=86400).contains(&timeout.int_or_zero()) {
                timeout.invalid("must be greater than 0 and less than 86400", e);
            }
        }
        "None" if config.present() => config.forbidden("must not be set when session affinity is None", e),
        _ => {}
    }
}

/// Addresses, families and policy agree with each other; checked before any are allocated.
pub(super) fn cluster_ips(spec: &Node<'_, '_>, e: &mut Errors) {
    let families = spec.at("ipFamilies");
    let mut seen = HashSet::new();
    for family in families.items() {
        if !["IPv4", "IPv6"].contains(&family.str()) {
            family.not_supported(&["IPv4", "IPv6"], e);
        }
        if !seen.insert(family.str()) {
            family.duplicate(e);
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if spec.has("ipFamilyPolicy") {
        spec.at("ipFamilyPolicy").one_of(&policies, e);
    }
    let ips = spec.at("clusterIPs");
    let first = spec.text("clusterIP");
    if ips.is_empty() && !first.is_empty() {
        ips.path_required("", e);
    }
    if ips.len() > 2 {
        ips.invalid("may only hold up to 2 values", e);
    }
    if !ips.is_empty() && ips.index(0).str() != first {
        ips.invalid("first value must match `clusterIP`", e);
    }
    for (i, ip) in ips.items().enumerate() {
        if i == 0 && ip.str() == "None" {
            if ips.len() > 1 {
                ips.invalid("'None' must be the first and only value", e);
            }
            continue;
        }
        ip.text_is(names::is_ip, e);
        let family = families.index(i);
        if let (Some(parsed), true) = (names::parse_ip(ip.str()), !family.is_empty())
            && parsed.is_ipv6() != (family.str() == "IPv6")
        {
            ip.invalid(&format!("expected an {} value as indicated by `ipFamilies[{i}]`", family.str()), e);
        }
    }
    let both: Vec<bool> = ips.items().filter_map(|ip| Some(names::parse_ip(ip.str())?.is_ipv6())).collect();
    if both.len() == 2 && both[0] == both[1] {
        ips.invalid("may specify no more than one IP for each IP family", e);
    }
}

fn load_balancer(root: &Node<'_, '_>, spec: &Node<'_, '_>, e: &mut Errors) {
    let is_lb = spec.text("type") == "LoadBalancer";
    let path = spec.path.child("LoadBalancerSourceRanges");
    let ranges = Node::new(spec.get("loadBalancerSourceRanges"), path);
    let metadata = root.at("metadata");
    let annotations = metadata.at("annotations");
    if !ranges.is_empty() {
        if !is_lb {
            ranges.forbidden(LOAD_BALANCER_ONLY, e);
        }
        for range in ranges.items() {
            net::cidr(&range, range.str().trim(), e);
        }
    } else if annotations.has(SOURCE_RANGES) {
        let annotation = annotations.key(SOURCE_RANGES);
        if !is_lb {
            annotation.forbidden(LOAD_BALANCER_ONLY, e);
        }
        let text = annotation.str().trim();
        if !text.is_empty() && text.split(',').any(|range| net::parse_cidr(range.trim()).is_none()) {
            annotation.invalid("must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24", e);
        }
    }
    let allocate = spec.at("allocateLoadBalancerNodePorts");
    match (is_lb, allocate.present()) {
        (false, true) => allocate.forbidden(LOAD_BALANCER_ONLY, e),
        (true, false) => allocate.path_required("field is required when `type` is 'LoadBalancer'", e),
        _ => {}
    }
    balancer_class(spec, e);
}

fn balancer_class(spec: &Node<'_, '_>, e: &mut Errors) {
    let class = spec.at("loadBalancerClass");
    if class.present() {
        if spec.text("type") == "LoadBalancer" {
            class.text_is(names::is_qualified_name, e);
        } else {
            class.forbidden(LOAD_BALANCER_ONLY, e);
        }
    }
}

fn traffic_policies(spec: &Node<'_, '_>, e: &mut Errors) {
    let external = spec.at("externalTrafficPolicy");
    if is_external(spec) {
        external.required_one_of(&["Cluster", "Local"], e);
    } else if !external.is_empty() {
        external.invalid("may only be set for externally-accessible services", e);
    }
    let check_port = spec.at("healthCheckNodePort");
    let needs_check = spec.text("type") == "LoadBalancer" && external.str() == "Local";
    match (needs_check, check_port.int_or_zero()) {
        (false, 0) => {}
        (false, _) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            check_port.invalid(why, e);
        }
        (true, 0) => check_port.path_required("", e),
        (true, _) => check_port.port_number(e),
    }
    let internal = spec.at("internalTrafficPolicy");
    if matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer") && !internal.present() {
        internal.path_required("", e);
    }
    internal.one_of_if_any(&["Cluster", "Local"], e);
}

pub(super) fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    if context.subresource == "status" {
        status(&root, e);
        return;
    }
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    addresses_stay(&spec, &old_spec, e);
    let class = spec.at("loadBalancerClass");
    if spec.text("type") == "LoadBalancer"
        && old_spec.text("type") == "LoadBalancer"
        && class.value != old_spec.get("loadBalancerClass")
    {
        class.changed("may not change once set", e);
    }
    balancer_class(&spec, e);
    let needs_check = |s: &Node<'_, '_>| s.text("type") == "LoadBalancer" && s.text("externalTrafficPolicy") == "Local";
    let port = spec.at("healthCheckNodePort");
    if needs_check(&spec) && needs_check(&old_spec) && port.value != old_spec.get("healthCheckNodePort") {
        port.forbidden(IMMUTABLE, e);
    }
    meta::again_on_create(new, e);
    service(new, e);
}

/// Addresses and families stay as long as the service has any; a second one may come, and go with the policy.
fn addresses_stay(new: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let is_name = |s: &Node<'_, '_>| s.text("type") == "ExternalName";
    if is_name(new) || is_name(old) || !addresses_agree(new) {
        return;
    }
    let headless = (is_headless(new), is_headless(old));
    if headless != (true, true) {
        let (list, was) = (new.at("clusterIPs"), old.at("clusterIPs"));
        stay(new, &list, &was, ("clusterIP", &BadValue::from(list.value)), e);
    }
    if headless == (false, false) {
        let (list, was) = (new.at("ipFamilies"), old.at("ipFamilies"));
        let shown: Vec<String> = list.items().map(|f| format!("{:?}", f.str())).collect();
        let shown = BadValue(format!("[]core.IPFamily{{{}}}", shown.join(", ")));
        stay(new, &list, &was, ("ipFamily", &shown), e);
    }
}

fn stay(spec: &Node<'_, '_>, list: &Node<'_, '_>, was: &Node<'_, '_>, of: (&str, &BadValue), e: &mut Errors) {
    let (what, shown) = of;
    let mut wrong = |i: usize, why: &str| e.invalid(&list.path.index(i), shown.clone(), why);
    if list.len() == was.len() {
        for (i, before) in was.items().enumerate() {
            if list.index(i).value != before.value {
                // Of families, upstream names the first whichever it is.
                wrong(if what == "ipFamily" { 0 } else { i }, "may not change once set");
            }
        }
        return;
    }
    if was.is_empty() {
        return;
    }
    if list.is_empty() {
        wrong(0, &format!("primary {what} can not be unset"));
    } else if list.index(0).value != was.index(0).value {
        wrong(0, "may not change once set");
    }
    let policy = spec.at("ipFamilyPolicy");
    if list.len() == 1 && was.len() > 1 && policy.str() != "SingleStack" {
        policy.changed(&format!("must be set to 'SingleStack' when releasing the secondary {what}"), e);
    }
}

fn status(root: &Node<'_, '_>, e: &mut Errors) {
    let (status, spec) = (root.at("status"), root.at("spec"));
    let balancer = status.at("loadBalancer");
    let list = balancer.at("ingress");
    if spec.text("type") != "LoadBalancer" && !list.is_empty() {
        list.forbidden("may only be used when `spec.type` is 'LoadBalancer'", e);
        return;
    }
    for ingress in list.items() {
        ingress_point(&ingress, e);
    }
}

fn ingress_point(ingress: &Node<'_, '_>, e: &mut Errors) {
    let (ip, hostname, mode) = (ingress.at("ip"), ingress.at("hostname"), ingress.at("ipMode"));
    ip.text_if_any(names::is_ip, e);
    if mode.present() && ip.is_empty() {
        mode.forbidden("may not be specified when `ip` is not set", e);
    }
    if !ip.is_empty() {
        mode.one_of_if_any(&["VIP", "Proxy"], e);
    }
    if !hostname.is_empty() {
        hostname.text_is(names::is_dns1123_subdomain, e);
        if names::parse_ip(hostname.str()).is_some() {
            let path: &Path<'_> = &hostname.path;
            e.invalid(path, hostname.str(), "must be a DNS name, not an IP address");
        }
    }
}
