//! What a webhook answers, read as upstream's client reads it: first what it is, then what is in it. Wording is upstream's.

use api_core::gvk;
use api_schema::codec;
use http::StatusCode;
use serde_json::Value;

/// Versions of the reviews of either group.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// How upstream names what its client can read.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// The document that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Group of its version.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its kind.
    pub kind: &'a str,
}

impl Document<'_> {
    /// Reads an answer. One that does not say what it is comes as it is.
    ///
    /// # Errors
    /// With upstream's words.
    pub(super) fn read(&self, bytes: &[u8], code: StatusCode, media: &str) -> Result<Value, String> {
        if bytes.is_empty() {
            let code = code.as_u16();
            return Err(format!("0-length response with status code: {code} and content type: {media}"));
        }
        let unreadable = |why: String| format!("couldn't get version/kind; json parse error: {why}");
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(_) if !media.starts_with("application/json") => {
                crate::yaml::parse(bytes).map_err(|e| unreadable(e.message))?
            }
            Err(error) => return Err(unreadable(codec::json_wording(bytes, &error))),
        };
        if !value.is_object() && !value.is_null() {
            return Err(unreadable(format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
                 \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                codec::go_kind(&value)
            )));
        }
        self.check_kind(&value, bytes)?;
        Ok(value)
    }

    fn check_kind(&self, value: &Value, bytes: &[u8]) -> Result<(), String> {
        let text = |field: &str| value[field].as_str().unwrap_or("");
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if kind.is_empty() {
            return Ok(());
        }
        if api_version.is_empty() {
            return Err(format!("Object 'apiVersion' is missing in '{}'", String::from_utf8_lossy(bytes)));
        }
        let (group, version) = gvk::split_api_version(api_version);
        if group != self.group || kind != self.kind || !VERSIONS.contains(&version) {
            return Err(format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}"));
        }
        if version != self.version {
            let wanted = self.version;
            return Err(format!("converting ({version}.{kind}) to ({wanted}.{kind}): unknown conversion"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_document() {
        let wanted = Document { group: "admission.k8s.io", version: "v1", kind: "AdmissionReview" };
        let said = |text: &str, media: &str| {
            wanted.read(text.as_bytes(), StatusCode::OK, media).map_or_else(|why| why, |value| value.to_string())
        };
        const JSON: &str = "application/json";
        let parse = "couldn't get version/kind; json parse error: ";
        let into = "into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
        for (text, media, expected) in [
            ("", JSON, "0-length response with status code: 200 and content type: application/json".to_owned()),
            ("{\"a\":", JSON, format!("{parse}unexpected end of JSON input")),
            ("[]", JSON, format!("{parse}json: cannot unmarshal array {into}")),
            ("<html>", "text/html", format!("{parse}json: cannot unmarshal string {into}")),
            (
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"Foo"}"#,
                JSON,
                "no kind \"Foo\" is registered for version \"admission.k8s.io/v1\" in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"".into(),
            ),
            (
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
                JSON,
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion".into(),
            ),
            ("{\"response\":{}}", "text/plain", "{\"response\":{}}".into()),
        ] {
            assert_eq!(said(text, media), expected, "{text}");
        }
    }
}
