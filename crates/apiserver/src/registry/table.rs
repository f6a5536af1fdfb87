//! Which resources are served at a moment: an immutable table, of which a change copies little.
//!
//! Built-in kinds are there from the start. Custom resources come and go by the definition, of which there may be thousands:
//! a change of one costs what its group has, and what was made of other group versions stays with them.

use super::Served;
use api_schema::row::Row;
use base::OrderedMap;
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Group → version → resource.
type Index = HashMap<String, HashMap<String, HashMap<String, Arc<Served>>>>;

/// The rows of one moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Table {
    built_in: Arc<BuiltIn>,
    /// Group versions of custom resources by group, the preferred version first.
    custom: OrderedMap<String, Arc<Vec<Arc<GroupVersion>>>>,
}

#[derive(Debug, Default)]
struct BuiltIn {
    /// In discovery order.
    rows: Vec<Arc<Served>>,
    index: Index,
}

/// The custom resources of a group version.
#[derive(Debug)]
pub(crate) struct GroupVersion {
    pub(crate) group: String,
    pub(crate) version: String,
    /// By the resource's name.
    pub(crate) rows: Vec<Arc<Served>>,
    /// What the aggregated form of discovery says of it.
    pub(crate) said: OnceLock<Arc<RawValue>>,
    /// Hash of its OpenAPI document.
    pub(crate) documented: OnceLock<String>,
}

impl GroupVersion {
    fn new(rows: Vec<Arc<Served>>) -> Option<Arc<Self>> {
        let gvr = &rows.first()?.row.gvr;
        let (group, version) = (gvr.group.clone(), gvr.version.clone());
        Some(Arc::new(Self { group, version, rows, said: OnceLock::new(), documented: OnceLock::new() }))
    }

    fn get(&self, resource: &str) -> Option<&Arc<Served>> {
        let at = self.rows.binary_search_by(|served| served.row.gvr.resource.as_str().cmp(resource)).ok()?;
        Some(&self.rows[at])
    }
}

impl Table {
    /// A table of built-in kinds.
    pub(crate) fn new(rows: Vec<Arc<Served>>) -> Self {
        let mut index = Index::new();
        for served in &rows {
            let gvr = &served.row.gvr;
            let versions = index.entry(gvr.group.clone()).or_default();
            versions.entry(gvr.version.clone()).or_default().insert(gvr.resource.clone(), served.clone());
        }
        Self { built_in: Arc::new(BuiltIn { rows, index }), custom: OrderedMap::new() }
    }

    /// Serves these rows in place of those of a definition; gives what was served of it before.
    pub(crate) fn replace(&mut self, definition: &str, rows: &[Arc<Served>]) -> Vec<Arc<Served>> {
        let Some((resource, group)) = definition.split_once('.') else { return Vec::new() };
        let versions = self.custom.get(group).cloned().unwrap_or_default();
        let mut before = Vec::new();
        let mut after: Vec<Arc<GroupVersion>> = Vec::new();
        for version in versions.iter() {
            let old = version.get(resource).cloned();
            let new = rows.iter().find(|served| served.row.gvr.version == version.version);
            if old.is_none() && new.is_none() {
                after.push(version.clone());
                continue;
            }
            let others = version.rows.iter().filter(|served| served.row.gvr.resource != resource);
            after.extend(GroupVersion::new(sorted(others.chain(new).cloned().collect())));
            before.extend(old);
        }
        for served in rows {
            if !versions.iter().any(|v| v.version == served.row.gvr.version) {
                after.extend(GroupVersion::new(vec![served.clone()]));
            }
        }
        after.sort_by(|a, b| api_schema::discovery::version_order(&b.version, &a.version));
        if after.is_empty() {
            self.custom.remove(group);
        } else {
            self.custom.insert(group.to_owned(), Arc::new(after));
        }
        before
    }

    /// What is served of a definition.
    pub(crate) fn of_definition(&self, definition: &str) -> Vec<Arc<Served>> {
        let Some((resource, group)) = definition.split_once('.') else { return Vec::new() };
        self.versions(group).filter_map(|version| version.get(resource).cloned()).collect()
    }

    /// All rows: built-in kinds in their own order, then custom resources by group and version, preferred first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.built_in.rows.iter().chain(self.custom().flat_map(|version| &version.rows))
    }

    /// Built-in kinds, in discovery order.
    pub(crate) fn built_in(&self) -> &[Arc<Served>] {
        &self.built_in.rows
    }

    /// Group versions that have custom resources, by group and preference.
    pub(crate) fn custom(&self) -> impl Iterator<Item = &Arc<GroupVersion>> {
        self.custom.iter().flat_map(|(_, versions)| versions.iter())
    }

    fn versions(&self, group: &str) -> impl Iterator<Item = &Arc<GroupVersion>> {
        self.custom.get(group).into_iter().flat_map(|versions| versions.iter())
    }

    /// The custom resources of a group version; `None` if it has none.
    pub(crate) fn custom_version(&self, group: &str, version: &str) -> Option<&Arc<GroupVersion>> {
        self.versions(group).find(|v| v.version == version)
    }

    /// The rows of a group version, in order.
    pub(crate) fn of_version<'t>(&'t self, group: &'t str, version: &'t str) -> impl Iterator<Item = &'t Arc<Served>> {
        let gvr = move |served: &&Arc<Served>| served.row.gvr.group == group && served.row.gvr.version == version;
        let built_in = self.built_in.index.contains_key(group).then_some(&self.built_in.rows);
        let custom = self.custom_version(group, version);
        built_in.into_iter().flatten().filter(gvr).chain(custom.into_iter().flat_map(|version| &version.rows))
    }

    /// The resource of that group, version and name.
    pub(crate) fn lookup(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Served>> {
        let built_in = || self.built_in.index.get(group)?.get(version)?.get(resource);
        built_in().or_else(|| self.custom_version(group, version)?.get(resource))
    }

    /// Whether the group has that version.
    pub(crate) fn has_version(&self, group: &str, version: &str) -> bool {
        let built_in = self.built_in.index.get(group).is_some_and(|versions| versions.contains_key(version));
        built_in || self.custom_version(group, version).is_some()
    }

    /// Whether a group is one that the server has by itself, whatever definitions there are.
    pub(crate) fn is_built_in(&self, group: &str) -> bool {
        self.built_in.index.contains_key(group)
    }

    /// A resource of any version.
    pub(crate) fn any_version(&self, group: &str, resource: &str) -> Option<&Arc<Served>> {
        let built_in = || self.built_in.index.get(group)?.values().find_map(|version| version.get(resource));
        built_in().or_else(|| self.versions(group).find_map(|version| version.get(resource)))
    }

    /// The rows of all versions that the objects of this one are served in, itself among them.
    pub(crate) fn same_objects<'t>(&'t self, row: &'t Row) -> impl Iterator<Item = &'t Arc<Served>> {
        let is_same = move |other: &&Arc<Served>| other.row.storage_prefix == row.storage_prefix;
        let is_custom = row.custom.is_some();
        let built_in = (!is_custom).then_some(&self.built_in.rows).into_iter().flatten();
        let custom = is_custom.then(|| self.versions(&row.gvr.group)).into_iter().flatten();
        built_in.filter(is_same).chain(custom.filter_map(|version| version.get(&row.gvr.resource)))
    }

    /// The resource whose objects are of that kind.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Served>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is_it = |served: &&Arc<Served>| served.row.kind.kind == kind && served.api_version == api_version;
        let custom = self.versions(group).flat_map(|version| &version.rows);
        self.built_in.rows.iter().chain(custom).find(is_it)
    }
}

fn sorted(mut rows: Vec<Arc<Served>>) -> Vec<Arc<Served>> {
    let by_name = |a: &Arc<Served>, b: &Arc<Served>| -> Ordering { a.row.gvr.resource.cmp(&b.row.gvr.resource) };
    rows.sort_by(by_name);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(plural: &str, group: &str, versions: &[&str]) -> Vec<Arc<Served>> {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let versions: Vec<_> =
            versions.iter().map(|v| json!({"name": v, "served": true, "storage": true, "schema": schema})).collect();
        let definition = json!({"metadata": {"name": format!("{plural}.{group}")}, "spec": {"group": group,
            "scope": "Cluster", "names": {"plural": plural, "kind": plural, "listKind": "L"}, "versions": versions}});
        let rows = api_kinds::custom::rows_of(&definition, definition.to_string().into());
        rows.into_iter().map(|row| Arc::new(Served::new(row, None))).collect()
    }

    fn names(table: &Table) -> String {
        table.rows().map(|s| format!("{}/{}", s.api_version, s.row.gvr.resource)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn definitions_come_and_go_and_what_is_made_of_others_stays() {
        let mut table = Table::default();
        assert!(table.replace("bs.x.io", &rows("bs", "x.io", &["v1beta1", "v1"])).is_empty());
        table.replace("as.x.io", &rows("as", "x.io", &["v1"]));
        table.replace("cs.a.io", &rows("cs", "a.io", &["v1"]));
        let expected = "a.io/v1/cs x.io/v1/as x.io/v1/bs x.io/v1beta1/bs";
        assert_eq!(names(&table), expected);
        let before = table.clone();
        let taken = table.replace("as.x.io", &rows("as", "x.io", &["v2"]));
        assert_eq!(taken.len(), 1);
        let kept = |group: &str, version: &str| {
            let of = |table: &Table| table.custom_version(group, version).cloned();
            of(&before).zip(of(&table)).is_some_and(|(a, b)| Arc::ptr_eq(&a, &b))
        };
        assert!(kept("a.io", "v1") && kept("x.io", "v1beta1") && !kept("x.io", "v1"));
        assert!(table.lookup("x.io", "v2", "as").is_some() && table.lookup("x.io", "v1", "as").is_none());
        assert_eq!(table.of_definition("bs.x.io").len(), 2);
        assert_eq!(table.same_objects(&taken[0].row).count(), 1);
        assert_eq!(table.of_kind("x.io/v1", "bs").map(|s| s.row.gvr.version.as_str()), Some("v1"));
        assert_eq!(table.replace("bs.x.io", &[]).len(), 2);
        assert!(!table.has_version("x.io", "v1") && table.has_version("x.io", "v2"));
        assert_eq!(names(&before), expected, "a table that was taken before stays as it was");
    }
}
