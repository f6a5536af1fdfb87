//! AppArmor profiles stand in a field and in an annotation, the older of the two; a new pod gets what it lacks.

use super::CONTAINERS;
use crate::hooks::fill::Fill;
use serde_json::{Value, json};

/// Where the profile of a container is kept, before the container's name.
pub(super) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// What is said of the annotation.
pub(super) const OLD: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// The annotation's text for a profile.
pub(super) fn text(profile: &Value) -> String {
    match profile.text("type") {
        "RuntimeDefault" => "runtime/default".to_owned(),
        "Unconfined" => "unconfined".to_owned(),
        "Localhost" => format!("localhost/{}", profile.text("localhostProfile")),
        _ => String::new(),
    }
}

fn profile(text: &str) -> Option<Value> {
    match text {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        _ => {
            let local = text.strip_prefix("localhost/").filter(|name| !name.is_empty() && name.trim() == *name)?;
            Some(json!({"type": "Localhost", "localhostProfile": local}))
        }
    }
}

/// Where a container's profile is missing.
enum Missing {
    Nowhere,
    /// In the annotations, where this is to stand.
    Annotation(String),
    /// In the field; `None` if the annotation says no profile.
    Field(Option<Value>),
}

fn missing(container: &Value, annotation: Option<&str>, of_pod: &Value) -> Missing {
    let own = &container["securityContext"]["appArmorProfile"];
    match annotation {
        None => match text(if own.is_null() { of_pod } else { own }) {
            nothing if nothing.is_empty() => Missing::Nowhere,
            annotation => Missing::Annotation(annotation),
        },
        Some(annotation) if own.is_null() => match profile(annotation) {
            Some(profile) if profile == *of_pod => Missing::Nowhere,
            profile => Missing::Field(profile),
        },
        Some(_) => Missing::Nowhere,
    }
}

fn is_windows(pod: &Value) -> bool {
    pod["spec"]["os"].text("name") == "windows"
}

/// Writes each container's profile to where it is missing.
pub(super) fn agree(pod: &mut Value) {
    if is_windows(pod) {
        return;
    }
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    let annotations = pod["metadata"]["annotations"].clone();
    let mut added = Vec::new();
    for list in CONTAINERS {
        pod.make("spec").each_mut(list, |container| {
            let key = format!("{ANNOTATION}{}", container.text("name"));
            match missing(container, annotations.get(&key).and_then(Value::as_str), &of_pod) {
                Missing::Annotation(annotation) => added.push((key, annotation)),
                Missing::Field(Some(profile)) => container.make("securityContext")["appArmorProfile"] = profile,
                Missing::Field(None) | Missing::Nowhere => {}
            }
        });
    }
    for (key, annotation) in added {
        pod.make("metadata").make("annotations")[key] = annotation.into();
    }
}

/// Annotations of a new pod for which no field stands, before the two agree.
pub(super) fn warnings(pod: &Value) -> Vec<String> {
    if is_windows(pod) {
        return Vec::new();
    }
    let (of_pod, annotations) = (&pod["spec"]["securityContext"]["appArmorProfile"], &pod["metadata"]["annotations"]);
    let containers = CONTAINERS.iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    let lone = containers.filter_map(|container| {
        let key = format!("{ANNOTATION}{}", container.text("name"));
        let found = missing(container, annotations[&key].as_str(), of_pod);
        matches!(found, Missing::Field(_)).then(|| format!("metadata.annotations[{key}]: {OLD}"))
    });
    lone.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_written_to_where_it_is_missing() {
        let mut pod = json!({
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/b": "localhost/x"}},
            "spec": {"containers": [
                {"name": "a", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}, {"name": "b"}, {"name": "c"},
            ]},
        });
        agree(&mut pod);
        let annotations = &pod["metadata"]["annotations"];
        assert_eq!(annotations["container.apparmor.security.beta.kubernetes.io/a"], "unconfined");
        assert_eq!(annotations.get("container.apparmor.security.beta.kubernetes.io/c"), None);
        let profile = &pod["spec"]["containers"][1]["securityContext"]["appArmorProfile"];
        assert_eq!(*profile, json!({"type": "Localhost", "localhostProfile": "x"}));
    }

    #[test]
    fn an_annotation_without_a_field_is_warned_of() {
        let warned = |annotation: &str, spec: Value| {
            let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": annotation});
            warnings(&json!({"metadata": {"annotations": annotations}, "spec": spec})).len()
        };
        let containers = json!([{"name": "a"}, {"name": "b"}]);
        let of_pod = json!({"appArmorProfile": {"type": "Unconfined"}});
        let own = json!([{"name": "a", "securityContext": of_pod}]);
        assert_eq!(warned("unconfined", json!({"containers": containers})), 1);
        assert_eq!(warned("nonsense", json!({"containers": containers})), 1);
        assert_eq!(warned("unconfined", json!({"containers": containers, "securityContext": of_pod})), 0);
        assert_eq!(warned("runtime/default", json!({"containers": containers, "securityContext": of_pod})), 1);
        assert_eq!(warned("unconfined", json!({"containers": own})), 0);
        assert_eq!(warned("unconfined", json!({"containers": containers, "os": {"name": "windows"}})), 0);
    }
}
