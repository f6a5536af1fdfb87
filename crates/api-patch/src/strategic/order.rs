//! The order of merged lists: what `$setElementOrder` says, then the patch, then the original.

use super::list::{element_type, find, object};
use super::{
    Merger, Object, PatchError, SET_ORDER, directive_field, drop_nulls, list_shape, merge_key, without_directives,
};
use api_schema::schema::Shape;
use serde_json::Value;

impl<'a> Merger<'a> {
    /// Merges each list that a `$setElementOrder` names and takes both out of the patch.
    pub(super) fn set_orders(
        &self,
        original: &mut Object,
        patch: &mut Object,
        shape: Option<&'a Shape>,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let Some(wanted) = patch.remove(&directive) else { continue };
            let Value::Array(wanted) = wanted else { return Err(PatchError::bad_type("[]interface {}", &wanted)) };
            let name = directive_field(&directive, SET_ORDER).ok_or(PatchError::SetElementOrder)?;
            let array = |value: Option<&Value>| match value {
                None => Ok(None),
                Some(Value::Array(items)) => Ok(Some(items.clone())),
                Some(other) => Err(PatchError::bad_type("[]interface {}", other)),
            };
            let (live, new) = (array(original.get(name))?, array(patch.get(name))?);
            let list = list_shape(self.field(shape, name)?);
            let key = merge_key(list).unwrap_or_default();
            check(new.as_deref().unwrap_or_default(), &wanted, key)?;
            let server_order = live.clone().unwrap_or_default();
            let merged = match (live, new) {
                (None, None) => continue,
                (Some(live), None) => live,
                (None, Some(new)) => {
                    let mut new = Value::Array(new);
                    drop_nulls(&mut new);
                    match without_directives(new) {
                        Some(Value::Array(items)) => items,
                        _ => continue,
                    }
                }
                (Some(live), Some(new)) => self.list(live, new, list)?,
            };
            element_type([&merged])?;
            let (in_patch, others) = partition(merged, &wanted, key)?;
            let ordered = join(in_patch, others, &wanted, &server_order, key)?;
            original.insert(name.to_owned(), Value::Array(ordered));
            patch.remove(name);
        }
        Ok(())
    }
}

/// The items of the patch must be in the order that is asked for, and none may be missing there.
fn check(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let special = |v: &Value| v.as_object().is_some_and(|m| m.contains_key(super::DIRECTIVE));
    let mut rest = wanted.iter();
    for item in patch.iter().filter(|v| !special(v)) {
        let same = |other: &&Value| identity(item, key).is_some() && identity(item, key) == identity(other, key);
        if !key.is_empty() && identity(item, key).is_none() {
            return Err(PatchError::no_merge_key(object(item)?, key));
        }
        if !rest.any(|other| same(&other)) {
            let print = |list: &[Value]| api_core::go::text(&Value::Array(list.to_vec()));
            let (patch, wanted) = (print(patch), print(wanted));
            let message = format!("The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{wanted}\n");
            return Err(PatchError::Other(message));
        }
    }
    Ok(())
}

/// What an item is known by: its merge key, or itself.
fn identity<'v>(item: &'v Value, key: &str) -> Option<&'v Value> {
    if key.is_empty() { Some(item) } else { item.as_object()?.get(key) }
}

/// Items that are in `by`, and the others.
pub(super) fn partition(items: Vec<Value>, by: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    if key.is_empty() {
        return Ok(items.into_iter().partition(|v| by.contains(v)));
    }
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for value in items {
        let item = object(&value)?;
        let wanted = item.get(key).ok_or_else(|| PatchError::no_merge_key(item, key))?;
        if find(by, key, wanted)?.is_some() { inside.push(value) } else { outside.push(value) }
    }
    Ok((inside, outside))
}

/// Puts the items of the patch in its order between those of the server, which keep theirs.
pub(super) fn join(
    mut patch: Vec<Value>,
    mut server: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    let index = |order: &[Value], item: &Value| order.iter().position(|o| identity(o, key) == identity(item, key));
    patch.sort_by_key(|item| index(patch_order, item));
    server.sort_by_key(|item| index(server_order, item));
    let (mut left, mut right) = (server.into_iter().peekable(), patch.into_iter().peekable());
    let mut out = Vec::new();
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let server_first = index(server_order, l).zip(index(server_order, r)).is_some_and(|(l, r)| l < r);
        out.extend(if server_first { left.next() } else { right.next() });
    }
    out.extend(left);
    out.extend(right);
    Ok(out)
}
