//! What is special about built-in kinds: defaults, validation, conversion, columns, quotas.

use crate::objects::object;
use crate::source::parts;
use api_core::field::Errors;
use api_kinds::quota::Facts;
use api_kinds::{columns, rows};
use api_schema::codec::{FieldValidation, decode_value};
use api_schema::normalize::normalize;
use api_schema::row::{Row, WriteContext};
use serde_json::Value;
use std::sync::Arc;

/// The time that everything happens at.
const NOW_UNIX_S: i64 = 1_800_000_000;
const NOW: &str = "2027-01-15T08:00:00Z";

fn context() -> WriteContext<'static> {
    WriteContext { now_unix_s: NOW_UNIX_S, user: "u", ..WriteContext::default() }
}

/// The row of the version that objects of this one are stored in.
fn stored(row: &'static Row) -> &'static Row {
    let is_stored = |r: &&Arc<Row>| r.kind == row.storage_version && r.gvr.resource == row.gvr.resource;
    rows().iter().find(is_stored).map_or(row, |r| r)
}

/// An object in another version.
fn converted(value: &Value, to: &Row) -> Value {
    let mut value = value.clone();
    if let Some(convert) = to.hooks.convert.filter(|_| value["apiVersion"] != to.kind.api_version()) {
        convert(&mut value, &to.kind);
        normalize(to.schema(), to.root(), &mut value);
    }
    value["apiVersion"] = to.kind.api_version().into();
    value
}

/// An object as a create makes it, in the stored version: decoded, converted, defaulted, prepared. `None` if it is none.
fn prepared(row: &'static Row, object: Value) -> Option<(&'static Row, Value)> {
    let decoded = decode_value(row, object, FieldValidation::Ignore).ok()?.value;
    let row = stored(row);
    let mut value = converted(&decoded, row);
    if let Some(default) = row.hooks.default {
        default(&mut value);
        let mut again = value.clone();
        default(&mut again);
        assert_eq!(again, value, "defaults of defaults are no others");
    }
    if let Some(prepare) = row.hooks.prepare_create {
        prepare(&context(), &mut value);
    }
    Some((row, value))
}

/// Everything that a create does with an object, and what reads of it do later.
pub fn built_in_kind(data: &[u8]) {
    let (row, object) = object(data);
    let Some((row, value)) = prepared(row, object) else { return };
    let mut errors = Errors::new();
    if let Some(validate) = row.hooks.validate {
        validate(&value, &mut errors);
    }
    if let Some(warnings) = row.hooks.warnings {
        drop(warnings(&value, None));
    }
    show(row, &value);
    if let Some(mark) = row.hooks.mark_deleted {
        mark(&mut value.clone(), NOW);
    }
    if let Some(grace) = row.hooks.default_grace_s {
        grace(&value);
    }
    let facts = Facts::of(&row.gvr.group_resource(), &value);
    drop(facts.amounts(NOW_UNIX_S));
    facts.changes_at(NOW_UNIX_S);
    convert(row, &value, errors.0.is_empty());
}

fn show(row: &Row, value: &Value) {
    // What is only posted is in no table.
    if let Some(cells) = row.hooks.table_cells.filter(|_| !row.columns.is_empty()) {
        let cells = cells(value);
        assert_eq!(cells.len(), row.columns.len(), "a cell for each column of {:?}", row.gvr);
        let (mut outline, mut filled) = (Vec::new(), Vec::new());
        columns::outline::write(&cells, &mut outline).expect("cells are JSON");
        columns::outline::fill(&outline, NOW_UNIX_S * 1_000_000, &mut filled);
        let shown: Vec<Value> = serde_json::from_slice(&filled).expect("a filled outline is JSON");
        assert_eq!(shown.len(), cells.len());
    }
    if let Some(conditions) = row.hooks.table_conditions {
        drop(conditions(value));
    }
    if let Some(fields) = row.hooks.selectable_fields {
        drop(fields(value));
    }
    if let Some(allocated) = row.hooks.allocated {
        drop(allocated(value));
    }
}

/// To every version there is and back. Annotations, in which v1 of an autoscaler keeps what it has no fields for, are only
/// made for what is valid.
fn convert(row: &'static Row, value: &Value, is_valid: bool) {
    let is_kept = is_valid || row.gvr.resource != "horizontalpodautoscalers";
    let mut stored = value.clone();
    // What an autoscaler measured nobody validates, and v1 has no place for what its type does not name.
    if let Some(status) = stored.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
    }
    normalize(row.schema(), row.root(), &mut stored);
    for other in
        rows().iter().filter(|r| r.storage_version == row.storage_version && r.gvr.resource == row.gvr.resource)
    {
        let there = converted(&stored, other);
        let back = converted(&there, row);
        assert!(!is_kept || back == stored, "by way of {there}: {back}, not {stored}");
    }
}

/// Everything that an update does: the first line is the old object, the rest the new one.
pub fn kind_update(data: &[u8]) {
    let [old, new] = parts(data);
    let (row, old) = object(old);
    let (new_row, mut new) = object(new);
    if !std::ptr::eq(row, new_row) {
        // Whatever the new one is, it becomes one of the kind with the old one's start.
        let mut merged = old.clone();
        if let (Value::Object(merged), Value::Object(fields)) = (&mut merged, new) {
            for field in ["metadata", "spec", "status", "data"] {
                if let Some(value) = fields.get(field) {
                    merged.insert(field.into(), value.clone());
                }
            }
        }
        new = merged;
    }
    let Ok(decoded) = decode_value(row, new, FieldValidation::Ignore) else { return };
    let Some((row, old)) = prepared(row, old) else { return };
    let mut new = converted(&decoded.value, row);
    if let Some(default) = row.hooks.default {
        default(&mut new);
    }
    let context = context();
    if let Some(prepare) = row.hooks.prepare_update {
        prepare(&context, &mut new, &old);
    }
    let mut errors = Errors::new();
    match (row.hooks.validate_update, row.hooks.validate) {
        (Some(validate), _) => validate(&context, &new, &old, &mut errors),
        (None, Some(validate)) => validate(&new, &mut errors),
        (None, None) => {}
    }
    if let Some(warnings) = row.hooks.warnings {
        drop(warnings(&new, Some(&old)));
    }
    show(row, &new);
}
