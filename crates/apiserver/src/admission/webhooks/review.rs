//! The documents that go to a webhook and come back: `AdmissionReview` in `v1` and `v1beta1`. Pure.

use crate::authn::UserInfo;
use api_core::{ApiError, Gvk, Gvr, Reason};
use api_schema::codec;
use base64::Engine;
use serde_json::{Map, Value, json};

/// What is reviewed.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Tells the answer from others.
    pub uid: &'a str,
    /// Kind of the object as it is sent.
    pub kind: &'a Gvk,
    /// Resource that the webhook's rule names.
    pub resource: &'a Gvr,
    /// Kind and resource of the request itself.
    pub request: (&'a Gvk, &'a Gvr),
    /// Empty for objects themselves.
    pub subresource: &'a str,
    /// May be empty.
    pub name: &'a str,
    /// May be empty.
    pub namespace: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The object, or null.
    pub object: Value,
    /// The one before, or null.
    pub old: Value,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// The request's options, or null.
    pub options: &'a Value,
}

/// What a webhook said.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// Whether the write may happen.
    pub allowed: bool,
    /// Why not.
    pub status: Value,
    /// A JSON patch; empty if there is none.
    pub patch: Vec<u8>,
    /// The type of a patch that is no JSON patch.
    pub foreign_patch: Option<String>,
    /// What the client is told.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

/// Versions of reviews that are spoken here.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The first version of the webhook's that is spoken here too.
pub fn version(accepted: &[String]) -> Result<&'static str, String> {
    accepted.iter().find_map(|v| VERSIONS.into_iter().find(|known| known == v)).ok_or_else(|| {
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            .into()
    })
}

fn gvk(kind: &Gvk) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn gvr(resource: &Gvr) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.resource})
}

/// The document of a request.
pub fn request(version: &str, asked: Asked<'_>) -> Value {
    let mut request = Map::new();
    request.insert("uid".into(), asked.uid.into());
    request.insert("kind".into(), gvk(asked.kind));
    request.insert("resource".into(), gvr(asked.resource));
    let texts = |fields: &[(&str, &str)], request: &mut Map<String, Value>| {
        for (field, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
            request.insert((*field).into(), (*text).into());
        }
    };
    texts(&[("subResource", asked.subresource)], &mut request);
    request.insert("requestKind".into(), gvk(asked.request.0));
    request.insert("requestResource".into(), gvr(asked.request.1));
    texts(
        &[("requestSubResource", asked.subresource), ("name", asked.name), ("namespace", asked.namespace)],
        &mut request,
    );
    request.insert("operation".into(), asked.operation.into());
    request.insert("userInfo".into(), asked.user.to_value());
    request.insert("object".into(), asked.object);
    request.insert("oldObject".into(), asked.old);
    request.insert("dryRun".into(), asked.dry_run.into());
    request.insert("options".into(), asked.options.clone());
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request})
}

/// Reads the answer to a request of that version and uid. Fails in upstream's words.
pub fn verdict(version: &str, uid: &str, mutating: bool, review: &Value) -> Result<Verdict, String> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let (kind, api_version) = (text(review, "kind"), text(review, "apiVersion"));
    let wanted = format!("admission.k8s.io/{version}");
    if kind.is_empty() && version == "v1" {
        return Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=".into());
    }
    let is_named = !kind.is_empty() || !api_version.is_empty();
    if is_named && (kind != "AdmissionReview" || api_version != wanted) {
        return Err(format!(
            "expected webhook response of {wanted}, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        ));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    if version == "v1" && text(response, "uid") != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(response, "uid")));
    }
    let patch = patch_of(response)?;
    let patch_type = response.get("patchType").and_then(Value::as_str);
    if version == "v1" {
        check_patch(mutating, !patch.is_empty(), patch_type)?;
    }
    let pairs = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"].as_bool().unwrap_or(false),
        status: response["status"].clone(),
        foreign_patch: patch_type
            .filter(|t| *t != "JSONPatch" && !patch.is_empty() && version == "v1")
            .map(str::to_owned),
        patch,
        warnings: response["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        annotations: pairs.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
    })
}

/// The bytes of a patch. Go's decoder passes over line breaks in base64.
fn patch_of(response: &Value) -> Result<Vec<u8>, String> {
    let encoded = codec::base64(response["patch"].as_str().unwrap_or("").to_owned())?;
    base64::engine::general_purpose::STANDARD.decode(encoded.as_str().unwrap_or("")).map_err(|e| e.to_string())
}

/// Whether an answer can be read at all. Fails as upstream's decoder does.
pub fn check_types(review: &Value) -> Result<(), String> {
    let cannot = |value: &Value, field: &str, of: &str| {
        let found = codec::go_kind(value);
        Err(format!("json: cannot unmarshal {found} into Go struct field AdmissionReview.{field} of type {of}"))
    };
    let response = match &review["response"] {
        Value::Null => return Ok(()),
        response if response.is_object() => response,
        other => return cannot(other, "response", "v1.AdmissionResponse"),
    };
    let cannot = |value: &Value, field: &str, of: &str| {
        let found = codec::go_kind(value);
        Err(format!(
            "json: cannot unmarshal {found} into Go struct field AdmissionResponse.response.{field} of type {of}"
        ))
    };
    type Is = fn(&Value) -> bool;
    let types: [(&str, Is, &str); 5] = [
        ("uid", Value::is_string, "types.UID"),
        ("allowed", Value::is_boolean, "bool"),
        ("status", Value::is_object, "v1.Status"),
        ("patch", Value::is_string, "[]uint8"),
        ("patchType", Value::is_string, "v1.PatchType"),
    ];
    for (field, is, of) in types {
        match &response[field] {
            Value::Null => {}
            value if is(value) => {}
            value => return cannot(value, field, of),
        }
    }
    if let Some(patch) = response["patch"].as_str() {
        codec::base64(patch.into())?;
    }
    for (field, of) in [("auditAnnotations", "map[string]string"), ("warnings", "[]string")] {
        let items: Vec<&Value> = match &response[field] {
            Value::Null => continue,
            Value::Object(map) if field == "auditAnnotations" => map.values().collect(),
            Value::Array(items) if field == "warnings" => items.iter().collect(),
            other => return cannot(other, field, of),
        };
        if let Some(other) = items.into_iter().find(|item| !item.is_string() && !item.is_null()) {
            return cannot(other, field, "string");
        }
    }
    Ok(())
}

fn check_patch(mutating: bool, patch: bool, patch_type: Option<&str>) -> Result<(), String> {
    match (mutating, patch, patch_type) {
        (false, true, _) => Err("validating webhook may not return response.patch".into()),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType".into()),
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".into()),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".into()),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".into()),
        _ => Ok(()),
    }
}

/// A refusal as the client gets it: the webhook's own status, with its name before the words.
pub fn denied(webhook: &str, status: &Value) -> ApiError {
    let mut status = status.as_object().cloned().unwrap_or_default();
    let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or("");
    let said = if text("message").is_empty() { text("reason") } else { text("message") };
    let message = if said.is_empty() {
        format!("admission webhook {webhook:?} denied the request without explanation")
    } else {
        format!("admission webhook {webhook:?} denied the request: {said}")
    };
    // HTTP has three digits for it; what is below 400 would be no refusal.
    let code = status.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
    let code = code.filter(|c| (400..1000).contains(c)).unwrap_or(400);
    let reason = Reason::parse(text("reason"));
    status.insert("kind".into(), "Status".into());
    status.insert("apiVersion".into(), "v1".into());
    status.entry("metadata").or_insert_with(|| json!({}));
    status.insert("status".into(), "Failure".into());
    status.insert("message".into(), message.as_str().into());
    status.insert("code".into(), code.into());
    ApiError::new(code, reason, message).with_status(Value::Object(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: &str, mutating: bool, api_version: &str, response: Value) -> String {
        let review = json!({"kind": "AdmissionReview", "apiVersion": api_version, "response": response});
        match verdict(version, "u", mutating, &review) {
            Ok(verdict) => format!("{} {}", verdict.allowed, String::from_utf8_lossy(&verdict.patch)),
            Err(error) => error,
        }
    }

    #[test]
    fn answers() {
        const V1: &str = "admission.k8s.io/v1";
        const BETA: &str = "admission.k8s.io/v1beta1";
        let patch = base64::engine::general_purpose::STANDARD.encode("[]");
        for (version, mutating, api_version, response, expected) in [
            ("v1", false, V1, json!({"uid": "u", "allowed": true}), "true "),
            ("v1", true, V1, json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}), "true []"),
            (
                "v1",
                true,
                V1,
                json!({"uid": "u", "patch": patch}),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                "v1",
                true,
                V1,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "webhook returned response.patchType but not response.patch",
            ),
            ("v1", false, V1, json!({"uid": "u", "patch": patch}), "validating webhook may not return response.patch"),
            ("v1", false, V1, json!({"uid": "x"}), "expected response.uid=\"u\", got \"x\""),
            ("v1", false, V1, Value::Null, "webhook response was absent"),
            (
                "v1",
                false,
                BETA,
                json!({"uid": "u"}),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
            ),
            ("v1beta1", true, BETA, json!({"allowed": true, "patch": patch}), "true []"),
            ("v1beta1", true, BETA, json!({"allowed": true, "patch": "W1\r\n0=\n"}), "true []"),
            ("v1beta1", true, BETA, json!({"patch": "W1"}), "illegal base64 data at input byte 0"),
        ] {
            assert_eq!(read(version, mutating, api_version, response), expected);
        }
        assert_eq!(version(&["v2".into(), "v1beta1".into(), "v1".into()]), Ok("v1beta1"));
        assert!(version(&["v2".into()]).is_err());
    }

    #[test]
    fn refusals() {
        let say = |status: Value| {
            let error = denied("w", &status);
            format!("{} {} {}", error.code, error.to_status()["reason"].as_str().unwrap_or(""), error.message)
        };
        assert_eq!(say(Value::Null), "400  admission webhook \"w\" denied the request without explanation");
        assert_eq!(
            say(json!({"reason": "no such luck"})),
            "400 no such luck admission webhook \"w\" denied the request: no such luck"
        );
        assert_eq!(
            say(json!({"code": 403, "message": "m", "reason": "Forbidden"})),
            "403 Forbidden admission webhook \"w\" denied the request: m"
        );
        for (given, code) in [(836, 836), (999, 999), (1000, 400), (70_000, 400), (-1, 400)] {
            assert!(say(json!({"code": given})).starts_with(&format!("{code} ")), "{given}");
        }
        assert_eq!(say(json!({"code": 200})), "400  admission webhook \"w\" denied the request without explanation");
    }
}
