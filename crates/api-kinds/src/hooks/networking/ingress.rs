//! Rules of ingresses and ingress classes.

use super::policy::host;
use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::meta;
use api_core::field::{BadValue, Errors, Path};
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Longest name of a controller, in bytes.
const CONTROLLER_BYTES_MAX: usize = 250;

pub(super) fn create(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let metadata = root.at("metadata");
    let annotation = metadata.at("annotations").get(CLASS_ANNOTATION);
    if !annotation.is_null() && root.at("spec").has("ingressClassName") {
        let path = Path::new("annotations");
        e.invalid(&path.child(CLASS_ANNOTATION), annotation, "can not be set when the class field is also set");
    }
    ingress(&root, e);
}

fn ingress(root: &Node<'_, '_>, e: &mut Errors) {
    let spec = root.at("spec");
    let (rules, backend_) = (spec.at("rules"), spec.at("defaultBackend"));
    if rules.is_empty() && !backend_.present() {
        let none = BadValue("[]networking.IngressRule(nil)".into());
        e.invalid(&spec.path, none, "either `defaultBackend` or `rules` must be specified");
    }
    if backend_.present() {
        backend(&backend_, e);
    }
    for rule in rules.items() {
        let name = rule.at("host");
        if !name.is_empty() {
            if names::parse_ip(name.str()).is_some() {
                name.invalid("must be a DNS name, not an IP address", e);
            }
            host(&name, e);
        }
        if rule.has("http") {
            http(&rule.at("http"), e);
        }
    }
    for tls in spec.at("tls").items() {
        tls.at("hosts").items().for_each(|name| host(&name, e));
        tls.at("secretName").text_if_any(names::is_dns1123_subdomain, e);
    }
    let class = spec.at("ingressClassName");
    if class.present() {
        class.text_is(names::is_dns1123_subdomain, e);
    }
}

fn http(http: &Node<'_, '_>, e: &mut Errors) {
    let paths = http.at("paths");
    paths.required(e);
    for path in paths.items() {
        let kind = path.at("pathType");
        if !kind.present() {
            kind.path_required("pathType must be specified", e);
            continue;
        }
        url_path(&path.at("path"), kind.str(), e);
        kind.one_of(&["Exact", "ImplementationSpecific", "Prefix"], e);
        backend(&path.at("backend"), e);
    }
}

fn url_path(path: &Node<'_, '_>, kind: &str, e: &mut Errors) {
    let strict = matches!(kind, "Exact" | "Prefix");
    let optional = kind == "ImplementationSpecific" && path.is_empty();
    if (strict || kind == "ImplementationSpecific") && !optional && !path.str().starts_with('/') {
        e.invalid(&path.path, path.str(), "must be an absolute path");
    }
    if !strict {
        return;
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if path.str().contains(part) {
            path.invalid(&format!("must not contain '{part}'"), e);
        }
    }
    for end in ["/..", "/."] {
        if path.str().ends_with(end) {
            path.invalid(&format!("cannot end with '{end}'"), e);
        }
    }
}

fn backend(backend: &Node<'_, '_>, e: &mut Errors) {
    let (resource, service) = (backend.at("resource"), backend.at("service"));
    match (resource.present(), service.present()) {
        (true, true) => e.invalid(&backend.path, "", "cannot set both resource and service backends"),
        (true, false) => reference(&resource, e),
        (false, true) => {
            service.at("name").required_text(names::is_dns1035_label, e);
            let port = service.at("port");
            let (name, number) = (port.at("name"), port.at("number"));
            match (!name.is_empty(), number.int_or_zero() != 0) {
                (true, true) => e.invalid(&backend.path, "", "cannot set both port name & port number"),
                (true, false) => name.text_is(names::is_port_name, e),
                (false, true) => number.port_number(e),
                (false, false) => backend.path_required("port name or number is required", e),
            }
        }
        (false, false) => e.invalid(&backend.path, "", "resource or service backend is required"),
    }
}

fn reference(reference: &Node<'_, '_>, e: &mut Errors) {
    let group = reference.at("apiGroup");
    if group.present() {
        group.text_is(names::is_dns1123_subdomain, e);
    }
    for (field, why) in [("kind", "kind is required"), ("name", "name is required")] {
        if reference.at(field).required_because(why, e) {
            reference.at(field).text_is(names::is_path_segment, e);
        }
    }
}

pub(super) fn update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let root = Node::root(new);
    if context.subresource == "status" {
        let status = root.at("status");
        let balancer = status.at("loadBalancer");
        for point in balancer.at("ingress").items() {
            point.at("ip").text_if_any(names::is_ip, e);
            let name = point.at("hostname");
            name.text_if_any(names::is_dns1123_subdomain, e);
            if names::parse_ip(name.str()).is_some() {
                name.invalid("must be a DNS name, not an IP address", e);
            }
        }
        return;
    }
    meta::again_on_create(new, e);
    ingress(&root, e);
}

pub(super) fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let root = Node::root(new);
    let metadata = root.at("metadata");
    if !metadata.at("annotations").has(CLASS_ANNOTATION) {
        return Vec::new();
    }
    vec![format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
}

pub(super) fn class(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let controller = spec.at("controller");
    if controller.str().len() > CONTROLLER_BYTES_MAX {
        controller.too_long(CONTROLLER_BYTES_MAX, e);
    }
    if controller.required(e) {
        for (part, why) in names::is_domain_prefixed_path(controller.str()) {
            e.invalid(&controller.path, part, &why);
        }
    }
    let parameters = spec.at("parameters");
    if !parameters.present() {
        return;
    }
    reference(&parameters, e);
    let (scope, namespace) = (parameters.at("scope"), parameters.at("namespace"));
    if !scope.present() {
        scope.path_required("", e);
        return;
    }
    scope.one_of(&["Cluster", "Namespace"], e);
    match scope.str() {
        "Namespace" if !namespace.present() => {
            namespace.path_required("`parameters.scope` is set to 'Namespace'", e);
        }
        "Namespace" => namespace.text_is(names::is_dns1123_label, e),
        "Cluster" if namespace.present() => {
            namespace.forbidden("`parameters.scope` is set to 'Cluster'", e);
        }
        _ => {}
    }
}

pub(super) fn class_update(_: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_update(new, old, e);
    let (root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    let controller = spec.at("controller");
    if controller.str() != old_spec.at("controller").str() {
        e.invalid(&controller.path, controller.str(), IMMUTABLE);
    }
    meta::again_on_create(new, e);
    class(new, e);
}
