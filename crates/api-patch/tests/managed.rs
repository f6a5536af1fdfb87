//! Who owns what after a series of writes: cases on real kinds that the recorded scenarios do not have.

use api_core::{ApiError, Gvr};
use api_patch::managed::{self, Manager};
use api_schema::row::Row;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn row(group: &str, resource: &str) -> &'static Arc<Row> {
    api_kinds::resource(&Gvr::new(group, "v1", resource)).expect("a built-in resource")
}

struct Object {
    row: &'static Arc<Row>,
    live: Option<Value>,
    clock: u32,
}

impl Object {
    fn new(group: &str, resource: &str) -> Self {
        Self { row: row(group, resource), live: None, clock: 0 }
    }

    fn write<T>(&mut self, name: &str, subresource: &str, f: impl FnOnce(&Self, &Manager<'_>) -> T) -> T {
        self.clock += 1;
        let now = format!("2024-01-01T00:00:{:02}Z", self.clock);
        let api_version = self.row.gvr.api_version();
        let reset = managed::reset_fields(true, subresource);
        f(self, &Manager { name, api_version: &api_version, subresource, now: &now, reset })
    }

    fn update_at(&mut self, name: &str, subresource: &str, mut object: Value) {
        api_schema::normalize::normalize(self.row.schema(), self.row.root(), &mut object);
        let object = self.write(name, subresource, |this, manager| {
            managed::update(this.row.schema(), this.row.root(), this.live.as_ref(), &mut object, manager);
            object
        });
        self.live = Some(object);
    }

    fn update(&mut self, name: &str, object: Value) {
        self.update_at(name, "", object);
    }

    /// Changes the live object.
    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.live.clone().expect("there");
        edit(&mut object);
        self.update(name, object);
    }

    fn apply(&mut self, name: &str, applied: Value, force: bool) -> Result<(), ApiError> {
        let result = self.write(name, "", |this, manager| {
            managed::apply(this.row.schema(), this.row.root(), this.live.as_ref(), &applied, manager, force)
        });
        let mut object = result?;
        api_schema::normalize::normalize(self.row.schema(), self.row.root(), &mut object);
        if let Some(live) = &self.live {
            managed::keep_times_if_unchanged(live, &mut object);
        }
        self.live = Some(object);
        Ok(())
    }

    /// `manager operation subresource@second: fields`, in order.
    fn owners(&self) -> Vec<String> {
        let live = self.live.as_ref().expect("there");
        let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |e: &Value, f: &str| e[f].as_str().unwrap_or_default().to_owned();
        let line = |e: &Value| {
            let second = text(e, "time").get(17..19).unwrap_or("-").to_owned();
            let (manager, operation) = (text(e, "manager"), text(e, "operation"));
            format!("{manager} {operation} {}@{second}: {}", text(e, "subresource"), e["fieldsV1"])
        };
        entries.iter().map(line).collect()
    }
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": data})
}

#[test]
fn who_changes_a_field_owns_it() {
    let mut o = Object::new("", "configmaps");
    o.update("a", map(json!({"x": "1", "y": "1"})));
    assert_eq!(o.owners(), [r#"a Update @01: {"f:data":{".":{},"f:x":{},"f:y":{}}}"#]);
    o.edit("b", |m| m["data"]["x"] = "2".into());
    let both = [r#"a Update @01: {"f:data":{".":{},"f:y":{}}}"#, r#"b Update @02: {"f:data":{"f:x":{}}}"#];
    assert_eq!(o.owners(), both);
    o.edit("c", |m| m["metadata"]["generation"] = 7.into());
    assert_eq!(o.owners(), both, "a write without effect, or of what nobody owns, changes no owner");
    o.edit("a", |m| m["data"] = json!({"y": "1"}));
    assert_eq!(o.owners(), [r#"a Update @01: {"f:data":{".":{},"f:y":{}}}"#], "who owns nothing is gone");
}

#[test]
fn managed_fields_can_be_reset_and_stay_away_until_the_first_apply() {
    let mut o = Object::new("", "configmaps");
    o.update("a", map(json!({"x": "1"})));
    let mut fresh = map(json!({"x": "1"}));
    fresh["metadata"]["managedFields"] = json!([{}]);
    o.update("a", fresh);
    assert!(o.owners().is_empty());
    o.edit("b", |m| m["data"]["x"] = "2".into());
    assert!(o.owners().is_empty());
    o.apply("c", map(json!({"y": "1"})), false).unwrap();
    assert_eq!(
        o.owners(),
        [r#"c Apply @04: {"f:data":{"f:y":{}}}"#, r#"before-first-apply Update @04: {"f:data":{".":{},"f:x":{}}}"#,]
    );
}

#[test]
fn unreadable_managed_fields_are_ignored() {
    let mut o = Object::new("", "configmaps");
    o.update("a", map(json!({"x": "1"})));
    let before = o.owners();
    for bad in [
        json!([{"manager": "z", "operation": "Steal"}]),
        json!([{"operation": "Update"}]),
        json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"bad": {}}}]),
    ] {
        o.edit("b", |m| m["metadata"]["managedFields"] = bad);
        assert_eq!(o.owners(), before);
    }
}

#[test]
fn subresources_have_entries_of_their_own() {
    let mut o = Object::new("apps", "deployments");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1}, "status": {"replicas": 5}});
    o.update("a", deployment);
    assert_eq!(o.owners(), [r#"a Update @01: {"f:spec":{"f:replicas":{}}}"#], "status is reset on the object");
    let mut object = o.live.clone().unwrap();
    object["status"]["replicas"] = 6.into();
    object["spec"]["replicas"] = 9.into();
    o.update_at("a", "status", object);
    assert_eq!(
        o.owners(),
        [r#"a Update @01: {"f:spec":{"f:replicas":{}}}"#, r#"a Update status@02: {"f:status":{"f:replicas":{}}}"#]
    );
}

#[test]
fn old_updates_are_merged() {
    let mut o = Object::new("", "configmaps");
    o.update("m0", map(json!({"x0": "1"})));
    for i in 1..12 {
        o.edit(&format!("m{i}"), |m| m["data"][format!("x{i}")] = "1".into());
    }
    let owners = o.owners();
    assert_eq!(owners.len(), 10, "{owners:#?}");
    assert!(owners[0].starts_with("ancient-changes Update @03: "), "{}", owners[0]);
    assert_eq!(owners[9], r#"m11 Update @12: {"f:data":{"f:x11":{}}}"#);
}

#[test]
fn conflicts_name_the_owner_and_force_takes_over() {
    let mut o = Object::new("", "configmaps");
    o.update("a", map(json!({"x": "1", "y": "1"})));
    let e = o.apply("b", map(json!({"x": "2", "y": "2", "z": "2"})), false).unwrap_err();
    assert_eq!(e.code, 409);
    assert_eq!(e.message, "Apply failed with 2 conflicts: conflicts with \"a\" using v1:\n- .data.x\n- .data.y");
    let details = e.to_status();
    assert_eq!(
        details["details"]["causes"][0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"a\" using v1", "field": ".data.x"})
    );
    o.apply("b", map(json!({"x": "1"})), false).expect("the same value is no conflict");
    o.apply("b", map(json!({"x": "2"})), true).unwrap();
    assert_eq!(o.owners(), [r#"b Apply @04: {"f:data":{"f:x":{}}}"#, r#"a Update @01: {"f:data":{".":{},"f:y":{}}}"#]);
}

#[test]
fn what_is_no_longer_applied_goes_unless_others_own_it() {
    let mut o = Object::new("", "configmaps");
    o.apply("a", map(json!({"x": "1", "y": "1"})), false).unwrap();
    o.apply("b", map(json!({"y": "1"})), false).unwrap();
    o.apply("a", map(json!({})), false).unwrap();
    assert_eq!(o.live.as_ref().unwrap()["data"], json!({"y": "1"}));
    assert_eq!(
        o.owners(),
        [r#"b Apply @-: {"f:data":{"f:y":{}}}"#, r#"a Apply @03: {"f:data":{}}"#],
        "b changed nothing and has no time"
    );
    o.apply("b", map(json!({"z": "1"})), false).unwrap();
    assert_eq!(o.live.as_ref().unwrap()["data"], json!({"z": "1"}));
}

#[test]
fn configurations_that_cannot_be_applied() {
    let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": containers}});
    let head = "failed to create typed patch object (n/p; /v1, Kind=Pod): ";
    let cases = [
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "finalizers": [null]}}),
            500,
            format!(
                "{head}.metadata.finalizers: element 0: associative list without keys has an element that's an \
                 explicit null"
            ),
        ),
        // Of each object the first.
        (
            pod(json!([{"name": "a", "no": 1, "other": 2}])),
            500,
            format!("{head}.spec.containers[name=\"a\"].no: field not declared in schema"),
        ),
        (pod(json!({"name": "a"})), 500, format!("{head}.spec.containers: expected list, got &{{map[name:a]}}")),
        (
            pod(json!([{"name": "a", "ports": [{"containerPort": "x"}]}])),
            500,
            format!(
                "{head}.spec.containers[name=\"a\"].ports[containerPort=\"x\",protocol=\"TCP\"].containerPort: expected numeric (int or float), got string"
            ),
        ),
        (
            json!({"apiVersion": "v2", "kind": "Pod"}),
            400,
            "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1".into(),
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"managedFields": [{}]}}),
            400,
            "metadata.managedFields must be nil".into(),
        ),
    ];
    for (applied, code, message) in cases {
        let e = Object::new("", "pods").apply("a", applied, false).unwrap_err();
        assert_eq!((e.code, e.message), (code, message));
    }
    for none in [json!([]), json!(null)] {
        let mut applied = map(json!({"x": "1"}));
        applied["metadata"]["managedFields"] = none;
        Object::new("", "configmaps").apply("a", applied, false).expect("says no managed fields");
    }
}

#[test]
fn kubectl_may_overwrite_what_it_applied_from_the_client() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut o = Object::new("", "configmaps");
    let mut object = map(json!({"x": "1", "y": "1"}));
    object["metadata"]["annotations"] = json!({annotation: map(json!({"x": "1"})).to_string()});
    o.update("kubectl-client-side-apply", object);
    o.apply("other", map(json!({"x": "2"})), false).unwrap_err();
    let e = o.apply("kubectl", map(json!({"x": "2", "y": "2"})), false).unwrap_err();
    assert_eq!(
        e.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.y"
    );
    o.apply("kubectl", map(json!({"x": "2"})), false).unwrap();
    let live = o.live.unwrap();
    assert_eq!(live["data"]["x"], "2");
    let kept: Value = serde_json::from_str(live["metadata"]["annotations"][annotation].as_str().unwrap()).unwrap();
    assert_eq!(kept["data"], json!({"x": "2"}));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("TCP")), Just(json!(true))];
    leaf.prop_recursive(6, 48, 4, |inner| {
        let key = "metadata|spec|containers|name|ports|containerPort|protocol|managedFields|labels|finalizers|operation|apiVersion|fieldsV1|f:spec|\\.";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn never_panics(live in any_json(), applied in any_json(), force: bool) {
        let row = row("", "pods");
        let manager = Manager { name: "a", api_version: "v1", subresource: "", now: "", reset: &[] };
        let mut new = applied.clone();
        managed::update(row.schema(), row.root(), Some(&live), &mut new, &manager);
        let mut applied = applied;
        if applied.is_object() {
            applied["apiVersion"] = "v1".into();
        }
        let result = managed::apply(row.schema(), row.root(), Some(&live), &applied, &manager, force);
        prop_assert!(result.map_or_else(|e| e.code >= 400, |v| v.is_object()));
    }

    /// Applying the same twice changes nothing.
    #[test]
    fn apply_is_idempotent(data in proptest::collection::btree_map("[a-d]", "[a-z]?", 0..4), other in proptest::collection::btree_map("[a-d]", "[a-z]?", 0..4)) {
        let mut o = Object::new("", "configmaps");
        o.update("u", map(json!(other)));
        o.apply("a", map(json!(data)), true).unwrap();
        let once = o.live.clone();
        o.apply("a", map(json!(data)), true).unwrap();
        prop_assert_eq!(once, o.live);
    }
}

/// Who says that nobody owns anything yet is answered by a comparison, who says nothing by what there is.
#[test]
fn a_new_object_is_its_makers_however_that_is_found_out() {
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("../../api-kinds/testdata/create-and-store.json")).expect("json");
    let mut owned = 0;
    for object in &recorded {
        let (api_version, plural) = object["resource"].as_str().and_then(|r| r.rsplit_once('/')).expect("a resource");
        let (group, version) = api_core::gvk::split_api_version(api_version);
        let row = api_kinds::resource(&Gvr::new(group, version, plural)).expect("a built-in resource");
        for subresource in ["", "status"] {
            let reset = managed::reset_fields(true, subresource);
            let manager = Manager { name: "m", api_version, subresource, now: "2024-01-01T00:00:00Z", reset };
            let made = |given: Option<Value>| {
                let mut object = object["answer"].clone();
                let metadata = object["metadata"].as_object_mut().expect("an object");
                metadata.remove("managedFields");
                metadata.extend(given.map(|given| ("managedFields".to_owned(), given)));
                managed::update(row.schema(), row.root(), None, &mut object, &manager);
                object
            };
            let found = made(None);
            assert_eq!(found, made(Some(json!([{}]))), "{}", row.gvr.resource);
            owned += usize::from(found["metadata"].get("managedFields").is_some());
        }
    }
    assert!(owned > recorded.len(), "{owned} of {}", recorded.len());
}
