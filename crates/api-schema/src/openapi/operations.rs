//! Single operations of a v3 document.

use super::SCHEMAS;
use serde_json::{Map, Value, json};

/// What an operation answers with.
#[derive(Clone, Copy)]
pub enum Answer<'a> {
    /// An object of this type.
    Type(&'a str),
    /// The same, also as a watch.
    Stream(&'a str),
    /// Text: logs.
    Text,
    /// Whatever is behind it.
    Anything,
}

/// An operation.
pub struct Operation<'a> {
    /// Group and version, such as `core_v1`.
    pub tag: &'a str,
    /// `listCoreV1NamespacedPod`.
    pub id: String,
    /// `x-kubernetes-action`; empty for none.
    pub action: &'static str,
    /// `x-kubernetes-group-version-kind`.
    pub kind: Value,
    /// Type of the body, its media types, and whether it must be there.
    pub body: Option<(&'a str, &'a [&'static str], bool)>,
    /// What it answers with.
    pub answer: Answer<'a>,
    /// Codes it answers with.
    pub codes: &'static [u16],
    /// Whether it speaks protobuf.
    pub protobuf: bool,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

impl Operation<'_> {
    /// As it stands in the document, without parameters.
    pub fn render(&self) -> Map<String, Value> {
        let mut responses = Map::new();
        for code in self.codes {
            let text = match code {
                200 => "OK",
                201 => "Created",
                _ => "Accepted",
            };
            responses.insert(code.to_string(), json!({"description": text, "content": self.content()}));
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        let mut out = Map::new();
        out.insert("tags".into(), json!([self.tag]));
        out.insert("operationId".into(), self.id.as_str().into());
        if let Some((name, media, required)) = self.body {
            let schema = json!({"schema": {"$ref": format!("{SCHEMAS}{name}")}});
            let content: Map<String, Value> = media.iter().map(|m| ((*m).to_owned(), schema.clone())).collect();
            let mut body = json!({"content": content});
            if required {
                body["required"] = true.into();
            }
            out.insert("requestBody".into(), body);
        }
        out.insert("responses".into(), Value::Object(responses));
        if !self.action.is_empty() {
            out.insert("x-kubernetes-action".into(), self.action.into());
            out.insert("x-kubernetes-group-version-kind".into(), self.kind.clone());
        }
        out
    }

    fn content(&self) -> Value {
        let media: &[&str] = match self.answer {
            Answer::Type(_) => &[JSON, YAML, PROTOBUF],
            Answer::Stream(_) => &[
                JSON,
                YAML,
                PROTOBUF,
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ],
            Answer::Text => &["text/plain", JSON, YAML, PROTOBUF],
            Answer::Anything => &["*/*"],
        };
        let schema = match self.answer {
            Answer::Type(name) | Answer::Stream(name) => json!({"schema": {"$ref": format!("{SCHEMAS}{name}")}}),
            Answer::Text | Answer::Anything => json!({"schema": {"type": "string"}}),
        };
        let kept = media.iter().filter(|m| self.protobuf || !m.starts_with(PROTOBUF));
        kept.map(|m| ((*m).to_owned(), schema.clone())).collect::<Map<_, _>>().into()
    }
}
