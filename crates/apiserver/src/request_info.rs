//! What a request is about, read from its method and URL alone, by upstream's `RequestInfo` rules.

use crate::query::{Query, decode_segment};
use http::Method;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestInfo {
    /// Whether it is about a resource; if not, only `verb` and `path` are set.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for a path that is no
    /// resource, the method in lower case.
    pub verb: String,
    /// The URL's path.
    pub path: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// API group; empty for the core group.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Namespace; empty for cluster-scoped requests. For a namespace itself it is its own name, as upstream has it.
    pub namespace: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// Name of the object; for a list or watch, the one that its field selector asks for.
    pub name: String,
    /// Whether `name` stands in the path.
    pub name_in_path: bool,
    /// Path segments from the resource on: `pods/x/proxy/a/b`.
    pub parts: Vec<String>,
}

impl RequestInfo {
    /// Reads method, path and query. An escaped slash is a slash: whoever a request is passed on to takes it for one.
    pub fn new(method: &Method, path: &str, query: &Query) -> Self {
        let path = &*path.replace("%2F", "/").replace("%2f", "/");
        let mut info = Self { verb: method.as_str().to_ascii_lowercase(), path: path.to_owned(), ..Self::default() };
        let mut parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|p| decode_segment(p).into_owned())
            .filter(|p| !p.is_empty())
            .collect();
        let is_api = parts.len() >= 3 && (parts[0] == "api" || (parts[0] == "apis" && parts.len() >= 4));
        if !is_api {
            return info;
        }
        info.api_prefix = parts.remove(0);
        if info.api_prefix == "apis" {
            info.api_group = parts.remove(0);
        }
        info.is_resource = true;
        info.api_version = parts.remove(0);
        info.set_verb(method, &mut parts);
        info.set_names(parts);
        info.refine_verb(query);
        info
    }

    fn set_verb(&mut self, method: &Method, parts: &mut Vec<String>) {
        if matches!(parts[0].as_str(), "proxy" | "watch") && parts.len() > 1 {
            self.verb = parts.remove(0);
            return;
        }
        self.verb = match method.as_str() {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        }
        .to_owned();
    }

    fn set_names(&mut self, mut parts: Vec<String>) {
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = parts[1].clone();
            if parts.len() > 2 && !matches!(parts[2].as_str(), "status" | "finalize") {
                parts.drain(..2);
            }
        }
        self.resource = parts[0].clone();
        if let Some(name) = parts.get(1) {
            self.name = name.clone();
            self.name_in_path = true;
        }
        if parts.len() >= 3 && self.verb != "proxy" {
            self.subresource = parts[2].clone();
        }
        self.parts = parts;
    }

    fn refine_verb(&mut self, query: &Query) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" => {
                self.verb = if query.flag("watch") { "watch".into() } else { "list".into() };
                if let Some(name) = name_of_field_selector(query.get("fieldSelector")) {
                    self.name = name.to_owned();
                }
            }
            "delete" => self.verb = "deletecollection".into(),
            _ => {}
        }
    }

    /// Whether the answer may go on without end, so that no deadline and no limit on requests at once holds.
    pub fn is_long_running(&self, query: &Query) -> bool {
        if !self.is_resource {
            return self.path.starts_with("/debug/pprof/");
        }
        match self.subresource.as_str() {
            "attach" | "exec" | "proxy" | "portforward" => true,
            "log" => query.flag("follow") || self.verb == "get",
            _ => matches!(self.verb.as_str(), "watch" | "proxy"),
        }
    }

    /// Whether it only reads.
    pub fn is_reading(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }

    /// `resource` or `resource/subresource`.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The name that a field selector asks for, if it asks for exactly one.
fn name_of_field_selector(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value)).filter(|v| !v.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, url: &str, expected: &str) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        let i = RequestInfo::new(&method, path, &Query::parse(Some(query)));
        let got = format!("{} {} {} {} {} {}", i.verb, i.api_group, i.namespace, i.resource, i.subresource, i.name);
        assert_eq!(got.split(' ').map(|s| if s.is_empty() { "-" } else { s }).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn urls_are_read_as_upstream_reads_them() {
        check("GET", "/api/v1/pods", "list - - pods - -");
        check("GET", "/api/v1/pods?watch=true", "watch - - pods - -");
        check("GET", "/apis/g/v1/namespaces/a/things/b%2Fstatus", "get g a things status b");
        check("GET", "/apis/g/v1/namespaces/a/things/b%252Fc", "get g a things - b%2Fc");
        check("GET", "/api/v1/namespaces/a/pods/b", "get - a pods - b");
        check("GET", "/api/v1/namespaces/a/pods/b?watch=true", "get - a pods - b");
        check("GET", "/api/v1/namespaces", "list - - namespaces - -");
        check("GET", "/api/v1/namespaces/a", "get - a namespaces - a");
        check("PUT", "/api/v1/namespaces/a/finalize", "update - a namespaces finalize a");
        check("PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale", "update apps a deployments scale b");
        check("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps a deployments - -");
        check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list - - pods - x");
        check("DELETE", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", "deletecollection - a pods - -");
        check("GET", "/api/v1/watch/namespaces/a/pods", "watch - a pods - -");
        check("POST", "/api/v1/namespaces/a/pods/b/exec", "create - a pods exec b");
        check("GET", "/api/v1/nodes/n/proxy/logs/x", "get - - nodes proxy n");
        check("GET", "/api", "get - - - - -");
        check("GET", "/apis/apps/v1", "get - - - - -");
        check("GET", "/healthz", "get - - - - -");
    }
}
