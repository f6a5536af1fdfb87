//! OpenAPI of the built-in kinds, made when first asked for and kept as compressed bytes.

pub mod custom;
mod descriptions;

use crate::{rows, table};
use api_schema::openapi::{
    Api, Document, Parameter, Section, definition_v2, document_v2, document_v3, paths, reference, shared_parameters,
};
use api_schema::row::Row;
use descriptions::Descriptions;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

const TABLE: &str = include_str!("../data/openapi.txt");
/// What the documents give as the version of the API.
const VERSION: &str = "v0.0.0";

/// The v2 document.
pub fn v2() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::new(&v2_value()));
    &DOCUMENT
}

/// The v3 document of a path: `api/v1`, `apis/apps/v1`, also `apis`, `version` and the like.
pub fn v3(name: &str) -> Option<&'static Document> {
    V3.get(name)
}

/// Names of all v3 documents with their hashes, as the index lists them.
pub fn v3_index() -> impl Iterator<Item = (&'static str, &'static str)> {
    V3.iter().map(|(name, document)| (name.as_str(), document.hash.as_str()))
}

static V3: LazyLock<BTreeMap<String, Document>> =
    LazyLock::new(|| v3_values().map(|(name, value)| (name, Document::new(&value))).collect());

/// Definitions of types, as long as somebody makes a document of them.
pub struct Definitions(Descriptions);

impl Definitions {
    /// Unpacks what is said of them.
    pub fn load() -> Self {
        Self(Descriptions::load())
    }

    /// The v3 definition of a type by its full name.
    pub fn of(&self, name: &str) -> Option<Value> {
        let block = BLOCKS.get(name)?;
        Some(define(&self.0, name, block))
    }

    /// What the v2 document has under that name.
    pub fn named_v2(&self, section: Section, name: &str) -> Option<Value> {
        static SHARED: LazyLock<Map<String, Value>> = LazyLock::new(|| shared_parameters(&api().parameters));
        match section {
            Section::Definitions => BLOCKS.get(name).map(|block| block_v2(&self.0, name, block)),
            Section::Parameters => SHARED.get(name).cloned(),
        }
    }
}

/// Shared parameters and options of subresources.
pub fn api() -> &'static Api {
    static API: LazyLock<Api> = LazyLock::new(read_api);
    &API
}

/// The v2 document as a value, to be merged with that of other resources.
pub fn v2_value() -> Value {
    let mut all = Map::new();
    for (_, paths) in path_groups() {
        all.extend(paths);
    }
    let mut extra = Map::new();
    for (path, _, v2) in literal_paths() {
        all.remove(path);
        extra.insert(path.into(), with_phrases(json_of(v2)));
    }
    let texts = Descriptions::load();
    let definitions = BLOCKS.iter().map(|(name, block)| ((*name).clone(), block_v2(&texts, name, block))).collect();
    document_v2(VERSION, &all, extra, definitions, &api().parameters)
}

fn v3_values() -> impl Iterator<Item = (String, Value)> {
    let definitions = Definitions::load();
    path_groups()
        .into_iter()
        .map(move |(name, paths)| (name, document_v3(VERSION, paths, &|name| definitions.of(name))))
}

/// Paths by the v3 document that they belong to.
fn path_groups() -> BTreeMap<String, Map<String, Value>> {
    let mut out: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut rows_of: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in rows() {
        let (group, version) = (&row.gvr.group, &row.gvr.version);
        let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        rows_of.entry(name).or_default().push(row);
        if !group.is_empty() {
            let id = format!("get{}APIGroup", camel(group).1);
            let path = format!("apis/{group}");
            out.entry(path.clone()).or_insert_with(|| one(&format!("/{path}/"), &camel(group).0, &id, "APIGroup"));
        }
    }
    out.extend(rows_of.into_iter().map(|(name, rows)| (name, paths(rows, api()))));
    out.insert("api".into(), one("/api/", "core", "getCoreAPIVersions", "APIVersions"));
    out.insert("apis".into(), one("/apis/", "apis", "getAPIVersions", "APIGroupList"));
    for (path, v3, _) in literal_paths() {
        let trimmed = path.trim_matches('/');
        let name = trimmed.split_once("/{").map_or(trimmed, |(start, _)| start);
        out.entry(name.into()).or_default().insert(path.into(), with_phrases(json_of(v3)));
    }
    out
}

fn camel(group: &str) -> (String, String) {
    api_schema::openapi::group_names(group)
}

/// A path that answers with a type of `meta/v1`.
fn one(path: &str, tag: &str, id: &str, kind: &str) -> Map<String, Value> {
    let schema = json!({"schema": reference(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))});
    let media = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    let content: Map<String, Value> = media.iter().map(|m| ((*m).to_owned(), schema.clone())).collect();
    let operation = json!({
        "tags": [tag],
        "operationId": id,
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    });
    Map::from_iter([(path.to_owned(), json!({"get": operation}))])
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON in a table")
}

/// Adds the phrase that each response must have.
fn with_phrases(mut item: Value) -> Value {
    for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (code, response) in responses.into_iter().flatten() {
            response["description"] = if code == "401" { "Unauthorized" } else { "OK" }.into();
        }
    }
    item
}

fn literal_paths() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table::lines(TABLE).filter_map(|line| {
        let mut words = line.strip_prefix("path ")?.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    })
}

fn read_api() -> Api {
    let mut api = Api { built_in: true, ..Api::default() };
    for line in table::lines(TABLE) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["param", reference, place, kind, required @ ..] => api.parameters.push(Parameter {
                reference: (*reference).into(),
                place: (*place).into(),
                kind: (*kind).into(),
                required: !required.is_empty(),
            }),
            ["use", "patch", reference] => api.field_manager.0 = (*reference).into(),
            ["use", _, reference] => api.field_manager.1 = (*reference).into(),
            ["options", key, references @ ..] => {
                api.options.push(((*key).into(), references.iter().map(|r| (*r).to_owned()).collect()));
            }
            _ => {}
        }
    }
    api
}

/// Lines of a type: its own and those of its fields.
type Block = Vec<&'static str>;

static BLOCKS: LazyLock<HashMap<String, Block>> = LazyLock::new(|| {
    let mut blocks: HashMap<String, Block> = HashMap::new();
    let mut name = String::new();
    for line in table::lines(table::TYPES) {
        if !line.starts_with(' ') {
            name = table::long_name(line.split(' ').nth(1).expect("a type has a name"));
        }
        blocks.entry(name.clone()).or_default().push(line);
    }
    blocks
});

fn is_struct(short: &str) -> bool {
    BLOCKS.get(&table::long_name(short)).is_some_and(|block| block.len() > 1)
}

fn block_v2(texts: &Descriptions, name: &str, block: &Block) -> Value {
    match block[0].split(' ').collect::<Vec<_>>().as_slice() {
        ["scalar", _, _, _, v2] => described(json_of(v2), texts.of(name, None)),
        _ => definition_v2(&define(texts, name, block)),
    }
}

fn described(mut definition: Value, text: Option<&str>) -> Value {
    if let Some(text) = text {
        definition["description"] = text.into();
    }
    definition
}

fn define(texts: &Descriptions, name: &str, block: &Block) -> Value {
    let words: Vec<&str> = block[0].split(' ').collect();
    if let ["scalar", _, _, v3, _] = words.as_slice() {
        return described(json_of(v3), texts.of(name, None));
    }
    let mut out = described(json!({"type": "object"}), texts.of(name, None));
    for word in &words[2..] {
        if *word == "atomic" {
            out["x-kubernetes-map-type"] = "atomic".into();
        } else if let Some(kinds) = word.strip_prefix("gvk=") {
            out["x-kubernetes-group-version-kind"] = kinds.split(',').map(kind).collect();
        } else if let Some(unions) = word.strip_prefix("unions=") {
            out["x-kubernetes-unions"] = json_of(unions);
        }
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for line in &block[1..] {
        let words: Vec<&str> = line.trim_start().split(' ').collect();
        let one = described(property(line, &words), texts.of(name, Some(words[0])));
        let place = words[3..].iter().find_map(|word| word.strip_prefix('r')?.parse::<usize>().ok());
        required.extend(place.map(|place| (place, words[0])));
        properties.insert(words[0].into(), one);
    }
    if !properties.is_empty() {
        out["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        required.sort_unstable();
        out["required"] = required.into_iter().map(|(_, name)| name).collect();
    }
    out
}

/// `GROUP/VERSION/KIND`.
fn kind(text: &str) -> Value {
    let parts: Vec<&str> = text.split('/').collect();
    json!({"group": parts[0], "version": parts[1], "kind": parts[2]})
}

fn property(line: &str, words: &[&str]) -> Value {
    let (head, values) = line.split_once(" enum=").map_or((line, None), |(h, v)| (h, Some(json_of(v))));
    let mut out = shape(words[1], values, false);
    for word in head.trim_start().split(' ').skip(3) {
        match word.split_once('=') {
            Some(("", default)) => out["default"] = json_of(default),
            Some(("list", kind)) => {
                let (kind, keys) = kind.split_once(':').unwrap_or((kind, ""));
                out["x-kubernetes-list-type"] = kind.into();
                if !keys.is_empty() {
                    out["x-kubernetes-list-map-keys"] = keys.split(',').collect();
                }
            }
            Some(("map", kind)) => out["x-kubernetes-map-type"] = kind.into(),
            Some(("patch", strategy)) => {
                let (strategy, key) = strategy.split_once(':').unwrap_or((strategy, ""));
                out["x-kubernetes-patch-strategy"] = strategy.into();
                if !key.is_empty() {
                    out["x-kubernetes-patch-merge-key"] = key.into();
                }
            }
            None if word == "bare" => out = out["allOf"][0].take(),
            _ => {}
        }
    }
    out
}

/// A shape as a schema; an `element` of a list or map has a default.
fn shape(text: &str, values: Option<Value>, element: bool) -> Value {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return json!({"type": "array", "items": shape(inner, values, true)});
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return json!({"type": "object", "additionalProperties": shape(inner, values, true)});
    }
    let (kind, format, zero) = match text {
        "string" => ("string", None, json!("")),
        "bool" => ("boolean", None, json!(false)),
        "int32" => ("integer", Some("int32"), json!(0)),
        "int64" => ("integer", Some("int64"), json!(0)),
        "number" => ("number", Some("double"), json!(0)),
        "bytes" => ("string", Some("byte"), Value::Null),
        name => return named(name, element),
    };
    let mut out = json!({"type": kind});
    if let Some(format) = format {
        out["format"] = format.into();
    }
    if let Some(values) = values {
        out["enum"] = values;
    }
    if element && !zero.is_null() {
        out["default"] = zero;
    }
    out
}

fn named(name: &str, element: bool) -> Value {
    let reference = reference(&table::long_name(name));
    match (element, is_struct(name)) {
        (true, true) => json!({"default": {}, "allOf": [reference]}),
        (true, false) => reference,
        (false, _) => json!({"allOf": [reference]}),
    }
}
