//! Rules of tolerations, gates and topology spread.

use crate::hooks::check::Node;
use crate::hooks::labels;
use api_core::field::Errors;
use api_core::names;
use std::collections::HashSet;

/// `tolerations`.
pub(in crate::hooks) fn tolerations(list: &Node<'_, '_>, e: &mut Errors) {
    for toleration in list.items() {
        let (key, operator, effect) = (toleration.at("key"), toleration.at("operator"), toleration.at("effect"));
        key.text_if_any(names::is_qualified_name, e);
        if key.is_empty() && operator.str() != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.invalid(&operator.path, operator.str(), why);
        }
        if toleration.has("tolerationSeconds") && effect.str() != "NoExecute" {
            e.invalid(&effect.path, effect.str(), "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        let value = toleration.text("value");
        match operator.str() {
            "Equal" | "" => {
                let wrong = names::is_label_value(value);
                if !wrong.is_empty() {
                    e.invalid(&operator.path, value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                e.invalid(&operator.path, toleration.value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => operator.not_supported(&["Equal", "Exists"], e),
        }
        if !effect.is_empty() {
            effect.one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute"], e);
        }
    }
}

/// `readinessGates` and `schedulingGates`.
pub(super) fn gates(spec: &Node<'_, '_>, e: &mut Errors) {
    for gate in spec.at("readinessGates").items() {
        gate.at("conditionType").text_is(names::is_qualified_name, e);
    }
    let mut seen = HashSet::new();
    for gate in spec.at("schedulingGates").items() {
        let name = gate.text("name");
        for why in names::is_qualified_name(name) {
            e.invalid(&gate.path, name, &why);
        }
        if !seen.insert(name) {
            e.duplicate(&gate.path, name);
        }
    }
}

/// `topologySpreadConstraints`.
pub(super) fn topology_spread(list: &Node<'_, '_>, e: &mut Errors) {
    for (i, constraint) in list.items().enumerate() {
        let skew = constraint.at("maxSkew");
        if skew.int_or_zero() <= 0 {
            e.invalid(&skew.path, skew.int_or_zero(), "must be greater than zero");
        }
        let key = constraint.at("topologyKey");
        key.required_because("can not be empty", e);
        let unsatisfiable = constraint.at("whenUnsatisfiable");
        unsatisfiable.one_of(&["DoNotSchedule", "ScheduleAnyway"], e);
        let again = list.items().skip(i + 1).any(|later| {
            later.text("topologyKey") == key.str() && later.text("whenUnsatisfiable") == unsatisfiable.str()
        });
        if again {
            let pair = format!("{{{}, {}}}", key.str(), unsatisfiable.str());
            e.duplicate(&constraint.path.child("{topologyKey, whenUnsatisfiable}"), pair.as_str());
        }
        min_domains(&constraint, e);
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.at(policy).one_of_if_any(&["Honor", "Ignore"], e);
        }
        match_label_keys(&constraint, e);
        labels::selector(&constraint.at("labelSelector"), e);
    }
}

fn min_domains(constraint: &Node<'_, '_>, e: &mut Errors) {
    let min = constraint.at("minDomains");
    let Some(count) = min.int() else { return };
    if count <= 0 {
        min.invalid("must be greater than zero", e);
    }
    if constraint.text("whenUnsatisfiable") != "DoNotSchedule" {
        min.invalid("can only use minDomains if whenUnsatisfiable=DoNotSchedule", e);
    }
}

fn match_label_keys(constraint: &Node<'_, '_>, e: &mut Errors) {
    let keys = constraint.at("matchLabelKeys");
    if keys.is_empty() {
        return;
    }
    let selector = constraint.at("labelSelector");
    if !selector.present() {
        keys.forbidden("must not be specified when labelSelector is not set", e);
    }
    for key in keys.items() {
        key.text_is(names::is_qualified_name, e);
        let selected = selector.at("matchLabels").has(key.str())
            || selector.at("matchExpressions").items().any(|r| r.text("key") == key.str());
        if selected {
            key.invalid("exists in both matchLabelKeys and labelSelector", e);
        }
    }
}
