//! From a definition of a custom resource to its rows; what its objects must be; the status that the definition gets.

mod rules;
mod status;
mod validate;

pub(crate) use status::set_condition;
pub use status::{
    Schemas, ServedKey, doubts_schemas, generation, is_served, is_terminating, next, terminated, terminating, waits,
};
pub use validate::{convertible_metadata, validate};

use crate::rows::column_text;
use api_core::meta::Meta;
use api_core::project::Projection;
use api_core::{Gvk, Gvr};
use api_schema::custom::{Conversion, Custom, Family, JsonPath, Scale, Tools};
use api_schema::row::{Column, Generation, Hooks, KeptMetadata, MissingScale, Row, Subresource};
use api_schema::schema::StructId;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// Holds back a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What holds for every custom resource.
static HOOKS: Hooks = Hooks {
    generation: Generation::SPEC,
    status_keeps: KeptMetadata::All,
    null_creation_time: false,
    may_misfit: true,
    owns_what_is_asked: true,
    missing_scale: MissingScale::Object,
    unconditional_update: false,
    warnings: Some(validate::warnings),
    ..Hooks::NONE
};

/// The resource of the definitions.
pub fn definitions() -> Gvr {
    Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// A definition as it stands in the cache, without its schemas, which are nearly all of it.
///
/// # Errors
/// If it is no JSON.
pub fn outline(definition: &[u8]) -> Result<Value, serde_json::Error> {
    static OUTLINE: LazyLock<Projection> = LazyLock::new(|| {
        let version = ["name", "served", "storage", "deprecated", "deprecationWarning", "subresources"];
        let version = version.iter().chain(&["additionalPrinterColumns"]);
        let paths = version.map(|field| format!("spec.versions.{field}"));
        let metadata = ["name", "uid", "generation", "creationTimestamp", "deletionTimestamp", "annotations"];
        let paths = paths.chain(metadata.iter().map(|field| format!("metadata.{field}")));
        let spec = ["group", "names", "scope", "conversion", "preserveUnknownFields"];
        let paths = paths.chain(spec.iter().map(|field| format!("spec.{field}")));
        let paths: Vec<String> = paths.chain(["metadata.resourceVersion".into(), "status".into()]).collect();
        Projection::new(paths.iter().map(String::as_str))
    });
    OUTLINE.pick(definition)
}

/// What schemas are compiled with.
static TOOLS: Tools = Tools { builtin: || (crate::schema(), object_meta()), rules: rules::of };

/// A row for each version that the definition serves, under the names that it was given. The definition need not have its
/// schemas; they are in `source`, the whole of it as JSON, and are compiled when they are needed.
pub fn rows_of(definition: &Value, source: Bytes) -> Vec<Arc<Row>> {
    let versions: Vec<&Value> = definition["spec"]["versions"].as_array().into_iter().flatten().collect();
    let family = Arc::new(family(definition, &versions, source));
    let served = versions.iter().filter(|v| v["served"] == true);
    served.map(|version| Arc::new(row(definition, version, &family))).collect()
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

fn family(definition: &Value, versions: &[&Value], source: Bytes) -> Family {
    let spec = &definition["spec"];
    let stored = versions.iter().find(|v| v["storage"] == true);
    let webhook = &spec["conversion"]["webhook"];
    let conversion = match text(&spec["conversion"], "strategy") {
        "Webhook" => Conversion::Webhook {
            client_config: webhook["clientConfig"].clone(),
            review_versions: texts(webhook, "conversionReviewVersions"),
        },
        _ => Conversion::None,
    };
    let names = versions.iter().map(|version| text(version, "name").to_owned());
    Family {
        definition: definition.name().to_owned(),
        group: text(spec, "group").to_owned(),
        kind: text(accepted(definition), "kind").to_owned(),
        generation: generation(definition),
        storage_version: stored.map_or("", |v| text(v, "name")).to_owned(),
        conversion,
        schemas: api_schema::custom::Schemas::new(source, names, &TOOLS),
    }
}

/// The names that the definition was given; those that it wants as long as it has none.
fn accepted(definition: &Value) -> &Value {
    let accepted = &definition["status"]["acceptedNames"];
    if text(accepted, "plural").is_empty() { &definition["spec"]["names"] } else { accepted }
}

fn row(definition: &Value, version: &Value, family: &Arc<Family>) -> Row {
    let spec = &definition["spec"];
    let names = accepted(definition);
    let (group, plural, kind) = (text(spec, "group"), text(names, "plural"), text(names, "kind"));
    let gvk = Gvk::new(group, text(version, "name"), kind);
    let (columns, cells) = columns(version);
    let custom = Custom {
        family: family.clone(),
        version: gvk.version.clone(),
        columns: cells,
        scale: scale(version),
        deprecation: deprecation(definition, version),
        terminating: is_terminating(definition),
    };
    Row {
        gvr: Gvr::new(group, &gvk.version, plural),
        list_kind: text(names, "listKind").to_owned(),
        singular: text(names, "singular").to_owned(),
        short_names: texts(names, "shortNames"),
        categories: texts(names, "categories"),
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: words(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        storage_prefix: format!("/registry/{group}/{plural}"),
        storage_version: Gvk::new(group, &family.storage_version, kind),
        storage_version_hash: storage_version_hash(group, &family.storage_version, kind),
        types: None,
        subresources: subresources(version, &gvk),
        columns,
        hooks: &HOOKS,
        custom: Some(Arc::new(custom)),
        kind: gvk,
    }
}

/// The first eight bytes of a hash of group, version and kind, as upstream shows it in discovery.
fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    api_schema::discovery::storage_version_hash(group, version, kind)
}

/// The type of `metadata`, as every built-in kind has it.
fn object_meta() -> StructId {
    static FOUND: LazyLock<StructId> = LazyLock::new(|| {
        let schema = crate::schema();
        let found = schema.structs.iter().position(|s| s.name == "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        found.and_then(|i| StructId::try_from(i).ok()).expect("the table has the type of metadata")
    });
    *FOUND
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

/// What clients of a deprecated version are told: the definition's own words, or which version to use.
fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(warning) = version["deprecationWarning"].as_str() {
        return Some(warning.to_owned());
    }
    let (group, kind) = (text(&definition["spec"], "group"), text(&definition["spec"]["names"], "kind"));
    let name = text(version, "name");
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let better = versions.filter(|v| v["served"] == true && v["deprecated"] != true).map(|v| text(v, "name"));
    let order = api_schema::discovery::version_order;
    let best = better.filter(|v| order(v, name).is_gt()).max_by(|a, b| order(a, b));
    let instead = best.map(|best| format!("; use {group}/{best} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
}

fn columns(version: &Value) -> (Vec<Column>, Vec<(JsonPath, String)>) {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: i64| Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description.to_owned().into(),
        priority: i32::try_from(priority).unwrap_or(0),
    };
    let mut columns = vec![column("Name", "string", "name", column_text("meta.v1.ObjectMeta.name"), 0)];
    let mut cells = Vec::new();
    let age = column_text("meta.v1.ObjectMeta.creationTimestamp");
    let default =
        json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": age}]);
    let given = version["additionalPrinterColumns"].as_array().filter(|c| !c.is_empty());
    for given in given.or(default.as_array()).into_iter().flatten() {
        let source = text(given, "jsonPath");
        // What cannot be read ends the table, as upstream has it.
        let Some(path) = JsonPath::parse(source) else { break };
        let kind = text(given, "type");
        let said = given["description"].as_str().map(str::to_owned);
        let said = said.unwrap_or_else(|| format!("Custom resource definition column (in JSONPath format): {source}"));
        let priority = given["priority"].as_i64().unwrap_or(0);
        columns.push(column(text(given, "name"), kind, text(given, "format"), &said, priority));
        cells.push((path, kind.to_owned()));
    }
    (columns, cells)
}

/// The finalizers that the definition should have once its objects are gone.
pub fn finalizers_without_cleanup(definition: &Value) -> Vec<String> {
    definition.finalizers().into_iter().filter(|f| *f != CLEANUP).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"size": {"type": "integer"}}}}}}},
                {"name": "v0", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    #[test]
    fn a_definition_becomes_rows() {
        let rows = rows_of(&definition(), definition().to_string().into());
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].storage_prefix, "/registry/example.com/widgets");
        assert_eq!(rows[0].subresources.len(), 2);
        assert_eq!(rows[0].columns.len(), 2);
        let custom = rows[0].custom.as_ref().expect("custom");
        assert_eq!(custom.scale.as_ref().map(|s| s.spec.clone()), Some(words(&["spec", "size"])));
        assert_eq!(custom.deprecation, None);
        let old = rows[1].custom.as_ref().expect("custom");
        assert_eq!(
            old.deprecation.as_deref(),
            Some("example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget")
        );
        assert_eq!(old.family.version_of(&json!({"apiVersion": "example.com/v0"})), "v0");
    }
}
