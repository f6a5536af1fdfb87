//! Ownership after a write that is no apply: who changes a field owns it, and nobody else does.

use super::Manager;
use super::entries::{Entries, Entry, ownable};
use crate::fields::Set;
use crate::typed::{Comparison, Type, compare};
use api_core::meta::Meta;
use api_schema::schema::{Schema, StructId};
use serde_json::{Map, Value};

/// Brings `metadata.managedFields` of `new` up to date. `old` is `None` on create.
///
/// What `new` says of managed fields itself is taken over as far as it can be read; an empty list or one empty entry
/// resets them. An object without managed fields stays without until something is applied to it. If the objects cannot
/// be compared (a list item without its key), the fields are dropped as upstream drops them.
pub fn update(schema: &Schema, root: StructId, old: Option<&Value>, new: &mut Value, manager: &Manager<'_>) {
    let given = new.metadata_mut().remove("managedFields");
    let live = old.and_then(managed_fields);
    let empty = Value::Object(Map::new());
    let comparison = compare(schema, Type::Struct(root), old.unwrap_or(&empty), new);
    let Ok(comparison) = comparison else { return };
    let comparison = comparison.without(&Set::of_fields(manager.reset));

    let unchanged = comparison.is_same() || only_managed_fields(&comparison);
    let same = given.as_ref() == live;
    if old.is_some() && unchanged && (same || given.is_none() || !manager.subresource.is_empty()) {
        let kept = if same { given } else { live.cloned() };
        if let Some(kept) = kept {
            new.metadata_mut().insert("managedFields".to_owned(), kept);
        }
        return;
    }
    let mut entries = live_or_given(live, given.as_ref(), manager);
    if entries.0.is_empty() && old.is_some() {
        return;
    }
    record(&mut entries, comparison, manager);
    entries.cap();
    if let Some(fields) = entries.write() {
        new.metadata_mut().insert("managedFields".to_owned(), fields);
    }
}

/// `metadata.managedFields` of an object.
pub(super) fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// The old object still has its managed fields where the new one has none.
fn only_managed_fields(comparison: &Comparison) -> bool {
    comparison.added.is_empty() && comparison.modified.is_empty() && ownable(comparison.removed.clone()).is_empty()
}

fn live_or_given(live: Option<&Value>, given: Option<&Value>, manager: &Manager<'_>) -> Entries {
    let live = || Entries::read(live).unwrap_or_default();
    if !manager.subresource.is_empty() {
        return live();
    }
    if is_reset(given) {
        return Entries::default();
    }
    match Entries::read(given) {
        Ok(entries) if !entries.0.is_empty() => entries,
        _ => live(),
    }
}

fn is_reset(given: Option<&Value>) -> bool {
    match given.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(only)]) => only.is_empty(),
        _ => false,
    }
}

/// Moves what changed to `manager` as an update of its own.
pub(super) fn record(entries: &mut Entries, comparison: Comparison, manager: &Manager<'_>) {
    let changed = comparison.added.union(comparison.modified);
    if !entries.0.is_empty() {
        entries.revoke(&changed.clone().union(comparison.removed), None);
    }
    let owned = ownable(changed);
    if !owned.is_empty() {
        entries.grant(Entry::new(manager, false), owned, manager.now);
    }
}
