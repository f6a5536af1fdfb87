//! Service-account tokens: request, review, and the keys that verify them.

pub mod claims;
pub(crate) mod legacy;
mod request;
mod review;

pub(crate) use review::create as create_review;

pub use pki::tokens as keys;

use crate::admission::{self, Asked, Operation};
use crate::audit::Annotations;
use crate::authn::{self, UserInfo};
use crate::negotiate::Media;
use crate::posted::Posted;
use crate::registry::Served;
use crate::registry::call::with_warnings;
use crate::server::{ApiRequest, Inner};
use crate::{Body, body};
use api_core::meta::Meta;
use api_core::{ApiError, GroupResource, Gvk};
use api_kinds::names;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// POST to a `token` subresource.
pub(crate) async fn create(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let served = request.served()?.clone();
    let ApiRequest { parts, body, info, query, user, .. } = request;
    let kind = Gvk::new("authentication.k8s.io", "v1", "TokenRequest");
    let posted = Posted::read(server, &parts, &query, body, &kind, &info.subresource).await?;
    let (media, warnings) = (Media::of_failure(&parts.headers), posted.warnings());
    let request = Asked { info: &info, query: &query, annotations: Annotations::of(&parts.extensions) };
    with_warnings(issue(server, &served, request, &user, posted).await, media, &warnings)
}

async fn issue(
    server: &Inner,
    served: &Served,
    request: Asked<'_>,
    user: &UserInfo,
    mut posted: Posted,
) -> Result<Response<Body>, ApiError> {
    let (now, info, annotations) = (authn::now(), request.info, request.annotations);
    posted.note_manager(now);
    let attributes = admission::Attributes {
        operation: Operation::Create,
        user,
        row: &served.row,
        resource: &served.row.gvr,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        old: None,
        revision: 0,
        dry_run: posted.dry_run,
        request: Some(request),
        delete_options: None,
    };
    let mut warnings = Vec::new();
    server.admission.mutate(&attributes, &mut posted.value, &mut warnings).await?;
    request::check_names(&posted.value, &info.namespace, &info.name)?;
    let account = find(server, "serviceaccounts", &info.namespace, &info.name).await?;
    let verifier = &server.authenticator.verifier;
    request::complete(&mut posted.value, &verifier.audiences);
    request::validate(&posted.value)?;
    server.admission.validate(&attributes, Some(&posted.value), &mut warnings).await?;
    let bound = match request::bound(&posted.value)? {
        Some(reference) => Some(find_bound(server, &info.namespace, &info.name, reference).await?),
        None => None,
    };
    let issuer = server.config.service_account_issuer.clone();
    let issued = request::claims(&posted.value, &account, bound, issuer, &verifier.audiences, now);
    posted.value.set_meta("name", &info.name);
    posted.value.set_meta("namespace", &info.namespace);
    posted.value.set_meta("creationTimestamp", &api_core::time::format_unix_s(now));
    let said = ("authentication.kubernetes.io/issued-credential-id".to_owned(), format!("JTI={}", issued.claims.id));
    annotations.add(std::iter::once(said));
    let token = if posted.dry_run {
        String::new()
    } else {
        let signed = verifier.keys.sign(&issued.claims.to_value());
        signed.ok_or_else(|| ApiError::internal("there is no key to sign tokens with"))?
    };
    posted.value["status"] = json!({"token": token, "expirationTimestamp": api_core::time::format_unix_s(issued.ends)});
    posted.answer()
}

async fn find(server: &Inner, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
    use crate::view::View;
    let registry = &server.registry;
    let found = match registry.get("", resource, namespace, name) {
        Some(found) => Some(found),
        None => registry.live("", resource, namespace, name).await,
    };
    let gr = GroupResource { group: String::new(), resource: resource.into() };
    found.ok_or_else(|| ApiError::not_found(&gr, name))
}

/// The object that a token is bound to, and for a pod its node.
async fn find_bound(
    server: &Inner,
    namespace: &str,
    account: &str,
    reference: request::BoundRef,
) -> Result<request::Bound, ApiError> {
    let object = find(server, reference.kind.resource(), namespace, &reference.name).await?;
    request::check_bound(&object, account, &reference)?;
    let node = match object["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(name) => Some(match find(server, names::NODES, "", name).await {
            Ok(node) => claims::Reference::of(&node),
            Err(_) => claims::Reference { name: name.into(), uid: String::new() },
        }),
        None => None,
    };
    Ok(request::Bound { kind: reference.kind, object: claims::Reference::of(&object), node })
}

/// `/openid/v1/jwks`.
pub(crate) fn jwks(server: &Inner) -> Response<Body> {
    published("application/jwk-set+json", &server.authenticator.verifier.keys.jwks())
}

/// `/.well-known/openid-configuration`.
pub(crate) fn openid_configuration(server: &Inner) -> Response<Body> {
    let issuer = &server.config.service_account_issuer;
    let address = std::net::SocketAddr::new(server.config.advertise_address, server.config.secure_port);
    let configuration = json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{address}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": server.authenticator.verifier.keys.algorithms(),
    });
    published("application/json", &configuration)
}

fn published(content_type: &'static str, value: &Value) -> Response<Body> {
    let mut response = body::answer(StatusCode::OK, content_type, body::full(value.to_string()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
