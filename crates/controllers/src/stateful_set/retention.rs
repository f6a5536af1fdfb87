//! What becomes of a StatefulSet's claims when it shrinks or goes: by whom they are owned decides what the garbage
//! collector removes with whom. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The claim with the owners that the set's retention policy asks for; `None` if it has them. `stays` says whether the
/// pod's number is one that the set wants.
pub fn owned(
    set: &StatefulSet,
    pod: &Pod,
    stays: bool,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolumeClaim> {
    let policy = set.spec.as_ref()?.persistent_volume_claim_retention_policy.as_ref()?;
    let deletes = |when: &Option<String>| when.as_deref() == Some("Delete");
    let by_pod = deletes(&policy.when_scaled) && !stays;
    let by_set = deletes(&policy.when_deleted) && !by_pod;
    let mut owners = claim.metadata.owner_references.clone().unwrap_or_default();
    let set_ref = reference("apps/v1", "StatefulSet", &set.metadata.name, &set.metadata.uid);
    let pod_ref = reference("v1", "Pod", &pod.metadata.name, &pod.metadata.uid);
    for (owner, wanted) in [(set_ref, by_set), (pod_ref, by_pod)] {
        let there = owners.iter().any(|one| one.uid == owner.uid);
        match (wanted, there) {
            (true, false) => owners.push(owner),
            (false, true) => owners.retain(|one| one.uid != owner.uid),
            _ => {}
        }
    }
    if owners == claim.metadata.owner_references.clone().unwrap_or_default() {
        return None;
    }
    let mut changed = claim.clone();
    changed.metadata.owner_references = Some(owners);
    Some(changed)
}

fn reference(api_version: &str, kind: &str, name: &Option<String>, uid: &Option<String>) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.clone().unwrap_or_default(),
        uid: uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_go_with_whom_the_policy_says() {
        let set = |deleted: &str, scaled: &str| -> StatefulSet {
            serde_json::from_value(json!({"metadata": {"name": "db", "uid": "set"}, "spec": {"selector": {},
                "serviceName": "db", "template": {},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}))
            .unwrap()
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-1", "uid": "pod"}})).unwrap();
        let claim = |owners: &[&str]| -> PersistentVolumeClaim {
            let owner = |uid: &&str| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid});
            let owners: Vec<_> = owners.iter().map(owner).collect();
            serde_json::from_value(json!({"metadata": {"name": "data-db-1", "ownerReferences": owners}})).unwrap()
        };
        type Uids = &'static [&'static str];
        let table: [(&str, &str, bool, Uids, Option<Uids>); 8] = [
            ("Retain", "Retain", true, &[], None),
            ("Retain", "Retain", true, &["set", "other"], Some(&["other"])),
            ("Delete", "Retain", true, &[], Some(&["set"])),
            ("Delete", "Retain", false, &["set"], None),
            ("Retain", "Delete", true, &["pod"], Some(&[])),
            ("Retain", "Delete", false, &[], Some(&["pod"])),
            ("Delete", "Delete", false, &["set"], Some(&["pod"])),
            ("Delete", "Delete", true, &["pod"], Some(&["set"])),
        ];
        for (deleted, scaled, stays, before, wanted) in table {
            let after = owned(&set(deleted, scaled), &pod, stays, &claim(before));
            let after = after.map(|claim| claim.metadata.owner_references.unwrap());
            let uids = after.as_ref().map(|owners| owners.iter().map(|one| one.uid.as_str()).collect::<Vec<_>>());
            assert_eq!(uids.as_deref(), wanted, "{deleted} {scaled} {stays} {before:?}");
        }
    }
}
