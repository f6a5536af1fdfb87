//! Ownership after a write that is no apply: who changes a field owns it, and nobody else does.

use super::Manager;
use super::entries::{Entries, Entry, ownable, ownable_fields};
use super::versions::{Changes, Versions, reconcile_all};
use crate::fields::{Set, subtract};
use crate::typed::{Comparison, Type, check, compare, written};
use api_core::meta::Meta;
use api_schema::schema::{Schema, StructId};
use serde_json::{Map, Value};

/// [`update_between`] where all versions are one.
pub fn update(schema: &Schema, root: StructId, old: Option<&Value>, new: &mut Value, manager: &Manager<'_>) {
    update_between(schema, root, old, new, manager, None);
}

/// Brings `metadata.managedFields` of `new` up to date. `old` is `None` on create.
///
/// What `new` says of managed fields itself is taken over as far as it can be read; an empty list or one empty entry
/// resets them. An object without managed fields stays without until something is applied to it. If the objects cannot
/// be compared (a list item without its key, what does not fit the schema, a version that they cannot be converted to), the
/// fields are dropped as upstream drops them.
///
/// `versions` brings objects into versions in which others own fields; without it all are taken to be of one version.
pub fn update_between(
    schema: &Schema,
    root: StructId,
    old: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
    versions: Option<&dyn Versions>,
) {
    let given = new.metadata_mut().remove("managedFields");
    let (ty, may_misfit) = (Type::Struct(root), versions.is_some_and(Versions::may_misfit));
    if may_misfit && [Some(&*new), old].into_iter().flatten().any(|object| check(schema, ty, object, true).is_err()) {
        return;
    }
    if let (None, None) = (old, &given) {
        return own_all(schema, root, new, manager);
    }
    let live = old.and_then(managed_fields);
    let empty = Value::Object(Map::new());
    let comparison = compare(schema, ty, old.unwrap_or(&empty), new);
    let Ok(comparison) = comparison else { return };
    let reset = Set::of_fields(manager.reset);
    let comparison = comparison.without(&reset);

    let unchanged = comparison.is_same() || only_managed_fields(&comparison);
    let same = given.as_ref() == live;
    // The schema may be another one, which changes what is owned.
    if !may_misfit && old.is_some() && unchanged && (same || given.is_none() || !manager.subresource.is_empty()) {
        let kept = if same { given } else { live.cloned() };
        if let Some(kept) = kept {
            new.metadata_mut().insert("managedFields".to_owned(), kept);
        }
        return;
    }
    let mut entries = live_or_given(live, given, same, manager);
    if entries.0.is_empty() && old.is_some() {
        return;
    }
    let objects = (old.unwrap_or(&empty), &*new);
    if reconcile_all(&mut entries, objects.0, manager.api_version, (schema, ty), versions).is_err() {
        return;
    }
    let changes = Changes::new(comparison, manager.api_version, &entries, objects, (versions, &reset));
    let Ok(changes) = changes else { return };
    record(&mut entries, changes, manager);
    entries.cap();
    if let Some(fields) = entries.write() {
        new.metadata_mut().insert("managedFields".to_owned(), fields);
    }
}

/// Of a new object of which nobody has said who owns what, its maker owns all.
fn own_all(schema: &Schema, root: StructId, new: &mut Value, manager: &Manager<'_>) {
    let Some(mut fields) = written(schema, Type::Struct(root), new) else { return };
    subtract(&mut fields, &Set::of_fields(manager.reset), true);
    ownable_fields(&mut fields);
    if fields.is_empty() {
        return;
    }
    let mut entry = Entry::new(manager, false);
    entry.time = (!manager.now.is_empty()).then(|| manager.now.to_owned());
    let entry = entry.write_with(Value::Object(fields));
    new.metadata_mut().insert("managedFields".to_owned(), Value::Array(vec![entry]));
}

/// `metadata.managedFields` of an object.
pub(super) fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// The old object still has its managed fields where the new one has none.
fn only_managed_fields(comparison: &Comparison) -> bool {
    comparison.added.is_empty() && comparison.modified.is_empty() && ownable(comparison.removed.clone()).is_empty()
}

/// What is taken for the entries before the write. `same` says that what is `given` is what is `live`.
fn live_or_given(live: Option<&Value>, given: Option<Value>, same: bool, manager: &Manager<'_>) -> Entries {
    let live = || Entries::read(live).unwrap_or_default();
    if !manager.subresource.is_empty() && !same {
        return live();
    }
    if manager.subresource.is_empty() && is_reset(given.as_ref()) {
        return Entries::default();
    }
    match Entries::take(given) {
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
pub(super) fn record(entries: &mut Entries, changes: Changes, manager: &Manager<'_>) {
    if !entries.0.is_empty() {
        changes.revoke(entries, None);
    }
    let owned = ownable(changes.written());
    if !owned.is_empty() {
        entries.grant(Entry::new(manager, false), owned, manager.now);
    }
}
