//! Objects that this server keeps for what it serves: one for each group version of custom resources, from the first
//! definition that serves it to the last; those of built-in groups are made at start. Objects without the label of
//! upstream's controller are somebody else's, and are let be.

use super::{CUSTOM_PRIORITIES, api_services, built_in, name_of};
use api_core::meta::Meta;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// Group versions that definitions serve, and how many definitions serve each.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Names of objects, by the definition that wants them.
    by_definition: HashMap<String, BTreeSet<String>>,
    /// What each object says, and how many definitions want it.
    objects: HashMap<String, (Value, usize)>,
}

impl Wanted {
    /// Takes in what a definition says now; `None` if it is gone. It need not have more than its group and the names of its
    /// versions. Gives the names of objects that may now have to change.
    pub fn set(&mut self, name: &str, definition: Option<&Value>) -> BTreeSet<String> {
        let now = definition.map(specs).unwrap_or_default();
        let before = self.by_definition.remove(name).unwrap_or_default();
        let mut touched: BTreeSet<String> = now.keys().cloned().collect();
        if !now.is_empty() {
            self.by_definition.insert(name.to_owned(), touched.clone());
        }
        for (object, spec) in now {
            self.objects.entry(object).or_insert((spec, 0)).1 += 1;
        }
        for object in &before {
            if let Some((_, users)) = self.objects.get_mut(object) {
                *users -= 1;
                if *users == 0 {
                    self.objects.remove(object);
                }
            }
        }
        touched.extend(before);
        touched
    }

    /// Names of the definitions that are taken in.
    pub fn definitions(&self) -> impl Iterator<Item = &String> {
        self.by_definition.keys()
    }

    /// What brings an object in line with the definitions; `found` is how it is now.
    pub fn step(&self, name: &str, found: Option<&Value>) -> Option<Step> {
        let is_kept = |found: &&Value| found.label(LABEL) == Some(ALWAYS);
        match (self.objects.get(name), found) {
            (Some((spec, _)), None) => Some(Step::Create(object(spec, ALWAYS))),
            (Some((spec, _)), Some(found)) if is_kept(&found) && !says(&found["spec"], spec) => {
                let mut changed = found.clone();
                changed["spec"] = spec.clone();
                Some(Step::Update(changed))
            }
            (None, Some(found)) if is_kept(&found) => Some(delete(found)),
            _ => None,
        }
    }
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
fn specs(definition: &Value) -> BTreeMap<String, Value> {
    let group = definition["spec"]["group"].as_str().unwrap_or("");
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|v| v["served"] == true).filter_map(|v| v["name"].as_str());
    let named = served.map(|version| (name_of(group, version), version)).filter(|(name, _)| !is_built_in(name));
    let (group_priority, version_priority) = CUSTOM_PRIORITIES;
    let spec = |version: &str| {
        json!({"group": group, "version": version, "groupPriorityMinimum": group_priority,
            "versionPriority": version_priority})
    };
    named.map(|(name, version)| (name, spec(version))).collect()
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

    fn wanted(definitions: &[Value]) -> (Wanted, BTreeSet<String>) {
        let mut wanted = Wanted::default();
        let set = |(i, d): (usize, &Value)| wanted.set(&i.to_string(), Some(d));
        let names = definitions.iter().enumerate().flat_map(set).collect();
        (wanted, names)
    }

    #[track_caller]
    fn check(definitions: &[Value], found: &[Value], expected: &str) {
        let word = |step: &Step| match step {
            Step::Create(object) => format!("create {}", object.name()),
            Step::Update(object) => format!("update {}", object.name()),
            Step::Delete { name, .. } => format!("delete {name}"),
        };
        let (wanted, names) = wanted(definitions);
        let names: BTreeSet<String> = names.into_iter().chain(found.iter().map(|o| o.name().to_owned())).collect();
        let find = |name: &str| found.iter().find(|o| o.name() == name);
        let steps: Vec<Step> = names.iter().filter_map(|name| wanted.step(name, find(name))).collect();
        assert_eq!(steps.iter().map(word).collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn custom_resources_have_objects_for_as_long_as_they_are_served() {
        let two = [definition("a.io", &[("v1", true), ("v2", false)]), definition("a.io", &[("v1", true)])];
        check(&two, &[], "create v1.a.io");
        let Some(Step::Create(made)) = wanted(&two).0.step("v1.a.io", None) else { panic!("not made") };
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
    fn an_object_goes_with_the_last_definition_that_wants_it() {
        let both = definition("a.io", &[("v1", true), ("v2", true)]);
        let (mut wanted, names) = wanted(&[both.clone(), both]);
        let found = |name: &str| object(&wanted_spec(name), ALWAYS);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["v1.a.io", "v2.a.io"]);
        let touched = wanted.set("0", Some(&definition("a.io", &[("v2", true)])));
        assert_eq!(touched.into_iter().collect::<Vec<_>>(), ["v1.a.io", "v2.a.io"]);
        assert_eq!(wanted.step("v1.a.io", Some(&found("v1"))), None);
        assert_eq!(wanted.set("1", None).len(), 2);
        assert!(matches!(wanted.step("v1.a.io", Some(&found("v1"))), Some(Step::Delete { .. })));
        assert_eq!(wanted.step("v2.a.io", Some(&found("v2"))), None);
        assert_eq!(wanted.definitions().collect::<Vec<_>>(), ["0"]);
    }

    fn wanted_spec(version: &str) -> Value {
        specs(&definition("a.io", &[(version, true)])).remove(&name_of("a.io", version)).expect("served")
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
