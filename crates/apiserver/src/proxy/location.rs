//! Where the kubelet serves a stream of a pod: node, path and query. Options are checked as upstream checks them. Pure.

use crate::query::Query;
use api_core::field::{Errors, Path};
use api_core::meta::Meta;
use api_core::{ApiError, Gvk};
use serde_json::Value;

/// A stream that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    /// A container's log; the query that the kubelet understands, and the container.
    Log(Options),
    /// A command in a container.
    Exec(Options),
    /// A container's own input and output.
    Attach(Options),
    /// Ports of the pod.
    PortForward,
}

/// Container, and the query for the kubelet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Empty if none is named.
    pub container: String,
    query: Vec<(&'static str, String)>,
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The node.
    pub node: String,
    /// Path and query.
    pub path: String,
}

impl Stream {
    /// Reads a request's query.
    pub fn read(subresource: &str, pod: &str, query: &Query) -> Result<Self, ApiError> {
        match subresource {
            "log" => log_options(pod, query).map(Self::Log),
            "exec" => Ok(Self::Exec(command_options(query, true)?)),
            "attach" => Ok(Self::Attach(command_options(query, false)?)),
            _ => Ok(Self::PortForward),
        }
    }
}

fn command_options(query: &Query, with_command: bool) -> Result<Options, ApiError> {
    let mut options = Options { container: query.get("container").to_owned(), query: Vec::new() };
    for (asked, sent) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(asked) {
            options.query.push((sent, "1".into()));
        }
    }
    if options.query.iter().all(|(sent, _)| *sent == "tty") {
        return Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if with_command {
        let commands: Vec<&str> = query.all("command").collect();
        if commands.is_empty() {
            return Err(ApiError::bad_request("you must specify at least 1 command for the container"));
        }
        options.query.extend(commands.into_iter().map(|c| ("command", c.to_owned())));
    }
    Ok(options)
}

fn log_options(pod: &str, query: &Query) -> Result<Options, ApiError> {
    let mut options = Options { container: query.get("container").to_owned(), query: Vec::new() };
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            options.query.push((flag, "true".into()));
        }
    }
    let mut errors = Errors::new();
    let least = [
        ("sinceSeconds", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ];
    for (name, least, detail) in least {
        let text = query.get(name);
        if text.is_empty() {
            continue;
        }
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        if number < least {
            errors.invalid(&Path::new(name), number, detail);
        }
        options.query.push((name, number.to_string()));
    }
    let since = query.get("sinceTime");
    if !since.is_empty() {
        if query.has("sinceSeconds") {
            errors.forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        options.query.push(("sinceTime", since.to_owned()));
    }
    if errors.is_empty() {
        return Ok(options);
    }
    Err(ApiError::invalid(&Gvk::new("", "v1", "PodLogOptions").group_kind(), pod, &errors))
}

/// Where the stream of a pod is; `None` for the log of a pod that has no node yet.
pub fn locate(stream: &Stream, pod: &Value) -> Result<Option<Location>, ApiError> {
    let (namespace, name) = (pod.namespace(), pod.name());
    let node = pod["spec"]["nodeName"].as_str().unwrap_or("");
    let (endpoint, options) = match stream {
        Stream::Log(options) => ("containerLogs", Some(options)),
        Stream::Exec(options) => ("exec", Some(options)),
        Stream::Attach(options) => ("attach", Some(options)),
        Stream::PortForward => ("portForward", None),
    };
    let container = options.map(|o| container(pod, &o.container)).transpose()?;
    if node.is_empty() {
        return match stream {
            Stream::Log(_) => Ok(None),
            _ => Err(ApiError::bad_request(format!("pod {name} does not have a host assigned"))),
        };
    }
    let mut path = format!("/{endpoint}/{namespace}/{name}");
    if let Some(container) = container {
        path.push('/');
        path.push_str(container);
    }
    let pairs = options.map_or(&[][..], |o| &o.query);
    for (i, (key, value)) in pairs.iter().enumerate() {
        path.push(if i == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        escape(value, &mut path);
    }
    Ok(Some(Location { node: node.to_owned(), path }))
}

/// The container that is meant, or what to choose from.
fn container<'a>(pod: &'a Value, named: &'a str) -> Result<&'a str, ApiError> {
    let names = |list: &str| -> Vec<&'a str> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|c| c["name"].as_str()).collect()
    };
    let (usual, init, debug) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let pod_name = pod.name();
    if !named.is_empty() {
        let known = [&usual, &init, &debug].into_iter().flatten().any(|n| *n == named);
        let why = || ApiError::bad_request(format!("container {named} is not valid for pod {pod_name}"));
        return if known { Ok(named) } else { Err(why()) };
    }
    if let [only] = usual.as_slice() {
        return Ok(only);
    }
    let mut why = format!("a container name must be specified for pod {pod_name}");
    if !usual.is_empty() {
        why.push_str(&format!(", choose one of: [{}]", usual.join(" ")));
    }
    for (names, kind) in [(init, "init"), (debug, "ephemeral")] {
        if !names.is_empty() {
            why.push_str(&format!(" or one of the {kind} containers: [{}]", names.join(" ")));
        }
    }
    Err(ApiError::bad_request(why))
}

/// Writes a query value.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: &str, containers: &[&str]) -> Value {
        let containers: Vec<Value> = containers.iter().map(|c| json!({"name": c})).collect();
        json!({"metadata": {"name": "p", "namespace": "ns"},
            "spec": {"nodeName": node, "containers": containers, "initContainers": [{"name": "i"}]}})
    }

    #[track_caller]
    fn check(subresource: &str, query: &str, pod: &Value, want: &str) {
        let stream = Stream::read(subresource, "p", &Query::parse(Some(query)));
        let got = match stream.and_then(|s| locate(&s, pod)) {
            Ok(Some(location)) => format!("{} {}", location.node, location.path),
            Ok(None) => "nothing".to_owned(),
            Err(e) => format!("{} {}", e.code, e.message),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn streams_are_found_where_the_kubelet_has_them() {
        let one = pod("n", &["c"]);
        check("log", "", &one, "n /containerLogs/ns/p/c");
        check(
            "log",
            "follow=true&tailLines=5&sinceTime=2024-01-01T00:00:00Z&container=i&previous=false",
            &one,
            "n /containerLogs/ns/p/i?follow=true&tailLines=5&sinceTime=2024-01-01T00%3A00%3A00Z",
        );
        check(
            "exec",
            "command=sh&command=-c&command=a%20b&stdin=1&stdout=true&tty=1",
            &one,
            "n /exec/ns/p/c?input=1&output=1&tty=1&command=sh&command=-c&command=a%20b",
        );
        check("attach", "stdout=1&stderr=1", &one, "n /attach/ns/p/c?output=1&error=1");
        check("portforward", "ports=80", &one, "n /portForward/ns/p");
        check("log", "", &pod("", &["c"]), "nothing");
    }

    #[test]
    fn refusals() {
        let one = pod("n", &["c"]);
        let two = pod("n", &["a", "b"]);
        check("exec", "command=sh&stdout=1", &pod("", &["c"]), "400 pod p does not have a host assigned");
        check("log", "container=x", &one, "400 container x is not valid for pod p");
        check(
            "log",
            "",
            &two,
            "400 a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
        );
        check("exec", "command=sh", &one, "400 you must specify at least 1 of stdin, stdout, stderr");
        check("exec", "stdout=1", &one, "400 you must specify at least 1 command for the container");
        check(
            "log",
            "tailLines=-1",
            &one,
            "422 PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        );
    }
}
