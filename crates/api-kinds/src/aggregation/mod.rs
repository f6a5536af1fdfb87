//! API services: which server answers for which group version, in which order groups and versions are listed.
//!
//! An object of this kind stands for a group version: one that is served here, or one of an extension server behind a
//! service. Pure; who asks those servers is the server's own affair.

pub mod availability;
pub mod registration;

use api_core::Gvr;
use api_core::meta::Meta;
use api_schema::discovery::version_order;
use base64::Engine;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The group of API services themselves, which no extension server may have; it is listed first.
pub const GROUP: &str = "apiregistration.k8s.io";
/// Above every priority that an object may name.
const FIRST: i64 = 20_001;
/// Priorities of the groups and versions of custom resources.
const CUSTOM_PRIORITIES: (i64, i64) = (1000, 100);
/// Port of an extension server's service if none is named.
const PORT: u16 = 443;

/// The resource of API services.
pub fn api_services() -> Gvr {
    Gvr::new(GROUP, "v1", "apiservices")
}

/// Specifications for the groups that are served here.
pub fn built_in() -> &'static [Value] {
    static SPECS: LazyLock<Vec<Value>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../data/api-services.json")).expect("built-in data is JSON")
    });
    &SPECS
}

/// Name of the object that stands for a group version.
pub fn name_of(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// Where an extension server is, and how it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Namespace of its service.
    pub namespace: String,
    /// Its service.
    pub service: String,
    /// Port of the service.
    pub port: u16,
    /// Roots that its certificate must chain to (PEM); empty means those of the system.
    pub ca_pem: Vec<u8>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

impl Backend {
    /// Name that its certificate must have.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// What an object of the kind says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiService {
    /// Its own name.
    pub name: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Groups with a higher one come first.
    pub group_priority: i64,
    /// Versions of a group with a higher one come first.
    pub version_priority: i64,
    /// The extension server; `None` for what is served here.
    pub backend: Option<Backend>,
    /// Whether its status says that the extension server answers.
    pub available: bool,
}

impl ApiService {
    /// Reads an object.
    pub fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |field: &str| spec[field].as_str().unwrap_or("").to_owned();
        let (group, version) = (text("group"), text("version"));
        // These two are this server, whatever anybody writes.
        let own = group.is_empty() || group == GROUP;
        Self {
            name: object.name().to_owned(),
            group_priority: if group == GROUP { FIRST } else { spec["groupPriorityMinimum"].as_i64().unwrap_or(0) },
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            backend: if own { None } else { backend(spec) },
            available: availability::is_available(object),
            group,
            version,
        }
    }

    /// Stands for a group version that is served here and that no object names yet.
    pub fn local(group: &str, version: &str) -> Self {
        let spec = built_in().iter().find(|s| s["group"] == group && s["version"] == version);
        let number = |field: &str, or: i64| spec.map_or(or, |s| s[field].as_i64().unwrap_or(or));
        let own = group == GROUP;
        Self {
            name: name_of(group, version),
            group: group.to_owned(),
            version: version.to_owned(),
            group_priority: if own { FIRST } else { number("groupPriorityMinimum", CUSTOM_PRIORITIES.0) },
            version_priority: number("versionPriority", CUSTOM_PRIORITIES.1),
            backend: None,
            available: true,
        }
    }
}

fn backend(spec: &Value) -> Option<Backend> {
    let service = spec.get("service").filter(|s| s.is_object())?;
    let text = |field: &str| service[field].as_str().unwrap_or("").to_owned();
    let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok());
    // What cannot be read is kept as it is, so that it is refused where it is used.
    let bundle = spec["caBundle"].as_str().unwrap_or("");
    let ca_pem = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_else(|_| bundle.into());
    Some(Backend {
        namespace: text("namespace"),
        service: text("name"),
        port: port.unwrap_or(PORT),
        ca_pem,
        insecure: spec["insecureSkipTLSVerify"] == true,
    })
}

/// How groups of the same priority follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// By the names of the objects, as lists of groups have it.
    ByObject,
    /// By the names of the groups, as the aggregated document has it.
    ByGroup,
}

/// Groups in order, each with its versions in order. The core group is among them if there is an object for it.
pub fn in_order<'a>(services: impl IntoIterator<Item = &'a ApiService>, ties: Ties) -> Vec<Vec<&'a ApiService>> {
    let mut sorted: Vec<&ApiService> = services.into_iter().collect();
    sorted.sort_by(|a, b| {
        let tie = || match ties {
            Ties::ByObject => a.name.cmp(&b.name),
            Ties::ByGroup => a.group.cmp(&b.group),
        };
        b.group_priority.cmp(&a.group_priority).then_with(tie)
    });
    let mut groups: Vec<Vec<&ApiService>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for service in sorted {
        let place = *places.entry(&service.group).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(service),
            None => groups.push(vec![service]),
        }
    }
    groups.iter_mut().for_each(|group| group.sort_by(|a, b| version_priority(a, b)));
    groups
}

fn version_priority(a: &ApiService, b: &ApiService) -> Ordering {
    b.version_priority.cmp(&a.version_priority).then_with(|| version_order(&b.version, &a.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, group_priority: i64, version_priority: i64) -> ApiService {
        let (version, group) = name.split_once('.').expect("a version and a group");
        ApiService::read(&json!({"metadata": {"name": name}, "spec": {"group": group, "version": version,
            "groupPriorityMinimum": group_priority, "versionPriority": version_priority}}))
    }

    #[track_caller]
    fn check(services: &[ApiService], ties: Ties, expected: &str) {
        let groups = in_order(services, ties);
        let of = |group: &Vec<&ApiService>| group.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(",");
        assert_eq!(groups.iter().map(of).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn groups_and_versions_are_in_order() {
        let services = [
            service("v1.b.io", 1000, 10),
            service("v1beta1.a.io", 1000, 10),
            service("v1.c.io", 2000, 10),
            service("v2.b.io", 900, 10),
            service("v2beta1.b.io", 900, 20),
            service("v1.apiregistration.k8s.io", 1, 1),
        ];
        let ends = "v2beta1.b.io,v2.b.io,v1.b.io";
        check(&services, Ties::ByObject, &format!("v1.apiregistration.k8s.io v1.c.io {ends} v1beta1.a.io"));
        check(&services, Ties::ByGroup, &format!("v1.apiregistration.k8s.io v1.c.io v1beta1.a.io {ends}"));
    }

    #[test]
    fn backends_are_read_and_this_servers_own_groups_have_none() {
        let read = |group: &str| {
            ApiService::read(&json!({"metadata": {"name": "x"}, "spec": {"group": group, "version": "v1",
                "caBundle": "YWI=", "service": {"namespace": "n", "name": "s"}}}))
        };
        let backend = read("g.io").backend.expect("backend");
        assert_eq!(
            (backend.port, backend.ca_pem.as_slice(), backend.server_name().as_str()),
            (443, &b"ab"[..], "s.n.svc")
        );
        assert_eq!(read("").backend, None);
        assert_eq!(read(GROUP).backend, None);
        assert_eq!(ApiService::local("apps", "v1").group_priority, 17_800);
        assert_eq!(ApiService::local("example.com", "v1").version_priority, 100);
    }
}
