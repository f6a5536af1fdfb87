//! Rules of CSI drivers, of the drivers of a node, and of their capacity.

use crate::hooks::check::{NON_NEGATIVE, Node};
use crate::hooks::core::volume_sources::csi_driver_name;
use crate::hooks::{labels, meta};
use api_core::field::{Errors, Path};
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;
use std::collections::HashSet;

const NODE_ID_BYTES_MAX: usize = 192;
/// In updates, for the sake of who has one already.
const NODE_ID_LONGER_BYTES_MAX: usize = 256;

pub(super) fn driver(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        if !spec.has(field) {
            spec.at(field).path_required("", e);
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    if spec.has("fsGroupPolicy") {
        spec.at("fsGroupPolicy").one_of(&policies, e);
    } else {
        spec.at("fsGroupPolicy").path_required("", e);
    }
    token_requests(&spec.at("tokenRequests"), e);
    let modes = spec.at("volumeLifecycleModes");
    for mode in modes.items() {
        if !["Ephemeral", "Persistent"].contains(&mode.str()) {
            e.not_supported(&modes.path, mode.str(), &["Persistent", "Ephemeral"]);
        }
    }
}

fn token_requests(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for request in list.items() {
        let (audience, expiration) = (request.at("audience"), request.at("expirationSeconds"));
        if !seen.insert(audience.str()) {
            audience.duplicate(e);
        }
        match expiration.int() {
            Some(seconds) if seconds < 600 => {
                expiration.invalid("may not specify a duration less than 10 minutes", e);
            }
            Some(seconds) if seconds > 1 << 32 => {
                expiration.invalid("may not specify a duration larger than 2^32 seconds", e);
            }
            _ => {}
        }
    }
}

pub(super) fn driver_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    driver(new, e);
    let attach = Node::new(spec.get("attachRequired"), spec.path.child("attachedRequired"));
    attach.immutable(&old_spec.at("attachRequired"), e);
    spec.at("volumeLifecycleModes").immutable(&old_spec.at("volumeLifecycleModes"), e);
}

pub(super) fn node(object: &Value, e: &mut Errors) {
    drivers(object, NODE_ID_BYTES_MAX, e);
}

fn drivers(object: &Value, id_bytes_max: usize, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let mut seen = HashSet::new();
    for driver in spec.at("drivers").items() {
        let name = driver.at("name");
        csi_driver_name(&name, e);
        let id = driver.at("nodeID");
        if id.required(e) && id.str().len() > id_bytes_max {
            id.invalid(&format!("must be {id_bytes_max} characters or less"), e);
        }
        let allocatable = driver.at("allocatable");
        allocatable.at("count").non_negative(e);
        if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        topology_keys(&driver, e);
    }
}

fn topology_keys(driver: &Node<'_, '_>, e: &mut Errors) {
    let path: &Path<'_> = &driver.path;
    let mut seen = HashSet::new();
    for key in driver.at("topologyKeys").items() {
        if key.is_empty() {
            e.required(path, "");
        }
        if !seen.insert(key.str()) {
            e.duplicate(path, key.str());
        }
        for why in names::is_qualified_name(key.str()) {
            e.invalid(path, key.str(), &why);
        }
    }
}

/// A driver that stays is what it was.
pub(super) fn node_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    for _ in 0..2 {
        meta::again_on_create(new, e);
        drivers(new, NODE_ID_LONGER_BYTES_MAX, e);
    }
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    for was in old_spec.at("drivers").items() {
        for driver in spec.at("drivers").items().filter(|driver| driver.text("name") == was.text("name")) {
            if driver.value != was.value {
                e.invalid(&Path::new("CSINodeDriver"), driver.value, "field is immutable");
            }
        }
    }
}

pub(super) fn capacity(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    labels::selector(&root.at("nodeTopology"), e);
    root.at("storageClassName").text_is(names::is_dns1123_subdomain, e);
    for field in ["capacity", "maximumVolumeSize"] {
        let at = root.at(field);
        if at.quantity().is_some_and(|q| q.sign() < 0) {
            at.invalid(NON_NEGATIVE, e);
        }
    }
}

pub(super) fn capacity_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    capacity(new, e);
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    for field in ["nodeTopology", "storageClassName"] {
        root.at(field).immutable(&old_root.at(field), e);
    }
}
