//! Merging of lists.

use super::{DIRECTIVE, Merger, Object, PatchError, merge_key, order};
use api_schema::schema::{ListShape, Shape};
use serde_json::Value;

/// Fails unless all elements are of one type and none is a list. `true` if they are objects.
pub(super) fn element_type(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut both = original.iter().chain(patch);
    let Some(first) = both.next() else {
        return Err(PatchError::Other("no elements in any of the given slices".into()));
    };
    if first.is_array() {
        return Err(PatchError::ListOfLists);
    }
    if !both.all(|other| std::mem::discriminant(first) == std::mem::discriminant(other)) {
        return Err(PatchError::differing_types([original, patch]));
    }
    Ok(first.is_object())
}

/// The item of a list of objects.
pub(super) fn object(value: &Value) -> Result<&Object, PatchError> {
    value.as_object().ok_or_else(|| PatchError::bad_type("map[string]interface {}", value))
}

impl Merger<'_> {
    /// Merges two lists, or lets the patch replace the original.
    pub(super) fn list(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        list: Option<&ListShape>,
    ) -> Result<Vec<Value>, PatchError> {
        let Some(key) = merge_key(list) else { return Ok(patch) };
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        if !element_type(&original, &patch)? {
            let both = original.iter().chain(&patch).cloned().collect();
            let merged = without_repetition(both);
            let (in_patch, others) = order::partition(merged, &patch, key)?;
            return order::join(in_patch, others, &patch, &original, "");
        }
        self.objects(original, patch, list)
    }

    /// Merges two lists of objects.
    pub(super) fn objects(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        list: Option<&ListShape>,
    ) -> Result<Vec<Value>, PatchError> {
        let key = merge_key(list).unwrap_or_default();
        if key.is_empty() {
            let item = list.map_or("struct", |list| go_kind(&list.item));
            return Err(PatchError::Other(format!("cannot merge lists without merge key for {item}")));
        }
        let (original, patch) = special_items(original, patch, key)?;
        let merged = self.items(original.clone(), &patch, key, list)?;
        let (in_patch, others) = order::partition(merged, &patch, key)?;
        order::join(in_patch, others, &patch, &original, key)
    }

    fn items(
        &self,
        mut original: Vec<Value>,
        patch: &[Value],
        key: &str,
        list: Option<&ListShape>,
    ) -> Result<Vec<Value>, PatchError> {
        for value in patch {
            let item = object(value)?;
            let wanted = item.get(key).ok_or_else(|| PatchError::no_merge_key(item, key))?;
            match find(&original, key, wanted)? {
                None => original.push(value.clone()),
                Some(at) => {
                    let Value::Object(old) = original[at].take() else { continue };
                    original[at] = Value::Object(self.map(old, item.clone(), list.map(|l| &l.item))?);
                }
            }
        }
        Ok(original)
    }
}

/// What upstream's type of such an item is.
fn go_kind(item: &Shape) -> &'static str {
    match item {
        Shape::Bool => "bool",
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        Shape::Number => "float64",
        Shape::String => "string",
        Shape::Map(_) => "map",
        Shape::Bytes | Shape::List(_) => "slice",
        _ => "struct",
    }
}

/// Where the item with that key is.
pub(super) fn find(list: &[Value], key: &str, wanted: &Value) -> Result<Option<usize>, PatchError> {
    for (i, value) in list.iter().enumerate() {
        let Some(item) = value.as_object() else {
            return Err(PatchError::Other(format!("value for key {i} is not a map")));
        };
        if item.get(key) == Some(wanted) {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// Carries out `$patch` in list items; what is left are an original and a patch without them.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut rest, mut replace) = (Vec::with_capacity(patch.len()), false);
    for value in patch {
        let item = object(&value)?;
        let Some(directive) = item.get(DIRECTIVE) else {
            rest.push(value);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let gone = item.get(key).ok_or_else(|| PatchError::no_merge_key(item, key))?;
                while let Some(at) = find(&original, key, gone)? {
                    original.remove(at);
                }
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Other("merging lists cannot yet be specified in the patch".into()));
            }
            _ => return Err(PatchError::bad_directive(item)),
        }
    }
    Ok(if replace { (rest, Vec::new()) } else { (original, rest) })
}

/// Each scalar once. The last one takes the place of one that is dropped, as upstream has it.
fn without_repetition(mut items: Vec<Value>) -> Vec<Value> {
    let mut i = 0;
    while i < items.len() {
        let mut j = i + 1;
        while j < items.len() {
            if items[i] == items[j] {
                items.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
    items
}
