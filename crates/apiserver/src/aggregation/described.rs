//! What an extension server says it has, read from either form of discovery. Only what this server knows comes out, and
//! in the right types: what one server says must not spoil the document of all. Pure.

use api_kinds::aggregation::ApiService;
use serde_json::{Map, Value, json};

/// What the aggregated form says of a group version; without resources if it is not there.
pub(super) fn from_aggregated(list: &Value, service: &ApiService) -> Value {
    let mut groups = list["items"].as_array().into_iter().flatten();
    let group = groups.find(|g| text(&g["metadata"], "name") == service.group);
    let mut versions = group.and_then(|g| g["versions"].as_array()).into_iter().flatten();
    let found = versions.find(|v| v["version"] == service.version).and_then(|v| v["resources"].as_array());
    version(service, found.map(|resources| resources.iter().map(resource).collect()))
}

/// The same of the older form: subresources stand with their resource.
pub(super) fn from_list(list: &Value, service: &ApiService) -> Value {
    let mut out: Vec<Value> = Vec::new();
    let mut entries: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    // Resources first, whatever the order.
    entries.sort_by_key(|entry| text(entry, "name").contains('/'));
    for entry in entries {
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let (verbs, name) = (texts(entry, "verbs"), text(entry, "name"));
        let Some((name, subresource)) = name.split_once('/') else {
            let mut made = json!({"resource": name, "responseKind": kind(entry), "scope": scope,
                "singularResource": text(entry, "singularName"), "verbs": verbs});
            copy_lists(entry, &mut made);
            out.push(made);
            continue;
        };
        let at = out.iter().position(|r| r["resource"] == name).unwrap_or_else(|| {
            let kind = kind(&Value::Null);
            out.push(
                json!({"resource": name, "responseKind": kind, "scope": scope, "singularResource": "", "verbs": []}),
            );
            out.len() - 1
        });
        let sub = json!({"subresource": subresource, "responseKind": kind(entry), "verbs": verbs});
        match out[at].get_mut("subresources").and_then(Value::as_array_mut) {
            Some(list) => list.push(sub),
            None => out[at]["subresources"] = json!([sub]),
        }
    }
    version(service, Some(out))
}

/// Whether it is a list of resources at all. What says nothing of its kind is taken for one.
pub(super) fn is_list(list: &Value) -> bool {
    let absent_or = |value: &Value, is: fn(&Value) -> bool| value.is_null() || is(value);
    let are_texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    let is_entry = |entry: &Value| {
        let texts = ["name", "singularName", "kind", "group", "version"];
        entry.is_object()
            && texts.iter().all(|field| absent_or(&entry[*field], Value::is_string))
            && absent_or(&entry["namespaced"], Value::is_boolean)
            && ["verbs", "shortNames", "categories"].iter().all(|field| absent_or(&entry[*field], are_texts))
    };
    let says = |field: &str, value: &str| list[field].is_null() || list[field] == value;
    let entries = &list["resources"];
    list.is_object()
        && says("kind", "APIResourceList")
        && says("apiVersion", "v1")
        && (entries.is_null() || entries.as_array().is_some_and(|all| all.iter().all(is_entry)))
}

fn version(service: &ApiService, resources: Option<Vec<Value>>) -> Value {
    let mut out = json!({"version": service.version, "freshness": "Current"});
    if let Some(resources) = resources.filter(|resources| !resources.is_empty()) {
        out["resources"] = resources.into();
    }
    out
}

fn text<'v>(entry: &'v Value, field: &str) -> &'v str {
    entry[field].as_str().unwrap_or("")
}

fn texts<'v>(entry: &'v Value, field: &str) -> Vec<&'v str> {
    entry[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Clients of old need a kind, if only an empty one.
fn kind(entry: &Value) -> Value {
    json!({"group": text(entry, "group"), "version": text(entry, "version"), "kind": text(entry, "kind")})
}

/// Lists that are left out when they are empty.
fn copy_lists(entry: &Value, made: &mut Value) {
    for field in ["shortNames", "categories"] {
        let list = texts(entry, field);
        if !list.is_empty() {
            made[field] = json!(list);
        }
    }
}

fn resource(entry: &Value) -> Value {
    let mut made = json!({"resource": text(entry, "resource"), "responseKind": kind(&entry["responseKind"]),
        "scope": text(entry, "scope"), "singularResource": text(entry, "singularResource"), "verbs": texts(entry, "verbs")});
    copy_lists(entry, &mut made);
    let subresources = entry["subresources"].as_array().into_iter().flatten().map(|sub| {
        let mut made = Map::new();
        made.insert("subresource".into(), text(sub, "subresource").into());
        made.insert("responseKind".into(), kind(&sub["responseKind"]));
        if let Some(types) = sub["acceptedTypes"].as_array().filter(|types| !types.is_empty()) {
            made.insert("acceptedTypes".into(), types.iter().map(kind).collect());
        }
        made.insert("verbs".into(), texts(sub, "verbs").into());
        Value::from(made)
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        made["subresources"] = subresources.into();
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_becomes_the_aggregated_one() {
        let list = json!({"resources": [
            {"name": "a/status", "namespaced": true, "kind": "A", "verbs": ["get"]},
            {"name": "a", "singularName": "one", "namespaced": true, "kind": "A", "verbs": ["list"], "shortNames": ["x"]},
            {"name": "b/scale", "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["update"]}]});
        let kind = json!({"group": "", "version": "", "kind": "A"});
        let expected = json!([
            {"resource": "a", "responseKind": kind, "scope": "Namespaced", "singularResource": "one", "verbs": ["list"],
             "shortNames": ["x"], "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}]},
            {"resource": "b", "responseKind": {"group": "", "version": "", "kind": ""}, "scope": "Cluster",
             "singularResource": "", "verbs": [], "subresources": [{"subresource": "scale",
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["update"]}]}]);
        assert_eq!(from_list(&list, &ApiService::local("g.io", "v1"))["resources"], expected);
    }

    #[test]
    fn what_is_no_list_is_told_from_one() {
        let with = |entry: Value| json!({"kind": "APIResourceList", "apiVersion": "v1", "resources": [entry]});
        for list in [json!({}), json!({"resources": null}), with(json!({"name": "a", "verbs": ["get"]}))] {
            assert!(is_list(&list), "{list}");
        }
        let entries = [json!("a"), json!({"name": 7}), json!({"verbs": "get"}), json!({"namespaced": "yes"})];
        let others = [json!({"kind": "Status"}), json!({"apiVersion": "v2"}), json!([]), json!({"resources": {}})];
        for list in entries.into_iter().map(with).chain(others) {
            assert!(!is_list(&list), "{list}");
        }
    }

    #[test]
    fn of_the_aggregated_form_what_is_known_is_taken() {
        let service = ApiService::local("g.io", "v1");
        let read = |resources: Value| {
            let versions = json!([{"version": "v1", "resources": resources, "freshness": "Stale"}]);
            from_aggregated(&json!({"items": [{"metadata": {"name": "g.io"}, "versions": versions}]}), &service)
        };
        let empty = json!({"group": "", "version": "", "kind": ""});
        let a = json!({"resource": "a", "responseKind": empty, "scope": "", "singularResource": "", "verbs": []});
        let current = |resources: Value| json!({"version": "v1", "freshness": "Current", "resources": resources});
        assert_eq!(read(json!([{"resource": "a"}])), current(json!([a])));
        let odd = json!([{"resource": "a", "verbs": "get", "other": {"x": 1}, "subresources": [], "scope": 7}]);
        assert_eq!(read(odd), current(json!([a])));
        let sub = json!({"subresource": "s", "responseKind": empty, "acceptedTypes": [empty], "verbs": ["get"]});
        let mut with_sub = a;
        with_sub["subresources"] = json!([sub]);
        with_sub["categories"] = json!(["all"]);
        assert_eq!(read(json!([with_sub])), current(json!([with_sub])));
        assert_eq!(read(json!("none")), json!({"version": "v1", "freshness": "Current"}));
        assert_eq!(read(json!([])), json!({"version": "v1", "freshness": "Current"}));
        assert_eq!(from_aggregated(&json!({}), &service), json!({"version": "v1", "freshness": "Current"}));
    }
}
