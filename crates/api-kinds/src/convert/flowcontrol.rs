//! Flow control: v1beta3 cannot tell an absent number of shares from zero, so an annotation does.

use super::{begins, finish};
use api_core::Gvk;
use api_core::meta::Meta;
use serde_json::{Value, json};

const KEEPS_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

/// A flow schema: both versions are alike.
pub fn convert_schema(value: &mut Value, to: &Gvk) {
    if let Value::Object(object) = value
        && begins(object, to)
    {
        finish(value, to);
    }
}

/// A priority level.
pub fn convert_level(value: &mut Value, to: &Gvk) {
    let Value::Object(object) = value else { return };
    if !begins(object, to) {
        return;
    }
    let keeps_zero = value.annotation(KEEPS_ZERO) == Some("true");
    if let Some(Value::Object(limited)) = value.pointer_mut("/spec/limited") {
        let shares = limited.get("nominalConcurrencyShares").and_then(Value::as_i64).unwrap_or(0);
        let to_old = to.version == "v1beta3";
        if !to_old && shares == 0 {
            limited.insert("nominalConcurrencyShares".into(), if keeps_zero { json!(0) } else { Value::Null });
        }
        if to_old && shares == 0 {
            annotate(value);
        }
    }
    if to.version != "v1beta3" {
        forget(value);
    }
    finish(value, to);
}

fn annotate(value: &mut Value) {
    let annotations = value.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
    if let Value::Object(annotations) = annotations {
        annotations.insert(KEEPS_ZERO.into(), "true".into());
    }
}

fn forget(value: &mut Value) {
    if let Some(Value::Object(annotations)) = value.metadata_mut().get_mut("annotations") {
        annotations.remove(KEEPS_ZERO);
    }
}
