//! A short name for content: the same template always gives the same hash.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Letters that form no words and can't be mistaken for each other.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Ten letters for `template`; `collisions` gives another hash when one is taken.
pub fn of_template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    of(template, collisions)
}

/// Ten letters for any content.
pub fn of(content: &impl Serialize, collisions: Option<i32>) -> String {
    // A tree of maps sorts its keys, so the text is canonical.
    let tree = serde_json::to_value(content).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(tree.to_string());
    if let Some(collisions) = collisions {
        hasher.update(collisions.to_le_bytes());
    }
    let digest = hasher.finalize();
    digest[..10].iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}
