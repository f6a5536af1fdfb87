//! Token requests: defaults, validation, what a token is bound to, and the claims that it gets. Pure.

use super::claims::{Claims, Reference};
use api_core::field::{Errors, Path};
use api_core::meta::Meta;
use api_core::{ApiError, GroupResource, Gvk};
use api_kinds::names;
use serde_json::{Value, json};

/// Seconds that a token lasts when nothing is said.
const DEFAULT_S: i64 = 3600;
const MIN_S: i64 = 600;
const MAX_S: i64 = 1 << 32;
/// Asked for by the volume that every pod gets. Such a token lives on for a year, and its late use is remarked on, since
/// old clients read it only once.
const EXTENDED_FROM_S: i64 = 3607;
const EXTENDED_S: i64 = 365 * 24 * 3600;

/// What a token can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundKind {
    /// A pod.
    Pod,
    /// A secret.
    Secret,
}

impl BoundKind {
    /// Its resource.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Pod => names::PODS,
            Self::Secret => names::SECRETS,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Pod => names::POD,
            Self::Secret => names::SECRET,
        }
    }
}

/// `spec.boundObjectRef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundRef {
    /// What it is.
    pub kind: BoundKind,
    /// Its name.
    pub name: String,
    /// Its uid, or empty for whichever it is.
    pub uid: String,
}

/// The object that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// What it is.
    pub kind: BoundKind,
    /// The object.
    pub object: Reference,
    /// The node of a pod.
    pub node: Option<Reference>,
}

/// Claims, and the end that the request is told.
#[derive(Debug)]
pub struct Issued {
    /// What the token says.
    pub claims: Claims,
    /// Seconds since the epoch.
    pub ends: i64,
}

/// Fills in defaults.
pub fn complete(request: &mut Value, audiences: &[String]) {
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!(audiences);
    }
    if spec["expirationSeconds"].is_null() {
        spec["expirationSeconds"] = DEFAULT_S.into();
    }
    if spec.get("boundObjectRef").is_none() {
        spec["boundObjectRef"] = Value::Null;
    }
}

fn seconds(request: &Value) -> i64 {
    request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_S)
}

/// Checks that a request that names an account names the one that it is posted to.
pub fn check_names(request: &Value, namespace: &str, account: &str) -> Result<(), ApiError> {
    let path = Path::new("metadata");
    for (field, given, wanted, what) in
        [("name", request.name(), account, "name"), ("namespace", request.namespace(), namespace, "namespace")]
    {
        if !given.is_empty() && given != wanted {
            let mut errors = Errors::new();
            errors.invalid(&path.child(field), given, &format!("must match the service account {what} if specified"));
            return Err(invalid(account, &errors));
        }
    }
    Ok(())
}

fn invalid(name: &str, errors: &Errors) -> ApiError {
    ApiError::invalid(&Gvk::new("authentication.k8s.io", "v1", "TokenRequest").group_kind(), name, errors)
}

/// Checks a completed request.
pub fn validate(request: &Value) -> Result<(), ApiError> {
    let mut errors = Errors::new();
    let spec = Path::new("spec");
    let path = spec.child("expirationSeconds");
    let asked = seconds(request);
    if asked < MIN_S {
        errors.invalid(&path, asked, "may not specify a duration less than 10 minutes");
    }
    if asked > MAX_S {
        errors.invalid(&path, asked, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(invalid("", &errors)) }
}

/// What the token shall be bound to, if to anything.
pub fn bound(request: &Value) -> Result<Option<BoundRef>, ApiError> {
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(None);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or("");
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = match (group, text("kind")) {
        ("", names::POD) => BoundKind::Pod,
        ("", names::SECRET) => BoundKind::Secret,
        ("", names::NODE) => {
            let why =
                "cannot bind token to a Node object as the \"ServiceAccountTokenNodeBinding\" feature-gate is disabled";
            return Err(ApiError::bad_request(why));
        }
        (_, kind) => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
    };
    Ok(Some(BoundRef { kind, name: text("name").to_owned(), uid: text("uid").to_owned() }))
}

/// Whether a token of `account` may be bound to the object that was found.
pub fn check_bound(object: &Value, account: &str, reference: &BoundRef) -> Result<(), ApiError> {
    let other = object["spec"]["serviceAccountName"].as_str().is_some_and(|name| name != account);
    if reference.kind == BoundKind::Pod && other {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    if !reference.uid.is_empty() && reference.uid != object.uid() {
        let gr = GroupResource { group: String::new(), resource: reference.kind.kind().into() };
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            reference.uid
        );
        return Err(ApiError::conflict(&gr, &reference.name, &why));
    }
    Ok(())
}

/// What the token says.
pub fn claims(
    request: &Value,
    account: &Value,
    bound: Option<Bound>,
    issuer: String,
    own: &[String],
    now: i64,
) -> Issued {
    let list = request["spec"]["audiences"].as_array().into_iter().flatten();
    let audiences: Vec<String> = list.filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let ends = now + seconds(request);
    let to_pod = bound.as_ref().is_some_and(|b| b.kind == BoundKind::Pod);
    let extended = to_pod && seconds(request) == EXTENDED_FROM_S && audiences.iter().all(|a| own.contains(a));
    let mut claims = Claims {
        issuer,
        audiences,
        expires: Some(if extended { now + EXTENDED_S } else { ends }),
        issued: now,
        warn_after: extended.then_some(ends),
        id: uuid::Uuid::new_v4().to_string(),
        namespace: account.namespace().into(),
        account: Reference::of(account),
        ..Claims::default()
    };
    if let Some(Bound { kind, object, node }) = bound {
        match kind {
            BoundKind::Pod => (claims.pod, claims.node) = (Some(object), node),
            BoundKind::Secret => claims.secret = Some(object),
        }
    }
    Issued { claims, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(spec: Value) -> Value {
        let mut request = json!({"spec": spec});
        complete(&mut request, &["api".into()]);
        request
    }

    #[test]
    fn requests_are_completed_and_checked() {
        assert_eq!(
            completed(json!({}))["spec"],
            json!({"audiences": ["api"], "expirationSeconds": 3600, "boundObjectRef": null})
        );
        assert!(validate(&completed(json!({"expirationSeconds": 600}))).is_ok());
        let short = validate(&completed(json!({"expirationSeconds": 5}))).expect_err("too short");
        assert_eq!(
            short.message,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"
        );
        assert!(validate(&completed(json!({"expirationSeconds": (1i64 << 32) + 1}))).is_err());
        let foreign = json!({"boundObjectRef": {"apiVersion": "apps/v1", "kind": "X", "name": "x"}});
        let refused = bound(&completed(foreign)).expect_err("not bindable");
        let why = "cannot bind token to object of type apps/v1, Kind=X";
        assert_eq!((refused.code, refused.message.as_str()), (400, why));
        let node = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "x"}});
        assert!(bound(&completed(node)).expect_err("not in this release").message.contains("feature-gate is disabled"));
    }

    #[test]
    fn a_request_is_about_the_account_that_it_is_posted_to() {
        let check = |metadata: Value| check_names(&json!({"metadata": metadata}), "ns", "bot");
        assert_eq!(check(json!({})), Ok(()));
        assert_eq!(check(json!({"name": "bot", "namespace": "ns"})), Ok(()));
        for (metadata, field) in [(json!({"name": "x"}), "name"), (json!({"namespace": "x"}), "namespace")] {
            let refused = check(metadata).expect_err("another one");
            let why = format!(
                "TokenRequest.authentication.k8s.io \"bot\" is invalid: metadata.{field}: Invalid value: \"x\": must match the \
                 service account {field} if specified"
            );
            assert_eq!((refused.code, refused.message), (422, why));
        }
    }

    #[test]
    fn a_token_follows_its_pod() {
        let pod = json!({"metadata": {"name": "p", "uid": "1"}, "spec": {"serviceAccountName": "bot"}});
        let reference = BoundRef { kind: BoundKind::Pod, name: "p".into(), uid: "1".into() };
        assert!(check_bound(&pod, "bot", &reference).is_ok());
        assert_eq!(check_bound(&pod, "other", &reference).expect_err("foreign").code, 400);
        let stale = BoundRef { uid: "2".into(), ..reference };
        assert_eq!(check_bound(&pod, "bot", &stale).expect_err("stale").code, 409);
        let account = json!({"metadata": {"namespace": "ns", "name": "bot", "uid": "a"}});
        let bound = || Some(Bound { kind: BoundKind::Pod, object: Reference::of(&pod), node: None });
        let issue = |spec: Value, bound| claims(&completed(spec), &account, bound, "i".into(), &["api".into()], 1000);
        let usual = issue(json!({"expirationSeconds": 3607}), bound());
        assert_eq!((usual.ends, usual.claims.warn_after), (4607, Some(4607)));
        assert_eq!(usual.claims.expires, Some(1000 + EXTENDED_S));
        let unbound = issue(json!({"expirationSeconds": 3607}), None);
        assert_eq!((unbound.claims.expires, unbound.claims.warn_after), (Some(4607), None));
        let elsewhere = issue(json!({"expirationSeconds": 3607, "audiences": ["vault"]}), bound());
        assert_eq!(elsewhere.claims.expires, Some(4607));
    }
}
