//! From a definition of a custom resource to its rows, and to the status that the definition gets.

use api_core::meta::Meta;
use api_core::{Gvk, Gvr};
use api_schema::custom::{Custom, JsonPath, Scale, Structural, Unusable, compile};
use api_schema::row::{Column, Hooks, Row, Subresource};
use serde_json::{Value, json};
use std::sync::Arc;

/// Holds back a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What holds for every custom resource.
static HOOKS: Hooks = Hooks { has_generation: true, unconditional_update: false, ..Hooks::NONE };

/// The resource of the definitions.
pub fn definitions() -> Gvr {
    Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// A row for each version that the definition serves.
///
/// # Errors
/// If a version's schema cannot be used.
pub fn rows_of(definition: &Value) -> Result<Vec<Arc<Row>>, Unusable> {
    let versions = definition["spec"]["versions"].as_array();
    let served = versions.into_iter().flatten().filter(|v| v["served"] == true);
    served.map(|version| row(definition, version).map(Arc::new)).collect()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or("")
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    value[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn row(definition: &Value, version: &Value) -> Result<Row, Unusable> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let (group, plural, kind) = (text(spec, "group"), text(names, "plural"), text(names, "kind"));
    let gvk = Gvk::new(group, text(version, "name"), kind);
    let all = spec["versions"].as_array();
    let stored = all.into_iter().flatten().find(|v| v["storage"] == true).unwrap_or(version);
    let tree = Structural::read(&version["schema"]["openAPIV3Schema"])?;
    let builtin = crate::schema();
    let metadata = object_meta();
    let name = format!("{group}.{}.{kind}", gvk.version);
    let ((schema, root), loose) = compile(&tree, &name, builtin, metadata);
    let (columns, cells) = columns(version);
    let custom = Custom { structural: tree, loose, columns: cells, scale: scale(version) };
    Ok(Row {
        gvr: Gvr::new(group, &gvk.version, plural),
        list_kind: text(names, "listKind").to_owned(),
        singular: text(names, "singular").to_owned(),
        short_names: texts(names, "shortNames"),
        categories: texts(names, "categories"),
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: words(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        storage_prefix: format!("/registry/{group}/{plural}"),
        storage_version: Gvk::new(group, text(stored, "name"), kind),
        storage_version_hash: String::new(),
        schema: Arc::new(schema),
        root,
        subresources: subresources(version, &gvk),
        columns,
        hooks: &HOOKS,
        custom: Some(Arc::new(custom)),
        kind: gvk,
    })
}

/// The type of `metadata`, as every built-in kind has it.
fn object_meta() -> api_schema::schema::StructId {
    let schema = crate::schema();
    let found = schema.structs.iter().position(|s| s.name == "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    found.and_then(|i| api_schema::schema::StructId::try_from(i).ok()).expect("the table has the type of metadata")
}

fn subresources(version: &Value, gvk: &Gvk) -> Vec<Subresource> {
    let of = |name: &str, kind: Gvk| Subresource { name: name.into(), kind, verbs: words(&["get", "patch", "update"]) };
    let mut all = Vec::new();
    if version["subresources"]["status"].is_object() {
        all.push(of("status", gvk.clone()));
    }
    if version["subresources"]["scale"].is_object() {
        all.push(of("scale", Gvk::new("autoscaling", "v1", "Scale")));
    }
    all
}

fn scale(version: &Value) -> Option<Scale> {
    let scale = version["subresources"].get("scale").filter(|s| s.is_object())?;
    let path = |field: &str| text(scale, field).split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    Some(Scale {
        spec: path("specReplicasPath"),
        status: path("statusReplicasPath"),
        selector: path("labelSelectorPath"),
    })
}

fn columns(version: &Value) -> (Vec<Column>, Vec<(JsonPath, String)>) {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: i64| Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description.into(),
        priority: i32::try_from(priority).unwrap_or(0),
    };
    let mut columns = vec![column("Name", "string", "name", "", 0)];
    let mut cells = Vec::new();
    let default = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    let given = version["additionalPrinterColumns"].as_array().filter(|c| !c.is_empty());
    for given in given.or(default.as_array()).into_iter().flatten() {
        let Some(path) = JsonPath::parse(text(given, "jsonPath")) else { continue };
        let priority = given["priority"].as_i64().unwrap_or(0);
        let kind = text(given, "type");
        columns.push(column(text(given, "name"), kind, text(given, "format"), text(given, "description"), priority));
        cells.push((path, kind.to_owned()));
    }
    (columns, cells)
}

/// Whether the definition's objects are served already, as far as it says.
pub fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    let established = conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True");
    established && definition["status"]["acceptedNames"] == definition["spec"]["names"]
}

/// The definition with its names accepted and its objects served; `now` is RFC 3339.
pub fn established(definition: &Value, now: &str) -> Value {
    let mut new = definition.clone();
    let mut conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ] {
        if conditions.iter().any(|c| c["type"] == kind && c["status"] == "True") {
            continue;
        }
        conditions.retain(|c| c["type"] != kind);
        conditions.push(json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason,
            "message": message}));
    }
    new["status"]["conditions"] = conditions.into();
    new["status"]["acceptedNames"] = definition["spec"]["names"].clone();
    new
}

/// The finalizers that the definition should have: with the cleanup, or without it.
pub fn finalizers(definition: &Value, with_cleanup: bool) -> Vec<String> {
    let others = definition.finalizers().into_iter().filter(|f| *f != CLEANUP).map(str::to_owned);
    let mut all: Vec<String> = others.collect();
    if with_cleanup {
        all.push(CLEANUP.into());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_becomes_rows() {
        let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"size": {"type": "integer"}}}}}}}, {"name": "v0", "served": false, "storage": false}]}});
        let rows = rows_of(&definition).expect("rows");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].storage_prefix, "/registry/example.com/widgets");
        assert_eq!(rows[0].subresources.len(), 2);
        assert_eq!(rows[0].columns.len(), 2);
        let custom = rows[0].custom.as_ref().expect("custom");
        assert_eq!(custom.scale.as_ref().map(|s| s.spec.clone()), Some(words(&["spec", "size"])));
        assert!(!is_established(&definition));
        assert!(is_established(&established(&definition, "2026-01-01T00:00:00Z")));
    }
}
