//! Definitions of custom resources: `v1beta1` names once what `v1` names for each version. Upstream still stores the former.

use super::{begins, finish, rename};
use api_core::Gvk;
use serde_json::{Value, json};

/// What `v1beta1` may say once for all versions, and what `v1` calls it.
const SHARED: [(&str, &str); 3] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
];

/// From `v1beta1` to `v1`.
pub fn convert(value: &mut Value, to: &Gvk) {
    let Value::Object(object) = value else { return };
    if !begins(object, to) {
        return;
    }
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        // Without a list there is the one version of old.
        if let Some(name) = spec.remove("version")
            && spec.get("versions").and_then(Value::as_array).is_none_or(Vec::is_empty)
        {
            spec.insert("versions".into(), json!([{"name": name, "served": true, "storage": true}]));
        }
        let shared = SHARED.map(|(old, new)| (new, spec.remove(old)));
        for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
            complete(version, &shared);
        }
        if let Some(conversion) = spec.get_mut("conversion") {
            nest_webhook(conversion);
        }
        spec.entry("preserveUnknownFields").or_insert(true.into());
    }
    finish(value, to);
}

fn complete(version: &mut Value, shared: &[(&str, Option<Value>)]) {
    let Value::Object(version) = version else { return };
    for (field, value) in shared {
        if let Some(value) = value {
            version.entry(*field).or_insert_with(|| value.clone());
        }
    }
    for column in version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(column) = column {
            rename(column, "JSONPath", "jsonPath");
        }
    }
}

fn nest_webhook(conversion: &mut Value) {
    let Value::Object(conversion) = conversion else { return };
    let (client, versions) = (conversion.remove("webhookClientConfig"), conversion.remove("conversionReviewVersions"));
    if conversion.get("strategy").is_some_and(|s| s == "Webhook") {
        let versions = versions.unwrap_or_else(|| json!(["v1beta1"]));
        conversion.insert("webhook".into(), json!({"clientConfig": client, "conversionReviewVersions": versions}));
    }
}
