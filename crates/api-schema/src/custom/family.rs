//! What all versions of a custom resource have in common, and what their schemas are compiled to.
//!
//! Most definitions of a cluster are never used, and compiled they take ten times what they take as text. So each version is
//! compiled when something is first to be done with its objects; until then there is the text of the definition, which is
//! that of the cache.

use super::compile::{Compiled, compile_full, compile_loose};
use super::structural::{Structural, Unusable};
use super::{Conversion, ObjectRules, embedded, prune};
use crate::codec;
use crate::scalar;
use crate::schema::{Schema, StructId};
use api_core::Gvk;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

/// What schemas are compiled with beside themselves.
#[derive(Debug)]
pub struct Tools {
    /// The types of built-in kinds, and the one of `metadata` among them.
    pub builtin: fn() -> (&'static Schema, StructId),
    /// Compiles the rules of a schema (`x-kubernetes-validations`); `None` if it has none.
    pub rules: fn(&Value) -> Option<Box<dyn ObjectRules>>,
}

/// See the module.
#[derive(Debug)]
pub struct Family {
    /// Name of the definition.
    pub definition: String,
    /// Group of its objects.
    pub group: String,
    /// Kind of its objects.
    pub kind: String,
    /// Generation of the definition.
    pub generation: i64,
    /// The version that objects are stored in.
    pub storage_version: String,
    /// How objects come from one version to another.
    pub conversion: Conversion,
    /// The schemas of its versions.
    pub schemas: Schemas,
}

/// The schemas of all versions, also of those that are not served.
#[derive(Debug)]
pub struct Schemas {
    /// The definition as JSON.
    source: Mutex<Bytes>,
    versions: BTreeMap<String, Version>,
    /// The loose type that bodies are decoded as: typed metadata, anything else as it is.
    loose: OnceLock<Compiled>,
    tools: &'static Tools,
}

/// What a version's schema is compiled to.
#[derive(Debug, Default)]
struct Version {
    tree: OnceLock<Result<Structural, Unusable>>,
    types: OnceLock<Compiled>,
    rules: OnceLock<Option<Box<dyn ObjectRules>>>,
}

/// Stands for a schema that cannot be used: nothing of an object is lost by it.
static ANYTHING: LazyLock<Structural> =
    LazyLock::new(|| Structural { preserve_unknown: true, ..Structural::default() });

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow, default)]
    versions: Vec<SourceVersion<'a>>,
}

#[derive(Deserialize)]
struct SourceVersion<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    schema: Option<SourceSchema<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceSchema<'a> {
    #[serde(borrow, default, rename = "openAPIV3Schema")]
    open_api_v3_schema: Option<&'a RawValue>,
}

/// The schemas in the text of a definition, by version.
fn texts(definition: &[u8]) -> BTreeMap<Cow<'_, str>, &str> {
    // It was read when its rows were made; what cannot be read has no schemas.
    let Ok(source) = serde_json::from_slice::<Source<'_>>(definition) else { return BTreeMap::new() };
    let versions = source.spec.versions.into_iter();
    versions.filter_map(|v| Some((v.name, v.schema?.open_api_v3_schema?.get()))).collect()
}

impl Schemas {
    /// Those of a definition, given as JSON, for the versions of these names.
    pub fn new(source: Bytes, versions: impl IntoIterator<Item = String>, tools: &'static Tools) -> Self {
        let versions = versions.into_iter().map(|name| (name, Version::default())).collect();
        Self { source: Mutex::new(source), versions, loose: OnceLock::new(), tools }
    }

    /// The same definition, written again: what has not been compiled is taken from there, and the old text can go.
    pub fn renew(&self, source: Bytes) {
        *self.source.lock() = source;
    }

    /// The schema of a version as it stands in the definition; null if there is none.
    pub fn schema(&self, version: &str) -> Value {
        self.with_text(version, |text| serde_json::from_str(text).unwrap_or_default())
    }

    /// Does something with the text of a version's schema; it is empty if there is none.
    pub fn with_text<T>(&self, version: &str, act: impl FnOnce(&str) -> T) -> T {
        let source = self.source.lock().clone();
        act(texts(&source).get(version).copied().unwrap_or(""))
    }

    fn tree(&self, version: &str) -> Option<&Result<Structural, Unusable>> {
        let made = &self.versions.get(version)?.tree;
        Some(made.get_or_init(|| Structural::read(&self.schema(version))))
    }

    fn is_like(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.source.lock().clone(), other.source.lock().clone());
        texts(&mine) == texts(&theirs)
    }
}

impl Family {
    /// Whether a stored object is read the same way by both.
    pub fn reads_like(&self, other: &Family) -> bool {
        self.kind == other.kind && self.group == other.group && self.schemas.is_like(&other.schemas)
    }

    /// The tree of a version; `None` if there is no such version.
    pub fn tree(&self, version: &str) -> Option<&Structural> {
        Some(self.schemas.tree(version)?.as_ref().unwrap_or(&ANYTHING))
    }

    /// Whether a version can be used.
    ///
    /// # Errors
    /// If its schema cannot be read.
    pub fn usable(&self, version: &str) -> Result<(), Unusable> {
        self.schemas.tree(version).map_or(Ok(()), |tree| tree.as_ref().map(drop).map_err(Clone::clone))
    }

    /// Whether a version is compiled.
    pub fn is_compiled(&self, version: &str) -> bool {
        self.schemas.versions.get(version).is_some_and(|version| version.tree.get().is_some())
    }

    /// Whether there is a version of that name.
    pub fn has(&self, version: &str) -> bool {
        self.schemas.versions.contains_key(version)
    }

    /// The type of a version's objects, which need not be served; `None` if there is no such version.
    pub fn types(&self, version: &str) -> Option<&Compiled> {
        let (known, tree) = (self.schemas.versions.get(version)?, self.tree(version)?);
        let (builtin, metadata) = (self.schemas.tools.builtin)();
        let name = format!("{}.{version}.{}", self.group, self.kind);
        Some(known.types.get_or_init(|| compile_full(tree, &name, builtin, metadata)))
    }

    /// The loose type that bodies are decoded as: typed metadata, anything else as it is.
    pub fn loose(&self) -> &Compiled {
        let (builtin, metadata) = (self.schemas.tools.builtin)();
        self.schemas.loose.get_or_init(|| compile_loose(&self.kind, builtin, metadata))
    }

    pub(super) fn rules(&self, version: &str) -> Option<&dyn ObjectRules> {
        let made = &self.schemas.versions.get(version)?.rules;
        made.get_or_init(|| (self.schemas.tools.rules)(&self.schemas.schema(version))).as_deref()
    }

    /// `example.com/v1` for `v1`.
    pub fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }

    /// The version that an object says it is in.
    pub fn version_of<'v>(&self, object: &'v Value) -> &'v str {
        let api_version = object["apiVersion"].as_str().unwrap_or("");
        api_version.strip_prefix(self.group.as_str()).and_then(|v| v.strip_prefix('/')).unwrap_or("")
    }

    /// Metadata of an embedded resource as its type says, with what is unknown in it. The error says what cannot be read.
    pub(super) fn read_metadata(&self, metadata: &Value) -> Result<(Value, Vec<String>), String> {
        let (schema, root) = self.loose();
        let body = json!({"metadata": metadata}).to_string();
        let kind = Gvk::new(&self.group, &self.storage_version, &self.kind);
        let warn = codec::FieldValidation::Warn;
        let read = codec::read_as(schema, *root, &kind, body.as_bytes(), codec::Media::Json, warn);
        let mut decoded = read.map_err(|e| e.why().to_owned())?;
        let field = |note: &str| Some(note.strip_prefix("unknown field \"metadata.")?.strip_suffix('"')?.to_owned());
        let unknown = decoded.warnings.iter().filter_map(|note| field(note)).collect();
        Ok((decoded.value["metadata"].take(), unknown))
    }

    /// Brings an object that is `stored`, or comes from a conversion, into order: what its version's schema does not know, and
    /// nulls that it does not allow, go. To what is stored come defaults, metadata of embedded resources is read as such, and a
    /// negative zero as zero.
    pub fn tidy(&self, object: &mut Value, stored: bool) {
        let version = self.version_of(object).to_owned();
        let Some(tree) = self.tree(&version) else { return };
        prune::prune(tree, object, true);
        prune::drop_nulls(Some(tree), object);
        if stored {
            scalar::any_numbers(object);
            embedded::repair(tree, object, &|metadata| self.read_metadata(metadata));
            prune::fill(tree, object);
        }
    }

    /// Converts an object by naming its version anew; what the other schema does not know goes.
    pub fn rename(&self, object: &mut Value, version: &str) {
        object["apiVersion"] = self.api_version(version).into();
        self.tidy(object, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TOOLS: Tools = Tools { builtin: || (&NONE, 0), rules: |_| None };
    static NONE: LazyLock<Schema> = LazyLock::new(Schema::default);

    fn family(first: &Value, second: &Value) -> Family {
        let version = |name: &str, schema: &Value| json!({"name": name, "schema": {"openAPIV3Schema": schema}});
        let source = json!({"spec": {"versions": [version("v1", first), version("v2", second)]}}).to_string();
        let versions = ["v1", "v2"].map(str::to_owned);
        Family {
            definition: "ws.x.io".into(),
            group: "x.io".into(),
            kind: "W".into(),
            generation: 1,
            storage_version: "v1".into(),
            conversion: Conversion::None,
            schemas: Schemas::new(source.into(), versions, &TOOLS),
        }
    }

    #[test]
    fn a_version_is_compiled_when_its_objects_come() {
        let known = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let family = family(&known, &json!({"type": "string", "pattern": "("}));
        let compiled = |family: &Family| ["v1", "v2"].map(|version| family.is_compiled(version));
        assert_eq!(compiled(&family), [false, false]);
        let mut object = json!({"apiVersion": "x.io/v3", "b": 1});
        family.tidy(&mut object, true);
        assert_eq!((compiled(&family), &object["b"]), ([false, false], &json!(1)), "a version that is not there");
        object["apiVersion"] = "x.io/v1".into();
        family.tidy(&mut object, true);
        assert_eq!((compiled(&family), object.get("b")), ([true, false], None));
        assert!(family.usable("v1").is_ok() && family.usable("v3").is_ok());
        object = json!({"apiVersion": "x.io/v2", "b": 1});
        family.tidy(&mut object, true);
        assert_eq!(object["b"], 1, "what cannot be read takes nothing away");
        assert!(matches!(family.usable("v2"), Err(Unusable::Pattern { .. })));
        assert_eq!(compiled(&family), [true, true]);
    }

    #[test]
    fn a_negative_zero_is_read_as_zero() {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let family = family(&free, &free);
        // As upstream stores it.
        let stored = r#"{"apiVersion":"x.io/v1","a":[-0,-0.5,{"b":-0}]}"#;
        let mut object: Value = serde_json::from_str(stored).expect("json");
        let before = object.clone();
        family.tidy(&mut object, true);
        assert_eq!(codec::encode(&object), r#"{"apiVersion":"x.io/v1","a":[0,-0.5,{"b":0}]}"#);
        assert_ne!(object, before, "it is told from what is stored");
    }

    #[test]
    fn families_are_alike_by_their_schemas() {
        let (text, number) = (json!({"type": "string"}), json!({"type": "number"}));
        let one = family(&text, &number);
        assert!(one.reads_like(&family(&text, &number)) && !one.reads_like(&family(&text, &text)));
        one.schemas.renew(Bytes::from_static(br#"{"spec":{"versions":[{"name":"v1"}]}}"#));
        assert_eq!(one.schemas.schema("v1"), Value::Null);
        assert!(!one.is_compiled("v1"));
    }
}
