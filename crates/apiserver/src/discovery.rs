//! Which groups, versions and resources there are: the old documents and the aggregated ones.

use crate::aggregation::Services;
use crate::body::Body;
use crate::negotiate::{Form, Media, Offer};
use crate::nonresource;
use crate::pipeline::not_found_page;
use crate::registry::Table;
use crate::render;
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use api_kinds::aggregation::{ApiService, Ties, in_order};
use api_schema::discovery::{self, Aggregated, Group};
use api_schema::row::Row;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha512};

/// Serves `/api`, `/apis` and what lies below them down to the version; of a group version that an extension server
/// serves, it says what that one says.
pub(crate) fn serve(server: &Inner, path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let table = server.registry.table();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["api"] | ["apis"] => {
            let core = parts[0] == "api";
            if let Some((media, form)) = wanted_form(&request.parts.headers) {
                let document = if core { core_document(form, &table) } else { groups_document(server, form, &table) };
                return aggregated(request, media, form, &document);
            }
            if core {
                Some(discovery::core_versions(&address(server)))
            } else {
                Some(discovery::group_list(&groups(server, &table)))
            }
        }
        ["api", version] => resources(&table, "", version),
        ["apis", group] => groups(server, &table).iter().find(|g| g.name == *group).map(Group::document),
        ["apis", group, version] => resources(&table, group, version),
        _ => None,
    };
    match (document, parts.as_slice()) {
        (Some(document), _) => {
            // Upstream answers for groups by itself, whatever the method.
            if matches!(parts.as_slice(), ["apis"] | ["apis", _]) {
                let form = Form::of_any(&request.parts.headers, Offer::Plain)?;
                return render::bytes(form.media, StatusCode::OK, document.to_string().into());
            }
            nonresource::get_only(request)?;
            nonresource::value(request, &document)
        }
        // Below a group that is always there, a route is missing; of others nothing is known.
        (None, ["api", ..]) => Err(ApiError::no_such_resource()),
        (None, ["apis", group, ..]) if server.registry.is_built_in(group) => Err(ApiError::no_such_resource()),
        (None, _) => Ok(not_found_page()),
    }
}

/// Paths of all groups and versions.
pub(crate) fn paths(server: &Inner) -> Vec<String> {
    let table = server.registry.table();
    let core = rows(&table).filter(|row| row.gvr.group.is_empty()).map(|row| format!("/api/{}", row.gvr.version));
    let mut paths: Vec<String> = core.collect();
    for service in named(&server.aggregation.services(), &table) {
        paths.push(format!("/apis/{}", service.group));
        paths.push(format!("/apis/{}/{}", service.group, service.version));
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn rows(table: &Table) -> impl Iterator<Item = &Row> {
    table.rows.iter().map(|s| &*s.row)
}

/// All group versions but the core's: those that API services name, and those that are served here and not yet named.
fn named(services: &Services, table: &Table) -> Vec<ApiService> {
    let mut all: Vec<ApiService> = services.all.iter().filter(|s| !s.group.is_empty()).cloned().collect();
    for row in rows(table).filter(|row| !row.gvr.group.is_empty()) {
        let (group, version) = (&row.gvr.group, &row.gvr.version);
        if !all.iter().any(|s| s.group == *group && s.version == *version) {
            all.push(ApiService::local(group, version));
        }
    }
    all
}

fn groups(server: &Inner, table: &Table) -> Vec<Group> {
    let named = named(&server.aggregation.services(), table);
    let group = |versions: Vec<&ApiService>| Group {
        name: versions[0].group.clone(),
        versions: versions.iter().map(|s| s.version.clone()).collect(),
    };
    in_order(&named, Ties::ByObject).into_iter().map(group).collect()
}

fn core_document(form: Aggregated, table: &Table) -> Value {
    discovery::aggregated(form, rows(table).filter(|r| r.gvr.group.is_empty()))
}

fn groups_document(server: &Inner, form: Aggregated, table: &Table) -> Value {
    let services = server.aggregation.services();
    let documents = server.aggregation.documents();
    let named = named(&services, table);
    let version = |service: &ApiService| {
        let (group, version) = (service.group.as_str(), service.version.as_str());
        if services.remote(group, version).is_some() {
            return Some(documents.version(service));
        }
        let mut own = rows(table).filter(|r| r.gvr.group == group && r.gvr.version == version).peekable();
        own.peek()?;
        Some(discovery::aggregated_version(group, version, own))
    };
    let groups = in_order(&named, Ties::ByGroup).into_iter().filter_map(|group| {
        let versions: Vec<Value> = group.iter().filter_map(|service| version(service)).collect();
        (!versions.is_empty()).then(|| (group[0].group.clone(), versions))
    });
    server.aggregation.metrics.aggregated();
    discovery::aggregated_list(form, groups)
}

fn resources(table: &Table, group: &str, version: &str) -> Option<Value> {
    let mut rows = rows(table).filter(|r| r.gvr.group == group && r.gvr.version == version).peekable();
    rows.peek()?;
    Some(discovery::resource_list(group, version, rows))
}

fn address(server: &Inner) -> String {
    std::net::SocketAddr::new(server.config.advertise_address, server.config.secure_port).to_string()
}

/// The aggregated form that the client prefers, if it wants one.
fn wanted_form(headers: &HeaderMap) -> Option<(Media, Aggregated)> {
    let accepts = headers.get_all(header::ACCEPT);
    let ranges = accepts.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let media = match parts.next() {
            Some("application/json" | "*/*") => Media::Json,
            Some("application/vnd.kubernetes.protobuf") => Media::Protobuf,
            _ => continue,
        };
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"as=APIGroupDiscoveryList") && parts.contains(&"g=apidiscovery.k8s.io") {
            if parts.contains(&"v=v2") {
                return Some((media, Aggregated::V2));
            }
            if parts.contains(&"v=v2beta1") {
                return Some((media, Aggregated::V2Beta1));
            }
        } else if parts.is_empty() {
            return None;
        }
    }
    None
}

fn aggregated(
    request: &ApiRequest,
    media: Media,
    form: Aggregated,
    document: &Value,
) -> Result<Response<Body>, ApiError> {
    let version = match form {
        Aggregated::V2 => "v2",
        Aggregated::V2Beta1 => "v2beta1",
    };
    let parameters = format!("g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let content_type = format!("{};{parameters}", media.content_type());
    let content_type = HeaderValue::from_str(&content_type).map_err(ApiError::internal)?;
    let bytes = Bytes::from(document.to_string());
    let hash: String = Sha512::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
    let mut made = render::bytes(media, StatusCode::OK, bytes)?;
    made.headers_mut().insert(header::CONTENT_TYPE, content_type);
    let mut response = nonresource::tagged(request, &hash, || made);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}
