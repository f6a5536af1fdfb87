//! The order of merged lists: what `$setElementOrder` says, then the patch, then the original.

use super::list::{element_type, find, object};
use super::{DIRECTIVE, Merger, Object, PatchError, SET_ORDER, directive_field, merge_key, without_directives};
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
            let list = self.list_field(shape, name)?;
            let key = merge_key(list).unwrap_or_default();
            check(new.as_deref().unwrap_or_default(), &wanted, key)?;
            let server_order = live.clone().unwrap_or_default();
            let of_patch = new.clone().unwrap_or_default();
            let merged = match (live, new) {
                (None, None) => continue,
                (Some(live), None) => live,
                (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
                (Some(live), Some(new)) => self.list(live, new, list)?,
            };
            let (in_patch, others) = partition(merged, &wanted, key)?;
            if element_type(&server_order, &of_patch)? {
                let all = [&in_patch, &wanted, &others, &server_order].into_iter().flatten();
                all.map(object).try_for_each(|item| keyed(item?, key))?;
            }
            let ordered = join(in_patch, others, &wanted, &server_order, key)?;
            original.insert(name.to_owned(), Value::Array(ordered));
            patch.remove(name);
        }
        Ok(())
    }
}

/// The items of the patch must be in the order that is asked for, and none may be missing there. Both are gone through side
/// by side, so that what is wrong in an order goes unnoticed once the patch has come to its end.
fn check(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::with_capacity(patch.len());
    for item in patch {
        let deleted = !key.is_empty() && object(item)?.get(DIRECTIVE).is_some_and(|d| d == "delete");
        kept.extend((!deleted).then_some(item));
    }
    let (mut at, mut rest) = (0, wanted.iter());
    while let Some(item) = kept.get(at)
        && rest.len() > 0
    {
        if item.as_object().is_some_and(|m| m.contains_key(DIRECTIVE)) {
            at += 1;
            continue;
        }
        let Some(other) = rest.next() else { break };
        if !key.is_empty() {
            keyed(object(item)?, key)?;
            keyed(object(other)?, key)?;
        }
        at += usize::from(identity(item, key) == identity(other, key));
    }
    if at < kept.len() {
        let print = |list: &[Value]| api_core::go::text(&Value::Array(list.to_vec()));
        let (patch, wanted) = (print(patch), print(wanted));
        let message = format!("The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{wanted}\n");
        return Err(PatchError::Other(message));
    }
    Ok(())
}

/// Fails if the item lacks the merge key, as any does if there is none.
fn keyed(item: &Object, key: &str) -> Result<(), PatchError> {
    if item.contains_key(key) { Ok(()) } else { Err(PatchError::no_merge_key(item, key)) }
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
