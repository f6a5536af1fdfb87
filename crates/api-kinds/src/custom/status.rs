//! The status of a definition: which names it gets, whether it is served, approved, structural, or being deleted.
//!
//! Pure: from a definition and the others of its group to the definition as it should be.

use crate::hooks::apiextensions::{approval_of, structural_errors};
use api_core::meta::Meta;
use serde_json::{Value, json};
use std::collections::HashSet;

/// What is known of a definition's schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schemas {
    /// They are as they were when the status was written.
    Same,
    /// They are structural; else what is not.
    Checked(Option<String>),
}

impl Schemas {
    /// Looks at the whole definition.
    pub fn of(definition: &Value) -> Self {
        Self::Checked(structural_errors(definition))
    }
}

/// Whether the status says of schemas what may have changed without any change of theirs: that they are not structural.
pub fn doubts_schemas(definition: &Value) -> bool {
    is_true(definition, "NonStructuralSchema")
}

/// The definition with the status that it should have; `None` if it has it. It need not have its schemas; what they are is
/// told in `schemas`. `others` are the definitions of its group, with or without itself, of which only name and status
/// matter; `now` is RFC 3339.
pub fn next(definition: &Value, others: &[&Value], schemas: &Schemas, now: &str) -> Option<Value> {
    let mut new = definition.clone();
    give_names(&mut new, others, now);
    if is_true(&new, "NamesAccepted") && !is_true(&new, "Established") {
        let message = "the initial names have been accepted";
        set_condition(&mut new, ["Established", "True", "InitialNamesAccepted", message], now);
    }
    if let Some((status, reason, message)) = approval_of(&new) {
        set_condition(&mut new, ["KubernetesAPIApprovalPolicyConformant", status, reason, &message], now);
    }
    match schemas {
        Schemas::Checked(Some(why)) => {
            set_condition(&mut new, ["NonStructuralSchema", "True", "Violations", why], now);
        }
        Schemas::Checked(None) => drop_condition(&mut new, "NonStructuralSchema"),
        Schemas::Same => {}
    }
    (new != *definition).then_some(new)
}

/// Whether objects of the definition are served.
pub fn is_served(definition: &Value) -> bool {
    is_true(definition, "NamesAccepted") || is_true(definition, "Established")
}

/// Whether the definition is being deleted, as far as its status says.
pub fn is_terminating(definition: &Value) -> bool {
    is_true(definition, "Terminating")
}

/// Whether the definition waits for names that others have.
pub fn waits(definition: &Value) -> bool {
    !same_names(&definition["spec"]["names"], &definition["status"]["acceptedNames"])
}

/// What of a definition says how its objects are served; nothing else needs to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedKey {
    /// Counts the changes of its specification.
    generation: i64,
    accepted_names: Value,
    terminating: bool,
}

impl ServedKey {
    /// That of a definition; `None` if its objects are not served.
    pub fn of(definition: &Value) -> Option<Self> {
        is_served(definition).then(|| Self {
            generation: generation(definition),
            accepted_names: definition["status"]["acceptedNames"].clone(),
            terminating: is_terminating(definition),
        })
    }
}

/// `metadata.generation`.
pub fn generation(definition: &Value) -> i64 {
    definition["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// The definition whose objects are about to be deleted.
pub fn terminating(definition: &Value, now: &str) -> Value {
    let mut new = definition.clone();
    let message = "CustomResource deletion is in progress";
    set_condition(&mut new, ["Terminating", "True", "InstanceDeletionInProgress", message], now);
    new
}

/// The definition whose objects are gone.
pub fn terminated(definition: &Value, now: &str) -> Value {
    let mut new = definition.clone();
    let (reason, message) = if is_true(definition, "Established") {
        ("InstanceDeletionCompleted", "removed all instances")
    } else {
        ("NeverEstablished", "resource was never established")
    };
    set_condition(&mut new, ["Terminating", "False", reason, message], now);
    new
}

fn conditions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["status"]["conditions"].as_array().into_iter().flatten()
}

fn is_true(definition: &Value, kind: &str) -> bool {
    conditions(definition).any(|c| c["type"] == kind && c["status"] == "True")
}

/// Sets a condition: type, status, reason, message. Its time changes only with its status.
pub(crate) fn set_condition(definition: &mut Value, [kind, status, reason, message]: [&str; 4], now: &str) {
    if !definition["status"].is_object() {
        definition["status"] = json!({});
    }
    let list = &mut definition["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let at = list.iter().position(|c| c["type"] == kind);
    let since = match at.map(|i| &list[i]) {
        Some(old) if old["status"] == status && old["lastTransitionTime"].is_string() => {
            old["lastTransitionTime"].clone()
        }
        _ => now.into(),
    };
    let new =
        json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match at {
        Some(i) => list[i] = new,
        None => list.push(new),
    }
}

fn drop_condition(definition: &mut Value, kind: &str) {
    if let Some(list) = definition["status"]["conditions"].as_array_mut() {
        list.retain(|c| c["type"] != kind);
    }
}

/// Names that other definitions of the group have.
struct Taken<'v> {
    resources: HashSet<&'v str>,
    kinds: HashSet<&'v str>,
}

impl<'v> Taken<'v> {
    fn of(others: &[&'v Value], itself: &str) -> Self {
        let mut taken = Self { resources: HashSet::new(), kinds: HashSet::new() };
        for other in others.iter().filter(|o| o.name() != itself) {
            let names = &other["status"]["acceptedNames"];
            let text = |field: &str| names[field].as_str().filter(|t| !t.is_empty());
            taken.resources.extend([text("plural"), text("singular")].into_iter().flatten());
            taken.resources.extend(names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str));
            taken.kinds.extend([text("kind"), text("listKind")].into_iter().flatten());
        }
        taken
    }
}

fn same_names(a: &Value, b: &Value) -> bool {
    let list = |v: &Value| v.as_array().filter(|l| !l.is_empty()).cloned();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    ["plural", "singular", "kind", "listKind"].iter().all(|f| text(&a[*f]) == text(&b[*f]))
        && ["shortNames", "categories"].iter().all(|f| list(&a[*f]) == list(&b[*f]))
}

/// Gives the definition those of its names that are free, and says so in its conditions.
fn give_names(definition: &mut Value, others: &[&Value], now: &str) {
    let wanted = definition["spec"]["names"].clone();
    let had = definition["status"]["acceptedNames"].clone();
    if same_names(&wanted, &had) {
        return;
    }
    let taken = Taken::of(others, definition.name());
    let mut given = if had.is_object() { had.clone() } else { json!({"plural": "", "kind": ""}) };
    let mut conflict: Option<(String, String)> = None;
    let fields = [("plural", &taken.resources, "PluralConflict"), ("singular", &taken.resources, "SingularConflict")];
    let kinds = [("kind", &taken.kinds, "KindConflict"), ("listKind", &taken.kinds, "ListKindConflict")];
    let mut single = |(field, taken, reason): (&str, &HashSet<&str>, &str), conflict: &mut Option<_>| {
        let name = wanted[field].as_str().unwrap_or("");
        if had[field] != *name && taken.contains(name) {
            *conflict = Some((reason.to_owned(), format!("{name:?} is already in use")));
        } else if !name.is_empty() {
            given[field] = name.into();
        }
    };
    fields.into_iter().for_each(|f| single(f, &mut conflict));
    let short = short_names(&wanted, &had, &taken);
    if let Err(why) = &short {
        conflict = Some(("ShortNamesConflict".into(), why.clone()));
    }
    kinds.into_iter().for_each(|f| single(f, &mut conflict));
    let keep = |given: &mut Value, field: &str| match wanted[field].as_array().filter(|l| !l.is_empty()) {
        Some(list) => given[field] = list.clone().into(),
        None => drop(given.as_object_mut().and_then(|g| g.remove(field))),
    };
    if short.is_ok() {
        keep(&mut given, "shortNames");
    }
    keep(&mut given, "categories");
    definition["status"]["acceptedNames"] = given;
    match conflict {
        None => set_condition(definition, ["NamesAccepted", "True", "NoConflicts", "no conflicts found"], now),
        Some((reason, message)) => {
            set_condition(definition, ["NamesAccepted", "False", &reason, &message], now);
            if !conditions(definition).any(|c| c["type"] == "Established") {
                let message = "not all names are accepted";
                set_condition(definition, ["Established", "False", "NotAccepted", message], now);
            }
        }
    }
}

/// Whether all short names that are new are free; else which are not.
fn short_names(wanted: &Value, had: &Value, taken: &Taken<'_>) -> Result<(), String> {
    let list = |v: &Value| -> Vec<String> {
        v["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let had = list(had);
    let used = list(wanted).into_iter().filter(|n| !had.contains(n) && taken.resources.contains(n.as_str()));
    let mut messages: Vec<String> = used.map(|n| format!("{n:?} is already in use")).collect();
    messages.dedup();
    match messages.len() {
        0 => Ok(()),
        1 => Err(messages.remove(0)),
        _ => Err(format!("[{}]", messages.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com", "names":
            {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}})
    }

    fn condition<'v>(definition: &'v Value, kind: &str) -> (&'v str, &'v str, &'v str) {
        let found = conditions(definition).find(|c| c["type"] == kind).expect("condition");
        let text = |f: &str| found[f].as_str().expect("text");
        (text("status"), text("reason"), text("message"))
    }

    #[test]
    fn names_that_are_free_are_given() {
        let first = definition("widgets", "Widget", &["wd"]);
        let done = next(&first, &[&first], &Schemas::Checked(None), NOW).expect("a status");
        assert_eq!(condition(&done, "NamesAccepted"), ("True", "NoConflicts", "no conflicts found"));
        assert_eq!(condition(&done, "Established").1, "InitialNamesAccepted");
        assert_eq!(done["status"]["acceptedNames"]["shortNames"], json!(["wd"]));
        assert!(is_served(&done));
        assert_eq!(next(&done, &[&done], &Schemas::Checked(None), NOW), None, "what is done stays");
    }

    #[test]
    fn names_that_others_have_are_not_given() {
        let first =
            next(&definition("widgets", "Widget", &["wd"]), &[], &Schemas::Checked(None), NOW).expect("a status");
        let second = definition("gadgets", "Widget", &["wd", "g"]);
        let denied = next(&second, &[&first, &second], &Schemas::Checked(None), NOW).expect("a status");
        assert_eq!(
            condition(&denied, "NamesAccepted"),
            ("False", "ListKindConflict", "\"WidgetList\" is already in use")
        );
        assert_eq!(condition(&denied, "Established"), ("False", "NotAccepted", "not all names are accepted"));
        assert_eq!(denied["status"]["acceptedNames"], json!({"plural": "gadgets", "kind": ""}));
        assert!(!is_served(&denied));
        let free = next(&denied, &[&denied], &Schemas::Checked(None), NOW).expect("names are free again");
        assert_eq!(condition(&free, "NamesAccepted").0, "True");
        assert_eq!(condition(&free, "Established").0, "True");
    }

    #[test]
    fn groups_of_the_community_say_whether_they_are_approved() {
        let mut given = definition("widgets", "Widget", &[]);
        given["spec"]["group"] = "x.k8s.io".into();
        given["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://a.b/c"});
        let done = next(&given, &[], &Schemas::Checked(None), NOW).expect("a status");
        assert_eq!(condition(&done, "KubernetesAPIApprovalPolicyConformant").1, "ApprovedAnnotation");
        given["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, experimental"});
        let done = next(&given, &[], &Schemas::Checked(None), NOW).expect("a status");
        assert_eq!(condition(&done, "KubernetesAPIApprovalPolicyConformant").1, "UnapprovedAnnotation");
    }
}
