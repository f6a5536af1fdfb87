//! The tree of a structural schema, read from `openAPIV3Schema`.

use super::pattern;
use crate::scalar;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;

/// Nested levels of a schema; a deeper one is refused.
const DEPTH_MAX: usize = 64;

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is nested too deeply.
    #[error("the schema is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// A pattern is no regular expression.
    #[error("pattern {pattern:?} at {at} is no regular expression")]
    Pattern {
        /// Where.
        at: String,
        /// The text.
        pattern: String,
    },
}

/// What fields without a property hold.
#[derive(Debug)]
pub(crate) enum Additional {
    /// `true`: anything. What is inside is pruned away all the same, since nothing specifies it.
    Any,
    /// `false`: there may be none.
    Forbidden,
    /// Values of a schema.
    Schema(Box<Structural>),
}

/// A node of the tree. Absent keywords are `None`, empty or `false`.
#[derive(Debug, Default)]
pub struct Structural {
    pub(crate) kind: String,
    /// Only a format that is checked.
    pub(crate) format: String,
    pub(crate) nullable: bool,
    pub(crate) properties: BTreeMap<String, Structural>,
    /// `None` if nothing is said of other fields.
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Structural>>,
    pub(crate) required: Vec<String>,
    pub(crate) default: Option<Value>,
    pub(crate) values: Vec<Value>,
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<usize>, Option<usize>),
    pub(crate) item_count: (Option<usize>, Option<usize>),
    pub(crate) property_count: (Option<usize>, Option<usize>),
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) unique: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) list_type: String,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_type: String,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Box<Structural>>,
}

impl Structural {
    /// Reads a schema.
    ///
    /// # Errors
    /// If it is nested too deeply, or a pattern cannot be read.
    pub fn read(schema: &Value) -> Result<Self, Unusable> {
        read(schema, "", 0)
    }

    /// The schema of a field: its property, or that of additional properties.
    pub(crate) fn field(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// The schema of the property of that name.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name)
    }
}

fn read(schema: &Value, at: &str, depth: usize) -> Result<Structural, Unusable> {
    if depth > DEPTH_MAX {
        return Err(Unusable::TooDeep);
    }
    let text = |key: &str| schema[key].as_str().unwrap_or("").to_owned();
    let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
    let count = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let texts = |key: &str| {
        let list = schema[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let child = |value: &Value, name: &str| read(value, &format!("{at}.{name}"), depth + 1);
    let boxed = |key: &str| schema.get(key).filter(|v| v.is_object()).map(|v| child(v, key).map(Box::new)).transpose();
    let many = |key: &str| {
        let list = schema[key].as_array().into_iter().flatten();
        list.map(|v| child(v, key)).collect::<Result<Vec<_>, _>>()
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    let additional = match &schema["additionalProperties"] {
        Value::Bool(true) => Some(Additional::Any),
        Value::Bool(false) => Some(Additional::Forbidden),
        Value::Object(_) => boxed("additionalProperties")?.map(Additional::Schema),
        _ => None,
    };
    let mut tree = Structural {
        kind: text("type"),
        format: super::format::checked(&text("format")),
        nullable: flag("nullable"),
        properties: properties.map(|(k, v)| Ok((k.clone(), child(v, k)?))).collect::<Result<_, Unusable>>()?,
        additional,
        items: boxed("items")?,
        required: texts("required"),
        default: schema.get("default").filter(|d| !d.is_null()).cloned(),
        values: schema["enum"].as_array().cloned().unwrap_or_default(),
        minimum: schema["minimum"].as_f64().map(|n| (n, flag("exclusiveMinimum"))),
        maximum: schema["maximum"].as_f64().map(|n| (n, flag("exclusiveMaximum"))),
        multiple_of: schema["multipleOf"].as_f64(),
        length: (count("minLength"), count("maxLength")),
        item_count: (count("minItems"), count("maxItems")),
        property_count: (count("minProperties"), count("maxProperties")),
        pattern: pattern_of(schema, at)?,
        unique: flag("uniqueItems"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        list_type: text("x-kubernetes-list-type"),
        list_keys: texts("x-kubernetes-list-map-keys"),
        map_type: text("x-kubernetes-map-type"),
        all_of: many("allOf")?,
        any_of: many("anyOf")?,
        one_of: many("oneOf")?,
        not: boxed("not")?,
    };
    // A default has no fields that the schema does not have, and is read back from where it is stored as it is.
    if let Some(mut default) = tree.default.take() {
        super::prune::prune(&tree, &mut default, tree.embedded);
        scalar::any_numbers(&mut default);
        tree.default = Some(default);
    }
    Ok(tree)
}

fn pattern_of(schema: &Value, at: &str) -> Result<Option<(String, Regex)>, Unusable> {
    let Some(text) = schema["pattern"].as_str().filter(|p| !p.is_empty()) else { return Ok(None) };
    let unreadable = |_| Unusable::Pattern { at: at.to_owned(), pattern: text.to_owned() };
    Ok(Some((text.to_owned(), pattern::compile(text).map_err(unreadable)?)))
}
