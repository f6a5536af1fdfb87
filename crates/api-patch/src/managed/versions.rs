//! Managers that own fields in other versions than a write is in: what a write changes is found out in each of them.

use super::entries::{Entries, Entry};
use crate::fields::Set;
use crate::typed::{Comparison, Type, check, compare, field_set, reconcile, remove_items, with_named_fields};
use api_schema::schema::{Schema, StructId};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Deref;

/// An object in another version.
#[derive(Debug)]
pub struct Versioned<'a> {
    /// The object.
    pub object: Value,
    /// The schema of the version.
    pub schema: Types<'a>,
    /// The object's type in it.
    pub root: StructId,
}

impl Versioned<'_> {
    fn ty(&self) -> Type<'_> {
        Type::Struct(self.root)
    }

    /// The set with the members of lists and maps that its fields name.
    pub(super) fn named(&self, set: &Set) -> Set {
        with_named_fields(&self.schema, self.ty(), set)
    }

    /// All fields of the object.
    pub(super) fn fields(&self) -> Set {
        self.named(&field_set(&self.schema, self.ty(), &self.object))
    }

    /// The object without these fields.
    pub(super) fn without(&self, fields: &Set) -> Value {
        remove_items(&self.schema, self.ty(), &self.object, fields)
    }
}

/// The types of a version.
#[derive(Debug)]
pub enum Types<'a> {
    /// Of a version that somebody has.
    Lent(&'a Schema),
    /// Made for this.
    Made(Box<Schema>),
}

impl Deref for Types<'_> {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            Self::Lent(schema) => schema,
            Self::Made(schema) => schema,
        }
    }
}

/// What brings objects from version to version.
pub trait Versions: Debug {
    /// The object in `api_version`; `None` if there is no such version.
    ///
    /// # Errors
    /// With why, if it cannot be converted.
    fn convert(&self, object: &Value, api_version: &str) -> Result<Option<Versioned<'_>>, String>;

    /// Whether an object may be other than its schema says: that of a custom resource is written by hand, and may be
    /// another one now than when the object was stored.
    fn may_misfit(&self) -> bool;
}

/// The object in that version, which has to fit the version's schema; `None` if there is no such version.
pub(super) fn convert<'v>(
    versions: &'v dyn Versions,
    object: &Value,
    api_version: &str,
) -> Result<Option<Versioned<'v>>, String> {
    let Some(found) = versions.convert(object, api_version)? else { return Ok(None) };
    if object["apiVersion"] != api_version && versions.may_misfit() {
        check(&found.schema, found.ty(), &found.object, false)?;
    }
    Ok(Some(found))
}

/// Brings what is owned in line with the schemas of now, as far as they may change. Who owned fields of a version that is
/// gone is gone. `live` and `(schema, ty)` are of the version `own`.
///
/// # Errors
/// With why, if `live` cannot be brought to a version.
pub(super) fn reconcile_all(
    entries: &mut Entries,
    live: &Value,
    own: &str,
    (schema, ty): (&Schema, Type<'_>),
    versions: Option<&dyn Versions>,
) -> Result<(), String> {
    let Some(versions) = versions.filter(|v| v.may_misfit()) else { return Ok(()) };
    if live.as_object().is_none_or(Map::is_empty) {
        return Ok(());
    }
    let mut kept = Vec::with_capacity(entries.0.len());
    for mut entry in std::mem::take(&mut entries.0) {
        if entry.api_version == own {
            entry.fields = reconcile(schema, ty, &entry.fields.to_set()).into();
        } else {
            let Some(found) = convert(versions, live, &entry.api_version)? else { continue };
            entry.fields = reconcile(&found.schema, found.ty(), &entry.fields.to_set()).into();
        }
        kept.push(entry);
    }
    entries.0 = kept;
    Ok(())
}

/// What a write changed, in each version in which somebody manages fields.
pub(super) struct Changes {
    own: Comparison,
    own_version: String,
    /// `None` for versions that are not there any more.
    others: BTreeMap<String, Option<Comparison>>,
}

impl Changes {
    /// `own` is what changed in the version `own_version` of the write; without `versions` it is taken for the others too.
    ///
    /// # Errors
    /// With why, if what changed in another version cannot be found out.
    pub(super) fn new(
        own: Comparison,
        own_version: &str,
        entries: &Entries,
        (old, new): (&Value, &Value),
        (versions, reset): (Option<&dyn Versions>, &Set),
    ) -> Result<Self, String> {
        let mut others = BTreeMap::new();
        for entry in entries.0.iter().filter(|e| e.api_version != own_version) {
            let (Some(versions), false) = (versions, others.contains_key(&entry.api_version)) else { continue };
            let found = compare_in(versions, &entry.api_version, old, new)?;
            // What is reset is known of a custom resource's own version only.
            let found = found.map(|found| if versions.may_misfit() { found } else { found.without(reset) });
            others.insert(entry.api_version.clone(), found);
        }
        Ok(Self { own, own_version: own_version.to_owned(), others })
    }

    /// What changed in the version of the entry; `None` if that is not there any more.
    fn of(&self, entry: &Entry) -> Option<&Comparison> {
        if entry.api_version == self.own_version {
            return Some(&self.own);
        }
        self.others.get(&entry.api_version).map_or(Some(&self.own), Option::as_ref)
    }

    /// Fields of an entry that were added or modified.
    pub(super) fn conflicts(&self, entry: &Entry) -> Set {
        let Some(changed) = self.of(entry) else { return Set::new() };
        entry.fields.to_set().intersection(&changed.added.clone().union(changed.modified.clone()))
    }

    /// Takes what changed from every manager but the one at `except`; who has nothing left is gone, and who owned fields of a
    /// version that is gone.
    pub(super) fn revoke(&self, entries: &mut Entries, except: Option<usize>) {
        let mut at = 0;
        entries.0.retain_mut(|entry| {
            let is_kept = Some(at) == except;
            at += 1;
            if is_kept {
                return !entry.fields.is_empty();
            }
            let Some(changed) = self.of(entry) else { return false };
            let changed = changed.added.clone().union(changed.modified.clone()).union(changed.removed.clone());
            if entry.fields.intersects(&changed) {
                entry.fields.remove(&changed);
            }
            !entry.fields.is_empty()
        });
    }

    /// What was added or modified in the write's own version.
    pub(super) fn written(self) -> Set {
        self.own.added.union(self.own.modified)
    }
}

/// What is different between two objects in another version; `None` if that is not there any more.
fn compare_in(
    versions: &dyn Versions,
    api_version: &str,
    old: &Value,
    new: &Value,
) -> Result<Option<Comparison>, String> {
    // What is made anew has nothing before it in any version.
    let old = if old.as_object().is_some_and(Map::is_empty) {
        old.clone()
    } else {
        let old = convert(versions, old, api_version).map_err(|e| format!("failed to convert old object: {e}"))?;
        let Some(old) = old else { return Ok(None) };
        old.object
    };
    let new = convert(versions, new, api_version).map_err(|e| format!("failed to convert new object: {e}"))?;
    let Some(new) = new else { return Ok(None) };
    let found = compare(&new.schema, new.ty(), &old, &new.object);
    found.map(Some).map_err(|e| format!("failed to compare objects: {e}"))
}
