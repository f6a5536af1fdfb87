//! By which labels a request is counted: upstream's, and few, whatever clients may ask for.

use crate::nonresource;
use crate::query::Query;
use crate::request_info::RequestInfo;
use http::{HeaderMap, header};

/// Names of the labels, without the answer's code.
pub(crate) const NAMES: [&str; 8] =
    ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"];
/// The same without whether it is a dry run.
pub(crate) const NAMES_WITHOUT_DRY_RUN: [&str; 7] =
    ["component", "group", "resource", "scope", "subresource", "verb", "version"];

/// Subresources behind which somebody else answers.
const CONNECTS: [&str; 5] = ["log", "exec", "portforward", "attach", "proxy"];

/// What is kept of a request until it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) info: RequestInfo,
    dry_run: bool,
    apply: bool,
}

impl Summary {
    /// Of a request that has come.
    pub(crate) fn new(info: &RequestInfo, query: &Query, headers: &HeaderMap) -> Self {
        let content = headers.get(header::CONTENT_TYPE);
        Self {
            info: info.clone(),
            dry_run: query.get("dryRun") == "All",
            apply: content.is_some_and(|v| v == "application/apply-patch+yaml"),
        }
    }

    /// Values of [`NAMES`]. Paths and resources that are not `known` share their labels, so that nobody can make
    /// more of them by asking for nonsense.
    pub(crate) fn labels(&self, known: bool) -> [&str; 8] {
        let info = &self.info;
        let dry_run = if self.dry_run { "All" } else { "" };
        let verb = self.verb();
        if !info.is_resource && nonresource::is_checked(&info.path) {
            return ["", dry_run, "", "", "", &info.path, verb, ""];
        }
        if !info.is_resource || !known {
            return ["apiserver", dry_run, "", "", "", "", verb, ""];
        }
        let scope = match (info.name_in_path, info.namespace.is_empty()) {
            (true, _) => "resource",
            (false, _) if info.verb == "create" => "resource",
            (false, false) => "namespace",
            (false, true) => "cluster",
        };
        ["apiserver", dry_run, &info.api_group, &info.resource, scope, &info.subresource, verb, &info.api_version]
    }

    fn verb(&self) -> &'static str {
        if self.info.is_resource && CONNECTS.contains(&self.info.subresource.as_str()) {
            return "CONNECT";
        }
        match self.info.verb.as_str() {
            "get" | "head" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" | "post" => "POST",
            "update" | "put" => "PUT",
            "patch" if self.apply => "APPLY",
            "patch" => "PATCH",
            "delete" | "deletecollection" => "DELETE",
            "proxy" | "connect" => "CONNECT",
            _ => "other",
        }
    }
}

/// Values of [`NAMES_WITHOUT_DRY_RUN`] from those of [`NAMES`].
pub(crate) fn without_dry_run(
    [component, _, group, resource, scope, subresource, verb, version]: [&str; 8],
) -> [&str; 7] {
    [component, group, resource, scope, subresource, verb, version]
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[track_caller]
    fn check(method: &str, url: &str, known: bool, wanted: &str) {
        let (mut parts, ()) = Request::builder().method(method).uri(url).body(()).expect("a request").into_parts();
        if method == "PATCH" {
            parts.headers.insert("content-type", "application/apply-patch+yaml".parse().expect("a value"));
        }
        let query = Query::parse(parts.uri.query());
        let info = RequestInfo::new(&parts.method, parts.uri.path(), &query);
        assert_eq!(Summary::new(&info, &query, &parts.headers).labels(known).join(" "), wanted);
    }

    #[test]
    fn labels_are_upstreams() {
        check("GET", "/api/v1/pods", true, "apiserver   pods cluster  LIST v1");
        check("GET", "/api/v1/namespaces/a/pods?watch=1", true, "apiserver   pods namespace  WATCH v1");
        check(
            "POST",
            "/apis/apps/v1/namespaces/a/deployments?dryRun=All",
            true,
            "apiserver All apps deployments resource  POST v1",
        );
        check("PATCH", "/api/v1/namespaces/a/pods/b", true, "apiserver   pods resource  APPLY v1");
        check("GET", "/api/v1/namespaces/a/pods/b/log", true, "apiserver   pods resource log CONNECT v1");
        check("DELETE", "/api/v1/namespaces/a/pods", true, "apiserver   pods namespace  DELETE v1");
    }

    #[test]
    fn nonsense_makes_no_labels() {
        check("GET", "/api/v1/nonsense", false, "apiserver      LIST ");
        check("BREW", "/coffee", false, "apiserver      other ");
        check("GET", "/livez", false, "     /livez GET ");
        check("GET", "/livez/nothing", false, "apiserver      GET ");
    }
}
