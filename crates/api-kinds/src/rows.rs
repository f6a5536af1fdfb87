//! The rows of all built-in resources, built once.

use crate::{columns, convert, hooks, select, table};
use api_core::gvk::split_api_version;
use api_core::{Gvk, Gvr};
use api_schema::row::{Column, Hooks, Row, Subresource};
use api_schema::schema::{Schema, StructId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

struct Built {
    schema: Arc<Schema>,
    rows: Vec<Arc<Row>>,
    by_gvr: HashMap<Gvr, usize>,
}

static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let (schema, by_name) = table::schema();
    let schema = Arc::new(schema);
    let rows: Vec<Arc<Row>> = blocks().map(|lines| Arc::new(row(&schema, &by_name, &lines))).collect();
    let by_gvr = rows.iter().enumerate().map(|(i, row)| (row.gvr.clone(), i)).collect();
    Built { schema, rows, by_gvr }
});

/// All built-in resources in all their versions, in discovery order.
pub fn rows() -> &'static [Arc<Row>] {
    &BUILT.rows
}

/// One of [`rows`].
pub fn resource(gvr: &Gvr) -> Option<&'static Arc<Row>> {
    BUILT.by_gvr.get(gvr).map(|i| &BUILT.rows[*i])
}

/// The types of all built-in kinds.
pub fn schema() -> &'static Arc<Schema> {
    &BUILT.schema
}

/// The type of any built-in kind, also of one without a row, such as `autoscaling/v1` `Scale` or `v1` `DeleteOptions`.
pub fn type_of(kind: &Gvk) -> Option<StructId> {
    BUILT.schema.kinds.get(kind).copied()
}

/// The type of a kind as a message: also of views and of versions that are stored but not served.
pub fn message_type_of(kind: &Gvk) -> Option<StructId> {
    type_of(kind).or_else(|| BUILT.schema.wire_kinds.get(kind).copied())
}

/// A resource's line and those that belong to it.
fn blocks() -> impl Iterator<Item = Vec<&'static str>> {
    let mut lines = table::lines(table::RESOURCES).peekable();
    std::iter::from_fn(move || {
        let mut block = vec![lines.next()?];
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            block.push(line.trim_start());
        }
        Some(block)
    })
}

fn row(schema: &Arc<Schema>, types: &HashMap<&'static str, StructId>, lines: &[&'static str]) -> Row {
    let mut words = lines[0].split(' ').skip(1);
    let mut next = || words.next().expect("version, name and kind of a resource");
    let (api_version, plural, kind) = (next(), next(), next());
    let (group, version) = split_api_version(api_version);
    let flags: HashMap<&str, &str> = words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
    let text = |flag: &str| flags.get(flag).copied().unwrap_or("").to_owned();
    let list = |flag: &str| flags.get(flag).map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let gvk = Gvk::new(group, version, kind);
    let stored_as = flags.get("as").copied().unwrap_or(api_version);
    let (stored_group, stored_version) = split_api_version(stored_as);
    let root = *schema.kinds.get(&gvk).unwrap_or_else(|| panic!("{kind} has a type"));
    debug_assert!(types.values().any(|id| *id == root));
    Row {
        gvr: Gvr::new(group, version, plural),
        list_kind: format!("{kind}List"),
        singular: text("singular"),
        short_names: list("short"),
        categories: list("categories"),
        namespaced: flags.contains_key("namespaced"),
        verbs: list("verbs"),
        storage_prefix: text("store"),
        storage_version: Gvk::new(stored_group, stored_version, kind),
        storage_version_hash: text("hash"),
        types: Some((schema.clone(), root)),
        subresources: lines.iter().filter_map(|line| line.strip_prefix("sub ")).map(subresource).collect(),
        columns: columns(lines),
        hooks: hooks_of(&gvk, flags.contains_key("returns-deleted")),
        custom: None,
        kind: gvk,
    }
}

fn subresource(line: &str) -> Subresource {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("name, kind and verbs of a subresource");
    let (name, kind, verbs) = (next(), next(), next());
    Subresource { name: name.into(), kind: table::kind(kind), verbs: verbs.split(',').map(str::to_owned).collect() }
}

/// What is said of the fields that columns are described by.
static COLUMNS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let texts = include_str!(concat!(env!("OUT_DIR"), "/columns.txt"));
    texts.split_terminator('\0').filter_map(|line| line.split_once('\t')).collect()
});

/// What is said of a field that a column shows, such as `meta.v1.ObjectMeta.name`; nothing if no column of the table does.
pub(crate) fn column_text(field: &str) -> &'static str {
    COLUMNS.get(field).copied().unwrap_or("")
}

fn columns(lines: &[&'static str]) -> Vec<Column> {
    let columns = lines.iter().filter_map(|line| line.strip_prefix("col ")).map(|line| {
        let mut parts = line.split('|');
        let mut next = || parts.next().expect("four parts of a column");
        let (name, kind, format, priority) = (next(), next(), next(), next());
        Column {
            name: name.into(),
            kind: kind.into(),
            format: format.into(),
            description: Cow::Borrowed(parts.next().map_or("", |field| column_text(field))),
            priority: priority.parse().expect("a priority"),
        }
    });
    columns.collect()
}

/// What the hooks say, with what the rest of this crate knows of the kind. Made once for each row of the table and
/// kept for the life of the process.
fn hooks_of(kind: &Gvk, returns_deleted: bool) -> &'static Hooks {
    let mut hooks = *hooks::for_kind(&kind.group, &kind.kind);
    hooks.returns_deleted = returns_deleted;
    hooks.table_cells = columns::for_kind(&kind.group, &kind.kind);
    hooks.table_conditions = columns::conditions(&kind.group, &kind.kind);
    hooks.table_paths = columns::paths(&kind.group, &kind.kind);
    hooks.selectable_fields = select::for_kind(&kind.group, &kind.kind);
    hooks.selectable_paths = select::paths(&kind.group, &kind.kind);
    hooks.stored_field = select::stored_names(&kind.group, &kind.kind);
    hooks.convert = convert::for_kind(&kind.group, &kind.kind);
    Box::leak(Box::new(hooks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_what_the_table_says() {
        let pods = resource(&Gvr::new("", "v1", "pods")).unwrap();
        assert_eq!(pods.kind, Gvk::new("", "v1", "Pod"));
        assert_eq!(pods.list_kind, "PodList");
        assert_eq!(pods.storage_prefix, "/registry/pods");
        assert_eq!(pods.storage_version_hash, "xPOwRZ+Yhw8=");
        assert_eq!(pods.short_names, ["po"]);
        assert!(pods.namespaced);
        assert_eq!(pods.subresource("eviction").unwrap().kind, Gvk::new("policy", "v1", "Eviction"));
        assert_eq!(pods.columns.len(), 9);
        let hpa = resource(&Gvr::new("autoscaling", "v1", "horizontalpodautoscalers")).unwrap();
        assert_eq!(hpa.storage_version.version, "v2");
        let event = resource(&Gvr::new("events.k8s.io", "v1", "events")).unwrap();
        assert_eq!((event.storage_version.group.as_str(), event.storage_prefix.as_str()), ("", "/registry/events"));
    }

    #[test]
    fn every_row_that_is_stored_has_a_place_and_a_list() {
        for row in rows() {
            let stored = row.verbs.iter().any(|v| v == "watch");
            assert_eq!(stored, !row.storage_prefix.is_empty(), "{:?}", row.gvr);
            if stored {
                let list = Gvk { kind: row.list_kind.clone(), ..row.kind.clone() };
                assert!(type_of(&list).is_some(), "{list:?}");
            }
        }
    }
}
