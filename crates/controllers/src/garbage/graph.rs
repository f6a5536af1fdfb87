//! Who owns whom, over all resources: the memory of the garbage collector. Pure.
//!
//! Holds for each object only what decides about deletion. Owners are known by uid; an owner that was never seen is
//! asked of the server before anything is done about it.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer of an object that waits until what it owns is gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that waits until what it owns has been let go.
pub const ORPHAN: &str = "orphan";

/// An object as the graph knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Index of its resource in the collector's list.
    pub resource: usize,
    pub namespace: String,
    pub name: String,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    pub foreground: bool,
    pub orphan: bool,
}

impl Item {
    pub fn new(resource: usize, meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        Item {
            resource,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// It waits for what it owns to be gone.
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }
}

/// All objects, and for each uid those that name it as owner.
#[derive(Debug, Default)]
pub struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, BTreeSet<String>>,
    /// For each group and kind the resources of which an object ever named one of it as owner.
    owned_by: HashMap<(String, String), BTreeSet<usize>>,
    /// Whose deletion has been seen or found out; bounded.
    gone: Recent,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// The uids of those that name `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// The resources of which something has been owned by an object of this kind.
    pub fn owned_by(&self, group: &str, kind: &str) -> Vec<usize> {
        self.owned_by.get(&(group.to_owned(), kind.to_owned())).into_iter().flatten().copied().collect()
    }

    /// What may have been looked at in vain while this resource of this kind could not be asked: its own items that are being
    /// deleted or name an owner that is not in the graph or is being deleted, those owners, and whatever names an owner of
    /// the kind that is not in the graph.
    pub fn unsettled(&self, resource: usize, group: &str, kind: &str) -> BTreeSet<String> {
        let is_owner = self.owned_by.contains_key(&(group.to_owned(), kind.to_owned()));
        let is_unseen = |owner: &OwnerReference| !self.items.contains_key(&owner.uid);
        let is_deleting = |owner: &&OwnerReference| self.items.get(&owner.uid).is_some_and(|owner| owner.deleting);
        let is_of_kind = |owner: &OwnerReference| owner.kind == kind && group_of(owner) == group;
        let mut look = BTreeSet::new();
        for (uid, item) in &self.items {
            let mut owners = item.owners.iter();
            let waits = if item.resource == resource {
                let deleting: Vec<_> = item.owners.iter().filter(is_deleting).map(|owner| owner.uid.clone()).collect();
                let waits = item.deleting || !deleting.is_empty() || owners.any(is_unseen);
                look.extend(deleting);
                waits
            } else {
                is_owner && owners.any(|owner| is_of_kind(owner) && is_unseen(owner))
            };
            if waits {
                look.insert(uid.clone());
            }
        }
        look
    }

    /// The uids that this resource has.
    pub fn of_resource(&self, resource: usize) -> Vec<String> {
        let own = self.items.iter().filter(|(_, item)| item.resource == resource);
        own.map(|(uid, _)| uid.clone()).collect()
    }

    /// Takes a new state in; returns whom to look at.
    pub fn set(&mut self, uid: &str, item: Item) -> Vec<String> {
        let mut look = Vec::new();
        let old = self.items.insert(uid.to_owned(), item.clone());
        if old.as_ref() == Some(&item) {
            return look;
        }
        for owner in &item.owners {
            let kind = (group_of(owner).to_owned(), owner.kind.clone());
            self.owned_by.entry(kind).or_default().insert(item.resource);
        }
        let owners = |item: &Item| item.owners.iter().map(|owner| owner.uid.clone()).collect::<BTreeSet<_>>();
        let before = old.as_ref().map(owners).unwrap_or_default();
        let after = owners(&item);
        for lost in before.difference(&after) {
            self.unlink(lost, uid);
            look.push(lost.clone());
        }
        for gained in &after {
            self.dependents.entry(gained.clone()).or_default().insert(uid.to_owned());
        }
        if !after.is_empty() || item.deleting {
            look.push(uid.to_owned());
        }
        if item.waits_for_dependents() {
            look.extend(self.dependents(uid));
        }
        if item.deleting {
            // An owner that waits for this one may have less to wait for.
            look.extend(after);
        }
        look
    }

    /// The object is gone; returns whom to look at.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        self.gone.insert(uid);
        let mut look = self.dependents(uid);
        if let Some(item) = self.items.remove(uid) {
            for owner in item.owners {
                self.unlink(&owner.uid, uid);
                look.push(owner.uid);
            }
        }
        look
    }

    /// The server says that there is no such owner.
    pub fn mark_gone(&mut self, uid: &str) {
        self.gone.insert(uid);
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(set) = self.dependents.get_mut(owner) {
            set.remove(dependent);
            if set.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// The API group that an owner reference names.
pub fn group_of(owner: &OwnerReference) -> &str {
    owner.api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Uids remembered in each of two generations.
const GONE_MAX: usize = 4_096;

#[derive(Debug, Default)]
struct Recent {
    young: BTreeSet<String>,
    old: BTreeSet<String>,
}

impl Recent {
    fn contains(&self, uid: &str) -> bool {
        self.young.contains(uid) || self.old.contains(uid)
    }

    fn insert(&mut self, uid: &str) {
        if self.young.len() >= GONE_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(uid.to_owned());
    }
}

/// What is to be done about an object, by what has become of its owners.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Keep,
    /// Some owners are there: let go of the others, whose uids these are.
    Release(Vec<String>),
    /// No owner is there, or all wait for it to go. `foreground`: it has dependents that have to go first.
    Delete {
        foreground: bool,
    },
}

/// The state of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    There,
    Gone,
    /// It waits for its dependents to go.
    Waiting,
}

/// Decides about an object with these `owners`.
pub fn judge(owners: &[(OwnerReference, Owner)], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let uids = |of: &[Owner]| {
        owners.iter().filter(|(_, state)| of.contains(state)).map(|(owner, _)| owner.uid.clone()).collect::<Vec<_>>()
    };
    let (solid, rest) = (uids(&[Owner::There]), uids(&[Owner::Gone, Owner::Waiting]));
    if !solid.is_empty() {
        return if rest.is_empty() { Verdict::Keep } else { Verdict::Release(rest) };
    }
    let waiting = !uids(&[Owner::Waiting]).is_empty();
    Verdict::Delete { foreground: waiting && has_dependents }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(owners: &[&str], deleting: bool, finalizer: &str) -> Item {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let deleted = deleting.then_some("2024-01-01T00:00:00Z");
        let meta =
            json!({"name": "x", "ownerReferences": owners, "finalizers": [finalizer], "deletionTimestamp": deleted});
        Item::new(0, &serde_json::from_value(meta).unwrap())
    }

    #[test]
    fn changes_point_to_whom_they_concern() {
        let mut graph = Graph::default();
        assert!(graph.set("owner", item(&[], false, "")).is_empty());
        assert_eq!(graph.set("child", item(&["owner"], false, "")), ["child"]);
        assert!(graph.set("child", item(&["owner"], false, "")).is_empty(), "the same again");
        assert_eq!(graph.set("owner", item(&[], true, FOREGROUND)), ["owner", "child"]);
        assert!(graph.get("owner").unwrap().waits_for_dependents());
        assert_eq!(graph.remove("child"), ["owner"]);
        assert!(graph.dependents("owner").is_empty() && graph.is_gone("child"));
        assert_eq!((graph.owned_by("", "K"), graph.owned_by("g", "K")), (vec![0], vec![]), "also of what is gone");
        graph.set("late", item(&["owner"], false, ""));
        assert!(graph.unsettled(1, "", "K").is_empty(), "its owner is in the graph");
        graph.set("stray", item(&["owner", "nobody"], false, ""));
        let unsettled = |resource, group, kind| graph.unsettled(resource, group, kind).into_iter().collect::<Vec<_>>();
        assert_eq!(unsettled(1, "", "K"), ["stray"]);
        assert!(unsettled(1, "g", "K").is_empty() && unsettled(1, "", "L").is_empty());
        assert_eq!(unsettled(0, "g", "L"), ["late", "owner", "stray"], "one is being deleted, and owns the others");
        graph.remove("stray");
        assert_eq!(graph.remove("owner"), ["late"]);
    }

    #[test]
    fn verdicts() {
        let owner = |state| (OwnerReference { uid: format!("{state:?}"), ..OwnerReference::default() }, state);
        let judge =
            |states: &[Owner], dependents| judge(&states.iter().map(|one| owner(*one)).collect::<Vec<_>>(), dependents);
        assert_eq!(judge(&[], false), Verdict::Keep);
        assert_eq!(judge(&[Owner::There], false), Verdict::Keep);
        assert_eq!(judge(&[Owner::There, Owner::Gone], false), Verdict::Release(vec!["Gone".into()]));
        assert_eq!(judge(&[Owner::Gone], true), Verdict::Delete { foreground: false });
        assert_eq!(judge(&[Owner::Gone, Owner::Waiting], true), Verdict::Delete { foreground: true });
        assert_eq!(judge(&[Owner::Waiting], false), Verdict::Delete { foreground: false });
    }
}
