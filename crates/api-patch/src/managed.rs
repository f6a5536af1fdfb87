//! `metadata.managedFields`: who owns which field.
//!
//! [`update`] keeps it true for every write that is no apply; [`apply`] is server-side apply. Both compare whole objects,
//! so that ownership follows from what changed and not from what a client claims. Must never know a kind by name.

mod apply;
mod entries;
mod last_applied;
mod scale;
mod update;
mod versions;

pub use apply::{apply, apply_between};
pub use scale::{Replicas, SCALE_VERSION, to_object, to_scale};
pub use update::{update, update_between};
pub use versions::{Types, Versioned, Versions};

use serde_json::{Map, Value};

/// Fields that a write does not own although they differ, since the server resets them: paths of field names.
pub type ResetFields = &'static [&'static [&'static str]];

/// Who writes, how and when.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a> {
    /// `fieldManager` of the request, or what [`default_manager`] makes of its `User-Agent`.
    pub name: &'a str,
    /// The version that both objects are in, such as `apps/v1`.
    pub api_version: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The present time as RFC 3339 in seconds. Empty leaves the entry without a time.
    pub now: &'a str,
    /// What the server resets; see [`reset_fields`].
    pub reset: ResetFields,
}

/// What a write resets: `status` on the object itself, `spec` on its `status`, if it has that subresource.
pub fn reset_fields(has_status_subresource: bool, subresource: &str) -> ResetFields {
    match (has_status_subresource, subresource) {
        (false, _) => &[],
        (true, "status") => &[&["spec"]],
        (true, _) => &[&["status"]],
    }
}

/// The manager of a request that names none: its `User-Agent` up to the first slash, at most 128 printable bytes.
pub fn default_manager(user_agent: &str) -> String {
    let first = user_agent.split('/').next().unwrap_or_default();
    let printable: String = first.chars().filter(|c| !c.is_control()).collect();
    let end = printable.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= 128).last();
    printable[..end.unwrap_or_default()].to_owned()
}

/// Puts the old timestamps back if nothing but timestamps of managed fields differs, so that a write without effect is
/// none. `true` if so.
pub fn keep_times_if_unchanged(old: &Value, new: &mut Value) -> bool {
    if !are_same_but_for_time(entries_of(old), entries_of(new)) {
        return false;
    }
    let Some(Value::Object(new_meta)) = new.get_mut("metadata") else { return false };
    let kept = new_meta.remove("managedFields");
    let fields = old.pointer("/metadata/managedFields");
    if let Some(fields) = fields {
        new_meta.insert("managedFields".to_owned(), fields.clone());
    }
    if new == old {
        return true;
    }
    if let (Some(kept), Some(Value::Object(new_meta))) = (kept, new.get_mut("metadata")) {
        new_meta.insert("managedFields".to_owned(), kept);
    }
    false
}

fn entries_of(object: &Value) -> &[Value] {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn are_same_but_for_time(old: &[Value], new: &[Value]) -> bool {
    let untimed = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key("time"));
    let same = |(old, new): (&Value, &Value)| match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            untimed(old) == untimed(new) && old.iter().all(|(key, value)| key == "time" || new.get(key) == Some(value))
        }
        _ => old == new,
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_manager_is_the_program() {
        assert_eq!(default_manager("kubectl/v1.30.3 (linux/amd64) kubernetes/6fc0a69"), "kubectl");
        assert_eq!(default_manager(""), "");
        assert_eq!(default_manager(&"é".repeat(100)).len(), 128);
    }

    #[test]
    fn only_times_of_managed_fields_are_ignored() {
        let old = json!({"metadata": {"managedFields": [{"manager": "a", "time": "1"}]}, "x": 1});
        let mut same = json!({"metadata": {"managedFields": [{"manager": "a", "time": "2"}]}, "x": 1});
        assert!(keep_times_if_unchanged(&old, &mut same));
        assert_eq!(same, old);
        let mut other = json!({"metadata": {"managedFields": [{"manager": "a", "time": "2"}]}, "x": 2});
        assert!(!keep_times_if_unchanged(&old, &mut other));
        assert_eq!(other["metadata"]["managedFields"][0]["time"], "2");
        for entries in [
            json!([]),
            json!([{"manager": "b", "time": "1"}]),
            json!([{"manager": "a", "operation": "Apply"}]),
            json!([{}]),
        ] {
            let mut other = json!({"metadata": {"managedFields": entries}, "x": 1});
            assert!(!keep_times_if_unchanged(&old, &mut other), "{other}");
        }
        let mut untimed = json!({"metadata": {"managedFields": [{"manager": "a"}]}, "x": 1});
        assert!(keep_times_if_unchanged(&old, &mut untimed));
        assert_eq!(untimed, old);
    }
}
