//! From a request for a resource to the verb that serves it.

use super::call::{Call, add_warnings, with_warnings};
use super::patching::PatchType;
use super::{Served, create, delete, patching, read, subresource, update, watch};
use crate::Body;
use crate::audit::Annotations;
use crate::negotiate::{Form, Media, Offer};
use crate::request_info::RequestInfo;
use crate::server::{ApiRequest, Inner};
use crate::websocket::Handshake;
use api_core::ApiError;
use api_schema::row::Row;
use futures::future::BoxFuture;
use http::{Method, Response};
use parking_lot::Mutex;
use std::sync::Arc;

/// Verbs that take objects.
const WRITES: [&str; 3] = ["create", "update", "patch"];

/// Whether a custom resource is asked for where there is none: in a namespace though it has none, or in none though it has, but
/// for lists and watches over all of them. That is answered as any path that nothing is behind.
pub(crate) fn is_nowhere(served: &Served, info: &RequestInfo) -> bool {
    let row = &served.row;
    row.custom.is_some() && if row.namespaced { lacks_namespace(row, info) } else { !info.namespace.is_empty() }
}

/// What is in namespaces is only listed and watched over all of them.
fn lacks_namespace(row: &Row, info: &RequestInfo) -> bool {
    row.namespaced && info.namespace.is_empty() && !matches!(info.verb.as_str(), "list" | "watch")
}

/// Whether the resource has the subresource and the verb, and is asked for in its scope.
pub(crate) fn check(served: &Served, info: &RequestInfo, method: &Method) -> Result<(), ApiError> {
    let row = &served.row;
    if row.custom.is_some() {
        return check_custom(row, info);
    }
    let verbs = if info.subresource.is_empty() {
        &row.verbs
    } else {
        &row.subresource(&info.subresource).ok_or_else(ApiError::no_such_resource)?.verbs
    };
    let is_collection = !info.name_in_path;
    let misplaced = !row.namespaced && !info.namespace.is_empty() && !is_own_namespace(served, info);
    let over_all = row.namespaced && info.namespace.is_empty();
    let unlisted = over_all && (info.name_in_path || !row.verbs.iter().any(|verb| verb == "list"));
    if misplaced || info.verb == "proxy" || unlisted {
        return Err(ApiError::no_such_resource());
    }
    // Upstream has no routes for HEAD but those that go to a proxy.
    let no_head = method == Method::HEAD && info.subresource != "proxy";
    if no_head || info.verb == "watch" && !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    if lacks_namespace(row, info) {
        return Err(ApiError::method_not_allowed());
    }
    let fits = match info.verb.as_str() {
        "create" if info.subresource.is_empty() => is_collection,
        "list" | "deletecollection" => is_collection,
        "watch" => true,
        _ => !is_collection,
    };
    if fits && verbs.contains(&info.verb) { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}

/// Custom resources are not served by routes but by verbs: what they do not have is looked for all the same, and a name, or none, in
/// the path does not keep a verb from them.
fn check_custom(row: &Row, info: &RequestInfo) -> Result<(), ApiError> {
    let resource = row.gvr.group_resource();
    let verbs = if info.subresource.is_empty() {
        &row.verbs
    } else {
        &row.subresource(&info.subresource).ok_or_else(|| ApiError::not_found(&resource, &info.name))?.verbs
    };
    if verbs.contains(&info.verb) { Ok(()) } else { Err(ApiError::verb_not_supported(&resource, &info.verb)) }
}

/// `/namespaces/x` has the namespace `x`, and its resource is cluster-scoped all the same.
fn is_own_namespace(served: &Served, info: &RequestInfo) -> bool {
    served.row.gvr.resource == "namespaces" && served.row.gvr.group.is_empty() && info.name == info.namespace
}

/// What a client is told of a version that is on its way out.
fn deprecations(served: &Served) -> Vec<String> {
    let built_in = api_kinds::deprecation(&served.row.gvr).map(str::to_owned);
    let custom = served.row.custom.as_ref().and_then(|custom| custom.deprecation.clone());
    built_in.into_iter().chain(custom).collect()
}

/// Serves a verb.
pub(crate) fn serve(
    server: Arc<Inner>,
    served: Arc<Served>,
    request: ApiRequest,
) -> BoxFuture<'static, Result<Response<Body>, ApiError>> {
    Box::pin(serve_call(server, served, request))
}

async fn serve_call(server: Arc<Inner>, served: Arc<Served>, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let warnings = Arc::new(Mutex::new(deprecations(&served)));
    let media = Media::of_failure(&request.parts.headers);
    let answer = serve_verb(server, served, request, &warnings).await;
    with_warnings(answer, media, &warnings.lock())
}

/// What is written of a custom resource must be understood; its schemas are compiled for the first who writes.
fn usable(call: &Call) -> Result<(), ApiError> {
    let Some(custom) = call.row().custom.as_ref().filter(|_| WRITES.contains(&call.info.verb.as_str())) else {
        return Ok(());
    };
    custom.family.usable(&custom.version).map_err(ApiError::internal)
}

async fn serve_verb(
    server: Arc<Inner>,
    served: Arc<Served>,
    request: ApiRequest,
    warnings: &Arc<Mutex<Vec<String>>>,
) -> Result<Response<Body>, ApiError> {
    let ApiRequest { mut parts, body, info, query, user, .. } = request;
    let socket = if info.verb == "watch" { Handshake::read(&mut parts)? } else { None };
    if info.verb == "patch" {
        // Of which type the patch is, upstream looks at before it asks what the client takes.
        PatchType::of(&served.row, &parts.headers)?;
    }
    if matches!(info.verb.as_str(), "update" | "patch") && !info.name_in_path {
        return Err(ApiError::bad_request("name must be provided"));
    }
    let offer = if served.row.custom.is_some() { Offer::Custom } else { Offer::Views };
    let form = Form::negotiate(&parts.headers, offer, matches!(info.verb.as_str(), "list" | "watch"))?;
    let call = Call {
        server,
        served,
        now_unix_us: jiff::Timestamp::now().as_microsecond(),
        annotations: Annotations::of(&parts.extensions).clone(),
        headers: parts.headers,
        warnings: warnings.clone(),
        info,
        query,
        user,
        form,
    };
    usable(&call)?;
    // Each has a room of its own size.
    if subresource::is_special(&call.info.subresource) {
        return Box::pin(subresource::serve(call, body)).await;
    }
    match call.info.verb.as_str() {
        "get" => Box::pin(read::get(call)).await,
        "list" => Box::pin(read::list(call)).await,
        "watch" => {
            let tasks = call.server.tasks.clone();
            let events = Box::pin(watch::watch(call)).await?;
            let mut answer = match socket {
                Some(socket) => socket.answer(events, &tasks),
                None => events,
            };
            add_warnings(answer.headers_mut(), &warnings.lock());
            Ok(answer)
        }
        "create" => Box::pin(create::create(call, body)).await,
        "update" => Box::pin(update::put(call, body)).await,
        "patch" => Box::pin(patching::patch(call, body)).await,
        "delete" => Box::pin(delete::delete(call, body)).await,
        "deletecollection" => Box::pin(delete::delete_collection(call, body)).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}
