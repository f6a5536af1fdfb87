//! Priority, tolerations and runtime class of pods, and the taint that a new node starts with.

use super::{items, list_mut, newest_default, text};
use api_core::meta::Meta;
use serde_json::{Value, json};

const PREEMPT: &str = "PreemptLowerPriority";

/// Gives a new pod its priority. `named` is the class that it names, if there is one; `classes` are all classes.
pub fn priority(pod: &mut Value, named: Option<&Value>, classes: &[Value]) -> Result<(), String> {
    let spec = &mut pod["spec"];
    let name = text(spec, "priorityClassName").to_owned();
    let class = if name.is_empty() {
        // Several defaults can be there for a moment: the lowest is taken.
        let defaults = classes.iter().filter(|c| c["globalDefault"] == true);
        defaults.min_by_key(|c| c["value"].as_i64().unwrap_or(0))
    } else {
        Some(named.ok_or_else(|| format!("no PriorityClass with name {name} was found"))?)
    };
    let value = class.map_or(0, |c| c["value"].as_i64().unwrap_or(0));
    let policy =
        class.map_or(PREEMPT, |c| Some(text(c, "preemptionPolicy")).filter(|p| !p.is_empty()).unwrap_or(PREEMPT));
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    let given = text(spec, "preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if let Some(class) = class.filter(|_| name.is_empty()) {
        spec["priorityClassName"] = class.name().into();
    }
    spec["priority"] = value.into();
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// Keeps the priority of a pod whose update leaves it out.
pub fn keep_priority(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

/// Refuses a second default among the priority classes.
pub fn only_default_class(class: &Value, classes: &[Value]) -> Result<(), String> {
    let other = classes.iter().find(|c| c["globalDefault"] == true && c.name() != class.name());
    match other.filter(|_| class["globalDefault"] == true) {
        Some(other) => {
            Err(format!("PriorityClass {} is already marked as default. Only one default can exist", other.name()))
        }
        None => Ok(()),
    }
}

/// Lets a pod stay for five minutes on a node that fails, unless it says otherwise.
pub fn default_tolerations(pod: &mut Value) {
    let missing: Vec<Value> = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .filter(|key| {
            let covers = |t: &Value| matches!(text(t, "key"), "") || text(t, "key") == *key;
            let evicts = |t: &Value| matches!(text(t, "effect"), "" | "NoExecute");
            !items(&pod["spec"], "tolerations").any(|t| covers(t) && evicts(t))
        })
        .map(|key| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}))
        .collect();
    if !missing.is_empty() {
        list_mut(&mut pod["spec"], "tolerations").extend(missing);
    }
}

/// Keeps pods from a new node until it is ready.
pub fn taint_node(node: &mut Value) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    let tainted = items(&node["spec"], "taints").any(|t| text(t, "key") == KEY && text(t, "effect") == "NoSchedule");
    if !tainted {
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        list_mut(&mut node["spec"], "taints").push(json!({"key": KEY, "effect": "NoSchedule"}));
    }
}

/// Gives a pod the overhead and the scheduling constraints of its runtime class (`None` if it names none).
pub fn runtime_class(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let spec = &mut pod["spec"];
    let Some(class) = class else {
        return if spec.get("overhead").is_some() {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into())
        } else {
            Ok(())
        };
    };
    let fixed = &class["overhead"]["podFixed"];
    match spec.get("overhead") {
        Some(own) if !fixed.is_null() && own != fixed => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
        Some(_) if fixed.is_null() => {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into());
        }
        Some(_) => {}
        None if !fixed.is_null() => spec["overhead"] = fixed.clone(),
        None => {}
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        match spec["nodeSelector"].get(key) {
            Some(own) if own != value => {
                let (own, value) = (own.as_str().unwrap_or(""), value.as_str().unwrap_or(""));
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                ));
            }
            Some(_) => {}
            None => spec["nodeSelector"][key] = value.clone(),
        }
    }
    let new: Vec<Value> = items(scheduling, "tolerations")
        .filter(|t| !items(spec, "tolerations").any(|own| own == *t))
        .cloned()
        .collect();
    if !new.is_empty() {
        list_mut(spec, "tolerations").extend(new);
    }
    Ok(())
}

/// Gives an ingress that names no class the default one.
pub fn default_ingress_class(ingress: &mut Value, classes: &[Value]) {
    let named =
        !ingress["spec"]["ingressClassName"].is_null() || ingress.annotation("kubernetes.io/ingress.class").is_some();
    if named {
        return;
    }
    if let Some(class) = newest_default(classes, &["ingressclass.kubernetes.io/is-default-class"]) {
        ingress["spec"]["ingressClassName"] = class.name().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, value: i64, default: bool) -> Value {
        json!({"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": "Never"})
    }

    #[test]
    fn a_pod_gets_the_priority_of_its_class() {
        let classes = [class("high", 100, false), class("usual", 5, true), class("low", 1, true)];
        let give = |spec: Value, classes: &[Value]| {
            let mut pod = json!({"spec": spec});
            let named = classes.iter().find(|c| c.name() == text(&pod["spec"], "priorityClassName")).cloned();
            priority(&mut pod, named.as_ref(), classes).map(|()| pod["spec"].clone())
        };
        assert_eq!(give(json!({}), &[]), Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})));
        assert_eq!(
            give(json!({}), &classes),
            Ok(json!({"priority": 1, "preemptionPolicy": "Never", "priorityClassName": "low"}))
        );
        assert_eq!(
            give(json!({"priorityClassName": "high", "priority": 100}), &classes).map(|s| s["priority"].clone()),
            Ok(json!(100))
        );
        assert_eq!(
            give(json!({"priorityClassName": "absent"}), &classes),
            Err("no PriorityClass with name absent was found".into())
        );
        assert!(give(json!({"priorityClassName": "high", "priority": 7}), &classes).is_err());
        assert!(give(json!({"preemptionPolicy": "Never"}), &[]).is_err());
        assert!(only_default_class(&class("x", 1, true), &classes).is_err());
        assert!(only_default_class(&class("x", 1, false), &classes).is_ok());
    }

    #[test]
    fn tolerations_are_added_once() {
        let mut pod = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
        default_tolerations(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
        let once = pod.clone();
        default_tolerations(&mut pod);
        assert_eq!(pod, once);
        let mut tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        default_tolerations(&mut tolerant);
        assert_eq!(tolerant["spec"]["tolerations"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn runtime_classes_bring_overhead_and_placement() {
        let class = json!({"overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]}});
        let mut pod = json!({"spec": {}});
        assert_eq!(runtime_class(&mut pod, Some(&class)), Ok(()));
        assert_eq!(
            pod["spec"],
            json!({"overhead": {"cpu": "1"}, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]})
        );
        assert_eq!(runtime_class(&mut pod, Some(&class)), Ok(()));
        let mut other = json!({"spec": {"nodeSelector": {"a": "c"}}});
        assert!(runtime_class(&mut other, Some(&class)).is_err());
        assert!(runtime_class(&mut json!({"spec": {"overhead": {"cpu": "1"}}}), None).is_err());
    }

    #[test]
    fn the_newest_default_class_wins() {
        let class = |name: &str, created: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": created,
                "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}})
        };
        let classes = [class("b", "2024-01-01T00:00:00Z"), class("a", "2023-01-01T00:00:00Z")];
        let mut ingress = json!({"spec": {}});
        default_ingress_class(&mut ingress, &classes);
        assert_eq!(ingress["spec"]["ingressClassName"], "b");
        let mut node = json!({"metadata": {}});
        taint_node(&mut node);
        taint_node(&mut node);
        assert_eq!(node["spec"]["taints"].as_array().map(Vec::len), Some(1));
    }
}
