//! What a pod's persistent volume claims ask of a node: bound ones say from where they can be reached.

use client::informer::Store;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::needs::{Needs, VolumeNeeds};

/// Looks the claims of `needs` up.
pub fn resolve(needs: &Needs, claims: &Store<PersistentVolumeClaim>, volumes: &Store<PersistentVolume>) -> VolumeNeeds {
    let mut found = VolumeNeeds::default();
    for name in &needs.claims {
        let Some(claim) = claims.find(&needs.namespace, name) else {
            found.impossible = Some(format!("persistentvolumeclaim \"{name}\" not found"));
            return found;
        };
        if claim.metadata.deletion_timestamp.is_some() {
            found.impossible = Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            return found;
        }
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        let Some(bound) = bound else {
            found.impossible = Some("pod has unbound immediate PersistentVolumeClaims".into());
            return found;
        };
        let Some(volume) = volumes.find("", bound) else {
            found.impossible = Some(format!("persistentvolume \"{bound}\" not found"));
            return found;
        };
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        found.node_selectors.extend(affinity.and_then(|affinity| affinity.required.clone()));
    }
    found
}
