//! The default objects of a cluster, as data: [`phases`] lists them in the order in which they can be made.

use super::merge;
use crate::authz::rbac::Rule;
use crate::config::Config;
use api_core::meta::Meta;
use api_kinds::aggregation::availability::Condition;
use api_kinds::aggregation::{self, registration};
use api_kinds::names;
use serde_json::{Value, json};
use std::collections::HashSet;

/// An object that must be there.
pub struct Wanted {
    /// API group and version, such as `apps/v1`.
    pub api_version: &'static str,
    /// Plural name of its resource.
    pub resource: &'static str,
    /// As it is created.
    pub object: Value,
    /// What to write if `(found, wanted)` differ in what matters.
    pub merge: fn(&Value, &Value) -> Option<Value>,
    /// Conditions that its status must hold.
    pub conditions: Vec<Value>,
}

impl Wanted {
    pub(crate) fn new(
        api_version: &'static str,
        resource: &'static str,
        object: Value,
        merge: fn(&Value, &Value) -> Option<Value>,
    ) -> Self {
        Self { api_version, resource, object, merge, conditions: Vec::new() }
    }

    /// Its API group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Path of its collection.
    pub fn collection(&self) -> String {
        let root = if self.group().is_empty() { "api" } else { "apis" };
        let (version, resource, namespace) = (self.api_version, self.resource, self.object.namespace());
        if namespace.is_empty() {
            format!("/{root}/{version}/{resource}")
        } else {
            format!("/{root}/{version}/namespaces/{namespace}/{resource}")
        }
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.object.name())
    }
}

/// Kind of the slices that say where a service leads.
pub(crate) const SLICE: &str = "EndpointSlice";
const RBAC_VERSION: &str = "rbac.authorization.k8s.io/v1";
const FLOW_CONTROL_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const RBAC: &str = include_str!("rbac.json");
const FLOW_CONTROL: &str = include_str!("flow_control.json");

fn data(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| unreachable!("built-in data is JSON: {e}"))
}

/// Everything, in phases: what is in one may need what is in those before.
pub fn phases(config: &Config) -> Vec<Vec<Wanted>> {
    let mut rest = roles();
    rest.extend(extra_roles());
    rest.extend(flow_control());
    rest.extend(priority_classes());
    rest.extend(api_services());
    rest.push(own_service(config));
    rest.push(authentication_config(config));
    vec![namespaces(), rest]
}

fn namespaces() -> Vec<Wanted> {
    let names = ["kube-system", "default", "kube-public", "kube-node-lease"];
    let make = |name| json!({"apiVersion": "v1", "kind": names::NAMESPACE, "metadata": {"name": name}});
    names.into_iter().map(|name| Wanted::new("v1", "namespaces", make(name), merge::keep)).collect()
}

/// Kind and collection of the four lists in the RBAC data.
const RBAC_KINDS: [(&str, &str); 4] = [
    ("clusterroles", "ClusterRole"),
    ("clusterrolebindings", "ClusterRoleBinding"),
    ("roles", "Role"),
    ("rolebindings", "RoleBinding"),
];

fn rbac_object(kind: &str, row: &Value) -> Value {
    let mut object = row.clone();
    let mut metadata = json!({"name": row["name"]});
    if let Some(fields) = object.as_object_mut() {
        for field in ["namespace", "labels"] {
            if let Some(value) = fields.remove(field) {
                metadata[field] = value;
            }
        }
        fields.remove("name");
    }
    object["metadata"] = metadata;
    object["kind"] = kind.into();
    object["apiVersion"] = RBAC_VERSION.into();
    object
}

/// Upstream's roles and bindings.
fn roles() -> Vec<Wanted> {
    let data = data(RBAC);
    let mut out = Vec::new();
    for (resource, kind) in RBAC_KINDS {
        for row in data[resource].as_array().into_iter().flatten() {
            let mut object = rbac_object(kind, row);
            object["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
            object["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
            out.push(Wanted::new(RBAC_VERSION, resource, object, merge::role));
        }
    }
    out
}

/// What every node agent may do: the rules of `system:node`.
pub fn node_rules() -> Vec<Rule> {
    let data = data(RBAC);
    let roles = data["clusterroles"].as_array();
    roles.into_iter().flatten().find(|r| r["name"] == "system:node").map(Rule::read_all).unwrap_or_default()
}

/// Names of the service accounts that the controllers' roles are bound to, all in `kube-system`.
pub fn controller_accounts() -> HashSet<String> {
    let data = data(RBAC);
    let bindings = data["clusterrolebindings"].as_array().into_iter().flatten();
    let of_controllers = bindings.filter(|b| b["name"].as_str().is_some_and(|n| n.starts_with("system:controller:")));
    let subjects = of_controllers.flat_map(|b| b["subjects"].as_array().into_iter().flatten());
    subjects.filter_map(|s| s["name"].as_str()).map(str::to_owned).collect()
}

/// Roles of the add-ons that come along, as kubeadm makes them.
fn extra_roles() -> Vec<Wanted> {
    let read = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
    let dns = json!({"name": "system:coredns", "rules": [
        read("", &[names::ENDPOINTS, names::SERVICES, names::PODS, "namespaces"]), read("discovery.k8s.io", &["endpointslices"])]});
    let bind = |name: &str, role: &str, subject: Value| {
        json!({"name": name, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    let account = |name: &str| json!({"kind": names::SERVICE_ACCOUNT, "namespace": "kube-system", "name": name});
    let bindings = [
        bind("system:coredns", "system:coredns", account("coredns")),
        bind("kubeadm:node-proxier", "system:node-proxier", account("kube-proxy")),
    ];
    let make = |(resource, kind): (&'static str, &str), row: &Value| {
        Wanted::new(RBAC_VERSION, resource, rbac_object(kind, row), merge::role)
    };
    std::iter::once(make(RBAC_KINDS[0], &dns)).chain(bindings.iter().map(|b| make(RBAC_KINDS[1], b))).collect()
}

/// Levels and schemas of priority and fairness.
pub fn flow_control() -> Vec<Wanted> {
    let data = data(FLOW_CONTROL);
    let kinds = [("prioritylevelconfigurations", "PriorityLevelConfiguration"), ("flowschemas", "FlowSchema")];
    let mut out = Vec::new();
    for (resource, kind) in kinds {
        for row in data[resource].as_array().into_iter().flatten() {
            let object = json!({"apiVersion": FLOW_CONTROL_VERSION, "kind": kind, "spec": row["spec"],
                "metadata": {"name": row["name"], "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}});
            let mut wanted = Wanted::new(FLOW_CONTROL_VERSION, resource, object, merge::maintained_spec);
            if let Some(level) = row["spec"]["priorityLevelConfiguration"]["name"].as_str() {
                let message = format!(
                    "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
                );
                let found = json!({"type": "Dangling", "status": "False", "reason": "Found", "message": message});
                wanted.conditions.push(found);
            }
            out.push(wanted);
        }
    }
    out
}

fn priority_classes() -> Vec<Wanted> {
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    let make = |(name, value, description): (&str, i64, &str)| {
        let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"});
        Wanted::new("scheduling.k8s.io/v1", "priorityclasses", object, merge::keep)
    };
    classes.into_iter().map(make).collect()
}

/// One object for each group and version that is served here, as the aggregator lists them.
fn api_services() -> Vec<Wanted> {
    let local = Condition::local();
    let condition =
        json!({"type": "Available", "status": local.status, "reason": local.reason, "message": local.message});
    let make = |spec: &Value| {
        let object = registration::object(spec, registration::ON_START);
        let mut wanted = Wanted::new("apiregistration.k8s.io/v1", "apiservices", object, registration::at_start);
        wanted.conditions.push(condition.clone());
        wanted
    };
    aggregation::built_in().iter().map(make).collect()
}

/// The service by which pods find the API. Where it leads is `own_endpoints`.
fn own_service(config: &Config) -> Wanted {
    let own_address = config.service_cidr.hosts().next().unwrap_or(config.service_cidr.addr()).to_string();
    let family = match config.service_cidr {
        ipnet::IpNet::V4(_) => "IPv4",
        ipnet::IpNet::V6(_) => "IPv6",
    };
    let service = json!({"apiVersion": "v1", "kind": names::SERVICE,
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": own_address, "clusterIPs": [own_address], "sessionAffinity": "None",
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": config.secure_port}]}});
    Wanted::new("v1", names::SERVICES, service, merge::fields)
}

/// By which extension servers learn whom to trust.
fn authentication_config(config: &Config) -> Wanted {
    let mut data = json!({});
    if !config.client_ca_pem.is_empty() {
        data["client-ca-file"] = config.client_ca_pem.as_str().into();
    }
    if !config.front_proxy_ca_pem.is_empty() {
        let list = |items: &[&str]| Value::from(json!(items).to_string());
        data["requestheader-allowed-names"] = json!(config.front_proxy_names).to_string().into();
        data["requestheader-client-ca-file"] = config.front_proxy_ca_pem.as_str().into();
        data["requestheader-extra-headers-prefix"] = list(&["X-Remote-Extra-"]);
        data["requestheader-group-headers"] = list(&["X-Remote-Group"]);
        data["requestheader-username-headers"] = list(&["X-Remote-User"]);
    }
    let object = json!({"apiVersion": "v1", "kind": names::CONFIG_MAP, "data": data,
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}});
    Wanted::new("v1", names::CONFIG_MAPS, object, merge::fields)
}
