//! Strategic merge patch: a merge patch that knows from the schema which lists are merged and by which key.
//!
//! Directives: `$patch: replace | delete` in an object or list item, `$setElementOrder/LIST`,
//! `$deleteFromPrimitiveList/LIST`, `$retainKeys`. Follows upstream's `strategicpatch`. Must never know a kind by name.

mod list;
mod order;

use crate::json_patch::rejected;
use api_core::{ApiError, Reason, go};
use api_schema::schema::{Field, ListPatch, ListShape, Schema, Shape, StructId};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// `original` with `patch` merged into it. Custom resources have no such patch; the caller answers 415 for them.
pub fn strategic_merge(schema: &Schema, root: StructId, original: Value, patch: &Value) -> Result<Value, ApiError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(ApiError::bad_request("invalid JSON document"));
    };
    let shape = Shape::Struct(root);
    let merged = Merger { schema }.map(original, patch.clone(), Some(&shape));
    merged.map(Value::Object).map_err(PatchError::into_api)
}

/// Why a patch cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum PatchError {
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Upstream gives these no code of their own.
    #[error("{0}")]
    Other(String),
}

impl PatchError {
    fn into_api(self) -> ApiError {
        match &self {
            Self::PrimitiveList | Self::RetainKeys | Self::SetElementOrder => ApiError::bad_request(self.to_string()),
            Self::ListOfLists => rejected(),
            Self::Other(why) => ApiError::new(500, Reason::Unknown, why.as_str()),
        }
    }

    fn differing_types(lists: [&[Value]; 2]) -> Self {
        let lists = lists.map(|list| Value::Array(list.to_vec()));
        Self::Other(format!("list element types are not identical: {}", go::text(&Value::Array(lists.into()))))
    }

    fn no_merge_key(item: &Map<String, Value>, key: &str) -> Self {
        Self::Other(format!("map: {} does not contain declared merge key: {key}", go::map_text(item)))
    }

    fn bad_type(expected: &str, actual: &Value) -> Self {
        let received = if actual.is_null() { "%!s(<nil>)" } else { go::type_name(actual) };
        Self::Other(format!("expected a {expected}, but received a {received}"))
    }

    fn bad_directive(item: &Map<String, Value>) -> Self {
        Self::Other(format!(
            "unknown patch type: {} in map: {}",
            item.get(DIRECTIVE).map_or_else(String::new, go::text),
            go::map_text(item)
        ))
    }
}

type Object = Map<String, Value>;

struct Merger<'a> {
    schema: &'a Schema,
}

impl<'a> Merger<'a> {
    /// Field `name` of an object of `shape`, if the schema says what is in it.
    fn field(&self, shape: Option<&'a Shape>, name: &str) -> Result<Option<&'a Field>, PatchError> {
        match shape {
            Some(Shape::Struct(id)) => {
                let fields = self.schema.get(*id);
                if let Some(field) = fields.field(name) {
                    return Ok(Some(field));
                }
                if fields.preserve_unknown {
                    return Ok(None);
                }
                let kind = fields.name.rsplit('.').next().unwrap_or_default();
                Err(PatchError::Other(format!("unable to find api field in struct {kind} for the json field {name:?}")))
            }
            Some(Shape::Map(_)) => Err(PatchError::Other(
                "merging an object in json but data type is not struct, instead is: map".to_owned(),
            )),
            _ => Ok(None),
        }
    }

    /// The list that field `name` is.
    fn list_field(&self, shape: Option<&'a Shape>, name: &str) -> Result<Option<&'a ListShape>, PatchError> {
        Ok(self.field(shape, name)?.and_then(|field| match &field.shape {
            Shape::List(list) => Some(&**list),
            _ => None,
        }))
    }

    fn map(&self, mut original: Object, mut patch: Object, shape: Option<&'a Shape>) -> Result<Object, PatchError> {
        match patch.get(DIRECTIVE).map(Value::as_str) {
            None => {}
            Some(Some("replace")) => {
                patch.remove(DIRECTIVE);
                return Ok(patch);
            }
            Some(Some("delete")) => return Ok(Object::new()),
            Some(_) => return Err(PatchError::bad_directive(&patch)),
        }
        retain_keys(&mut original, &mut patch)?;
        self.set_orders(&mut original, &mut patch, shape)?;
        for (key, value) in patch {
            if key.starts_with(DELETE_FROM) {
                let name = directive_field(&key, DELETE_FROM).ok_or(PatchError::PrimitiveList)?;
                self.delete_from(&mut original, name, value, shape)?;
                continue;
            }
            if value.is_null() {
                original.remove(&key);
                continue;
            }
            let merged = match (original.remove(&key), value) {
                (Some(Value::Object(a)), Value::Object(b)) => {
                    let field = self.field(shape, &key)?;
                    Some(Value::Object(match field {
                        Some(field) if field.patch_replaces => b,
                        _ => self.map(a, b, field.map(|field| &field.shape))?,
                    }))
                }
                (Some(Value::Array(a)), Value::Array(b)) => {
                    let list = self.list_field(shape, &key)?;
                    Some(Value::Array(self.list(a, b, list)?))
                }
                (Some(old), new) if !old.is_null() && same_type(&old, &new) => without_directives(new),
                (_, mut new) => {
                    drop_nulls(&mut new);
                    without_directives(new)
                }
            };
            if let Some(merged) = merged {
                original.insert(key, merged);
            }
        }
        Ok(original)
    }

    /// Takes `value` out of the list `name`; objects are merged instead, as upstream has it.
    fn delete_from(
        &self,
        original: &mut Object,
        name: &str,
        value: Value,
        shape: Option<&'a Shape>,
    ) -> Result<(), PatchError> {
        if value.is_null() {
            original.remove(name);
        }
        if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(name), value) {
            let list = self.list_field(shape, name)?;
            if items.is_empty() && gone.is_empty() {
                return Ok(());
            }
            if list::element_type(items, &gone)? {
                *items = self.objects(std::mem::take(items), gone, list)?;
            } else {
                items.retain(|item| !gone.contains(item));
            }
        }
        Ok(())
    }
}

/// The merge key of a list that is merged; empty for scalars.
fn merge_key(list: Option<&ListShape>) -> Option<&str> {
    match &list?.patch {
        ListPatch::Merge(key) => Some(key),
        ListPatch::Replace => None,
    }
}

/// `x` of `PREFIX/x`.
fn directive_field<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

/// Drops what `$retainKeys` does not name; whatever the patch sets must be named.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys: BTreeSet<&str> =
        keys.as_array().ok_or(PatchError::RetainKeys)?.iter().filter_map(Value::as_str).collect();
    let directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    let named = |(key, value): (&String, &Value)| value.is_null() || directive(key) || keys.contains(key.as_str());
    if !patch.iter().all(named) {
        return Err(PatchError::RetainKeys);
    }
    let kept = std::mem::take(original).into_iter().filter(|(key, _)| keys.contains(key.as_str()));
    *original = kept.collect();
    Ok(())
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            *map = std::mem::take(map).into_iter().filter(|(_, v)| !v.is_null()).collect();
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What is left of a value that has nothing to be merged with: objects with `$patch` are not kept.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(k, v)| Some((k, without_directives(v)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_directives).collect()),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests;
