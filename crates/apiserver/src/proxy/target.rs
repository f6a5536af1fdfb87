//! What a proxied name means: `scheme:name:port` of a node, a pod or a service, and the address behind it. Pure.

use super::dial::Trust;
use api_core::meta::Meta;
use api_core::{ApiError, Reason};
use api_kinds::names;
use serde_json::Value;

const KUBELET_PORT: u16 = 10250;

/// A name as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `http`, `https`, or empty.
    pub scheme: String,
    /// The object.
    pub name: String,
    /// Name or number of a port, or empty.
    pub port: String,
}

impl Asked {
    /// Reads `name`, `name:port` or `scheme:name:port`.
    pub fn parse(resource: &str, text: &str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
            _ => {
                let what = resource.trim_end_matches('s');
                return Err(ApiError::bad_request(format!("invalid {what} request {text:?}")));
            }
        };
        Ok(Self { scheme: scheme.into(), name: name.into(), port: port.into() })
    }

    /// How the server is spoken to.
    pub fn trust(&self) -> Trust {
        if self.scheme == "https" { Trust::Anyone } else { Trust::Plain }
    }

    /// The port as a number.
    pub fn number(&self) -> Result<u16, ApiError> {
        self.port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {:?}", self.port)))
    }
}

/// Address and port of a node's kubelet.
pub fn kubelet(node: &Value) -> Option<(String, u16)> {
    let addresses = node["status"]["addresses"].as_array()?;
    let of = |kind: &str| addresses.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
    let address = ["InternalIP", "ExternalIP", "Hostname"].into_iter().find_map(of)?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).unwrap_or(KUBELET_PORT);
    Some((address.to_owned(), port))
}

/// Address and port of a pod: the port asked for, or its first.
pub fn pod(pod: &Value, asked: &Asked) -> Result<(String, u16), ApiError> {
    let address = pod["status"]["podIP"].as_str().unwrap_or("");
    if address.is_empty() {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let containers = || pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers().flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let port = match (asked.port.is_empty(), asked.port.parse::<u16>()) {
        (false, Ok(number)) => Some(number),
        (false, Err(_)) => ports.find(|p| p["name"] == asked.port).and_then(number),
        (true, _) => ports.find_map(number).or(Some(80)),
    };
    let port = port.ok_or_else(|| ApiError::bad_request(format!("invalid pod request {:?}", asked.name)))?;
    Ok((address.to_owned(), port))
}

fn number(port: &Value) -> Option<u16> {
    port["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok())
}

/// Address and port of one of a service's ready endpoints; `pick` chooses among them.
pub fn service(service: &Value, endpoints: &Value, asked: &Asked, pick: usize) -> Result<(String, u16), ApiError> {
    let unavailable = |why: String| ApiError::new(503, Reason::ServiceUnavailable, why);
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let wanted: Vec<&Value> = ports.collect();
    let port = match (asked.port.as_str(), wanted.as_slice()) {
        ("", [only]) => Some(*only),
        (text, ports) => ports.iter().copied().find(|p| {
            p["name"].as_str().unwrap_or("") == text || p["port"].as_u64().is_some_and(|n| n.to_string() == text)
        }),
    };
    let Some(port) = port else {
        return Err(unavailable(format!("no service port {:?} found for service {:?}", asked.port, service.name())));
    };
    let name = port["name"].as_str().unwrap_or("");
    let mut ready = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let number =
            ports.into_iter().find(|p| p["name"].as_str().unwrap_or("") == name).and_then(|p| p["port"].as_u64());
        let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else { continue };
        let addresses = subset["addresses"].as_array().into_iter().flatten().filter_map(|a| a["ip"].as_str());
        ready.extend(addresses.map(|ip| (ip.to_owned(), number)));
    }
    if ready.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {:?}", asked.name)));
    }
    Ok(ready.swap_remove(pick % ready.len()))
}

/// A URL's path up to and with `proxy`, and what comes after it, both as they were written.
pub fn split_path<'a>(path: &'a str, resource: &str, namespace: &str) -> (String, &'a str) {
    // "", "api", version, ["namespaces", namespace,] resource, name, "proxy"
    let before = if resource == names::NODES || namespace.is_empty() { 6 } else { 8 };
    let mut end = 0;
    for _ in 0..before {
        match path[end..].find('/') {
            Some(at) => end += at + 1,
            None => return (path.to_owned(), ""),
        }
    }
    // `end` is one past the slash that follows `proxy`.
    (path[..end - 1].to_owned(), &path[end - 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names() {
        let asked = |text: &str| Asked::parse("pods", text).map(|a| format!("{}|{}|{}", a.scheme, a.name, a.port));
        assert_eq!(asked("a").as_deref(), Ok("|a|"));
        assert_eq!(asked("a:80").as_deref(), Ok("|a|80"));
        assert_eq!(asked("https:a:web").as_deref(), Ok("https|a|web"));
        assert!(asked("ftp:a:80").is_err());
    }

    #[test]
    fn addresses() {
        let of = |text: &str| Asked::parse("pods", text).expect("name");
        let web = json!({"status": {"podIP": "10.0.0.1"}, "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        assert_eq!(pod(&web, &of("p")).ok(), Some(("10.0.0.1".into(), 8080)));
        assert_eq!(pod(&web, &of("p:web")).ok(), Some(("10.0.0.1".into(), 8080)));
        assert_eq!(pod(&web, &of("p:9")).ok(), Some(("10.0.0.1".into(), 9)));
        assert!(pod(&json!({}), &of("p")).is_err());
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.1.1.1"}]}});
        assert_eq!(kubelet(&node), Some(("10.1.1.1".into(), 10250)));
        let svc = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}, {"name": "x", "port": 81}]}});
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "http", "port": 8080}]}]});
        assert_eq!(service(&svc, &endpoints, &of("s:http"), 3).ok(), Some(("10.0.0.2".into(), 8080)));
        assert_eq!(service(&svc, &endpoints, &of("s:80"), 0).ok(), Some(("10.0.0.1".into(), 8080)));
        assert_eq!(service(&svc, &endpoints, &of("s:x"), 0).expect_err("none").code, 503);
        assert_eq!(
            service(&svc, &endpoints, &of("s:no"), 0).expect_err("none").message,
            "no service port \"no\" found for service \"s\""
        );
    }

    #[test]
    fn paths() {
        let table = [
            ("/api/v1/nodes/n/proxy/logs/a%2Fb", "nodes", "", "/api/v1/nodes/n/proxy", "/logs/a%2Fb"),
            ("/api/v1/nodes/n/proxy", "nodes", "", "/api/v1/nodes/n/proxy", ""),
            ("/api/v1/namespaces/a/pods/p/proxy/", "pods", "a", "/api/v1/namespaces/a/pods/p/proxy", "/"),
            (
                "/api/v1/namespaces/a/services/s:80/proxy/x/y",
                "services",
                "a",
                "/api/v1/namespaces/a/services/s:80/proxy",
                "/x/y",
            ),
        ];
        for (path, resource, namespace, prefix, rest) in table {
            assert_eq!(split_path(path, resource, namespace), (prefix.to_owned(), rest), "{path}");
        }
    }
}
