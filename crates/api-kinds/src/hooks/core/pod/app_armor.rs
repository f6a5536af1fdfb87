//! AppArmor profiles stand in a field and in an annotation, the older of the two; a new pod gets what it lacks.

use crate::hooks::fill::Fill;
use serde_json::{Value, json};

/// Where the profile of a container is kept, before the container's name.
pub(super) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

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

/// Writes each container's profile to where it is missing.
pub(super) fn agree(pod: &mut Value) {
    if pod["spec"]["os"].text("name") == "windows" {
        return;
    }
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    let annotations = pod["metadata"]["annotations"].clone();
    let mut added = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let spec = pod.make("spec");
        spec.each_mut(list, |container| {
            let key = format!("{ANNOTATION}{}", container.text("name"));
            let own = container["securityContext"]["appArmorProfile"].clone();
            match annotations.get(&key).and_then(Value::as_str) {
                None => {
                    let annotation = text(if own.is_null() { &of_pod } else { &own });
                    if !annotation.is_empty() {
                        added.push((key, annotation));
                    }
                }
                Some(annotation) if own.is_null() => {
                    if let Some(profile) = profile(annotation).filter(|profile| *profile != of_pod) {
                        container.make("securityContext")["appArmorProfile"] = profile;
                    }
                }
                Some(_) => {}
            }
        });
    }
    for (key, annotation) in added {
        pod.make("metadata").make("annotations")[key] = annotation.into();
    }
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
}
