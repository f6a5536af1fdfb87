//! Which groups, versions and resources there are: the old documents and the aggregated ones.
//!
//! Aggregated documents are put together when somebody asks for them after a change, of what each group version says; that of
//! custom resources stays with them as long as nothing of the group version changes.

use crate::aggregation::{Documents, Services};
use crate::body::{self, Body};
use crate::negotiate::{Form, Media, Offer};
use crate::pipeline::not_found_page;
use crate::registry::{Served, Table};
use crate::server::{ApiRequest, Inner};
use crate::{nonresource, protobuf, render};
use api_core::ApiError;
use api_kinds::aggregation::{ApiService, Ties, in_order};
use api_schema::discovery::{self, Aggregated, Group};
use api_schema::row::Row;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha512};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// The version of the core group.
const CORE: &str = "v1";

/// Serves `/api`, `/apis` and what lies below them down to the version; of a group version that an extension server
/// serves, it says what that one says.
pub(crate) fn serve(server: &Inner, path: &str, request: &ApiRequest) -> Result<Response<Body>, ApiError> {
    let made = server.discovered.of(server);
    let table = &*made.table;
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["api"] | ["apis"] => {
            let core = parts[0] == "api";
            if let Some((media, form)) = wanted_form(&request.parts.headers) {
                return aggregated(request, media, form, &made.aggregated(server, core, form, media)?);
            }
            if core {
                Some(discovery::core_versions(&address(server)))
            } else {
                Some(discovery::group_list(made.groups()))
            }
        }
        ["api", version] => resources(table, "", version),
        ["apis", group] => made.groups().iter().find(|g| g.name == *group).map(Group::document),
        ["apis", group, version] => resources(table, group, version),
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
    let made = server.discovered.of(server);
    let core = rows(made.table.of_version("", CORE)).map(|row| format!("/api/{}", row.gvr.version));
    let mut paths: Vec<String> = core.collect();
    for service in made.named() {
        paths.push(format!("/apis/{}", service.group));
        paths.push(format!("/apis/{}/{}", service.group, service.version));
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn rows<'t>(served: impl Iterator<Item = &'t Arc<Served>>) -> impl Iterator<Item = &'t Row> {
    served.map(|served| &*served.row)
}

/// What was said of late.
#[derive(Debug, Default)]
pub(crate) struct Discovered(Mutex<Option<Arc<Made>>>);

/// What is said of one moment; each part is made when somebody asks for it.
#[derive(Debug)]
struct Made {
    table: Arc<Table>,
    services: Arc<Services>,
    remote: Arc<Documents>,
    groups: OnceLock<Vec<Group>>,
    aggregated: Mutex<Vec<(Which, Tagged)>>,
}

/// An aggregated document: of the core group or of all others, in a form and an encoding.
type Which = (bool, Aggregated, Media);

/// A document and its hash.
#[derive(Debug, Clone)]
struct Tagged {
    bytes: Bytes,
    hash: Arc<str>,
}

impl Discovered {
    fn of(&self, server: &Inner) -> Arc<Made> {
        let (table, services) = (server.registry.table(), server.aggregation.services());
        let remote = server.aggregation.documents();
        let mut known = self.0.lock();
        if let Some(made) = known.as_ref()
            && Arc::ptr_eq(&made.table, &table)
            && Arc::ptr_eq(&made.services, &services)
            && Arc::ptr_eq(&made.remote, &remote)
        {
            return made.clone();
        }
        let made = Made { table, services, remote, groups: OnceLock::new(), aggregated: Mutex::default() };
        known.insert(Arc::new(made)).clone()
    }
}

impl Made {
    /// All group versions but the core's: those that API services name, and those that are served here and not yet named.
    fn named(&self) -> Vec<ApiService> {
        let mut all: Vec<ApiService> = self.services.all().filter(|s| !s.group.is_empty()).cloned().collect();
        let mut seen: HashSet<(String, String)> = all.iter().map(|s| (s.group.clone(), s.version.clone())).collect();
        let custom = self.table.custom().map(|v| (&v.group, &v.version));
        let built_in = self.table.built_in().iter().map(|s| (&s.row.gvr.group, &s.row.gvr.version));
        for (group, version) in built_in.filter(|(group, _)| !group.is_empty()).chain(custom) {
            if seen.insert((group.clone(), version.clone())) {
                all.push(ApiService::local(group, version));
            }
        }
        all
    }

    fn groups(&self) -> &[Group] {
        self.groups.get_or_init(|| {
            let group = |versions: Vec<&ApiService>| Group {
                name: versions[0].group.clone(),
                versions: versions.iter().map(|s| s.version.clone()).collect(),
            };
            in_order(&self.named(), Ties::ByObject).into_iter().map(group).collect()
        })
    }

    fn aggregated(&self, server: &Inner, core: bool, form: Aggregated, media: Media) -> Result<Tagged, ApiError> {
        let key = (core, form, media);
        let mut known = self.aggregated.lock();
        if let Some((_, made)) = known.iter().find(|(k, _)| *k == key) {
            return Ok(made.clone());
        }
        let json = if core {
            discovery::aggregated(form, rows(self.table.of_version("", CORE)))
        } else {
            server.aggregation.metrics.aggregated();
            self.groups_document(form)
        };
        let hash: String = Sha512::digest(&json).iter().map(|b| format!("{b:02X}")).collect();
        let bytes = if media == Media::Protobuf { protobuf::of_json(&json)? } else { json.into() };
        let made = Tagged { bytes, hash: hash.into() };
        known.push((key, made.clone()));
        Ok(made)
    }

    fn groups_document(&self, form: Aggregated) -> Vec<u8> {
        // Of what is served here the objects tell that it is there; its place is its own.
        let place = |s: ApiService| if s.backend.is_some() { s } else { ApiService::local(&s.group, &s.version) };
        let named: Vec<ApiService> = self.named().into_iter().map(place).collect();
        let groups = in_order(&named, Ties::ByGroup).into_iter().filter_map(|group| {
            let versions: Vec<Arc<RawValue>> = group.iter().filter_map(|service| self.version(service)).collect();
            (!versions.is_empty()).then(|| (group[0].group.as_str(), versions))
        });
        let groups: Vec<_> = groups.collect();
        discovery::aggregated_list(form, groups.iter().map(|(name, all)| (*name, all.iter().map(|v| &**v).collect())))
    }

    /// What is said of a group version; `None` if nothing is there.
    fn version(&self, service: &ApiService) -> Option<Arc<RawValue>> {
        let (group, version) = (service.group.as_str(), service.version.as_str());
        if self.services.remote(group, version).is_some() {
            return Some(self.remote.version(service));
        }
        let said =
            || Arc::from(discovery::aggregated_version(group, version, rows(self.table.of_version(group, version))));
        match self.table.custom_version(group, version) {
            Some(custom) if !self.table.is_built_in(group) => Some(custom.said.get_or_init(said).clone()),
            _ => self.table.has_version(group, version).then(said),
        }
    }
}

fn resources(table: &Table, group: &str, version: &str) -> Option<Value> {
    let own = || rows(table.of_version(group, version));
    own().next()?;
    Some(discovery::resource_list(group, version, own()))
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
    document: &Tagged,
) -> Result<Response<Body>, ApiError> {
    let version = match form {
        Aggregated::V2 => "v2",
        Aggregated::V2Beta1 => "v2beta1",
    };
    let parameters = format!("g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let content_type = format!("{};{parameters}", media.content_type());
    let content_type = HeaderValue::from_str(&content_type).map_err(ApiError::internal)?;
    let made = body::answer(StatusCode::OK, media.content_type(), body::full(document.bytes.clone()));
    let mut response = nonresource::tagged(request, &document.hash, || {
        let mut made = made;
        made.headers_mut().insert(header::CONTENT_TYPE, content_type);
        made
    });
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}
