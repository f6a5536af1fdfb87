//! Volumes: default class of a claim, protection from deletion in use, and growing.

use super::{newest_default, text};
use api_core::meta::Meta;
use api_core::quantity::Quantity;
use serde_json::{Value, json};

/// Gives a claim that names no class the default one.
pub fn default_class(claim: &mut Value, classes: &[Value]) {
    const BETA: &str = "volume.beta.kubernetes.io/storage-class";
    if !claim["spec"]["storageClassName"].is_null() || claim.annotation(BETA).is_some() {
        return;
    }
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(class) = newest_default(classes, &marks) {
        claim["spec"]["storageClassName"] = class.name().into();
    }
}

/// Adds the finalizer that holds back deletion while the object is in use.
pub fn protect(object: &mut Value, finalizer: &str) {
    if object.finalizers().contains(&finalizer) {
        return;
    }
    match object.metadata_mut().entry("finalizers").or_insert_with(|| json!([])) {
        Value::Array(list) => list.push(finalizer.into()),
        other => *other = json!([finalizer]),
    }
}

/// Whether an update asks for a larger volume.
pub fn grows(claim: &Value, old: &Value) -> bool {
    let size = |c: &Value| text(&c["spec"]["resources"]["requests"], "storage").parse::<Quantity>().ok();
    matches!((size(claim), size(old)), (Some(new), Some(old)) if new > old)
}

/// Refuses growth unless the claim is bound and its class can grow.
pub fn check_growth(old: &Value, class: Option<&Value>) -> Result<(), String> {
    if text(&old["status"], "phase") != "Bound" {
        return Err("Only bound persistent volume claims can be expanded".into());
    }
    if class.is_some_and(|c| c["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        let class = json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        let mut claim = json!({"metadata": {}, "spec": {}});
        default_class(&mut claim, std::slice::from_ref(&class));
        assert_eq!(claim["spec"]["storageClassName"], "fast");
        let mut none = json!({"metadata": {}, "spec": {"storageClassName": ""}});
        default_class(&mut none, &[class]);
        assert_eq!(none["spec"]["storageClassName"], "", "an empty name asks for no class");
        protect(&mut claim, "kubernetes.io/pvc-protection");
        protect(&mut claim, "kubernetes.io/pvc-protection");
        assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        let size = |s: &str, phase: &str| json!({"spec": {"resources": {"requests": {"storage": s}}}, "status": {"phase": phase}});
        assert!(grows(&size("2Gi", ""), &size("1Gi", "")));
        assert!(!grows(&size("1024Mi", ""), &size("1Gi", "")));
        let growing = json!({"allowVolumeExpansion": true});
        assert!(check_growth(&size("1Gi", "Bound"), Some(&growing)).is_ok());
        assert!(check_growth(&size("1Gi", "Pending"), Some(&growing)).is_err());
        assert!(check_growth(&size("1Gi", "Bound"), None).is_err());
    }
}
