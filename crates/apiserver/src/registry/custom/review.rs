//! Conversion by webhook: a `ConversionReview` goes out, one comes back, and what came back is checked.
//!
//! A webhook converts; it may change labels and annotations, but no other metadata. Wording of failures is upstream's.

use crate::webhook::{Client, Document, Target};
use api_core::meta::Meta;
use api_core::{ApiError, Reason, go, gvk};
use api_schema::codec;
use api_schema::custom::Family;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a webhook may take to convert.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Versions of the review that the server speaks.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const GROUP: &str = "apiextensions.k8s.io";

fn failed(message: String) -> ApiError {
    ApiError::new(500, Reason::Unknown, message)
}

/// Converts objects, all of which are in another version.
pub(super) async fn convert(
    webhooks: &Client,
    family: &Family,
    client_config: &Value,
    review_versions: &[String],
    objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, ApiError> {
    let about = objects.first().map(kind_of).unwrap_or_default();
    let to = family.api_version(version);
    let review_version = review_versions.iter().find(|v| VERSIONS.contains(&v.as_str())).ok_or_else(|| {
        failed(format!("no supported conversion review versions, got: {}", review_versions.join(", ")))
    })?;
    let uid = uuid::Uuid::new_v4().to_string();
    let request = json!({
        "kind": "ConversionReview",
        "apiVersion": format!("{GROUP}/{review_version}"),
        "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
    });
    let target = Target::read(client_config).map_err(|e| failed(e.to_string()))?;
    let wanted = Document { group: GROUP, version: review_version, kind: "ConversionReview" };
    let call = webhooks.call(&target, request.to_string().into(), wanted, 0, TIMEOUT);
    let why = |why: String| failed(format!("conversion webhook for {about} failed: {why}"));
    let answer = call.await.map_err(|e| why(e.to_string()))?;
    let converted = converted_objects(answer, review_version, &uid).map_err(why)?;
    if converted.len() != objects.len() {
        let (got, wanted) = (converted.len(), objects.len());
        return Err(failed(format!("conversion webhook for {about} returned {got} objects, expected {wanted}")));
    }
    let pairs = objects.iter().zip(converted).enumerate();
    pairs.map(|(i, (old, new))| checked(old, new, i, &to)).collect()
}

/// `example.com/v1, Kind=Widget`.
fn kind_of(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or("");
    let (group, version) = gvk::split_api_version(text("apiVersion"));
    format!("{group}/{version}, Kind={}", text("kind"))
}

/// The objects of an answer, if it is one to our request.
fn converted_objects(answer: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let expected = format!("{GROUP}/{version}");
    if version == "v1" && (answer["apiVersion"] != expected || answer["kind"] != "ConversionReview") {
        let got = kind_of(&answer);
        return Err(format!("expected webhook response of {expected}, Kind=ConversionReview, got {got}"));
    }
    let Some(response) = answer.get("response").filter(|r| r.is_object()) else {
        return Err("no response provided".into());
    };
    let got = response["uid"].as_str().unwrap_or("");
    if version == "v1" && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    let result = &response["result"];
    let text = |field: &str| result[field].as_str().unwrap_or("");
    if text("status") != "Success" {
        return Err(match text("message") {
            "" => format!("response.result.status was '{}', not 'Success'", text("status")),
            message => message.to_owned(),
        });
    }
    Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default())
}

/// The converted object with the metadata of the original, but for labels and annotations.
fn checked(old: &Value, new: Value, index: usize, to: &str) -> Result<Value, ApiError> {
    let about = kind_of(old);
    let invalid =
        |why: String| failed(format!("conversion webhook for {about} returned invalid object at index {index}: {why}"));
    let text = |v: &Value, field: &str| v[field].as_str().unwrap_or("").to_owned();
    match &new {
        Value::Null => return Err(failed("unexpected end of JSON input".into())),
        Value::Object(_) if text(&new, "kind").is_empty() => {
            return Err(failed(format!("Object 'Kind' is missing in '{new}'")));
        }
        Value::Object(_) => {}
        other => {
            let found = codec::go_kind(other);
            let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
            return Err(failed(why));
        }
    }
    if text(&new, "apiVersion") != to {
        let got = text(&new, "apiVersion");
        return Err(invalid(format!("invalid groupVersion (expected {to}, received {got})")));
    }
    if new["kind"] != old["kind"] {
        let (expected, got) = (text(old, "kind"), text(&new, "kind"));
        return Err(invalid(format!("invalid kind (expected {expected}, received {got})")));
    }
    for (what, a, b) in [
        ("name", old.name(), new.name()),
        ("namespace", old.namespace(), new.namespace()),
        ("UID", old.uid(), new.uid()),
    ] {
        if a != b {
            let why = format!("must have the same {what}: {a} != {b}");
            return Err(failed(format!("conversion webhook for {about} returned invalid object: {why}")));
        }
    }
    restore_metadata(old, new)
        .map_err(|why| failed(format!("conversion webhook for {about} returned invalid metadata: {why}")))
}

/// Reads an answer to a conversion; for `crate::fuzz`.
pub(crate) fn read_answer(answer: &Value, version: &str) {
    let old = serde_json::json!({"kind": "A", "apiVersion": "example.com/v1", "metadata": {"name": "a", "uid": "u"}});
    for (i, new) in converted_objects(answer.clone(), version, "u").unwrap_or_default().into_iter().enumerate() {
        if let Ok(new) = checked(&old, new, i, "example.com/v2") {
            assert_eq!((new.name(), new.uid()), ("a", "u"), "{answer}");
        }
    }
}

fn restore_metadata(old: &Value, mut new: Value) -> Result<Value, String> {
    let Some(given) = new.get("metadata") else { return Err("missing metadata in converted object".into()) };
    let Some(given) = given.as_object().cloned() else {
        return Err(format!("invalid metadata of type {} in converted object", go::type_name(given)));
    };
    let mut metadata: Map<String, Value> = old["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let Some(value) = given.get(field).filter(|v| !v.is_null()) else {
            metadata.remove(field);
            continue;
        };
        let Some(map) = value.as_object() else {
            return Err(format!("invalid metadata.{field} of type {} in converted object", go::type_name(value)));
        };
        if let Some((key, other)) = map.iter().find(|(_, v)| !v.is_string()) {
            let is = go::type_name(other);
            return Err(format!("metadata.{field}[{key}] must be a string, but is {is} in converted object"));
        }
        if metadata.get(field) != Some(value) {
            api_kinds::custom::convertible_metadata(field, value)?;
        }
        metadata.insert(field.into(), value.clone());
    }
    new["metadata"] = metadata.into();
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let good = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response":
            {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{"a": 1}]}});
        assert_eq!(converted_objects(good.clone(), "v1", "u"), Ok(vec![json!({"a": 1})]));
        for (path, value, why) in [
            ("/response/uid", json!("x"), "expected response.uid=\"u\", got \"x\""),
            ("/response/result", json!({"status": "Failed", "message": "no"}), "no"),
            ("/response/result", json!({"status": "Failed"}), "response.result.status was 'Failed', not 'Success'"),
            ("/response", json!(null), "no response provided"),
            (
                "/kind",
                json!("X"),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=X",
            ),
        ] {
            let mut answer = good.clone();
            *answer.pointer_mut(path).expect("path") = value;
            assert_eq!(converted_objects(answer, "v1", "u").unwrap_err(), why);
        }
    }

    #[test]
    fn only_labels_and_annotations_change() {
        let old = json!({"apiVersion": "e.com/v1", "kind": "W", "metadata": {"name": "a", "uid": "1", "labels": {"a": "b"}, "generation": 3}});
        let new = json!({"apiVersion": "e.com/v2", "kind": "W", "metadata": {"name": "a", "uid": "1", "labels": {"c": "d"}, "generation": 9}, "x": 1});
        let done = checked(&old, new.clone(), 0, "e.com/v2").expect("converted");
        assert_eq!(
            done,
            json!({"apiVersion": "e.com/v2", "kind": "W", "metadata": {"name": "a", "uid": "1", "labels": {"c": "d"}, "generation": 3}, "x": 1})
        );
        let say = |new: Value| checked(&old, new, 0, "e.com/v2").unwrap_err().message;
        let mut other = new.clone();
        other["metadata"]["name"] = "b".into();
        assert_eq!(
            say(other),
            "conversion webhook for e.com/v1, Kind=W returned invalid object: must have the same name: a != b"
        );
        let mut other = new.clone();
        other["apiVersion"] = "e.com/v3".into();
        assert!(say(other).ends_with("at index 0: invalid groupVersion (expected e.com/v2, received e.com/v3)"));
        let mut other = new;
        other["metadata"]["labels"] = json!({"a": 1});
        assert!(
            say(other)
                .ends_with("invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object")
        );
    }
}
