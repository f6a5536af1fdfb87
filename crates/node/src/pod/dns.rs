//! A pod's resolver configuration, host name and hosts file. Pure.

use std::net::IpAddr;

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::{HostAlias, Pod};

use super::spec;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const HOST_NAME_MAX: usize = 63;

/// Parses the node's resolver configuration.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                config.searches =
                    words.map(|w| if w == "." { w.into() } else { w.trim_end_matches('.').to_owned() }).collect()
            }
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

/// The resolver configuration of a pod.
pub fn config(pod: &Pod, node: &DnsConfig, cluster_dns: IpAddr, domain: &str) -> DnsConfig {
    let s = spec::spec(pod);
    let policy = match s.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" if spec::host_network(pod) => "Default",
        "ClusterFirstWithHostNet" => "ClusterFirst",
        other => other,
    };
    let mut config = match policy {
        "None" => DnsConfig::default(),
        "Default" => node.clone(),
        _ => {
            let mut searches =
                vec![format!("{}.svc.{domain}", spec::namespace(pod)), format!("svc.{domain}"), domain.to_owned()];
            searches.extend(node.searches.iter().cloned());
            DnsConfig { servers: vec![cluster_dns.to_string()], searches, options: vec!["ndots:5".into()] }
        }
    };
    if let Some(own) = &s.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else { continue };
            config.options.retain(|o| o.split(':').next() != Some(name));
            config.options.push(option.value.as_ref().map_or_else(|| name.to_owned(), |v| format!("{name}:{v}")));
        }
    }
    dedup(&mut config.servers);
    dedup(&mut config.searches);
    config.servers.truncate(NAMESERVERS_MAX);
    config.searches.truncate(SEARCHES_MAX);
    config
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// Host name and domain of a pod: `spec.hostname` or the pod's name, and `subdomain.namespace.svc.domain`.
pub fn host_name(pod: &Pod, domain: &str) -> (String, String) {
    let s = spec::spec(pod);
    let mut host = s.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| spec::name(pod).to_owned());
    host.truncate(HOST_NAME_MAX);
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let subdomain = s.subdomain.as_deref().filter(|d| !d.is_empty());
    (host, subdomain.map(|d| format!("{d}.{}.svc.{domain}", spec::namespace(pod))).unwrap_or_default())
}

/// Content of a pod's hosts file; `node_hosts` is the node's own file, which host-network pods see.
pub fn hosts_file(pod: &Pod, ips: &[String], domain: &str, node_hosts: &str) -> String {
    let aliases = spec::spec(pod).host_aliases.as_deref().unwrap_or_default();
    let mut text = if spec::host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}")
    } else {
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let (host, sub) = host_name(pod, domain);
        for ip in ips {
            text.push_str(&if sub.is_empty() {
                format!("{ip}\t{host}\n")
            } else {
                format!("{ip}\t{host}.{sub}\t{host}\n")
            });
        }
        text
    };
    text.push_str(&alias_lines(aliases));
    text
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = aliases
        .iter()
        .map(|a| format!("{}\t{}\n", a.ip, a.hostnames.as_deref().unwrap_or_default().join("\t")))
        .collect();
    format!("\n# Entries added by HostAliases.\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "web-0", "namespace": "ns"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn policies() {
        let node = parse_resolv_conf("# c\nnameserver 1.1.1.1\nsearch corp.example.\noptions timeout:1\n");
        let render = |s| {
            let c = config(&pod(s), &node, IpAddr::from([10, 96, 0, 10]), "cluster.local");
            format!("{} | {} | {}", c.servers.join(" "), c.searches.join(" "), c.options.join(" "))
        };
        let cluster = "10.96.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local corp.example | ndots:5";
        assert_eq!(render(serde_json::json!({"containers": []})), cluster);
        assert_eq!(
            render(serde_json::json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})),
            cluster
        );
        assert_eq!(
            render(serde_json::json!({"containers": [], "hostNetwork": true})),
            "1.1.1.1 | corp.example | timeout:1"
        );
        assert_eq!(
            render(
                serde_json::json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["8.8.8.8"], "searches": ["a"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}})
            ),
            "8.8.8.8 | a | ndots:2 edns0"
        );
    }

    #[test]
    fn hosts_names_the_pod_and_its_aliases() {
        let pod = pod(
            serde_json::json!({"containers": [], "subdomain": "web", "hostAliases": [{"ip": "9.9.9.9", "hostnames": ["a", "b"]}]}),
        );
        let text = hosts_file(&pod, &["10.1.1.1".into()], "cluster.local", "");
        assert!(text.contains("10.1.1.1\tweb-0.web.ns.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n9.9.9.9\ta\tb\n"));
    }
}
