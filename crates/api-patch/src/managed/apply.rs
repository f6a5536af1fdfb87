//! Server-side apply: merge what a manager wants, remove what it wanted before and nobody else does, and refuse to
//! change what others own.

use super::Manager;
use super::entries::{Entries, Entry, ownable};
use super::last_applied;
use super::update::{managed_fields, record};
use super::versions::{Changes, Types, Versioned, Versions, convert, reconcile_all};
use crate::fields::{Element, Set, print_path};
use crate::typed::{Type, check, compare, field_set, merge};
use api_core::meta::Meta;
use api_core::status::{Cause, Details};
use api_core::{ApiError, Reason, gvk};
use api_schema::schema::{Schema, StructId};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Who is said to own what was there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// [`apply_between`] where all versions are one.
///
/// # Errors
/// As there.
pub fn apply(
    schema: &Schema,
    root: StructId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    apply_between(schema, root, live, applied, manager, force, None)
}

/// `live` (`None` if the object is not there) after `applied` is applied to it, with its managed fields. The result is to
/// be normalised and defaulted; it may hold nulls.
///
/// `applied` is the configuration as the client sent it: not pruned, not defaulted. 409 with a cause for each field that
/// another manager owns, unless `force`; 500 if the configuration does not fit the schema, as upstream answers.
///
/// `versions` brings objects into versions in which others own fields; without it all are taken to be of one version.
pub fn apply_between(
    schema: &Schema,
    root: StructId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
    versions: Option<&dyn Versions>,
) -> Result<Value, ApiError> {
    let ty = Type::Struct(root);
    let empty = Value::Object(Map::new());
    let object = live.unwrap_or(&empty);
    let may_misfit = versions.is_some_and(Versions::may_misfit);
    let mut entries =
        Entries::read(managed_fields(object)).map_err(|e| failure(format!("failed to decode managed fields: {e}")))?;
    if let (true, Some(live)) = (entries.0.is_empty(), live) {
        let before = Manager { name: BEFORE_FIRST_APPLY, ..*manager };
        let fits = if may_misfit { check(schema, ty, live, true) } else { Ok(()) };
        let comparison = fits.and_then(|()| compare(schema, ty, &empty, live)).map_err(|why| {
            let object = identity(live, applied);
            failure(format!(
                "failed to create manager for existing fields: failed to convert new object ({object}) to smd typed: {why}"
            ))
        })?;
        let reset = Set::of_fields(manager.reset);
        let objects = (&empty, live);
        let none = (None, &reset);
        let changes = Changes::new(comparison.without(&reset), manager.api_version, &entries, objects, none);
        record(&mut entries, changes.map_err(failure)?, &before);
    }
    check_configuration(schema, ty, applied, manager)?;
    if may_misfit {
        check(schema, ty, object, true).map_err(|why| {
            failure(format!("failed to create typed live object ({}): {why}", identity(object, applied)))
        })?;
        reconcile_all(&mut entries, object, manager.api_version, (schema, ty), versions).map_err(failure)?;
    }
    let config = Config { schema, ty, live: object, applied, manager, versions };
    let merged = match config.merge_into(entries.clone(), force) {
        Err(Refusal::Conflicts(conflicts)) if manager.name == last_applied::CLIENT => {
            let allowed = last_applied::allowed_conflicts(schema, ty, object, manager.api_version).unwrap_or_default();
            let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !allowed.contains(&c.path)).collect();
            if left.is_empty() { config.merge_into(entries, true) } else { Err(Refusal::Conflicts(left)) }
        }
        other => other,
    };
    let (mut object, entries) = merged.map_err(Refusal::into_error)?;
    if manager.name == last_applied::CLIENT {
        last_applied::refresh(&mut object, applied);
    }
    match entries.write() {
        Some(fields) => object.metadata_mut().insert("managedFields".to_owned(), fields),
        None => object.metadata_mut().remove("managedFields"),
    };
    Ok(object)
}

fn failure(message: impl Into<String>) -> ApiError {
    ApiError::new(500, Reason::Unknown, message)
}

fn check_configuration(schema: &Schema, ty: Type<'_>, applied: &Value, manager: &Manager<'_>) -> Result<(), ApiError> {
    let text = |field: &str| applied.get(field).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    if version != manager.api_version {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            manager.api_version
        )));
    }
    // What is no list of objects is none, as upstream reads it.
    let entries = managed_fields(applied).and_then(Value::as_array);
    if entries.is_some_and(|entries| !entries.is_empty() && entries.iter().all(Value::is_object)) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    check(schema, ty, applied, false)
        .map_err(|why| failure(format!("failed to create typed patch object ({}): {why}", identity(applied, applied))))
}

/// How messages name an object: with the kind that `applied` says.
fn identity(object: &Value, applied: &Value) -> String {
    let text = |field: &str| applied.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = gvk::split_api_version(text("apiVersion"));
    format!("{}/{}; {group}/{version}, Kind={}", object.namespace(), object.name(), text("kind"))
}

/// A field that another manager owns.
struct Conflict {
    owner: Entry,
    path: Vec<Element>,
}

enum Refusal {
    Conflicts(Vec<Conflict>),
    Failed(String),
}

impl Refusal {
    fn into_error(self) -> ApiError {
        match self {
            Self::Failed(why) => failure(why),
            Self::Conflicts(conflicts) => conflict_error(&conflicts),
        }
    }
}

struct Config<'a> {
    schema: &'a Schema,
    ty: Type<'a>,
    live: &'a Value,
    applied: &'a Value,
    manager: &'a Manager<'a>,
    versions: Option<&'a dyn Versions>,
}

impl Config<'_> {
    fn merge_into(&self, mut entries: Entries, force: bool) -> Result<(Value, Entries), Refusal> {
        let (schema, ty) = (self.schema, self.ty);
        let merged = merge(schema, ty, self.live, self.applied)
            .map_err(|e| Refusal::Failed(format!("failed to merge config: {e}")))?
            .unwrap_or_default();
        let reset = Set::of_fields(self.manager.reset);
        let mut set = field_set(schema, ty, self.applied);
        set.subtract(&reset, true);

        let mut own = Entry::new(self.manager, true);
        own.fields = set.into();
        let last = entries.position(&own).map(|at| entries.0.remove(at));
        own.time = last.as_ref().and_then(|last| last.time.clone());
        entries.0.push(own);
        let own_at = entries.0.len() - 1;

        let result = match last {
            Some(last) if !last.fields.is_empty() => {
                let pruned = self.prune(&merged, &entries, &last);
                pruned.map_err(|e| Refusal::Failed(format!("failed to prune fields: {e}")))?.unwrap_or(merged)
            }
            _ => merged,
        };
        let comparison = compare(schema, ty, self.live, &result)
            .map_err(|e| Refusal::Failed(format!("failed to compare objects: {e}")))?
            .without(&reset);
        let objects = (self.live, &result);
        let (version, versions) = (self.manager.api_version, (self.versions, &reset));
        let changes = Changes::new(comparison, version, &entries, objects, versions).map_err(Refusal::Failed)?;
        settle(&mut entries, own_at, &changes, force)?;
        let changed = result != *self.live;
        // Whoever owned nothing but what was taken is gone, and the order may be another one.
        let like = Entry::new(self.manager, true);
        if let Some(at) = entries.position(&like) {
            let own = &mut entries.0[at];
            own.fields = ownable(std::mem::take(&mut own.fields).into_set()).into();
            if changed && !self.manager.now.is_empty() {
                own.time = Some(self.manager.now.to_owned());
            }
            if own.fields.is_empty() {
                entries.0.remove(at);
            }
        }
        Ok((if changed { result } else { self.live.clone() }, entries))
    }

    /// An object in that version; `None` if it is not there any more.
    fn versioned(&self, object: &Value, api_version: &str) -> Result<Option<Versioned<'_>>, String> {
        let same = api_version == self.manager.api_version && object["apiVersion"] == api_version;
        match self.versions {
            Some(versions) if !same => convert(versions, object, api_version),
            _ => {
                let Type::Struct(root) = self.ty else { return Ok(None) };
                Ok(Some(Versioned { object: object.clone(), schema: Types::Lent(self.schema), root }))
            }
        }
    }

    /// `merged` without what the manager applied last time, except what it still wants or somebody else owns. `None` if the
    /// version of the last time is not there any more.
    fn prune(&self, merged: &Value, entries: &Entries, last: &Entry) -> Result<Option<Value>, String> {
        let whole = self.versioned(merged, &last.api_version);
        let whole = whole.map_err(|e| format!("failed to convert merged object to last applied version: {e}"))?;
        let Some(whole) = whole else { return Ok(None) };
        let gone = whole.named(&last.fields.to_set());
        let mut left = whole.without(&gone);
        let mut owned: BTreeMap<&str, Set> = BTreeMap::new();
        for entry in &entries.0 {
            // Without conversion all are of one version.
            let version = if self.versions.is_some() { entry.api_version.as_str() } else { self.manager.api_version };
            let set = owned.entry(version).or_default();
            *set = std::mem::take(set).union(entry.fields.to_set().into_owned());
        }
        // That version first: what is not there any more may be needed to convert the rest.
        let mut order: Vec<&str> = owned.keys().copied().collect();
        order.sort_by_key(|version| *version != last.api_version);
        for version in order {
            let why = |what: &str, e: String| {
                format!("failed add back owned items: failed to convert {what} object at version {version}: {e}")
            };
            let all = self.versioned(merged, version).map_err(|e| why("merged", e))?;
            let Some(all) = all else { continue };
            let without = self.versioned(&left, version).map_err(|e| why("pruned", e))?;
            let Some(without) = without else { continue };
            let kept = without.fields().union(all.named(&owned[version]));
            left = all.without(&all.fields().difference(&kept));
        }
        // What was never applied by this manager stays, even inside of something that goes.
        let left = self.versioned(&left, &last.api_version);
        let left = left.map_err(|e| {
            format!("failed add back dangling items: failed to convert pruned object to last applied version: {e}")
        })?;
        let Some(left) = left else { return Ok(None) };
        let pruned = whole.without(&whole.fields().difference(&left.fields()).intersection(&gone));
        Ok(self.versioned(&pruned, self.manager.api_version)?.map(|v| v.object))
    }
}

/// Takes changed fields from others, or refuses.
fn settle(entries: &mut Entries, own: usize, changes: &Changes, force: bool) -> Result<(), Refusal> {
    if !force {
        let mut conflicts = Vec::new();
        for (_, entry) in entries.0.iter().enumerate().filter(|(i, _)| *i != own) {
            changes.conflicts(entry).for_each(&mut |path| {
                let path = path.iter().map(|e| (*e).clone()).collect();
                conflicts.push(Conflict { owner: entry.clone(), path });
            });
        }
        if !conflicts.is_empty() {
            return Err(Refusal::Conflicts(conflicts));
        }
    }
    changes.revoke(entries, Some(own));
    Ok(())
}

fn describe(owner: &Entry) -> String {
    let mut text = format!("{:?}", owner.manager);
    if !owner.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", owner.subresource));
    }
    if !owner.applied {
        text.push_str(&format!(" using {}", owner.api_version));
    }
    text
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let path = |c: &Conflict| print_path(&c.path);
    let causes = conflicts.iter().map(|c| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", describe(&c.owner)),
        field: path(c),
    });
    let causes = causes.collect();
    let message = match conflicts {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", describe(&one.owner), path(one)),
        many => {
            let mut owners: Vec<String> = many.iter().map(|c| describe(&c.owner)).collect();
            owners.sort();
            owners.dedup();
            let mut lines = Vec::new();
            for owner in owners {
                lines.push(format!("conflicts with {owner}:"));
                lines.extend(many.iter().filter(|c| describe(&c.owner) == owner).map(|c| format!("- {}", path(c))));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    ApiError::new(409, Reason::Conflict, message).with_details(Details { causes, ..Details::default() })
}
