//! Rules of config maps and secrets.

use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::fill::Fill;
use crate::hooks::meta;
use api_core::field::{Errors, Path};
use api_core::names;
use api_schema::row::WriteContext;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// All values of a config map or a secret together, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";
const TLS: &str = "kubernetes.io/tls";

pub(super) fn config_map(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let (data, binary) = (root.at("data"), root.at("binaryData"));
    let mut bytes = 0;
    for (map, other, name) in [(&data, &binary, "binaryData"), (&binary, &data, "data")] {
        for (key, value) in map.entries() {
            for why in names::is_config_map_key(key) {
                e.invalid(&value.path, key, &why);
            }
            if name == "binaryData" && other.has(key) {
                e.invalid(&value.path, key, &format!("duplicate of key present in {name}"));
            }
            bytes += if name == "binaryData" { value.str().len() } else { decoded_len(value.str()) };
        }
    }
    if bytes > DATA_BYTES_MAX {
        e.too_long(&Path::new(""), DATA_BYTES_MAX);
    }
}

fn decoded_len(base64: &str) -> usize {
    STANDARD.decode(base64).map_or(0, |bytes| bytes.len())
}

pub(super) fn config_map_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    frozen(new, old, &["data", "binaryData"], e);
    meta::again_on_create(new, e);
    config_map(new, e);
}

fn frozen(new: &Value, old: &Value, fields: &[&str], e: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    let root = Node::root(new);
    if !root.at("immutable").is_true() {
        root.at("immutable").forbidden(FROZEN, e);
    }
    for field in fields {
        if root.get(field) != &old[*field] {
            root.at(field).forbidden(FROZEN, e);
        }
    }
}

/// A secret's plain text goes where the rest of its data is.
pub(super) fn default_secret(object: &mut Value) {
    object.fill("type", "Opaque");
    let text = object.as_object_mut().and_then(|map| map.remove("stringData"));
    let Some(Value::Object(text)) = text else { return };
    if text.is_empty() {
        return;
    }
    let data = object.make("data");
    for (key, value) in text {
        data[key] = STANDARD.encode(value.as_str().unwrap_or("")).into();
    }
}

pub(super) fn secret(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let data = root.at("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        for why in names::is_config_map_key(key) {
            e.invalid(&value.path, key, &why);
        }
        bytes += decoded_len(value.str());
    }
    if bytes > DATA_BYTES_MAX {
        data.too_long(DATA_BYTES_MAX, e);
    }
    by_type(&root, &data, e);
}

fn by_type(root: &Node<'_, '_>, data: &Node<'_, '_>, e: &mut Errors) {
    let mut needs = |key: &str| {
        if !data.has(key) {
            e.required(&data.path.key(key), "");
        }
    };
    match root.text("type") {
        "kubernetes.io/service-account-token" => {
            let metadata = root.at("metadata");
            let annotations = metadata.at("annotations");
            let account = annotations.key("kubernetes.io/service-account.name");
            if account.is_empty() {
                account.path_required("", e);
            }
        }
        "kubernetes.io/dockercfg" => json_at(data, ".dockercfg", e),
        "kubernetes.io/dockerconfigjson" => json_at(data, ".dockerconfigjson", e),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            needs("username");
            needs("password");
        }
        "kubernetes.io/ssh-auth" => {
            let key = data.key("ssh-privatekey");
            if key.is_empty() {
                key.path_required("", e);
            }
        }
        TLS => {
            needs("tls.crt");
            needs("tls.key");
        }
        _ => {}
    }
}

fn json_at(data: &Node<'_, '_>, key: &str, e: &mut Errors) {
    let at = data.key(key);
    if !at.present() {
        at.path_required("", e);
        return;
    }
    let bytes = STANDARD.decode(at.str()).unwrap_or_default();
    if let Err(why) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        e.invalid(&at.path, "<secret contents redacted>", &why.to_string());
    }
}

/// Of the secrets of a service account, their names are kept alone.
pub(super) fn name_secrets_only(account: &mut Value) {
    account.each_mut("secrets", |secret| {
        let name = secret.as_object_mut().and_then(|map| map.remove("name"));
        *secret = name.map_or_else(|| serde_json::json!({}), |name| serde_json::json!({"name": name}));
    });
}

pub(super) fn secret_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let root = Node::root(new);
    if root.get("type") != &old["type"] {
        root.at("type").invalid(IMMUTABLE, e);
    }
    frozen(new, old, &["data"], e);
    meta::again_on_create(new, e);
    secret(new, e);
}

/// A pair for TLS that is none.
pub(super) fn secret_warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    if new.text("type") != TLS {
        return Vec::new();
    }
    let lacks_pem = |key: &str| {
        let bytes = STANDARD.decode(new["data"].text(key)).unwrap_or_default();
        !String::from_utf8_lossy(&bytes).contains("-----BEGIN")
    };
    let what = if lacks_pem("tls.crt") {
        "certificate"
    } else if lacks_pem("tls.key") {
        "key"
    } else {
        return Vec::new();
    };
    vec![format!("tls: failed to find any PEM data in {what} input")]
}
