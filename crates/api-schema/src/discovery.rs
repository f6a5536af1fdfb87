//! Discovery documents of rows: `/api`, `/apis`, a group, a group version, and the aggregated form.
//!
//! Rows must come in the order in which they are to be listed: groups by priority, versions preferred first.

use crate::row::{Row, Subresource};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// Version of the aggregated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`.
    V2Beta1,
}

/// A group with its versions, preferred first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty for the core group.
    pub name: String,
    /// Versions, preferred first.
    pub versions: Vec<String>,
}

/// What upstream shows of the stored version of a resource: the first bytes of a hash.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

/// Order of versions: `v10` before `v2` before `v2beta1` before `v2alpha1` before anything else. The greater is preferred.
pub fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (None, None) => b.cmp(a),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Stability, number, number of the alpha or beta; `None` for a version of another form.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok().filter(|n| *n > 0)?;
    let numbered = |prefix: &str| rest[end..].strip_prefix(prefix)?.parse().ok().filter(|n: &u64| *n > 0);
    match (rest[end..].is_empty(), numbered("beta"), numbered("alpha")) {
        (true, ..) => Some((2, major, 0)),
        (_, Some(n), _) => Some((1, major, n)),
        (_, _, Some(n)) => Some((0, major, n)),
        _ => None,
    }
}

/// Groups of the rows, in order.
pub fn groups<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<Group> {
    let mut out: Vec<Group> = Vec::new();
    for row in rows {
        let (name, version) = (&row.gvr.group, &row.gvr.version);
        match out.iter_mut().find(|g| g.name == *name) {
            None => out.push(Group { name: name.clone(), versions: vec![version.clone()] }),
            Some(group) if !group.versions.contains(version) => group.versions.push(version.clone()),
            Some(_) => {}
        }
    }
    out
}

impl Group {
    fn describe(&self) -> Map<String, Value> {
        let version = |v: &String| json!({"groupVersion": format!("{}/{v}", self.name), "version": v});
        let mut out = Map::new();
        out.insert("name".into(), self.name.as_str().into());
        out.insert("versions".into(), self.versions.iter().map(version).collect());
        if let Some(preferred) = self.versions.first() {
            out.insert("preferredVersion".into(), version(preferred));
        }
        out
    }

    /// The answer of `/apis/GROUP`.
    pub fn document(&self) -> Value {
        let mut out = self.describe();
        out.insert("kind".into(), "APIGroup".into());
        out.insert("apiVersion".into(), "v1".into());
        Value::Object(out)
    }
}

/// The answer of `/api`; `address` is host and port of the server.
pub fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The answer of `/apis`.
pub fn group_list(groups: &[Group]) -> Value {
    let named = groups.iter().filter(|g| !g.name.is_empty());
    json!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": named.map(|g| Value::Object(g.describe())).collect::<Value>(),
    })
}

/// The answer of `/api/v1` or `/apis/GROUP/VERSION`, for the rows of that group version.
pub fn resource_list<'a>(group: &str, version: &str, rows: impl IntoIterator<Item = &'a Row>) -> Value {
    let mut resources: Vec<Value> = Vec::new();
    for row in rows.into_iter().filter(|r| r.gvr.group == group && r.gvr.version == version) {
        if !row.verbs.is_empty() {
            resources.push(resource(row));
        }
        resources.extend(row.subresources.iter().map(|sub| subresource(row, sub)));
    }
    // Subresources stay in the order of their row.
    let plural = |resource: &Value| resource["name"].as_str().and_then(|n| n.split('/').next()).map(str::to_owned);
    resources.sort_by_cached_key(plural);
    let mut out = json!({
        "kind": "APIResourceList",
        "groupVersion": api_core::gvk::api_version(group, version),
        "resources": resources,
    });
    if !group.is_empty() {
        out["apiVersion"] = "v1".into();
    }
    out
}

fn resource(row: &Row) -> Value {
    let mut out = json!({
        "name": row.gvr.resource,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        out["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        out["categories"] = json!(row.categories);
    }
    if !row.storage_version_hash.is_empty() {
        out["storageVersionHash"] = row.storage_version_hash.as_str().into();
    }
    out
}

fn subresource(row: &Row, sub: &Subresource) -> Value {
    let mut out = json!({
        "name": format!("{}/{}", row.gvr.resource, sub.name),
        "singularName": "",
        "namespaced": row.namespaced,
        "kind": sub.kind.kind,
        "verbs": sub.verbs,
    });
    if foreign(row, sub) {
        out["version"] = sub.kind.version.as_str().into();
        if !sub.kind.group.is_empty() {
            out["group"] = sub.kind.group.as_str().into();
        }
    }
    out
}

fn foreign(row: &Row, sub: &Subresource) -> bool {
    (&sub.kind.group, &sub.kind.version) != (&row.gvr.group, &row.gvr.version)
}

/// The aggregated document of `/api` (rows of the core group).
///
/// # Panics
/// Never: what it is made of can be written to memory.
pub fn aggregated<'a>(form: Aggregated, rows: impl IntoIterator<Item = &'a Row>) -> Vec<u8> {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let groups = groups(rows.iter().copied()).into_iter().map(|group| {
        let versions = group.versions.iter();
        let versions = versions.map(|version| aggregated_version(&group.name, version, rows.iter().copied()));
        let versions: Vec<Box<RawValue>> = versions.collect();
        (group.name, versions)
    });
    let groups: Vec<_> = groups.collect();
    aggregated_list(
        form,
        groups.iter().map(|(name, versions)| (name.as_str(), versions.iter().map(|v| &**v).collect())),
    )
}

/// What the aggregated form says of a group version, whose rows are among these.
///
/// # Panics
/// Never: a `Value` has nothing that JSON cannot write.
pub fn aggregated_version<'a>(group: &str, version: &str, rows: impl IntoIterator<Item = &'a Row>) -> Box<RawValue> {
    let own = rows.into_iter().filter(|r| r.gvr.group == group && r.gvr.version == version);
    let said = json!({"version": version, "resources": own.map(aggregated_resource).collect::<Value>(), "freshness": "Current"});
    to_raw_value(&said).expect("a JSON value can be written to memory")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Map<String, Value>,
    items: Vec<AggregatedGroup<'a>>,
}

#[derive(Serialize)]
struct AggregatedGroup<'a> {
    metadata: Value,
    versions: Vec<&'a RawValue>,
}

/// The aggregated form of groups, each with what is said of its versions.
///
/// # Panics
/// Never: what it is made of can be written to memory.
pub fn aggregated_list<'a>(
    form: Aggregated,
    groups: impl IntoIterator<Item = (&'a str, Vec<&'a RawValue>)>,
) -> Vec<u8> {
    let items = groups.into_iter().map(|(name, versions)| {
        let mut metadata = json!({"creationTimestamp": null});
        if !name.is_empty() {
            metadata["name"] = name.into();
        }
        AggregatedGroup { metadata, versions }
    });
    let list = AggregatedList {
        kind: "APIGroupDiscoveryList",
        api_version: match form {
            Aggregated::V2 => "apidiscovery.k8s.io/v2",
            Aggregated::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        },
        metadata: Map::new(),
        items: items.collect(),
    };
    serde_json::to_vec(&list).expect("a JSON value can be written to memory")
}

fn aggregated_resource(row: &Row) -> Value {
    let mut out = json!({
        "resource": row.gvr.resource,
        "responseKind": response_kind(row, &row.kind),
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        out["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        out["categories"] = json!(row.categories);
    }
    let subresources = row
        .subresources
        .iter()
        .map(|sub| json!({"subresource": sub.name, "responseKind": response_kind(row, &sub.kind), "verbs": sub.verbs}));
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        out["subresources"] = subresources.into();
    }
    out
}

/// A kind of the row's own group version is named alone, unless it is custom.
fn response_kind(row: &Row, kind: &api_core::Gvk) -> Value {
    let own = (&kind.group, &kind.version) == (&row.gvr.group, &row.gvr.version);
    if own && row.custom.is_none() {
        return json!({"group": "", "version": "", "kind": kind.kind});
    }
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["v1alpha1", "foo1", "v2", "v10beta3", "v1", "v11beta2", "v10", "bar", "v1beta1"];
        versions.sort_by(|a, b| version_order(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v10beta3", "v1beta1", "v1alpha1", "bar", "foo1"]);
    }

    #[test]
    fn the_hash_of_a_stored_version_is_upstreams() {
        assert_eq!(storage_version_hash("apps", "v1", "Deployment"), "8aSe+NMegvE=");
    }
}
