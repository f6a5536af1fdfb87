//! Discovery documents of rows: `/api`, `/apis`, a group, a group version, and the aggregated form.
//!
//! Rows must come in the order in which they are to be listed: groups by priority, versions preferred first.

use crate::row::{Row, Subresource};
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
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
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

/// The aggregated document of `/api` (rows of the core group) or `/apis` (all others).
pub fn aggregated<'a>(form: Aggregated, rows: impl IntoIterator<Item = &'a Row>) -> Value {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let items = groups(rows.iter().copied()).into_iter().map(|group| {
        let versions = group.versions.iter().map(|version| {
            let own = rows.iter().filter(|r| r.gvr.group == group.name && r.gvr.version == *version);
            json!({
                "version": version,
                "resources": own.map(|r| aggregated_resource(r)).collect::<Value>(),
                "freshness": "Current",
            })
        });
        let mut metadata = json!({"creationTimestamp": null});
        if !group.name.is_empty() {
            metadata["name"] = group.name.as_str().into();
        }
        json!({"metadata": metadata, "versions": versions.collect::<Value>()})
    });
    let version = if form == Aggregated::V2 { "v2" } else { "v2beta1" };
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items.collect::<Value>(),
    })
}

fn aggregated_resource(row: &Row) -> Value {
    let mut out = json!({
        "resource": row.gvr.resource,
        "responseKind": {"group": "", "version": "", "kind": row.kind.kind},
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
    let subresources = row.subresources.iter().map(|sub| {
        let (group, version) = match foreign(row, sub) {
            true => (sub.kind.group.as_str(), sub.kind.version.as_str()),
            false => ("", ""),
        };
        json!({
            "subresource": sub.name,
            "responseKind": {"group": group, "version": version, "kind": sub.kind.kind},
            "verbs": sub.verbs,
        })
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        out["subresources"] = subresources.into();
    }
    out
}
