//! Facts of an API server (OpenAPI v3, discovery, protobuf numbers, Table columns, etcd keys) → our tables.
//!
//! Descriptions are other people's prose and never get into a table. The output depends on nothing but the facts and
//! `xtask/data`, so a second run writes the same bytes.

mod openapi;
mod resources;
mod types;

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that is read from the facts directory.
pub struct Facts {
    /// OpenAPI v3 schemas of all group versions, without descriptions.
    pub schemas: BTreeMap<String, Value>,
    /// Definitions that only the v2 document has.
    pub only_v2: BTreeMap<String, Value>,
    /// The v2 document, without descriptions.
    pub v2: Value,
    /// OpenAPI v3 documents by file stem, without descriptions.
    pub v3: BTreeMap<String, Value>,
    /// Aggregated discovery.
    pub discovery: Value,
    /// Protobuf messages.
    pub protobuf: Map<String, Value>,
    /// Table columns by `group/version/resource`.
    pub columns: Map<String, Value>,
    /// Objects as created and as stored.
    pub stored: Vec<Value>,
}

/// Reads `facts` and writes the tables into `out`.
pub fn run(facts: &Path, out: &Path) -> Result<()> {
    let facts = read(facts)?;
    std::fs::create_dir_all(out)?;
    for (file, text) in tables(&facts)? {
        let path = out.join(file);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The tables, as file name and text.
pub fn tables(facts: &Facts) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("types.txt", types::table(facts)?),
        ("resources.txt", resources::table(facts)?),
        ("openapi.txt", openapi::table(facts)?),
        ("../testdata/openapi-digests.txt", openapi::digests(facts)),
    ])
}

/// Reads a facts directory.
pub fn read(dir: &Path) -> Result<Facts> {
    let mut v3 = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("openapi-v3"))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut doc = json(&path)?;
        strip(&mut doc);
        if let Some(Value::Object(found)) = doc.pointer("/components/schemas") {
            schemas.extend(found.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        v3.insert(stem, doc);
    }
    let mut v2 = json(&dir.join("openapi-v2.json"))?;
    strip(&mut v2);
    let mut only_v2 = BTreeMap::new();
    for (name, value) in v2["definitions"].as_object().context("definitions")? {
        if !schemas.contains_key(name) {
            only_v2.insert(name.clone(), value.clone());
        }
    }
    Ok(Facts {
        schemas,
        only_v2,
        v2,
        v3,
        discovery: json(&dir.join("discovery.json"))?,
        protobuf: object(json(&dir.join("protobuf.json"))?)?,
        columns: object(json(&dir.join("table-columns.json"))?)?,
        stored: json(&dir.join("create-and-store.json"))?.as_array().context("array")?.clone(),
    })
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        _ => anyhow::bail!("not an object"),
    }
}

/// Removes descriptions, but not properties that are called `description`.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|k, v| !(k == "description" && v.is_string()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Long type names and how the tables shorten them; all else lies below `io.k8s.api.`.
const PREFIXES: [(&str, &str); 7] = [
    ("io.k8s.apimachinery.pkg.apis.meta.", "meta."),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.", "apiextensions."),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.", "apiregistration."),
    ("io.k8s.apimachinery.pkg.api.resource.", "resource."),
    ("io.k8s.apimachinery.pkg.runtime.", "runtime."),
    ("io.k8s.apimachinery.pkg.util.intstr.", "intstr."),
    ("io.k8s.apimachinery.pkg.version.", "version."),
];

/// A type's name as the tables write it.
pub fn short(name: &str) -> String {
    for (long, short) in PREFIXES {
        if let Some(rest) = name.strip_prefix(long) {
            return format!("{short}{rest}");
        }
    }
    name.strip_prefix("io.k8s.api.").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checked-in tables are what the generator makes of the facts, where the facts are at hand.
    #[test]
    fn checked_in_tables_are_up_to_date() {
        let data = crate::root().unwrap().join("crates/api-kinds/data");
        let Ok(dir) = std::env::var("MAINSTAY_FACTS") else {
            assert!(std::fs::read_to_string(data.join("types.txt")).unwrap().starts_with("# Generated"));
            return;
        };
        for (file, text) in tables(&read(Path::new(&dir)).unwrap()).unwrap() {
            assert!(std::fs::read_to_string(data.join(file)).unwrap() == text, "{file} differs: run xtask generate");
        }
    }

    #[test]
    fn a_property_called_description_is_no_description() {
        let mut v = serde_json::json!({"description": "x", "properties": {"description": {"description": "y"}}});
        strip(&mut v);
        assert_eq!(v, serde_json::json!({"properties": {"description": {}}}));
    }
}
