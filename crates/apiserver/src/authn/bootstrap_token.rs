//! Users from bootstrap tokens (`abcdef.0123456789abcdef`), which lie in secrets of `kube-system`.

use super::user::UserInfo;
use crate::view::View;
use api_core::meta::Meta;
use api_kinds::names;
use base64::Engine;
use serde_json::Value;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The user of a token; `None` if there is no such token, or not for authentication, or not any more.
pub fn user(token: &str, view: &dyn View, now: i64) -> Option<UserInfo> {
    let (id, secret) = token.split_once('.')?;
    let made_of = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if !made_of(id, 6) || !made_of(secret, 16) {
        return None;
    }
    let object = view.get("", names::SECRETS, NAMESPACE, &format!("bootstrap-token-{id}"))?;
    if object["type"] != TYPE || object.is_deleting() {
        return None;
    }
    let held = data(&object, "token-secret")?;
    let expired = match data(&object, "expiration") {
        Some(time) => api_core::time::parse_unix_s(&time).is_none_or(|end| end <= now),
        None => false,
    };
    let usable = data(&object, "usage-bootstrap-authentication").as_deref() == Some("true");
    if data(&object, "token-id")? != id || !same(held.as_bytes(), secret.as_bytes()) || expired || !usable {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data(&object, "auth-extra-groups").unwrap_or_default().split(',').filter(|g| !g.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        if !groups.iter().any(|g| g == group) {
            groups.push(group.to_owned());
        }
    }
    Some(UserInfo::authenticated(format!("system:bootstrap:{id}"), groups))
}

fn data(secret: &Value, key: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Compares in a time that does not depend on where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MapView;
    use serde_json::json;

    #[test]
    fn a_token_needs_its_secret() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let make = |expiration: &str, usage: &str, groups: &str| {
            MapView::default().with(
                "secrets",
                json!({"metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
                "type": TYPE, "data": {"token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "expiration": encode(expiration), "usage-bootstrap-authentication": encode(usage),
                "auth-extra-groups": encode(groups)}}),
            )
        };
        let later = "2030-01-01T00:00:00Z";
        let table = [
            ("good", "abcdef.0123456789abcdef", make(later, "true", "system:bootstrappers:x"), true),
            ("wrong secret", "abcdef.0123456789abcdeg", make(later, "true", ""), false),
            ("wrong id", "abcdeg.0123456789abcdef", make(later, "true", ""), false),
            ("expired", "abcdef.0123456789abcdef", make("2020-01-01T00:00:00Z", "true", ""), false),
            ("for signing only", "abcdef.0123456789abcdef", make(later, "false", ""), false),
            ("foreign group", "abcdef.0123456789abcdef", make(later, "true", "system:masters"), false),
            ("malformed", "abcdef", make(later, "true", ""), false),
        ];
        for (what, token, view, taken) in table {
            assert_eq!(user(token, &view, 1_700_000_000).is_some(), taken, "{what}");
        }
        let user = user("abcdef.0123456789abcdef", &make(later, "true", "system:bootstrappers:x"), 0).expect("user");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:x", "system:authenticated"]);
    }
}
