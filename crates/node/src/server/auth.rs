//! Who calls the kubelet API and whether they may: client certificates of the cluster, or tokens that the API server
//! knows; rights are those on the node's subresources.

use http::request::Parts;
use http::{Method, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::Agent;

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User name.
    pub name: String,
    /// User id, if there is one.
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
}

/// A refusal: status and text.
pub type Refusal = (StatusCode, String);

/// The caller that a verified certificate names.
pub fn from_certificate(der: &[u8]) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    let name = subject.iter_common_name().next().and_then(text)?;
    let groups = subject.iter_organization().filter_map(text).collect();
    Some(Caller { name, uid: None, groups })
}

/// Finds out who calls and refuses who may not.
pub async fn check(agent: &Agent, certificate: Option<Caller>, request: &Parts) -> Result<(), Refusal> {
    let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
    let caller = match certificate {
        Some(caller) => caller,
        None => {
            let header = request.headers.get(http::header::AUTHORIZATION).and_then(|h| h.to_str().ok());
            let token = header.and_then(|h| h.strip_prefix("Bearer ")).ok_or_else(unauthorized)?;
            review_token(agent, token).await?.ok_or_else(unauthorized)?
        }
    };
    if caller.groups.iter().any(|g| g == "system:masters") {
        return Ok(());
    }
    let (verb, subresource) = attributes(&request.method, request.uri.path());
    if review_access(agent, &caller, verb, subresource).await? {
        return Ok(());
    }
    let node = &agent.config.node_name;
    Err((
        StatusCode::FORBIDDEN,
        format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource}, name={node})",
            caller.name
        ),
    ))
}

/// Verb and subresource of the node that a request stands for.
fn attributes(method: &Method, path: &str) -> (&'static str, &'static str) {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let below = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let subresource = match () {
        () if below("/stats") => "stats",
        () if below("/metrics") => "metrics",
        () if below("/logs") => "log",
        () => "proxy",
    };
    (verb, subresource)
}

fn unavailable(error: &kube::Error) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("the API server cannot be asked: {error}"))
}

async fn review_token(agent: &Agent, token: &str) -> Result<Option<Caller>, Refusal> {
    let review =
        TokenReview { spec: TokenReviewSpec { token: Some(token.into()), audiences: None }, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(agent.client.clone());
    let status =
        api.create(&PostParams::default(), &review).await.map_err(|e| unavailable(&e))?.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        return Ok(None);
    }
    let user = status.user.unwrap_or_default();
    Ok(Some(Caller { name: user.username.unwrap_or_default(), uid: user.uid, groups: user.groups.unwrap_or_default() }))
}

async fn review_access(agent: &Agent, caller: &Caller, verb: &str, subresource: &str) -> Result<bool, Refusal> {
    let attributes = ResourceAttributes {
        resource: Some("nodes".into()),
        subresource: Some(subresource.into()),
        name: Some(agent.config.node_name.clone()),
        verb: Some(verb.into()),
        version: Some("v1".into()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(caller.name.clone()),
        uid: caller.uid.clone(),
        groups: Some(caller.groups.clone()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(agent.client.clone());
    let answer = api.create(&PostParams::default(), &review).await.map_err(|e| unavailable(&e))?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_subresources() {
        for (method, path, want) in [
            (Method::GET, "/metrics/cadvisor", ("get", "metrics")),
            (Method::GET, "/stats/summary", ("get", "stats")),
            (Method::POST, "/exec/ns/p/c", ("create", "proxy")),
            (Method::GET, "/metricsx", ("get", "proxy")),
        ] {
            assert_eq!(attributes(&method, path), want, "{path}");
        }
    }
}
