//! Objects that this server keeps for what it serves: one for each group version of custom resources, from the first
//! definition that serves it to the last; those of built-in groups are made at start. Objects without the label of
//! upstream's controller are somebody else's, and are let be.

use super::{CUSTOM_PRIORITIES, api_services, built_in, name_of};
use api_core::meta::Meta;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Says that an object is kept by the server, and how: [`ON_START`] or [`ALWAYS`].
pub const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Made right when a server starts.
pub const ON_START: &str = "onstart";
/// Made right all the time.
pub const ALWAYS: &str = "true";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make this.
    Create(Value),
    /// Write this over what is there.
    Update(Value),
    /// Remove what has that name and uid.
    Delete {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// An object for a group version that is served here.
pub fn object(spec: &Value, label: &str) -> Value {
    let text = |field: &str| spec[field].as_str().unwrap_or("");
    let metadata = json!({"name": name_of(text("group"), text("version")), "labels": {LABEL: label}});
    json!({"apiVersion": api_services().api_version(), "kind": "APIService", "metadata": metadata, "spec": spec})
}

/// What brings the objects of custom resources in line with the definitions.
pub fn steps(definitions: &[Value], found: &[Value]) -> Vec<Step> {
    let wanted = wanted(definitions);
    let by_name: BTreeMap<&str, &Value> = found.iter().map(|o| (o.name(), o)).collect();
    let mut steps = Vec::new();
    for (name, spec) in &wanted {
        match by_name.get(name.as_str()) {
            None => steps.push(Step::Create(object(spec, ALWAYS))),
            Some(found) if found.label(LABEL) == Some(ALWAYS) && !says(&found["spec"], spec) => {
                let mut changed = (*found).clone();
                changed["spec"] = spec.clone();
                steps.push(Step::Update(changed));
            }
            Some(_) => {}
        }
    }
    let spurious = found.iter().filter(|o| o.label(LABEL) == Some(ALWAYS) && !wanted.contains_key(o.name()));
    steps.extend(spurious.map(delete));
    steps
}

/// What a start takes away: objects of built-in groups that are built in no longer.
pub fn steps_at_start(found: &[Value]) -> Vec<Step> {
    found.iter().filter(|o| o.label(LABEL) == Some(ON_START) && !is_built_in(o.name())).map(delete).collect()
}

/// The object as a start writes it; `None` if it is as it should be, or somebody else's.
pub fn at_start(found: &Value, wanted: &Value) -> Option<Value> {
    if !matches!(found.label(LABEL), Some(ON_START | ALWAYS)) || says(&found["spec"], &wanted["spec"]) {
        return None;
    }
    let mut changed = found.clone();
    changed["spec"] = wanted["spec"].clone();
    Some(changed)
}

fn delete(object: &Value) -> Step {
    Step::Delete { name: object.name().to_owned(), uid: object.uid().to_owned() }
}

fn is_built_in(name: &str) -> bool {
    let name_of = |s: &Value| name_of(s["group"].as_str().unwrap_or(""), s["version"].as_str().unwrap_or(""));
    built_in().iter().any(|s| name_of(s) == name)
}

/// Specifications by name, for every group version that a definition serves.
fn wanted(definitions: &[Value]) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for definition in definitions {
        let group = definition["spec"]["group"].as_str().unwrap_or("");
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        for version in versions.filter(|v| v["served"] == true).filter_map(|v| v["name"].as_str()) {
            let name = name_of(group, version);
            if !is_built_in(&name) {
                let (group_priority, version_priority) = CUSTOM_PRIORITIES;
                let spec = json!({"group": group, "version": version, "groupPriorityMinimum": group_priority,
                    "versionPriority": version_priority});
                out.insert(name, spec);
            }
        }
    }
    out
}

/// Whether a specification says this and nothing else; what is false or empty says nothing.
fn says(found: &Value, wanted: &Value) -> bool {
    let nothing = |v: &Value| v.is_null() || *v == false || v == "";
    let fields = |v: &Value| -> BTreeMap<String, Value> {
        let fields = v.as_object().into_iter().flatten().filter(|(_, v)| !nothing(v));
        fields.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    fields(found) == fields(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(group: &str, versions: &[(&str, bool)]) -> Value {
        let versions: Vec<Value> =
            versions.iter().map(|(name, served)| json!({"name": name, "served": served})).collect();
        json!({"spec": {"group": group, "versions": versions}})
    }

    #[track_caller]
    fn check(definitions: &[Value], found: &[Value], expected: &str) {
        let word = |step: &Step| match step {
            Step::Create(object) => format!("create {}", object.name()),
            Step::Update(object) => format!("update {}", object.name()),
            Step::Delete { name, .. } => format!("delete {name}"),
        };
        assert_eq!(steps(definitions, found).iter().map(word).collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn custom_resources_have_objects_for_as_long_as_they_are_served() {
        let two = [definition("a.io", &[("v1", true), ("v2", false)]), definition("a.io", &[("v1", true)])];
        check(&two, &[], "create v1.a.io");
        let Step::Create(made) = steps(&two, &[]).remove(0) else { panic!("not made") };
        assert_eq!(made["metadata"]["labels"][LABEL], "true");
        check(&two, std::slice::from_ref(&made), "");
        check(&[], std::slice::from_ref(&made), "delete v1.a.io");
        let mut changed = made.clone();
        changed["spec"]["versionPriority"] = 7.into();
        check(&two, std::slice::from_ref(&changed), "update v1.a.io");
        // Somebody took it over.
        changed["metadata"]["labels"] = json!({});
        check(&two, std::slice::from_ref(&changed), "");
        check(&[], &[changed], "");
        check(&[definition("apps", &[("v1", true)])], &[], "");
    }

    #[test]
    fn a_start_restores_what_is_its_own() {
        let spec = json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15});
        let wanted = object(&spec, ON_START);
        assert_eq!(at_start(&wanted, &wanted), None);
        let mut taken = wanted.clone();
        taken["spec"]["service"] = json!({"name": "s", "namespace": "n", "port": 443});
        assert_eq!(at_start(&taken, &wanted).expect("restored")["spec"], spec);
        taken["metadata"]["labels"] = json!({});
        assert_eq!(at_start(&taken, &wanted), None);
        let old = object(&json!({"group": "gone.io", "version": "v1"}), ON_START);
        assert_eq!(steps_at_start(&[wanted, old]).len(), 1);
    }
}
