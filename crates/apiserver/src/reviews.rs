//! Resources that are questions, not objects: access reviews, token reviews, who am I. They are never stored.

use crate::Body;
use crate::authn::{self, UserInfo};
use crate::authz::rbac::Rule;
use crate::authz::{Attributes, Decision, ResourceTarget};
use crate::components;
use crate::negotiate::Media;
use crate::posted::Posted;
use crate::registry::Served;
use crate::registry::call::with_warnings;
use crate::request_info::RequestInfo;
use crate::server::{ApiRequest, Inner};
use crate::tokens;
use api_core::field::{BadValue, Errors, Path};
use api_core::meta::Meta;
use api_core::{ApiError, GroupKind, Gvk};
use api_kinds::names;
use http::{Method, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// Any verb of a resource that has no storage (its row's `storage_prefix` is empty).
pub(crate) async fn serve(server: &Arc<Inner>, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    match (request.info.verb.as_str(), request.info.resource.as_str()) {
        ("get" | "list", _) => components::serve(server, request).await,
        ("create", "bindings") => bind(server, request).await,
        ("create", _) => review(server, request).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// A binding posted to a namespace is one of the pod of its name.
async fn bind(server: &Arc<Inner>, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let kind = request.served()?.row.kind.clone();
    let ApiRequest { parts, body, info, query, user, .. } = request;
    let mut posted = Posted::read(server, &parts, &query, body, &kind, "").await?;
    let (namespace, pods, name) = (&info.namespace, names::PODS, posted.value.name());
    let path = format!("/api/v1/namespaces/{namespace}/{pods}/{name}/binding");
    posted.value = server.call(&user, Method::POST, &path, Some(&posted.value)).await?;
    posted.answer()
}

async fn review(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let served = request.served()?.clone();
    let ApiRequest { parts, body, info, query, user, .. } = request;
    let kind = served.row.kind.clone();
    let posted = Posted::read(server, &parts, &query, body, &kind, "").await?;
    let (media, warnings) = (Media::of_failure(&parts.headers), posted.warnings());
    with_warnings(answer(server, &served, &info, &user, posted).await, media, &warnings)
}

async fn answer(
    server: &Inner,
    served: &Served,
    info: &RequestInfo,
    user: &UserInfo,
    mut posted: Posted,
) -> Result<Response<Body>, ApiError> {
    let kind = served.row.kind.clone();
    if !served.row.namespaced {
        posted.value.set_meta("namespace", "");
    }
    posted.note_manager(authn::now());
    let status = match served.row.gvr.resource.as_str() {
        "tokenreviews" => return tokens::create_review(server, posted),
        // These two are answered with an object of their own, in which nothing of what was posted is left.
        "selfsubjectreviews" => {
            let now = api_core::time::format_unix_s(authn::now());
            posted.value = empty(&kind);
            posted.value.set_meta("creationTimestamp", &now);
            json!({"userInfo": user.to_value()})
        }
        "selfsubjectrulesreviews" => {
            let rules = rules(server, user, &posted.value)?;
            posted.value = empty(&kind);
            posted.value["spec"] = json!({});
            rules
        }
        "selfsubjectaccessreviews" => {
            validate(&kind, &posted.value, Asks::Self_)?;
            access(server, user, &posted.value["spec"])
        }
        "subjectaccessreviews" => {
            validate(&kind, &posted.value, Asks::Anywhere)?;
            access(server, &subject(&posted.value["spec"]), &posted.value["spec"])
        }
        "localsubjectaccessreviews" => {
            let namespace = posted.value.namespace();
            if !namespace.is_empty() && namespace != info.namespace {
                let why = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(why));
            }
            posted.value.set_meta("namespace", &info.namespace);
            validate(&kind, &posted.value, Asks::In(&info.namespace))?;
            access(server, &subject(&posted.value["spec"]), &posted.value["spec"])
        }
        _ => return Err(ApiError::no_such_resource()),
    };
    posted.value["status"] = status;
    posted.answer()
}

/// Whether the user of `spec` may do what it says.
fn access(server: &Inner, user: &UserInfo, spec: &Value) -> Value {
    let text = |part: &'static str, field: &'static str| spec[part][field].as_str().unwrap_or("");
    let attributes = if spec["nonResourceAttributes"].is_object() {
        let (path, verb) = (text("nonResourceAttributes", "path"), text("nonResourceAttributes", "verb"));
        Attributes::path(user, verb, path)
    } else {
        let of = |field| text("resourceAttributes", field);
        let target = ResourceTarget {
            group: of("group"),
            version: of("version"),
            resource: of("resource"),
            subresource: of("subresource"),
            namespace: of("namespace"),
            name: of("name"),
        };
        Attributes::resource(user, of("verb"), target)
    };
    let decision = server.authorizer.authorize(&attributes);
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    status
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The user that a review asks about.
fn subject(spec: &Value) -> UserInfo {
    let text = |field: &str| spec[field].as_str().unwrap_or("").to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(k, v)| (k.clone(), strings(v))).collect(),
    }
}

/// Whom and what an access review may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks<'a> {
    /// The user who asks.
    Self_,
    /// Anybody, about anything.
    Anywhere,
    /// Anybody, about what is in a namespace.
    In(&'a str),
}

fn validate(kind: &Gvk, review: &Value, asks: Asks<'_>) -> Result<(), ApiError> {
    let spec = &review["spec"];
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let shown = |field: &str| BadValue(spec[field].to_string());
    let (resource, other) = (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object());
    let paths = path.child("nonResourceAttributes");
    if resource && other {
        let detail = "cannot be specified in combination with resourceAttributes";
        errors.invalid(&paths, shown("nonResourceAttributes"), detail);
    }
    if !resource && !other {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid(&path.child("resourceAttributes"), "null", detail);
    }
    let nobody = spec["user"].as_str().unwrap_or("").is_empty() && strings(&spec["groups"]).is_empty();
    if asks != Asks::Self_ && nobody {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    let allowed =
        if matches!(asks, Asks::In(_)) { ["managedFields", "namespace"].as_slice() } else { &["managedFields"] };
    let more =
        |m: &serde_json::Map<String, Value>| m.iter().any(|(k, v)| !v.is_null() && !allowed.contains(&k.as_str()));
    if review.metadata().is_some_and(more) {
        let detail = if allowed.len() > 1 { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&Path::new("metadata"), BadValue(review["metadata"].to_string()), detail);
    }
    if let Asks::In(namespace) = asks {
        let named = spec["resourceAttributes"]["namespace"].as_str().unwrap_or("");
        if resource && named != namespace {
            let at = path.child("resourceAttributes");
            errors.invalid(&at.child("namespace"), named, "must match metadata.namespace");
        }
        if other {
            errors.invalid(&paths, shown("nonResourceAttributes"), "disallowed on this kind of request");
        }
    }
    // Upstream has forgotten the kind by then.
    let nameless = GroupKind { group: kind.group.clone(), kind: String::new() };
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&nameless, "", &errors)) }
}

fn empty(kind: &Gvk) -> Value {
    json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": {}})
}

/// What the user may do in a namespace, as far as roles say it.
fn rules(server: &Inner, user: &UserInfo, review: &Value) -> Result<Value, ApiError> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or("");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (rules, mut errors) = server.authorizer.with_roles(|index| index.rules_for(user, namespace));
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in &rules {
        let Rule { groups, resources: names, names: objects, urls, verbs } = rule;
        if !names.is_empty() {
            let mut shown = json!({"verbs": verbs, "apiGroups": groups, "resources": names});
            if !objects.is_empty() {
                shown["resourceNames"] = json!(objects);
            }
            resources.push(shown);
        }
        if !urls.is_empty() {
            paths.push(json!({"verbs": verbs, "nonResourceURLs": urls}));
        }
    }
    if user.node().is_some() {
        errors.insert(0, "node authorizer does not support user rule resolution".into());
    }
    // An authorizer that cannot tell its rules says so in an error only, as upstream's do.
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    match errors.as_slice() {
        [] => {}
        [one] => status["evaluationError"] = one.as_str().into(),
        several => status["evaluationError"] = format!("[{}]", several.join(", ")).into(),
    }
    Ok(status)
}
