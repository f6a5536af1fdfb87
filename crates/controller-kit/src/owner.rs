//! Who controls what: controller references, and which objects a selector's owner should claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};

/// The controller reference that `owner` puts on what it makes.
pub fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The reference to the controller of `object`, if it has one.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the controller of `object` is the one with `uid`.
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// The labels of `object`.
pub fn labels<K: Resource>(object: &K) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    object.meta().labels.as_ref().unwrap_or(&NONE)
}

/// A label selector ready to match. An absent selector matches nothing; an empty one matches everything.
/// Fails on an operator that does not exist.
pub fn selector(source: Option<&LabelSelector>) -> Result<Option<Selector>, String> {
    source.map(|source| Selector::try_from(source.clone()).map_err(|error| error.to_string())).transpose()
}

/// Whether `selector` chooses `labels`; an absent one chooses nothing.
pub fn matches(selector: Option<&Selector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

/// What an owner should do about the objects around it.
#[derive(Debug)]
pub struct Claims<K> {
    /// Controlled by the owner, and chosen by its selector.
    pub owned: Vec<Arc<K>>,
    /// Without a controller, but chosen: to be adopted.
    pub adopt: Vec<Arc<K>>,
    /// Controlled, but no longer chosen: to be released.
    pub release: Vec<Arc<K>>,
}

/// Sorts `children` (controlled by the owner) and `orphans` (of its namespace) by what `chosen` says.
/// An owner that is being deleted adopts nothing and releases nothing.
pub fn claim<K: Resource>(
    deleting: bool,
    children: Vec<Arc<K>>,
    orphans: Vec<Arc<K>>,
    chosen: impl Fn(&K) -> bool,
) -> Claims<K> {
    let (owned, released) = children.into_iter().partition::<Vec<_>, _>(|child| chosen(child));
    let adopt = |orphan: &Arc<K>| !deleting && orphan.meta().deletion_timestamp.is_none() && chosen(orphan);
    Claims {
        owned,
        adopt: orphans.into_iter().filter(adopt).collect(),
        release: if deleting { Vec::new() } else { released },
    }
}

/// The merge patch that makes `owner` the controller of `object`, keeping the references it has.
pub fn adoption_patch<K: Resource>(object: &K, owner: OwnerReference, finalizer: Option<&str>) -> serde_json::Value {
    let mut owners: Vec<OwnerReference> = object.meta().owner_references.clone().unwrap_or_default();
    owners.retain(|reference| reference.uid != owner.uid);
    owners.push(owner);
    let mut metadata = identity(object);
    metadata["ownerReferences"] = serde_json::json!(owners);
    if let Some(finalizer) = finalizer {
        let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|have| have == finalizer) {
            finalizers.push(finalizer.to_owned());
            metadata["finalizers"] = serde_json::json!(finalizers);
        }
    }
    serde_json::json!({ "metadata": metadata })
}

/// The merge patch that takes the owner with `uid` off `object`.
pub fn release_patch<K: Resource>(object: &K, uid: &str, finalizer: Option<&str>) -> serde_json::Value {
    let owners = object.meta().owner_references.iter().flatten();
    let kept: Vec<&OwnerReference> = owners.filter(|reference| reference.uid != uid).collect();
    let mut metadata = identity(object);
    metadata["ownerReferences"] = if kept.is_empty() { serde_json::Value::Null } else { serde_json::json!(kept) };
    if let Some(finalizer) = finalizer {
        let finalizers = object.meta().finalizers.iter().flatten();
        let kept: Vec<&String> = finalizers.filter(|have| *have != finalizer).collect();
        metadata["finalizers"] = if kept.is_empty() { serde_json::Value::Null } else { serde_json::json!(kept) };
    }
    serde_json::json!({ "metadata": metadata })
}

/// `uid` and `resourceVersion`, so that a patch fails when the object has become another or a newer one.
fn identity<K: Resource>(object: &K) -> serde_json::Value {
    serde_json::json!({ "uid": object.meta().uid, "resourceVersion": object.meta().resource_version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, label: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners = owner.map(|uid| {
            serde_json::json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid,
            "uid": uid, "controller": true}])
        });
        Arc::new(
            serde_json::from_value(serde_json::json!({"metadata": {"name": name, "uid": name, "resourceVersion": "1",
                "labels": {"app": label}, "ownerReferences": owners}}))
            .unwrap(),
        )
    }

    #[test]
    fn claims_follow_selector_and_deletion() {
        let selector = serde_json::from_value(serde_json::json!({"matchLabels": {"app": "web"}})).unwrap();
        let selector = super::selector(Some(&selector)).unwrap();
        let chosen = |pod: &Pod| matches(selector.as_ref(), labels(pod));
        let children = || vec![pod("kept", "web", Some("u")), pod("strayed", "other", Some("u"))];
        let orphans = || vec![pod("found", "web", None), pod("foreign", "other", None)];
        let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>();
        let claims = claim(false, children(), orphans(), chosen);
        assert_eq!(names(&claims.owned), ["kept"]);
        assert_eq!(names(&claims.adopt), ["found"]);
        assert_eq!(names(&claims.release), ["strayed"]);
        let claims = claim(true, children(), orphans(), chosen);
        assert!(claims.adopt.is_empty() && claims.release.is_empty());
    }

    #[test]
    fn patches_carry_identity_and_keep_the_others() {
        let found = pod("found", "web", None);
        let owner = controller_ref(&*pod("owner", "", None));
        let patch = adoption_patch(&*found, owner, Some("f"));
        assert_eq!(patch["metadata"]["uid"], "found");
        assert_eq!(patch["metadata"]["ownerReferences"][0]["kind"], "Pod");
        assert_eq!(patch["metadata"]["finalizers"][0], "f");
        let patch = release_patch(&*pod("kept", "web", Some("u")), "u", None);
        assert!(patch["metadata"]["ownerReferences"].is_null());
        assert!(patch["metadata"].get("finalizers").is_none());
    }

    #[test]
    fn absent_selects_nothing_and_empty_everything() {
        assert!(!matches(selector(None).unwrap().as_ref(), &BTreeMap::new()));
        assert!(matches(selector(Some(&LabelSelector::default())).unwrap().as_ref(), &BTreeMap::new()));
    }
}
