//! Events: the core group's form and that of `events.k8s.io` name the same things differently.

use super::{begins, finish, rename};
use api_core::Gvk;
use serde_json::Value;

/// Name in the core group, name in `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Between `v1` and `events.k8s.io/v1`.
pub fn convert(value: &mut Value, to: &Gvk) {
    let Value::Object(object) = value else { return };
    if !begins(object, to) {
        return;
    }
    for (core, own) in NAMES {
        match to.group.is_empty() {
            true => rename(object, own, core),
            false => rename(object, core, own),
        }
    }
    finish(value, to);
}
