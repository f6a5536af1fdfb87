//! A body in protobuf → an object, with upstream's wording of what is wrong. Must never know requests.

use super::typed::Root;
use super::{Decoded, Refused, go_json};
use crate::protobuf::{self, Envelope, MAGIC};
use serde_json::Value;

/// Reads a body that should be a message in its envelope.
pub fn decode(target: Root<'_>, body: &[u8]) -> Result<Decoded, Refused> {
    let envelope = open(body).map_err(|why| unrecognized(&target, &why, body))?;
    let found = target.check_said(envelope.kind, envelope.api_version, body)?;
    let mut value = protobuf::decode(target.schema, target.root, envelope.raw)
        .map_err(|error| target.refuse(&found, &error.to_string()))?;
    if let Value::Object(object) = &mut value {
        object.insert("kind".into(), target.kind.kind.clone().into());
        object.insert("apiVersion".into(), target.kind.api_version().into());
    }
    Ok(Decoded { value, warnings: Vec::new() })
}

fn open(body: &[u8]) -> Result<Envelope<'_>, String> {
    if body.is_empty() {
        return Err("empty data".into());
    }
    let Some(rest) = body.strip_prefix(MAGIC) else {
        return Err(format!(
            "provided data does not appear to be a protobuf message, expected prefix {}",
            format!("{MAGIC:?}").replace(',', "")
        ));
    };
    if rest.is_empty() {
        return Err("empty body".into());
    }
    Envelope::open(rest).map_err(|e| e.to_string())
}

fn unrecognized(target: &Root<'_>, why: &str, body: &[u8]) -> Refused {
    let (kind, summary) = (&target.kind.kind, go_json::summary(body));
    Refused::Whole(format!("the object provided is unrecognized (must be of type {kind}): {why} ({summary})"))
}
