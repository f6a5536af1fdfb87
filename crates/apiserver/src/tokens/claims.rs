//! What a service-account token says, and whether it still holds: pure checks over the claims and the objects there are.

use crate::authn::UserInfo;
use crate::authn::user::{SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS};
use crate::view::View;
use api_core::meta::Meta;
use api_kinds::names;
use serde_json::{Map, Value, json};

/// Issuer of tokens that live in secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Seconds that a deleted object's tokens are still taken, so that a pod can end in an orderly way.
const GRACE_S: i64 = 60;

/// Label of a secret whose token is no longer taken: since when.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What is said of the use of a token, beside whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// What the client is told.
    pub warning: Option<&'static str>,
    /// What the audit log is told.
    pub annotations: Vec<(&'static str, String)>,
    /// Namespace and name of the secret that keeps the token; its last use is noted.
    pub kept_in: Option<(String, String)>,
}

/// An object that a token is bound to, as far as claims name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

impl Reference {
    /// Of an object.
    pub fn of(object: &Value) -> Self {
        Self { name: object.name().into(), uid: object.uid().into() }
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |field: &str| value[field].as_str().unwrap_or("").to_owned();
        value.is_object().then(|| Self { name: text("name"), uid: text("uid") })
    }

    fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (field, text) in [("name", &self.name), ("uid", &self.uid)] {
            if !text.is_empty() {
                out.insert(field.into(), text.as_str().into());
            }
        }
        Value::Object(out)
    }
}

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Issuer.
    pub issuer: String,
    /// Audiences; empty for a legacy token.
    pub audiences: Vec<String>,
    /// Seconds since the epoch when it ends; `None` for a legacy token.
    pub expires: Option<i64>,
    /// Seconds since the epoch when it was issued.
    pub issued: i64,
    /// Seconds since the epoch after which a use is remarked on.
    pub warn_after: Option<i64>,
    /// Its id.
    pub id: String,
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub account: Reference,
    /// Bound to a pod.
    pub pod: Option<Reference>,
    /// Bound to a secret, or kept in it.
    pub secret: Option<Reference>,
    /// Bound to a node, or the node of the pod.
    pub node: Option<Reference>,
}

impl Claims {
    /// As a token carries them.
    pub fn to_value(&self) -> Value {
        let mut kubernetes = json!({"namespace": self.namespace, "serviceaccount": self.account.to_value()});
        let bound = [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)];
        for (field, reference) in bound {
            if let Some(reference) = reference {
                kubernetes[field] = reference.to_value();
            }
        }
        if let Some(t) = self.warn_after {
            kubernetes["warnafter"] = t.into();
        }
        json!({
            "aud": self.audiences, "exp": self.expires, "iat": self.issued, "nbf": self.issued, "iss": self.issuer,
            "jti": self.id, "kubernetes.io": kubernetes,
            "sub": format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.account.name),
        })
    }

    /// Reads claims of either form; `None` if they are not of a service account.
    pub fn read(v: &Value) -> Option<Self> {
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let issuer = text(&v["iss"]);
        let subject = v["sub"].as_str()?;
        let mut claims = if issuer == LEGACY_ISSUER {
            let part = |name: &str| text(&v[format!("kubernetes.io/serviceaccount/{name}")]);
            Self {
                namespace: part("namespace"),
                account: Reference { name: part("service-account.name"), uid: part("service-account.uid") },
                secret: Some(Reference { name: part("secret.name"), uid: String::new() }),
                ..Self::default()
            }
        } else {
            let k = &v["kubernetes.io"];
            Self {
                namespace: text(&k["namespace"]),
                account: Reference::read(&k["serviceaccount"])?,
                pod: Reference::read(&k["pod"]),
                secret: Reference::read(&k["secret"]),
                node: Reference::read(&k["node"]),
                warn_after: k["warnafter"].as_i64(),
                expires: Some(v["exp"].as_i64()?),
                ..Self::default()
            }
        };
        if subject != format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", claims.namespace, claims.account.name) {
            return None;
        }
        claims.issuer = issuer;
        claims.issued = v["nbf"].as_i64().or(v["iat"].as_i64()).unwrap_or(0);
        claims.id = text(&v["jti"]);
        claims.audiences = match &v["aud"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().map(text).collect(),
            _ => Vec::new(),
        };
        Some(claims)
    }

    /// Whether it holds now; `token` is compared with the secret of a legacy token.
    pub fn check(&self, token: &str, view: &dyn View, now: i64) -> Result<(), &'static str> {
        if self.expires.is_some_and(|t| now >= t) {
            return Err("service account token has expired");
        }
        if now < self.issued {
            return Err("service account token is not valid yet");
        }
        let account = view.shared("", "serviceaccounts", &self.namespace, &self.account.name);
        let account = account.ok_or("service account token has been invalidated")?;
        if gone(&account, now) || account.uid() != self.account.uid {
            return Err("service account token has been invalidated");
        }
        if let Some(secret) = &self.secret {
            let legacy = self.issuer == LEGACY_ISSUER;
            let found = view.shared("", names::SECRETS, &self.namespace, &secret.name);
            // A token that is kept in a secret ends when the secret is marked to go.
            let found = found.filter(|s| if legacy { !s.is_deleting() } else { !gone(s, now) });
            let found = found.ok_or("service account token has been invalidated")?;
            let stale = if legacy { !holds(&found, token) } else { found.uid() != secret.uid };
            if stale {
                return Err("service account token has been invalidated");
            }
            if legacy && found.label(INVALID_SINCE).is_some() {
                return Err(
                    "the token has been marked invalid; use tokens from the TokenRequest API or manually created \
                            secret-based tokens",
                );
            }
        }
        if let Some(pod) = &self.pod {
            let found = view.shared("", names::PODS, &self.namespace, &pod.name);
            if !found.is_some_and(|p| !gone(&p, now) && p.uid() == pod.uid) {
                return Err("service account token has been invalidated");
            }
        }
        // A token bound to a pod names its node for information only.
        if let (Some(node), None) = (&self.node, &self.pod) {
            let found = view.shared("", names::NODES, "", &node.name);
            if !found.is_some_and(|n| !gone(&n, now) && n.uid() == node.uid) {
                return Err("service account token has been invalidated");
            }
        }
        Ok(())
    }

    /// What is said of a use of it, once it was checked.
    pub fn remarks(&self, view: &dyn View, now: i64) -> Remarks {
        const AUTOMATIC: &str = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of \
                                 auto-generated secret-based tokens.";
        let mut remarks = Remarks::default();
        if let Some(late) = self.warn_after.map(|after| now - after).filter(|late| *late > 0) {
            let subject = format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.account.name);
            let words = format!("subject: {subject}, seconds after warning threshold: {late}");
            remarks.annotations.push(("authentication.k8s.io/stale-token", words));
        }
        if let Some(secret) = self.secret.as_ref().filter(|_| self.issuer == LEGACY_ISSUER) {
            let account = view.shared("", "serviceaccounts", &self.namespace, &self.account.name);
            let list = account.as_ref().and_then(|a| a[names::SECRETS].as_array()).into_iter().flatten();
            let automatic = list.into_iter().any(|one| one["name"] == secret.name.as_str());
            let key = if automatic {
                remarks.warning = Some(AUTOMATIC);
                "authentication.k8s.io/legacy-token-autogenerated-secret"
            } else {
                "authentication.k8s.io/legacy-token-manual-secret"
            };
            remarks.annotations.push((key, secret.name.clone()));
            remarks.kept_in = Some((self.namespace.clone(), secret.name.clone()));
        }
        remarks
    }

    /// The user it stands for.
    pub fn user(&self) -> UserInfo {
        let name = format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.account.name);
        let groups = [SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{}", self.namespace)];
        let mut user = UserInfo::authenticated(name, groups);
        user.uid = self.account.uid.clone();
        let mut put = |key: &str, value: String| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
            }
        };
        for (kind, reference) in [("pod", &self.pod), ("node", &self.node)] {
            if let Some(r) = reference {
                put(&format!("{kind}-name"), r.name.clone());
                put(&format!("{kind}-uid"), r.uid.clone());
            }
        }
        if !self.id.is_empty() {
            put("credential-id", format!("JTI={}", self.id));
        }
        user
    }
}

fn gone(object: &Value, now: i64) -> bool {
    let deleted = api_core::time::parse_unix_s(object.meta_str("deletionTimestamp"));
    deleted.is_some_and(|t| t + GRACE_S < now)
}

fn holds(secret: &Value, token: &str) -> bool {
    use base64::Engine;
    let held = secret["data"]["token"].as_str().unwrap_or("");
    base64::engine::general_purpose::STANDARD.decode(held).is_ok_and(|bytes| bytes == token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MapView;

    fn view() -> MapView {
        let deleted = api_core::time::format_unix_s(100);
        MapView::default()
            .with("serviceaccounts", json!({"metadata": {"namespace": "ns", "name": "bot", "uid": "u1"}}))
            .with("pods", json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p1"}}))
            .with(
                "pods",
                json!({"metadata": {"namespace": "ns", "name": "ending", "uid": "p2", "deletionTimestamp": deleted}}),
            )
            .with(
                "secrets",
                json!({"metadata": {"namespace": "ns", "name": "s", "uid": "s1"}, "data": {"token": "dG9rZW4="}}),
            )
            .with("nodes", json!({"metadata": {"name": "n", "uid": "n1"}}))
    }

    fn reference(name: &str, uid: &str) -> Option<Reference> {
        Some(Reference { name: name.into(), uid: uid.into() })
    }

    fn bound() -> Claims {
        Claims {
            issuer: "https://k".into(),
            audiences: vec!["a".into()],
            expires: Some(1000),
            issued: 10,
            id: "x".into(),
            namespace: "ns".into(),
            account: Reference { name: "bot".into(), uid: "u1".into() },
            ..Claims::default()
        }
    }

    #[test]
    fn claims_survive_a_token() {
        let claims = Claims { pod: reference("p", "p1"), node: reference("n", "n1"), warn_after: Some(5), ..bound() };
        assert_eq!(Claims::read(&claims.to_value()), Some(claims));
    }

    #[test]
    fn a_token_holds_as_long_as_its_objects() {
        let table = [
            ("fresh", bound(), 50, true),
            ("expired", bound(), 1000, false),
            ("early", bound(), 9, false),
            ("bound to a pod", Claims { pod: reference("p", "p1"), ..bound() }, 50, true),
            ("another pod of that name", Claims { pod: reference("p", "p9"), ..bound() }, 50, false),
            ("pod just deleted", Claims { pod: reference("ending", "p2"), ..bound() }, 150, true),
            ("pod long deleted", Claims { pod: reference("ending", "p2"), ..bound() }, 161, false),
            ("node", Claims { node: reference("n", "n1"), ..bound() }, 50, true),
            ("other node", Claims { node: reference("n", "n2"), ..bound() }, 50, false),
            (
                "the pod's node is not looked at",
                Claims { pod: reference("p", "p1"), node: reference("n", "n2"), ..bound() },
                50,
                true,
            ),
            ("secret", Claims { secret: reference("s", "s1"), ..bound() }, 50, true),
            ("no secret", Claims { secret: reference("t", "s1"), ..bound() }, 50, false),
            (
                "other account",
                Claims { account: Reference { name: "bot".into(), uid: "u2".into() }, ..bound() },
                50,
                false,
            ),
        ];
        for (what, claims, now, holds) in table {
            assert_eq!(claims.check("token", &view(), now).is_ok(), holds, "{what}");
        }
    }

    #[test]
    fn a_legacy_token_is_the_one_in_its_secret() {
        let claims = Claims::read(&json!({"iss": LEGACY_ISSUER, "sub": "system:serviceaccount:ns:bot",
            "kubernetes.io/serviceaccount/namespace": "ns", "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "bot", "kubernetes.io/serviceaccount/service-account.uid": "u1"}));
        let claims = claims.expect("claims");
        assert_eq!(claims.check("token", &view(), 50), Ok(()));
        assert!(claims.check("another", &view(), 50).is_err());
        let invalid = json!({"metadata": {"namespace": "ns", "name": "s", "uid": "s1",
            "labels": {INVALID_SINCE: "2024-01-01"}}, "data": {"token": "dG9rZW4="}});
        assert!(claims.check("token", &view().with("secrets", invalid), 50).is_err());
        let manual = claims.remarks(&view(), 50);
        assert_eq!(manual.warning, None);
        assert_eq!(manual.annotations, [("authentication.k8s.io/legacy-token-manual-secret", "s".to_owned())]);
        assert_eq!(manual.kept_in, Some(("ns".into(), "s".into())));
        let owner = json!({"metadata": {"namespace": "ns", "name": "bot", "uid": "u1"}, "secrets": [{"name": "s"}]});
        assert!(claims.remarks(&view().with("serviceaccounts", owner), 50).warning.is_some());
        let late = Claims { warn_after: Some(40), ..bound() }.remarks(&view(), 50);
        assert_eq!(late.annotations[0].1, "subject: system:serviceaccount:ns:bot, seconds after warning threshold: 10");
        assert_eq!(
            claims.user().groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
    }
}
