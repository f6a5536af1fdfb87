//! Stored values as another server may have written them: in protobuf, or in a version that is no longer served.
//!
//! What this server writes is JSON of the version that its row names; anything else is brought into that form when it is
//! read, and stays as it is in the store until someone changes it. Custom resources are none of this.

use crate::rows::{message_type_of, rows, schema, type_of};
use api_core::Gvk;
use api_core::gvk::split_api_version;
use api_schema::normalize::normalize;
use api_schema::protobuf::{self, Envelope, MAGIC};
use api_schema::row::Row;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What a value begins with that upstream has encrypted.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Why a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no message.
    #[error("it is no protobuf of its type: {0}")]
    Protobuf(#[source] protobuf::Error),
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// It is encrypted, and this server has no keys.
    #[error("identity transformer tried to read encrypted data")]
    Encrypted,
    /// Nothing is known of its kind.
    #[error("no kind {kind:?} is known in version {api_version:?}")]
    Kind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its kind.
        kind: String,
    },
}

/// The rows of stored built-in kinds by kind; of several versions any, since they agree on the one that is stored.
static BY_KIND: LazyLock<HashMap<&str, Vec<&Arc<Row>>>> = LazyLock::new(|| {
    let mut by_kind: HashMap<&str, Vec<&Arc<Row>>> = HashMap::new();
    for row in rows().iter().filter(|row| !row.storage_prefix.is_empty()) {
        by_kind.entry(&row.kind.kind).or_default().push(row);
    }
    by_kind
});

/// The value in the form that this server stores; `None` if it is so already.
///
/// # Errors
/// When nobody could read it.
pub fn upgrade(stored: &[u8]) -> Result<Option<Value>, Error> {
    if let Some(rest) = stored.strip_prefix(MAGIC) {
        return from_protobuf(rest).map(Some);
    }
    if stored.starts_with(ENCRYPTED) {
        return Err(Error::Encrypted);
    }
    let said = match head(stored) {
        Some(said) => said,
        None => serde_json::from_slice(stored).map_err(Error::Json)?,
    };
    let (group, version) = split_api_version(&said.api_version);
    let Some(row) = BY_KIND.get(&*said.kind).and_then(|rows| row_of(rows, group, version, &said.kind)) else {
        return Ok(None);
    };
    let is_current = row.storage_version.version == version && row.storage_version.group == group;
    // Upstream ends what it stores as JSON with a newline, this server does not. Theirs may lack defaults that came later,
    // and have fields that are newer than this server.
    if is_current && !stored.ends_with(b"\n") {
        return Ok(None);
    }
    let mut value = serde_json::from_slice(stored).map_err(Error::Json)?;
    complete(row, &mut value);
    Ok(Some(value))
}

/// The row that keeps objects of that kind, also of a group that it was in once.
fn row_of<'a>(rows: &[&'a Arc<Row>], group: &str, version: &str, kind: &str) -> Option<&'a Arc<Row>> {
    let own = rows.iter().find(|row| row.kind.group == group || row.storage_version.group == group);
    own.copied().or_else(|| {
        let root = message_type_of(&Gvk::new(group, version, kind))?;
        rows.iter().find(|row| row.root() == root).copied()
    })
}

/// A value of a kind that no resource has, such as the record of a range of addresses.
///
/// # Errors
/// When nobody could read it.
pub fn message(stored: &[u8]) -> Result<Value, Error> {
    let Some(rest) = stored.strip_prefix(MAGIC) else {
        return if stored.starts_with(ENCRYPTED) {
            Err(Error::Encrypted)
        } else {
            serde_json::from_slice(stored).map_err(Error::Json)
        };
    };
    let Envelope { api_version, kind, raw } = Envelope::open(rest).map_err(Error::Protobuf)?;
    let (group, version) = split_api_version(api_version);
    let root = message_type_of(&Gvk::new(group, version, kind))
        .ok_or_else(|| Error::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    protobuf::decode(schema(), root, raw).map_err(Error::Protobuf)
}

fn from_protobuf(bytes: &[u8]) -> Result<Value, Error> {
    let Envelope { api_version, kind, raw } = Envelope::open(bytes).map_err(Error::Protobuf)?;
    let unknown = || Error::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let (group, version) = split_api_version(api_version);
    let root = message_type_of(&Gvk::new(group, version, kind)).ok_or_else(unknown)?;
    let row = BY_KIND.get(kind).and_then(|rows| row_of(rows, group, version, kind)).ok_or_else(unknown)?;
    let mut value = protobuf::decode(schema(), root, raw).map_err(Error::Protobuf)?;
    // A type that is that of the stored version needs no conversion, whatever the version was called.
    let is_current = type_of(&row.storage_version) == Some(root);
    let api_version = if is_current { row.storage_version.api_version() } else { api_version.to_owned() };
    value["kind"] = kind.into();
    value["apiVersion"] = api_version.into();
    complete(row, &mut value);
    Ok(value)
}

/// Brings a value into the stored version, with what upstream fills in when it reads.
fn complete(row: &Row, value: &mut Value) {
    let to = &row.storage_version;
    let api_version = to.api_version();
    if value["apiVersion"] != api_version.as_str() {
        if let Some(convert) = row.hooks.convert {
            convert(value, to);
        }
        value["kind"] = to.kind.clone().into();
        value["apiVersion"] = api_version.into();
    }
    if let Some(root) = type_of(to) {
        normalize(schema(), root, value);
    }
    if let Some(default) = row.hooks.default {
        default(value);
    }
}

/// What an object says it is.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, rename = "apiVersion")]
    api_version: Cow<'a, str>,
}

/// The type of an object that begins with it, as nearly all do.
fn head(stored: &[u8]) -> Option<Said<'_>> {
    let (mut kind, mut api_version) = (None, None);
    let mut rest = stored.strip_prefix(b"{")?;
    for _ in 0..2 {
        let slot = match rest {
            [b'"', b'k', b'i', b'n', b'd', b'"', b':', b'"', ..] => {
                rest = &rest[8..];
                &mut kind
            }
            _ => {
                rest = rest.strip_prefix(b"\"apiVersion\":\"")?;
                &mut api_version
            }
        };
        let end = rest.iter().take(256).position(|b| matches!(b, b'"' | b'\\')).filter(|at| rest[*at] == b'"')?;
        *slot = Some(std::str::from_utf8(&rest[..end]).ok()?);
        rest = &rest[end + 1..];
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    Some(Said { kind: kind?.into(), api_version: api_version?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_type_is_read_where_it_stands() {
        let said =
            |kind: &'static str, version: &'static str| Some(Said { kind: kind.into(), api_version: version.into() });
        assert_eq!(head(br#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#), said("Pod", "v1"));
        assert_eq!(head(br#"{"apiVersion":"a/v1","kind":"B"}"#), said("B", "a/v1"));
        for other in
            [&b"{}"[..], br#"{"metadata":{}}"#, br#"{"kind":"a\"b","apiVersion":"v1"}"#, br#"{"kind":"x","kind":"x""#]
        {
            assert_eq!(head(other), None);
        }
    }

    #[test]
    fn own_values_and_custom_resources_stay() {
        for own in [
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#,
            r#"{"metadata":{"name":"a"},"kind":"Pod","apiVersion":"v1"}"#,
            r#"{"apiVersion":"example.com/v1","kind":"Service","metadata":{"name":"a"}}"#,
        ] {
            assert_eq!(upgrade(own.as_bytes()).unwrap(), None, "{own}");
        }
        assert!(upgrade(b"k8s\0\x08").is_err() && upgrade(b"x").is_err());
    }

    #[test]
    fn what_upstream_stored_as_json_is_brought_in_order() {
        let theirs = "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"creationTimestamp\":null},\
            \"data\":{\"k\":\"v\"},\"later\":{\"than\":\"this\"}}\n";
        let ours = upgrade(theirs.as_bytes()).unwrap().unwrap();
        let expected = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"},
            "metadata": {"name": "a", "creationTimestamp": null}});
        assert_eq!(ours, expected);
        let theirs = "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"spec\":{}}\n";
        assert_eq!(upgrade(theirs.as_bytes()).unwrap().unwrap()["spec"]["sessionAffinity"], "None");
        assert!(matches!(upgrade(b"k8s:enc:aescbc:v1:key1:\x00\xff"), Err(Error::Encrypted)));
        assert!(matches!(message(b"k8s:enc:kms:v2:p:x"), Err(Error::Encrypted)));
    }

    #[test]
    fn versions_that_upstream_stores_become_ours() {
        let upgraded = |value: Value| upgrade(value.to_string().as_bytes()).unwrap().unwrap();
        let slice = upgraded(json!({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice",
            "metadata": {"name": "a"}, "addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["10.0.0.1"],
            "nodeName": "n", "topology": {"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "n", "x": "y"}}]}));
        assert_eq!(slice["apiVersion"], "discovery.k8s.io/v1");
        let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {}, "nodeName": "n", "zone": "z",
            "deprecatedTopology": {"x": "y"}});
        assert_eq!(slice["endpoints"], json!([endpoint]));
        let definition = upgraded(json!({"apiVersion": "apiextensions.k8s.io/v1beta1",
            "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"}, "spec": {"group": "b", "version": "v1",
            "names": {"plural": "a", "kind": "A"}, "scope": "Namespaced",
            "validation": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "N", "type": "string", "JSONPath": ".n"}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://c"},
                "conversionReviewVersions": ["v1"]}}}));
        let version = &definition["spec"]["versions"][0];
        assert_eq!(version["schema"]["openAPIV3Schema"]["type"], "object");
        assert_eq!((&version["name"], &version["subresources"]), (&json!("v1"), &json!({"status": {}})));
        assert_eq!(version["additionalPrinterColumns"][0]["jsonPath"], ".n");
        assert_eq!(definition["spec"]["preserveUnknownFields"], true);
        let webhook = &definition["spec"]["conversion"]["webhook"];
        assert_eq!(webhook, &json!({"clientConfig": {"url": "https://c"}, "conversionReviewVersions": ["v1"]}));
        assert!(definition["spec"].get("validation").is_none());
    }
}
