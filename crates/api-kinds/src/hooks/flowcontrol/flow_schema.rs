//! Rules of flow schemas.

use crate::hooks::check::Node;
use api_core::field::{BadValue, ErrorKind, Errors};
use api_core::names;
use serde_json::{Value, json};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let (name, spec) = (root.at("metadata").text("name"), root.at("spec"));
    validate_spec(name, &spec, e);
    if let Some(fixed) = fixed(name)
        && fixed != *spec.value
    {
        spec.invalid(&format!("spec of '{name}' must equal the fixed value"), e);
    }
}

/// Two schemas are as they are.
fn fixed(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let everything = |subjects: Value| {
        json!([{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
            "rules": everything(json!([group("system:masters")])),
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": PRECEDENCE_MAX,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(json!([group("system:unauthenticated"), group("system:authenticated")])),
        })),
        _ => None,
    }
}

fn validate_spec(name: &str, spec: &Node<'_, '_>, e: &mut Errors) {
    let precedence = spec.at("matchingPrecedence");
    let number = precedence.int_or_zero();
    if number <= 0 {
        e.invalid(&precedence.path, number, "must be a positive value");
    }
    if number > PRECEDENCE_MAX {
        precedence.invalid(&format!("must not be greater than {PRECEDENCE_MAX}"), e);
    }
    if number == 1 && name != "exempt" {
        precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1", e);
    }
    let method = spec.at("distinguisherMethod");
    if method.present() && !["ByNamespace", "ByUser"].contains(&method.text("type")) {
        let given = BadValue(format!("flowcontrol.FlowDistinguisherMethod{{Type:{:?}}}", method.text("type")));
        e.push(
            ErrorKind::NotSupported,
            &method.at("type").path,
            Some(given),
            "supported values: \"ByNamespace\", \"ByUser\"",
        );
    }
    let level = spec.at("priorityLevelConfiguration");
    let level = level.at("name");
    if level.required_because("must reference a priority level", e) {
        level.text_is(names::is_dns1123_subdomain, e);
    }
    for rule in spec.at("rules").items() {
        validate_rule(&rule, e);
    }
}

fn validate_rule(rule: &Node<'_, '_>, e: &mut Errors) {
    let subjects = rule.at("subjects");
    if subjects.required_because("subjects must contain at least one value", e) {
        subjects.items().for_each(|s| subject(&s, e));
    }
    let (resources, urls) = (rule.at("resourceRules"), rule.at("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        rule.path_required("at least one of resourceRules and nonResourceRules has to be non-empty", e);
    }
    for item in resources.items() {
        resource_rule(&item, e);
    }
    for item in urls.items() {
        verbs(&item.at("verbs"), e);
        non_resource_urls(&item.at("nonResourceURLs"), e);
    }
}

fn subject(subject: &Node<'_, '_>, e: &mut Errors) {
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let given = subject.text("kind");
    if !kinds.iter().any(|(kind, _)| *kind == given) {
        return e.not_supported(&subject.at("kind").path, given, &["Group", "ServiceAccount", "User"]);
    }
    for (kind, field) in kinds {
        let at = subject.at(field);
        match (kind == given, at.present()) {
            (true, false) => at.path_required(&format!("{field} is required when subject kind is '{kind}'"), e),
            (true, true) if kind == "ServiceAccount" => service_account(&at, e),
            (true, true) => {
                at.at("name").required(e);
            }
            (false, true) => at.forbidden(&format!("{field} is forbidden when subject kind is not '{kind}'"), e),
            (false, false) => {}
        }
    }
}

fn service_account(node: &Node<'_, '_>, e: &mut Errors) {
    let (name, namespace) = (node.at("name"), node.at("namespace"));
    if name.required(e) && name.str() != "*" {
        name.text_is(names::is_dns1123_subdomain, e);
    }
    if namespace.required_because("must specify namespace for service account", e) {
        namespace.text_is(names::is_dns1123_label, e);
    }
}

fn has_wildcard(list: &Node<'_, '_>) -> bool {
    list.items().any(|item| item.str() == "*")
}

/// `*` may not stand beside others. Whether it is there.
fn wildcard_alone(list: &Node<'_, '_>, others: &str, e: &mut Errors) -> bool {
    let wildcard = has_wildcard(list);
    if wildcard && list.len() > 1 {
        go_list(list, &format!("if '*' is present, must not specify other {others}"), ErrorKind::Invalid, e);
    }
    wildcard
}

/// Reports a list as Go prints it.
fn go_list(list: &Node<'_, '_>, why: &str, kind: ErrorKind, e: &mut Errors) {
    let items: Vec<String> = list.items().map(|item| format!("{:?}", item.str())).collect();
    e.push(kind, &list.path, Some(BadValue(format!("[]string{{{}}}", items.join(", ")))), why);
}

fn verbs(list: &Node<'_, '_>, e: &mut Errors) {
    list.required_because("verbs must contain at least one value", e);
    if !wildcard_alone(list, "verbs", e) && !list.items().all(|verb| VERBS.contains(&verb.str())) {
        let quoted: Vec<String> = VERBS.iter().map(|v| format!("{v:?}")).collect();
        go_list(list, &format!("supported values: {}", quoted.join(", ")), ErrorKind::NotSupported, e);
    }
}

fn non_resource_urls(list: &Node<'_, '_>, e: &mut Errors) {
    list.required_because("nonResourceURLs must contain at least one value", e);
    if wildcard_alone(list, "non-resource URLs", e) {
        return;
    }
    for url in list.items() {
        let text = url.str();
        let stars = text.matches('*').count();
        let wrong = match text {
            "" => Some("must not be empty"),
            "/" => None,
            _ if !text.starts_with('/') => Some("must start with slash"),
            _ if text.contains(' ') => Some("must not contain white-space"),
            _ if text.contains("//") => Some("must not contain double slash"),
            _ if stars > 1 || stars == 1 && !text.ends_with("/*") => Some("wildcard can only do suffix matching"),
            _ => None,
        };
        if let Some(why) = wrong {
            url.invalid(why, e);
        }
    }
}

fn resource_rule(rule: &Node<'_, '_>, e: &mut Errors) {
    verbs(&rule.at("verbs"), e);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let list = rule.at(field);
        list.required_because(missing, e);
        wildcard_alone(&list, others, e);
    }
    let namespaces = rule.at("namespaces");
    if namespaces.is_empty() && !rule.at("clusterScope").is_true() {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        return namespaces.path_required(why, e);
    }
    if wildcard_alone(&namespaces, "namespaces", e) {
        return;
    }
    for namespace in namespaces.items() {
        for why in names::is_dns1123_label(namespace.str()) {
            namespace.invalid(&format!("each member of this list must be '*' or a DNS-1123 label; {why}"), e);
        }
    }
}
