//! OpenAPI documents of rows: paths and operations (v3), and the conversion to v2.
//!
//! What the types look like is not here: whoever knows them gives their definitions. Must never know a kind by name.

mod foreign;
mod operations;
mod paths;
mod pieces;
mod protobuf;
mod v2;

pub use foreign::{Part, Section};
pub use paths::{Api, group_names, paths, reference};
pub use pieces::Piece;
pub use protobuf::protobuf;
pub use v2::{definition_v2, document_v2, shared_parameters};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

/// Where v3 documents keep their types.
pub const SCHEMAS: &str = "#/components/schemas/";

/// A parameter of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the v2 document, where parameters are shared; starts with the parameter's name and a `-`.
    pub reference: String,
    /// `query` or `path`.
    pub place: String,
    /// `string`, `boolean` or `integer`.
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
}

impl Parameter {
    /// A query parameter that takes text and is not shared.
    pub fn query(name: &str) -> Self {
        Self { reference: name.into(), place: "query".into(), kind: "string".into(), required: false }
    }

    /// Its own name: up to the `-` before eight characters of hash.
    pub fn name(&self) -> &str {
        const HASH_LEN: usize = 8;
        match self.reference.len().checked_sub(HASH_LEN + 1) {
            Some(dash) if self.reference.as_bytes()[dash] == b'-' => &self.reference[..dash],
            _ => &self.reference,
        }
    }

    fn v3(&self) -> Value {
        let mut out =
            json!({"name": self.name(), "in": self.place, "schema": {"type": self.kind, "uniqueItems": true}});
        if self.required {
            out["required"] = true.into();
        }
        out
    }
}

/// A document ready to be sent: compact JSON, or protobuf. It is kept compressed, since it is large and rarely read.
#[derive(Debug, Clone)]
pub struct Document {
    /// As gzip.
    pub gzip: Bytes,
    /// Hash of the bytes: the `ETag` (to be quoted) and the `hash` parameter of the v3 index.
    pub hash: String,
}

impl Document {
    /// The document of a value.
    ///
    /// # Panics
    /// Never: a `Value` has nothing that JSON cannot write.
    pub fn new(value: &Value) -> Self {
        Self::of(serde_json::to_vec(value).expect("a JSON value can be written to memory"))
    }

    /// The document that is these bytes.
    ///
    /// # Panics
    /// Never: memory can be written.
    pub fn of(bytes: Vec<u8>) -> Self {
        let hash = Sha512::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let gzip = gzip.write_all(&bytes).and_then(|()| gzip.finish()).expect("memory can be written");
        Self { gzip: Bytes::copy_from_slice(&gzip), hash }
    }

    /// The document as it is without compression.
    ///
    /// # Panics
    /// Never: what this type holds it has compressed itself.
    pub fn bytes(&self) -> Bytes {
        let mut out = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut out).expect("what was compressed before");
        out.into()
    }
}

/// A v3 document of these paths, with every type they lead to.
pub fn document_v3(version: &str, paths: Map<String, Value>, define: &dyn Fn(&str) -> Option<Value>) -> Value {
    let mut paths = Value::Object(paths);
    v2::clean(&mut paths);
    let schemas = closure(&paths, define);
    let mut components = json!({
        "securitySchemes": security_v3()
    });
    if !schemas.is_empty() {
        components["schemas"] = Value::Object(schemas);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": components,
    })
}

/// The answer of `/openapi/v3`: where each document is, by its name and hash.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entry = |(name, hash)| {
        let url = format!("/openapi/v3/{name}?hash={hash}");
        (String::from(name), json!({"serverRelativeURL": url}))
    };
    json!({"paths": documents.into_iter().map(entry).collect::<Map<_, _>>()})
}

/// Paths of a v3 document, without what only the conversion to v2 needs.
pub fn paths_v3(paths: Map<String, Value>) -> Map<String, Value> {
    let mut paths = Value::Object(paths);
    v2::clean(&mut paths);
    match paths {
        Value::Object(paths) => paths,
        _ => Map::new(),
    }
}

/// What stands in a v3 document before its paths, between them and its types, and after those.
pub fn frame_v3(title: &str, version: &str) -> [String; 3] {
    let info = json!({"title": title, "version": version});
    let security = security_v3();
    [
        format!("{{\"openapi\":\"3.0.0\",\"info\":{info},\"paths\":{{"),
        format!("}},\"components\":{{\"securitySchemes\":{security},\"schemas\":{{"),
        "}}}".into(),
    ]
}

fn security_v3() -> Value {
    json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
        "description": "Bearer Token authentication"}})
}

/// Names of the types that values refer to.
pub fn referred<'v>(values: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
    let mut found = Vec::new();
    values.into_iter().for_each(|value| references(value, &mut found));
    found.into_iter().collect()
}

/// Every type of these names, and all that they refer to.
pub fn types_of(names: &BTreeSet<String>, define: &dyn Fn(&str) -> Option<Value>) -> Map<String, Value> {
    let from: Value = names.iter().map(|name| paths::reference(name)).collect();
    closure(&from, define)
}

/// Every type that `from` refers to, directly or not.
fn closure(from: &Value, define: &dyn Fn(&str) -> Option<Value>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut todo = Vec::new();
    references(from, &mut todo);
    while let Some(name) = todo.pop() {
        if out.contains_key(&name) {
            continue;
        }
        if let Some(definition) = define(&name) {
            references(&definition, &mut todo);
            out.insert(name, definition);
        }
    }
    out
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "$ref").and_then(|r| r.strip_prefix(SCHEMAS)) {
                    Some(name) => out.push(name.to_owned()),
                    None => references(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_named_by_what_stands_before_its_hash() {
        let named = |r: &str| Parameter::query(r).name().to_owned();
        assert_eq!(named("gracePeriodSeconds--K5HaBOS"), "gracePeriodSeconds");
        assert_eq!(named("container-_Q-EJ3nR"), "container");
        assert_eq!(named("dryRun"), "dryRun");
    }
}
