//! A container's environment: services, sources, fields, resources and `$(VAR)` expansion. Pure: what it refers to
//! comes in through [`Lookup`].

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, ResourceFieldSelector, Secret, Service};

use super::{resources, spec};
use crate::quantity;

/// What environment variables may refer to.
pub trait Lookup: Send + Sync {
    /// A ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<std::sync::Arc<ConfigMap>>;
    /// A Secret of the pod's namespace.
    fn secret(&self, name: &str) -> Option<std::sync::Arc<Secret>>;
    /// The node's allocatable amount of a resource (`cpu` in milli).
    fn allocatable(&self, resource: &str) -> i64;
}

/// Why an environment cannot be made; the text is what the container's status shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnvError(pub String);

type Result<T> = std::result::Result<T, EnvError>;

/// Bytes that all variables of a container may have together: more than the kernel passes on to a program. Without a
/// limit `$(A)$(A)` in some dozen variables means more than any memory holds.
const ENV_BYTES_MAX: usize = 2 << 20;

/// Variables of a container in order; later ones override earlier ones.
pub fn build(
    pod: &Pod,
    c: &Container,
    ips: &[String],
    host_ip: &str,
    services: &[Service],
    lookup: &dyn Lookup,
) -> Result<Vec<(String, String)>> {
    let mut result: BTreeMap<String, String> = from_sources(c, lookup, spec::namespace(pod))?;
    let service_vars = service_variables(pod, services);
    // Expansion sees service variables, but a reference prefers what the container itself defines.
    let mut defined: HashMap<String, String> = result.clone().into_iter().collect();
    let mut order: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for var in c.env.as_deref().unwrap_or_default() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => {
                expand(value, |name| defined.get(name).or_else(|| service_vars.get(name)).cloned())
            }
            (_, Some(source)) => match from_source(pod, c, source, ips, host_ip, lookup)? {
                Some(value) => value,
                None => continue,
            },
            _ => String::new(),
        };
        bytes += value.len();
        if bytes > ENV_BYTES_MAX {
            return Err(EnvError(format!("the environment is longer than {ENV_BYTES_MAX} bytes")));
        }
        defined.insert(var.name.clone(), value.clone());
        result.remove(&var.name);
        order.retain(|(name, _)| *name != var.name);
        order.push((var.name.clone(), value));
    }
    let mut all: Vec<(String, String)> =
        service_vars.into_iter().filter(|(name, _)| !defined.contains_key(name)).collect();
    all.extend(result);
    all.extend(order);
    Ok(all)
}

fn from_sources(c: &Container, lookup: &dyn Lookup, namespace: &str) -> Result<BTreeMap<String, String>> {
    let mut result = BTreeMap::new();
    for source in c.env_from.as_deref().unwrap_or_default() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(r) = &source.config_map_ref {
            match lookup.config_map(&r.name) {
                Some(map) => result.extend(map.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.clone()))),
                None if r.optional == Some(true) => {}
                None => return Err(EnvError(format!("configmap \"{}\" not found", r.name))),
            }
        }
        if let Some(r) = &source.secret_ref {
            match lookup.secret(&r.name) {
                Some(secret) => result.extend(
                    secret
                        .data
                        .iter()
                        .flatten()
                        .map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned())),
                ),
                None if r.optional == Some(true) => {}
                None => return Err(EnvError(format!("secret \"{}\" not found", r.name))),
            }
        }
    }
    result.retain(|name, _| {
        let valid = !name.is_empty() && !name.contains('=') && !name.starts_with(|c: char| c.is_ascii_digit());
        if !valid {
            tracing::debug!(%name, %namespace, "not a variable name, left out");
        }
        valid
    });
    Ok(result)
}

fn from_source(
    pod: &Pod,
    c: &Container,
    source: &EnvVarSource,
    ips: &[String],
    host_ip: &str,
    lookup: &dyn Lookup,
) -> Result<Option<String>> {
    let namespace = spec::namespace(pod);
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, ips, host_ip)
            .map(Some)
            .ok_or_else(|| EnvError(format!("unsupported fieldPath: {}", field.field_path)));
    }
    if let Some(r) = &source.resource_field_ref {
        return resource_value(pod, c, r, lookup).map(Some);
    }
    if let Some(r) = &source.config_map_key_ref {
        let optional = r.optional == Some(true);
        let Some(map) = lookup.config_map(&r.name) else {
            return if optional { Ok(None) } else { Err(EnvError(format!("configmap \"{}\" not found", r.name))) };
        };
        return match map.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(EnvError(format!("couldn't find key {} in ConfigMap {namespace}/{}", r.key, r.name))),
        };
    }
    if let Some(r) = &source.secret_key_ref {
        let optional = r.optional == Some(true);
        let Some(secret) = lookup.secret(&r.name) else {
            return if optional { Ok(None) } else { Err(EnvError(format!("secret \"{}\" not found", r.name))) };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(EnvError(format!("couldn't find key {} in Secret {namespace}/{}", r.key, r.name))),
        };
    }
    Ok(Some(String::new()))
}

/// A field of the pod for the downward API; `None` if there is no such field.
pub fn field_value(pod: &Pod, path: &str, ips: &[String], host_ip: &str) -> Option<String> {
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let s = spec::spec(pod);
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return None,
        };
        return Some(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => spec::namespace(pod).into(),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => format_map(pod.metadata.labels.as_ref()),
        "metadata.annotations" => format_map(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => text(&s.node_name),
        "spec.serviceAccountName" => text(&s.service_account_name),
        "status.hostIP" | "status.hostIPs" => host_ip.into(),
        "status.podIP" => ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => ips.join(","),
        _ => return None,
    })
}

/// Labels or annotations as `key="value"` lines, sorted.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

/// A resource of a container for the downward API: its limit, or what the node could give, divided and rounded up.
pub fn resource_value(pod: &Pod, c: &Container, r: &ResourceFieldSelector, lookup: &dyn Lookup) -> Result<String> {
    let (container, resource) = (r.container_name.as_deref().unwrap_or(&c.name), r.resource.as_str());
    let Some((_, c)) = spec::find_container(pod, container) else {
        return Err(EnvError(format!("container {container} not found")));
    };
    let (kind, name) = resource.split_once('.').unwrap_or(("", ""));
    let value = match kind {
        "limits" => resources::limit(&c, name).filter(|v| *v > 0).unwrap_or_else(|| lookup.allocatable(name)),
        "requests" => resources::request(&c, name).unwrap_or(0),
        _ => return Err(EnvError(format!("unsupported container resource : {resource}"))),
    };
    let divisor = r.divisor.as_ref().filter(|d| d.0 != "0");
    // CPU amounts are in milli here, so their divisor is too.
    let unit = if name == "cpu" { 1000 } else { 1 };
    let divisor = divisor
        .and_then(|d| if name == "cpu" { quantity::milli(d) } else { quantity::value(d) })
        .unwrap_or(unit)
        .max(1);
    Ok((value / divisor + i64::from(value % divisor > 0)).to_string())
}

/// Replaces `$(NAME)` where the name is known; `$$` is a dollar sign. Nothing is replaced any more where the result is as
/// long as an environment may be.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$').filter(|_| out.len() <= ENV_BYTES_MAX) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The variables that announce services: those of the pod's namespace if it wants them, and always the API's.
fn service_variables(pod: &Pod, services: &[Service]) -> BTreeMap<String, String> {
    let links = spec::spec(pod).enable_service_links.unwrap_or(true);
    let mut vars = BTreeMap::new();
    for service in services {
        let (namespace, name) = (
            service.metadata.namespace.as_deref().unwrap_or_default(),
            service.metadata.name.as_deref().unwrap_or_default(),
        );
        let is_api = namespace == "default" && name == "kubernetes";
        if !(is_api || links && namespace == spec::namespace(pod)) {
            continue;
        }
        let Some(s) = &service.spec else { continue };
        let Some(ip) = s.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let ports = s.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let prefix = name.to_uppercase().replace(['-', '.'], "_");
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        vars.insert(format!("{prefix}_SERVICE_HOST"), ip.into());
        vars.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for (i, port) in ports.iter().enumerate() {
            if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                vars.insert(
                    format!("{prefix}_SERVICE_PORT_{}", name.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                );
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
            if i == 0 {
                vars.insert(format!("{prefix}_PORT"), url.clone());
            }
            let port_prefix = format!("{prefix}_PORT_{}_{protocol}", port.port);
            vars.insert(format!("{port_prefix}_PROTO"), protocol.to_lowercase());
            vars.insert(format!("{port_prefix}_PORT"), port.port.to_string());
            vars.insert(format!("{port_prefix}_ADDR"), ip.into());
            vars.insert(port_prefix, url);
        }
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Fake;
    impl Lookup for Fake {
        fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
            (name == "cm").then(|| {
                Arc::new(serde_json::from_value(serde_json::json!({"data": {"k": "v", "2bad": "x"}})).unwrap())
            })
        }
        fn secret(&self, _: &str) -> Option<Arc<Secret>> {
            None
        }
        fn allocatable(&self, _: &str) -> i64 {
            4000
        }
    }

    #[test]
    fn expansion_follows_the_rules() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("x$(A)y$", "x1y$"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, lookup), want, "{text}");
        }
    }

    #[test]
    fn builds_from_every_source() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "2Mi"}},
                "envFrom": [{"prefix": "X_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "no", "optional": true}}],
                "env": [
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                    {"name": "ALL", "value": "$(POD) $(KUBERNETES_SERVICE_HOST) $(X_k) $(NO)"}]}]}}))
        .unwrap();
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}))
        .unwrap();
        let vars: HashMap<String, String> =
            build(&pod, &spec::containers(&pod)[0], &["10.0.0.5".into()], "1.2.3.4", &[service], &Fake)
                .unwrap()
                .into_iter()
                .collect();
        for (name, value) in [
            ("POD", "p"),
            ("IP", "10.0.0.5"),
            ("L", "b"),
            ("CPU", "4"),
            ("MEM", "2"),
            ("X_k", "v"),
            ("ALL", "p 10.96.0.1 v $(NO)"),
            ("KUBERNETES_PORT_443_TCP", "tcp://10.96.0.1:443"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ] {
            assert_eq!(vars.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn an_environment_has_an_end() {
        let build = |variables: Vec<serde_json::Value>| {
            let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"namespace": "ns"},
                "spec": {"containers": [{"name": "c", "env": variables}]}}))
            .unwrap();
            build(&pod, &spec::containers(&pod)[0], &[], "", &[], &Fake)
        };
        let twice = |n: usize| serde_json::json!({"name": format!("A{}", n + 1), "value": format!("$(A{n})$(A{n})")});
        let doubling = |n: usize| -> Vec<_> {
            std::iter::once(serde_json::json!({"name": "A0", "value": "0123456789"})).chain((0..n).map(twice)).collect()
        };
        assert_eq!(build(doubling(10)).unwrap().last().unwrap().1.len(), 10 << 10);
        assert_eq!(build(doubling(60)).unwrap_err().0, "the environment is longer than 2097152 bytes");
        let long = serde_json::json!({"name": "L", "value": "$(A10)".repeat(500_000)});
        assert!(build([doubling(10), vec![long]].concat()).is_err());
        let large = serde_json::json!({"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}});
        assert!(build(vec![large]).is_ok());
    }

    #[test]
    fn says_what_is_missing() {
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"namespace": "ns"}, "spec": {"containers": [{"name": "c",
            "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "nope"}}}]}]}}),
        )
        .unwrap();
        let error = build(&pod, &spec::containers(&pod)[0], &[], "", &[], &Fake).unwrap_err();
        assert_eq!(error.0, "couldn't find key nope in ConfigMap ns/cm");
    }
}
