//! Rules that workloads of several groups share: selectors over pod templates, rolling updates, pods that never end.

use super::check::Node;
use super::core::pod;
use super::labels;
use api_core::field::{BadValue, Errors};
use api_core::meta::Meta;
use api_core::names;
use serde_json::Value;
use std::num::IntErrorKind;

/// A workload's label selector: there, and not empty. Answers whether the template can be held against it.
pub(super) fn selector(selector: &Node<'_, '_>, of: &str, e: &mut Errors) -> bool {
    if selector.present() {
        let mut own = Errors::new();
        labels::selector(selector, &mut own);
        let good = own.is_empty();
        e.extend(own);
        if labels::is_empty_selector(selector) {
            selector.invalid(&format!("empty selector is invalid for {of}"), e);
        }
        good
    } else {
        selector.path_required("", e);
        true
    }
}

/// The template's labels match the selector, if it is valid; an absent selector matches nothing.
pub(super) fn template_matches(selector: &Node<'_, '_>, template: &Node<'_, '_>, e: &mut Errors) {
    let metadata = template.at("metadata");
    let labels = metadata.at("labels");
    if !labels::is_valid_selector(selector) {
        return;
    }
    let matches = selector.present() && (labels::is_empty_selector(selector) || labels::matches(selector, &labels));
    if !matches {
        e.invalid(&labels.path, go_map(&labels), "`selector` does not match template `labels`");
    }
}

/// Labels as upstream prints a map.
pub(super) fn go_map(labels: &Node<'_, '_>) -> BadValue {
    if !labels.present() {
        return BadValue("map[string]string(nil)".into());
    }
    let entries: Vec<String> = labels.entries().map(|(key, value)| format!("{key:?}:{:?}", value.str())).collect();
    BadValue(format!("map[string]string{{{}}}", entries.join(", ")))
}

/// A template whose pods run until they are deleted.
pub(super) fn endless_template(template: &Node<'_, '_>, of: &str, e: &mut Errors) {
    pod::validate_template(template, e);
    always_restarted(template, of, e);
}

/// The restart policy is `Always` and there is no deadline.
pub(super) fn always_restarted(template: &Node<'_, '_>, of: &str, e: &mut Errors) {
    let spec = template.at("spec");
    spec.at("restartPolicy").one_of(&["Always"], e);
    let deadline = spec.at("activeDeadlineSeconds");
    if deadline.present() {
        deadline.forbidden(&format!("activeDeadlineSeconds in {of} is not Supported"), e);
    }
}

/// Disks that one machine at a time may write are read-only where there are several replicas.
pub(super) fn read_only_disks(template: &Node<'_, '_>, replicas: i64, e: &mut Errors) {
    if replicas <= 1 {
        return;
    }
    let spec = template.at("spec");
    for volume in spec.at("volumes").items() {
        let disk = volume.at("gcePersistentDisk");
        if disk.present() && !disk.at("readOnly").is_true() {
            let why = "must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is read-only";
            e.invalid(&disk.path.child("readOnly"), false, why);
        }
    }
}

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(node: &Node<'_, '_>, e: &mut Errors) {
    if node.value.is_string() {
        for why in names::is_percent(node.str()) {
            refuse_int_or_percent(node, &why, e);
        }
    } else {
        node.non_negative(e);
    }
}

/// Refuses a number or percentage, shown as upstream shows it.
pub(super) fn refuse_int_or_percent(node: &Node<'_, '_>, why: &str, e: &mut Errors) {
    let kind = u8::from(node.value.is_string());
    let (number, text) = (node.int_or_zero(), api_core::go::quote(node.str()));
    let shown = format!("intstr.IntOrString{{Type:{kind}, IntVal:{number}, StrVal:{text}}}");
    e.invalid(&node.path, BadValue(shown), why);
}

/// A percentage of at most 100.
pub(super) fn at_most_all(node: &Node<'_, '_>, e: &mut Errors) {
    if percent(node).is_some_and(|percent| percent > 100) {
        refuse_int_or_percent(node, "must not be greater than 100%", e);
    }
}

/// The number of per cents, if it is one as upstream takes it; one that is too large for a number is the largest.
fn percent(node: &Node<'_, '_>) -> Option<i64> {
    let digits = node.str().strip_suffix('%')?;
    names::is_percent(node.str()).is_empty().then(|| digits.parse().unwrap_or(i64::MAX))
}

/// The number, or the number of per cents, as upstream compares with zero. A text that is a number is that number, and
/// one that is none is zero.
pub(super) fn int_or_percent_value(node: &Node<'_, '_>) -> i64 {
    let of_text = || match node.str().parse::<i64>() {
        Ok(number) => number,
        Err(why) if *why.kind() == IntErrorKind::PosOverflow => i64::MAX,
        Err(why) if *why.kind() == IntErrorKind::NegOverflow => i64::MIN,
        Err(_) => 0,
    };
    percent(node).or(node.int()).unwrap_or_else(of_text)
}

/// What is said of a new workload whose name makes no good names of pods.
pub(super) fn name_warning(object: &Value) -> Option<String> {
    let wrong = names::is_dns1123_label(object.name());
    let why =
        "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    (!wrong.is_empty()).then(|| format!("metadata.name: {why}: [{}]", wrong.join(" ")))
}

/// Whether an update (or a new object, for want of `old`) makes another generation.
pub(super) fn is_new_generation(new: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| old["metadata"]["generation"] != new["metadata"]["generation"])
}
