//! Rules of a custom resource definition, except those of its schemas.
//!
//! Upstream checks the form that it had before it had versions: what is the same for all versions is reported as if it
//! stood beside them.

use super::{openapi, rules, structural};
use crate::hooks::admissionregistration::webhooks::{webhook_service, webhook_url};
use crate::hooks::check::Node;
use api_cel::validations::Checks;
use api_core::field::Errors;
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;
use std::collections::BTreeSet;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const WARNING_BYTES_MAX: usize = 256;

pub(super) fn validate(object: &Value, e: &mut Errors) {
    check(object, None, e);
}

fn check(object: &Value, old: Option<&Value>, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    if old.is_none() {
        names_of(&root, e);
    }
    validate_spec(&spec, old, e);
    stored_versions(&root, e);
    approval(&root, &spec, old, e);
    let preserve = spec.at("preserveUnknownFields");
    if preserve.is_true() {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        preserve.invalid(why, e);
    }
}

/// What has been established keeps its scope and kind; its group and plural name are its own name.
pub(super) fn validate_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource == "status" {
        // What is stored is for whoever migrates objects to say.
        return;
    }
    check(new, Some(old), e);
    let (new_root, old_root) = (Node::root(new), Node::root(old));
    let (spec, old_spec) = (new_root.at("spec"), old_root.at("spec"));
    let (given, had) = (spec.at("names"), old_spec.at("names"));
    let established = old["status"]["conditions"]
        .as_array()
        .is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    if established {
        spec.at("scope").immutable(&old_spec.at("scope"), e);
        given.at("kind").immutable(&had.at("kind"), e);
    }
    spec.at("group").immutable(&old_spec.at("group"), e);
    given.at("plural").immutable(&had.at("plural"), e);
}

fn names_of(root: &Node<'_, '_>, e: &mut Errors) {
    let (meta, spec) = (root.at("metadata"), root.at("spec"));
    let name = format!("{}.{}", spec.at("names").text("plural"), spec.text("group"));
    for field in ["generateName", "name"] {
        let given = meta.at(field);
        if !given.is_empty() && given.str() != name {
            given.invalid("must be spec.names.plural+\".\"+spec.group", e);
        }
    }
}

fn joined(node: &Node<'_, '_>, prefix: &str, wrong: &[String], e: &mut Errors) {
    if !wrong.is_empty() {
        e.invalid(&node.path, node.str(), &format!("{prefix}{}", wrong.join(",")));
    }
}

/// One of `accepted`; something is required.
fn enumerated(node: &Node<'_, '_>, accepted: &[&str], e: &mut Errors) {
    if node.required(e) {
        node.one_of(accepted, e);
    }
}

fn validate_spec(spec: &Node<'_, '_>, old: Option<&Value>, e: &mut Errors) {
    let group = spec.at("group");
    if group.required(e) {
        let mut wrong = names::is_dns1123_subdomain(group.str());
        if wrong.is_empty() && !group.str().contains('.') {
            wrong.push("should be a domain with at least one dot".into());
        }
        joined(&group, "", &wrong, e);
    }
    enumerated(&spec.at("scope"), &["Cluster", "Namespaced"], e);
    let preserve = spec.at("preserveUnknownFields");
    if preserve.is_true() && spec.at("versions").items().any(|v| has_default(v.at("schema").get("openAPIV3Schema"))) {
        preserve.invalid("must be false in order to use defaults in the schema", e);
    }
    versions(spec, old, e);
    let given = spec.at("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        given.at(field).required(e);
    }
    resource_names(&given, e);
    shared_parts(spec, old, e);
    let conversion = spec.at("conversion");
    if conversion.present() {
        validate_conversion(&conversion, e);
    }
}

/// Whether anything in a schema has a default.
fn has_default(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    schema.iter().any(|(key, value)| match key.as_str() {
        "default" => !value.is_null(),
        "items" | "not" | "additionalProperties" | "additionalItems" => has_default(value),
        "allOf" | "anyOf" | "oneOf" => value.as_array().is_some_and(|all| all.iter().any(has_default)),
        "properties" | "patternProperties" | "definitions" => {
            value.as_object().is_some_and(|all| all.values().any(has_default))
        }
        _ => false,
    })
}

fn resource_names(names: &Node<'_, '_>, e: &mut Errors) {
    for field in ["plural", "singular"] {
        let name = names.at(field);
        if !name.is_empty() {
            joined(&name, "", &names::is_dns1035_label(name.str()), e);
        }
    }
    for field in ["kind", "listKind"] {
        let name = names.at(field);
        if !name.is_empty() {
            let wrong = names::is_dns1035_label(&name.str().to_lowercase());
            joined(&name, "may have mixed case, but should otherwise match: ", &wrong, e);
        }
    }
    for list in ["shortNames", "categories"] {
        for name in names.at(list).items() {
            joined(&name, "", &names::is_dns1035_label(name.str()), e);
        }
    }
    let kind = names.text("kind");
    if !kind.is_empty() && kind == names.text("listKind") {
        names.at("listKind").invalid("kind and listKind may not be the same", e);
    }
}

fn versions(spec: &Node<'_, '_>, old: Option<&Value>, e: &mut Errors) {
    let list = spec.at("versions");
    for version in list.items() {
        let schema = version.at("schema");
        if !schema.has("openAPIV3Schema") {
            schema.at("openAPIV3Schema").path_required("schemas are required", e);
        }
    }
    let own: Vec<Aspect> = ASPECTS.into_iter().filter(|aspect| shared(&list, aspect).is_none()).collect();
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for version in list.items() {
        let name = version.at("name");
        unique &= seen.insert(name.str());
        joined(&name, "", &names::is_dns1035_label(name.str()), e);
        warning(&version, e);
        for (field, _, check) in &own {
            check(&version.at(field), &Context { old, status: version.at("subresources").has("status") }, e);
        }
    }
    if !unique {
        list.invalid("must contain unique version names", e);
    }
    if list.items().filter(|v| v.at("storage").is_true()).count() != 1 {
        list.invalid("must have exactly one version marked as storage version", e);
    }
    if let Some(first) = list.items().next() {
        let wrong = names::is_dns1035_label(first.text("name"));
        if !first.text("name").is_empty() && !wrong.is_empty() {
            e.invalid(&spec.path.child("version"), first.text("name"), &wrong.join(","));
        }
    }
}

/// A part of a version: its name there, its name beside the versions, and what it must be.
type Aspect = (&'static str, &'static str, fn(&Node<'_, '_>, &Context<'_>, &mut Errors));
const ASPECTS: [Aspect; 3] = [
    ("schema", "validation", schema_of),
    ("subresources", "subresources", |at, _, e| {
        let scale = at.at("scale");
        if scale.present() {
            validate_scale(at, &scale, e);
        }
    }),
    ("additionalPrinterColumns", "additionalPrinterColumns", |columns, _, e| {
        columns.items().for_each(|c| column(&c, e));
    }),
];

/// What an aspect is checked with.
struct Context<'a> {
    old: Option<&'a Value>,
    /// Whether `status` is a subresource.
    status: bool,
}

/// A part that is the same for all versions.
fn shared<'v>(versions: &Node<'v, '_>, (field, _, _): &Aspect) -> Option<&'v Value> {
    let mut all = versions.items().map(|v| v.get(field));
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// What is the same for all versions is looked at once, beside them.
fn shared_parts(spec: &Node<'_, '_>, old: Option<&Value>, e: &mut Errors) {
    let list = spec.at("versions");
    let context = Context { old, status: list.items().any(|v| v.at("subresources").has("status")) };
    for aspect in ASPECTS {
        if let Some(value) = shared(&list, &aspect) {
            aspect.2(&Node::new(value, spec.path.child(aspect.1)), &context, e);
        }
    }
}

/// What was there before may cost more than what is new.
fn schema_of(validation: &Node<'_, '_>, context: &Context<'_>, e: &mut Errors) {
    let schema = validation.at("openAPIV3Schema");
    if !schema.present() {
        return;
    }
    let first = e.len();
    openapi::validate_root(&schema, context.status, e);
    let not_structural = openapi::unstructured(schema.value);
    let before = e.len();
    if not_structural.is_none() {
        e.extend(structural::validate(&schema));
        if e.len() == before {
            structural::validate_defaults(&schema, true, e);
        }
    }
    let walked = e.len();
    openapi::validate(&schema, e);
    if let Some(field) = not_structural {
        // Such a schema is looked at no further.
        if e.len() == first {
            let why = format!("OpenAPIV3Schema '{field}' is not supported");
            e.invalid(&schema.path, "", &why);
        }
    } else if before == walked {
        // Rules are compiled against types, so the schema that they are about must be good.
        let bad: Vec<String> = e.0[walked..].iter().map(|error| error.field.clone()).collect();
        let earlier = context.old.and_then(|old| old["spec"]["versions"].as_array());
        let is_kept = |v: &Value| v["schema"]["openAPIV3Schema"] == *schema.value;
        let limited = !earlier.is_some_and(|versions| versions.iter().any(is_kept));
        let checks = Checks { limited, show: &rules::shown, bad: &bad };
        api_cel::validations::check(&schema.path, schema.value, &checks, e);
    }
}

fn warning(version: &Node<'_, '_>, e: &mut Errors) {
    let warning = version.at("deprecationWarning");
    if !warning.present() {
        return;
    }
    if !version.at("deprecated").is_true() {
        warning.invalid("can only be set for deprecated versions", e);
    }
    if warning.str().is_empty() {
        warning.invalid("must not be an empty string", e);
    }
    if warning.str().len() > WARNING_BYTES_MAX {
        warning.invalid(&format!("must be <= {WARNING_BYTES_MAX} characters long"), e);
    }
    if let Some(at) = warning.str().find(char::is_control) {
        let why = format!("must only contain printable UTF-8 characters; non-printable character found at index {at}");
        warning.invalid(&why, e);
    }
}

fn simple_path(node: &Node<'_, '_>, e: &mut Errors) -> bool {
    let good = node.str().starts_with('.');
    if !good {
        node.invalid("must be a simple json path starting with .", e);
    }
    good
}

fn validate_scale(subresources: &Node<'_, '_>, scale: &Node<'_, '_>, e: &mut Errors) {
    for (field, roots, why) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."][..], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."][..], "should be a json path under either .spec or .status"),
    ] {
        let name = format!("scale.{field}");
        let path = Node::new(scale.get(field), subresources.path.child(&name));
        if path.is_empty() {
            if field != "labelSelectorPath" {
                path.path_required("", e);
            }
        } else if simple_path(&path, e) && !roots.iter().any(|root| path.str().starts_with(root)) {
            path.invalid(why, e);
        }
    }
}

fn column(column: &Node<'_, '_>, e: &mut Errors) {
    column.at("name").required(e);
    let one_of = |node: &Node<'_, '_>, accepted: &[&str], e: &mut Errors| {
        let why = format!("must be one of {}", accepted.join(","));
        if node.is_empty() {
            node.path_required(&why, e);
        } else if !accepted.contains(&node.str()) {
            node.invalid(&why, e);
        }
    };
    one_of(&column.at("type"), &COLUMN_TYPES, e);
    if !column.at("format").is_empty() {
        one_of(&column.at("format"), &COLUMN_FORMATS, e);
    }
    let path = Node::new(column.get("jsonPath"), column.path.child("JSONPath"));
    if path.required(e) {
        simple_path(&path, e);
    }
}

fn validate_conversion(conversion: &Node<'_, '_>, e: &mut Errors) {
    enumerated(&conversion.at("strategy"), &["None", "Webhook"], e);
    let webhook = conversion.at("webhook");
    let client = Node::new(webhook.get("clientConfig"), conversion.path.child("webhookClientConfig"));
    let versions =
        Node::new(webhook.get("conversionReviewVersions"), conversion.path.child("conversionReviewVersions"));
    if conversion.text("strategy") != "Webhook" {
        for node in [client, versions] {
            if !node.is_empty() {
                node.forbidden("should not be set when strategy is not set to Webhook", e);
            }
        }
        return;
    }
    if client.present() {
        let (url, service) = (client.at("url"), client.at("service"));
        match (url.present(), service.present()) {
            (true, false) => webhook_url(&url, e),
            (false, true) => webhook_service(&service, e),
            _ => client.path_required("exactly one of url or service is required", e),
        }
    } else {
        client.path_required("required when strategy is set to Webhook", e);
    }
    if versions.is_empty() {
        return versions.path_required("", e);
    }
    let mut seen = BTreeSet::new();
    for version in versions.items() {
        if seen.insert(version.str()) {
            version.text_is(names::is_dns1035_label, e);
        } else {
            version.invalid("duplicate version", e);
        }
    }
    if !seen.iter().any(|v| REVIEW_VERSIONS.contains(v)) {
        versions.invalid("must include at least one of v1, v1beta1", e);
    }
}

fn stored_versions(root: &Node<'_, '_>, e: &mut Errors) {
    let (spec, status) = (root.at("spec"), root.at("status"));
    let (versions, stored) = (spec.at("versions"), status.at("storedVersions"));
    if stored.is_empty() {
        return stored.invalid("must have at least one stored version", e);
    }
    // A stored version answers for one version only: a second one of its name finds it taken.
    let mut left: BTreeSet<&str> = stored.items().map(|s| s.str()).collect();
    for version in versions.items() {
        let name = version.text("name");
        if !left.remove(name) && version.at("storage").is_true() {
            stored.invalid(&format!("must have the storage version {name}"), e);
        }
    }
    for name in stored.items() {
        if !versions.items().any(|v| v.text("name") == name.str()) {
            name.invalid("must appear in spec.versions", e);
        }
    }
}

const APPROVAL: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

fn is_of_community(group: &str) -> bool {
    let below = |domain: &str| group == domain || group.strip_suffix(domain).is_some_and(|g| g.ends_with('.'));
    below("k8s.io") || below("kubernetes.io")
}

/// What the annotation of approval says.
enum Approval {
    Missing,
    Invalid,
    Bypassed,
    Approved,
}

impl Approval {
    fn of(annotation: &Value) -> Self {
        let Some(text) = annotation.as_str() else { return Self::Missing };
        let url = text.split_once("://").is_some_and(|(s, host)| !s.is_empty() && !host.is_empty());
        match (text.starts_with("unapproved"), url) {
            (true, _) => Self::Bypassed,
            (false, true) => Self::Approved,
            (false, false) => Self::Invalid,
        }
    }

    fn message(&self, text: &str) -> String {
        let why = format!("protected groups must have approval annotation {APPROVAL:?}");
        match self {
            Self::Missing => format!("{why}, {SEE}"),
            Self::Invalid => format!("{why} with either a URL or a reason starting with \"unapproved\", {SEE}"),
            Self::Bypassed => format!("not approved: {text:?}"),
            Self::Approved => format!("approved in {text}"),
        }
    }
}

/// Status, reason and message of the condition of approval; `None` for groups that need none.
pub(crate) fn approval_of(definition: &Value) -> Option<(&'static str, &'static str, String)> {
    if !is_of_community(definition["spec"]["group"].as_str().unwrap_or("")) {
        return None;
    }
    let annotation = &definition["metadata"]["annotations"][APPROVAL];
    let approval = Approval::of(annotation);
    let (status, reason) = match approval {
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
    };
    Some((status, reason, approval.message(annotation.as_str().unwrap_or(""))))
}

/// Groups of the community need its approval. One that was created without it may stay without.
fn approval(root: &Node<'_, '_>, spec: &Node<'_, '_>, old: Option<&Value>, e: &mut Errors) {
    if !is_of_community(spec.text("group")) {
        return;
    }
    let meta = root.at("metadata");
    let annotations = meta.at("annotations");
    let annotation = annotations.key(APPROVAL);
    if let Some(old) = old
        && !matches!(Approval::of(&old["metadata"]["annotations"][APPROVAL]), Approval::Bypassed | Approval::Approved)
        && old["metadata"]["annotations"][APPROVAL] == *annotation.value
    {
        return;
    }
    let approval = Approval::of(annotation.value);
    match approval {
        Approval::Missing => annotation.path_required(&approval.message(""), e),
        Approval::Invalid => annotation.invalid(&approval.message(""), e),
        Approval::Bypassed | Approval::Approved => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CONTEXT: WriteContext<'_> =
        WriteContext { now_unix_s: 0, subresource: "", user: "tester", uid: "", groups: &[], extra: None };

    fn definition(spec: &Value) -> Value {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        json!({"metadata": {"name": "ws.e.com"}, "status": {"storedVersions": ["v1"]}, "spec": {"group": "e.com",
            "scope": "Namespaced", "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_obey_the_rules() {
        let rule = |rule: &str| json!([{"rule": rule, "message": "no good"}]);
        let size =
            |default: i64| json!({"type": "integer", "default": default, "x-kubernetes-validations": rule("self < 9")});
        let path = "spec.validation.openAPIV3Schema.properties[spec]";
        for (spec, expected) in [
            (json!({"type": "object", "properties": {"size": size(8)}}), String::new()),
            (
                json!({"type": "object", "properties": {"size": size(9)}}),
                format!("{path}.properties[size].default: Invalid value: \"integer\": no good"),
            ),
            (
                json!({"type": "object", "default": {"a": "x"}, "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "x-kubernetes-validations": rule("has(self.b)")}),
                format!("{path}.default: Invalid value: \"object\": no good"),
            ),
            (
                json!({"type": "object", "properties": {"n": {"type": "integer", "default": 1,
                    "x-kubernetes-validations": rule("self > oldSelf")}}}),
                String::new(),
            ),
        ] {
            let mut errors = Errors::new();
            validate(&definition(&spec), &mut errors);
            assert_eq!(texts(&errors).join("\n"), expected, "{spec}");
        }
    }

    #[test]
    fn causes_come_in_upstreams_order() {
        let path = "spec.validation.openAPIV3Schema.properties[spec]";
        let rule = |rule: &str| json!([{"rule": rule, "message": "m"}]);
        for (spec, expected) in [
            (
                json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object",
                    "properties": {"z": {"type": "array"}, "a": {"anyOf": [{"type": "string", "x-kubernetes-validations": rule("true")}]}}}}),
                vec![
                    ".items.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
                    ".items.properties[a].anyOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
                    ".items.properties[a].type: Required value: must not be empty for specified object fields",
                    ".items.properties[z].items: Required value: must be specified",
                    ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
                ],
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "a"],
                    "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "object"}}}}),
                vec![
                    ".items.properties[a].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map",
                    ".items.properties[a].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map",
                    ".x-kubernetes-list-map-keys: Invalid value: []string{\"a\", \"a\"}: must not contain duplicate entries",
                ],
            ),
            (
                json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
                vec![".type: Required value: must not be empty for specified object fields"],
            ),
            (
                json!({"type": "object", "default": 1, "properties": {"a": {"type": "string", "x-kubernetes-list-type": "x"}}}),
                vec![
                    ".default: Invalid value: \"integer\":  in body must be of type object: \"integer\"",
                    ".properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
                    ".properties[a].x-kubernetes-list-type: Unsupported value: \"x\": supported values: \"atomic\", \"set\", \"map\"",
                ],
            ),
            (
                json!({"type": "object", "properties": {
                    "a": {"type": "string", "uniqueItems": true, "x-kubernetes-validations": rule("self > 1")},
                    "b": {"type": "string", "maxLength": 3, "x-kubernetes-validations": [{"rule": "self == oldSelf.x", "message": "m"}, {"rule": "true", "optionalOldSelf": true}]}}}),
                vec![
                    ".properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
                    ".properties[b].x-kubernetes-validations[0].rule: Invalid value: apiextensions.ValidationRule{Rule:\"self == oldSelf.x\"",
                    ".properties[b].x-kubernetes-validations[1].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            validate(&definition(&spec), &mut errors);
            let found = texts(&errors);
            assert_eq!(found.len(), expected.len(), "{found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(&format!("{path}{expected}")), "{found}\n{expected}");
            }
        }
    }

    #[test]
    fn names_come_before_what_all_versions_share() {
        let mut one = definition(&json!({"type": "x"}));
        one["spec"]["names"]["singular"] = json!("A");
        let fields = |definition: &Value| {
            let mut errors = Errors::new();
            validate(definition, &mut errors);
            errors.0.iter().map(|e| e.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fields(&one), ["spec.names.singular", "spec.validation.openAPIV3Schema.properties[spec].type"]);
        let mut second = one["spec"]["versions"][0].clone();
        second["name"] = json!("B");
        second["schema"] = json!({});
        second["storage"] = json!(false);
        one["spec"]["versions"].as_array_mut().expect("list").push(second);
        assert_eq!(
            fields(&one),
            [
                "spec.versions[1].schema.openAPIV3Schema",
                "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
                "spec.versions[1].name",
                "spec.names.singular",
            ]
        );
    }

    #[test]
    fn metadata_says_nothing_but_names() {
        let why = "metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified";
        for (metadata, good) in [
            (json!({"type": "object"}), true),
            (json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}), true),
            (
                json!({"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}}),
                false,
            ),
            (json!({"type": "object", "description": "d"}), false),
            (json!({"type": "object", "required": ["name"]}), false),
            (json!({"type": "object", "nullable": false, "title": ""}), true),
        ] {
            let mut one = definition(&json!({"type": "object"}));
            one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["metadata"] = metadata.clone();
            let mut errors = Errors::new();
            validate(&one, &mut errors);
            assert_eq!(texts(&errors).iter().any(|e| e.ends_with(why)), !good, "{metadata} {:?}", texts(&errors));
        }
    }

    #[test]
    fn a_schema_that_is_kept_may_cost_what_it_costs() {
        let dear = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))", "message": "m"}]}}});
        let old = definition(&dear);
        let mut errors = Errors::new();
        validate(&old, &mut errors);
        assert!(texts(&errors)[0].contains("estimated rule cost exceeds budget by factor of more than 100x"));
        let mut new = old.clone();
        new["spec"]["names"]["shortNames"] = json!(["x"]);
        let mut errors = Errors::new();
        validate_update(&CONTEXT, &new, &old, &mut errors);
        assert_eq!(texts(&errors), [""; 0]);
        let schema = &mut new["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"]["properties"]["other"] = json!({"type": "string"});
        validate_update(&CONTEXT, &new, &old, &mut errors);
        assert!(!errors.0.is_empty(), "a changed schema is new");
    }
}
