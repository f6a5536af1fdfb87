//! Server-side apply: merge what a manager wants, remove what it wanted before and nobody else does, and refuse to
//! change what others own.

use super::Manager;
use super::entries::{Entries, Entry, ownable};
use super::last_applied;
use super::update::{managed_fields, record};
use crate::fields::{Element, Set, print_path};
use crate::typed::{Comparison, Type, check, compare, field_set, merge, remove_items, with_named_fields};
use api_core::meta::Meta;
use api_core::status::{Cause, Details};
use api_core::{ApiError, Reason, gvk};
use api_schema::schema::{Schema, StructId};
use serde_json::{Map, Value};

/// Who is said to own what was there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// `live` (`None` if the object is not there) after `applied` is applied to it, with its managed fields. The result is to
/// be normalised and defaulted; it may hold nulls.
///
/// `applied` is the configuration as the client sent it: not pruned, not defaulted. 409 with a cause for each field that
/// another manager owns, unless `force`; 500 if the configuration does not fit the schema, as upstream answers.
pub fn apply(
    schema: &Schema,
    root: StructId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    let ty = Type::Struct(root);
    check_configuration(schema, ty, applied, manager)?;
    let empty = Value::Object(Map::new());
    let object = live.unwrap_or(&empty);
    let mut entries =
        Entries::read(managed_fields(object)).map_err(|e| failure(format!("failed to decode managed fields: {e}")))?;
    if let (true, Some(live)) = (entries.0.is_empty(), live) {
        let before = Manager { name: BEFORE_FIRST_APPLY, ..*manager };
        let comparison = compare(schema, ty, &empty, live).map_err(failure)?;
        record(&mut entries, comparison.without(&Set::of_fields(manager.reset)), &before);
    }
    let config = Config { schema, ty, live: object, applied, manager };
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
    if managed_fields(applied).is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    check(schema, ty, applied, false).map_err(|why| {
        let (group, version) = gvk::split_api_version(version);
        let object = format!("{}/{}; {group}/{version}, Kind={}", applied.namespace(), applied.name(), text("kind"));
        failure(format!("failed to create typed patch object ({object}): {why}"))
    })
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
        own.set = set;
        let last = entries.position(&own).map(|at| entries.0.remove(at));
        own.time = last.as_ref().and_then(|last| last.time.clone());
        entries.0.push(own);
        let own_at = entries.0.len() - 1;

        let result = match last {
            Some(last) if !last.set.is_empty() => self.prune(&merged, &entries, &last.set),
            _ => merged,
        };
        let comparison = compare(schema, ty, self.live, &result)
            .map_err(|e| Refusal::Failed(format!("failed to compare objects: {e}")))?
            .without(&reset);
        self.settle(&mut entries, own_at, &comparison, force)?;
        let changed = result != *self.live;
        // Whoever owned nothing but what was taken is gone, and the order may be another one.
        let like = Entry::new(self.manager, true);
        if let Some(at) = entries.position(&like) {
            let own = &mut entries.0[at];
            own.set = ownable(std::mem::take(&mut own.set));
            if changed && !self.manager.now.is_empty() {
                own.time = Some(self.manager.now.to_owned());
            }
            if own.set.is_empty() {
                entries.0.remove(at);
            }
        }
        Ok((if changed { result } else { self.live.clone() }, entries))
    }

    /// Takes changed fields from others, or refuses.
    fn settle(&self, entries: &mut Entries, own: usize, comparison: &Comparison, force: bool) -> Result<(), Refusal> {
        let changed = comparison.added.clone().union(comparison.modified.clone());
        if !force {
            let mut conflicts = Vec::new();
            for (_, entry) in entries.0.iter().enumerate().filter(|(i, _)| *i != own) {
                entry.set.intersection(&changed).for_each(&mut |path| {
                    let path = path.iter().map(|e| (*e).clone()).collect();
                    conflicts.push(Conflict { owner: entry.clone(), path });
                });
            }
            if !conflicts.is_empty() {
                return Err(Refusal::Conflicts(conflicts));
            }
        }
        entries.revoke(&changed.union(comparison.removed.clone()), Some(own));
        Ok(())
    }

    /// `merged` without what the manager applied last time, except what it still wants or somebody else owns.
    fn prune(&self, merged: &Value, entries: &Entries, last: &Set) -> Value {
        let (schema, ty) = (self.schema, self.ty);
        let named = |set: &Set| with_named_fields(schema, ty, set);
        let last = named(last);
        let without_last = remove_items(schema, ty, merged, &last);
        let owned = entries.0.iter().fold(Set::new(), |all, e| all.union(e.set.clone()));
        let merged_set = named(&field_set(schema, ty, merged));
        let kept = named(&field_set(schema, ty, &without_last)).union(named(&owned));
        let with_owned = remove_items(schema, ty, merged, &merged_set.difference(&kept));
        // What was never applied by this manager stays, even inside of something that goes.
        let remaining = named(&field_set(schema, ty, &with_owned));
        remove_items(schema, ty, merged, &merged_set.difference(&remaining).intersection(&last))
    }
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
