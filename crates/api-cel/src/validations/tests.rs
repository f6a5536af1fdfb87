//! Rules over objects, and over definitions.

use super::{Budget, Checks, Rules, check};
use api_core::field::{Errors, Path};
use serde_json::{Value, json};

fn run(schema: &Value, object: &Value, old: Option<&Value>) -> (Vec<String>, Vec<String>) {
    let rules = Rules::compile(schema, true).expect("there are rules");
    let (mut errors, mut warnings) = (Errors::new(), Vec::new());
    rules.validate(&Path::ROOT, object, old, &mut Budget::request(), &mut errors, &mut warnings);
    (errors.0.iter().map(ToString::to_string).collect(), warnings)
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn rule(mut schema: Value, rules: Value) -> Value {
    schema["x-kubernetes-validations"] = rules;
    schema
}

#[test]
fn rules_word_their_refusals() {
    let spec = object(json!({"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}}));
    for (rules, value, expected) in [
        (
            json!([{"rule": "self.min <= self.max"}]),
            json!({"min": 2, "max": 1}),
            "spec: Invalid value: \"object\": failed rule: self.min <= self.max",
        ),
        (
            json!([{"rule": "self.min <= self.max", "message": "no", "fieldPath": ".min"}]),
            json!({"min": 2, "max": 1}),
            "spec.min: Invalid value: \"object\": no",
        ),
        (
            json!([{"rule": "self.min <= self.max", "messageExpression": "'min %d'.format([self.min])"}]),
            json!({"min": 2, "max": 1}),
            "spec: Invalid value: \"object\": min 2",
        ),
        (
            json!([{"rule": "has(self.name)", "reason": "FieldValueRequired", "message": "name it", "fieldPath": ".name"}]),
            json!({}),
            "spec.name: Required value: name it",
        ),
        (
            json!([{"rule": "false", "reason": "FieldValueForbidden", "message": "not so"}]),
            json!({}),
            "spec: Forbidden: not so",
        ),
        (
            json!([{"rule": "self.min > 0"}]),
            json!({}),
            "spec: Invalid value: \"object\": no such key: min evaluating rule: self.min > 0",
        ),
    ] {
        let schema = object(json!({"spec": rule(spec.clone(), rules.clone())}));
        assert_eq!(run(&schema, &json!({"spec": value}), None).0, [expected], "{rules}");
    }
}

#[test]
fn transitions() {
    let immutable = rule(json!({"type": "string"}), json!([{"rule": "self == oldSelf", "message": "immutable"}]));
    let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "value": immutable}});
    let list = json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
    let schema = object(json!({"list": list}));
    let old = json!({"list": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]});
    assert!(run(&schema, &old, None).0.is_empty(), "nothing before it");
    let moved = json!({"list": [{"name": "b", "value": "2"}, {"name": "c", "value": "9"}]});
    assert!(run(&schema, &moved, Some(&old)).0.is_empty(), "items belong together by their keys");
    let changed = json!({"list": [{"name": "b", "value": "1"}]});
    assert_eq!(run(&schema, &changed, Some(&old)).0, ["list[0].value: Invalid value: \"string\": immutable"]);
    let optional = rule(
        json!({"type": "integer"}),
        json!([{"rule": "oldSelf.hasValue() || self == 1", "message": "starts at 1", "optionalOldSelf": true}]),
    );
    let schema = object(json!({"n": optional}));
    assert_eq!(run(&schema, &json!({"n": 2}), None).0.len(), 1);
    assert!(run(&schema, &json!({"n": 2}), Some(&json!({"n": 1}))).0.is_empty());
}

#[test]
fn what_has_not_changed_is_only_warned_of() {
    let schema = object(json!({
        "a": rule(json!({"type": "integer"}), json!([{"rule": "self < 5"}])), "b": {"type": "integer"},
    }));
    let (errors, warnings) = run(&schema, &json!({"a": 9, "b": 2}), Some(&json!({"a": 9, "b": 1})));
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(warnings, ["a: Invalid value: \"integer\": failed rule: self < 5"]);
}

#[test]
fn budgets_end_it() {
    let schema = object(json!({"list": {"type": "array", "items": rule(
        json!({"type": "integer"}), json!([{"rule": "self > 0"}]))}}));
    let rules = Rules::compile(&schema, true).expect("there are rules");
    let (mut errors, mut warnings) = (Errors::new(), Vec::new());
    let value = json!({"list": vec![1; 100]});
    rules.validate(&Path::ROOT, &value, None, &mut Budget::of(50), &mut errors, &mut warnings);
    let text: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 1);
    assert!(text[0].contains("running out of cost budget"), "{text:?}");
}

#[test]
fn names_and_types_of_schemas() {
    let schema = rule(
        object(json!({
            "a-b.c": {"type": "string"}, "namespace": {"type": "string"}, "when": {"type": "string", "format": "date-time"},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        })),
        json!([
            {"rule": "self.a__dash__b__dot__c == 'x' && self.__namespace__ == 'n'"},
            {"rule": "self.when < timestamp('2030-01-01T00:00:00Z')"},
            {"rule": "type(self.port) == int ? self.port < 100 : self.port == 'http'"},
            {"rule": "has(self.free)"},
            {"rule": "self.set == ['b', 'a']"},
            {"rule": "self.metadata.name.startsWith('a')"},
        ]),
    );
    let value = json!({"metadata": {"name": "abc"}, "a-b.c": "x", "namespace": "n", "when": "2020-01-01T00:00:00Z",
        "port": "http", "free": {"x": {"y": 1}}, "set": ["a", "b"]});
    assert_eq!(run(&schema, &value, None).0, Vec::<String>::new());
}

fn checked(schema: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    let checks = Checks { limited: true, show: &|rule| rule["rule"].to_string(), bad: &[] };
    check(&Path::new("s"), schema, &checks, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

/// What a real API server says of the costs of rules: by how much they are above the limit, or nothing.
#[test]
fn rules_cost_what_upstream_says() {
    for line in include_str!("../../testdata/costs.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let errors = checked(&object(json!({"spec": row["schema"]})));
        let factor =
            |e: &String| e.split_once("estimated rule cost exceeds budget by factor of ").map(|(_, f)| f.to_owned());
        let found = errors.iter().find_map(factor);
        let found = found.as_deref().and_then(|f| f.split(' ').next());
        assert_eq!(found, row["factor"].as_str(), "{line}: {errors:?}");
    }
}

#[test]
fn messages_are_checked_if_their_rules_can_be_used() {
    let of = |r: Value| checked(&rule(object(json!({"a": {"type": "string"}})), json!([r]))).join("; ");
    let rule_is_shown = "s.x-kubernetes-validations[0].messageExpression: Invalid value: \"true\": messageExpression ";
    for (made, why) in
        [("1", "must evaluate to a string"), ("self.b", "compilation failed: ERROR: <input>:1:5: undefined field 'b'")]
    {
        let found = of(json!({"rule": "true", "messageExpression": made}));
        assert!(found.starts_with(&format!("{rule_is_shown}{why}")), "{found}");
    }
    let found = of(json!({"rule": "self.b", "messageExpression": "1", "optionalOldSelf": true}));
    assert!(!found.contains("messageExpression"), "{found}");
    assert!(found.ends_with("may not be set if oldSelf is not used in rule"), "{found}");
    let mixed = of(json!({"rule": "'%s-%d'.format([self.a, 1]) == 'x'"}));
    assert!(!mixed.contains("expected type"), "{mixed}");
    let mixed = of(json!({"rule": "[self.a, 1].size() == 2"}));
    assert!(mixed.contains("expected type 'string' but found 'int'"), "{mixed}");
}

#[test]
fn definitions_are_checked() {
    let list = json!({"type": "array", "items": {"type": "string"}});
    for (schema, expected) in [
        (
            rule(object(json!({"a": {"type": "string"}})), json!([{"rule": "self.b == 1"}])),
            "s.x-kubernetes-validations[0].rule: Invalid value: \"self.b == 1\": compilation failed: ERROR: <input>:1:5: \
             undefined field 'b'",
        ),
        (rule(object(json!({"a": {"type": "string"}})), json!([{"rule": "self.a"}])), "must evaluate to a bool"),
        (
            object(json!({"list": rule(list.clone(), json!([{"rule": "self.all(x, self.all(y, x == y))"}]))})),
            "s.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of \
             more than 100x",
        ),
        (
            object(json!({"list": {"type": "array", "items": rule(json!({"type": "string"}),
            json!([{"rule": "self == oldSelf"}]))}})),
            "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[list]",
        ),
        (
            rule(object(json!({})), json!([{"rule": "true", "optionalOldSelf": true}])),
            "may not be set if oldSelf is not used in rule",
        ),
    ] {
        let found = checked(&schema);
        assert!(found.iter().any(|f| f.contains(expected)), "{schema}: {found:#?}");
    }
    let free = json!({"free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let found = checked(&rule(object(free), json!([{"rule": "has(self.free.x)"}])));
    assert!(found[0].contains("<input>:1:4: undefined field 'x'"), "{found:?}");
    let small = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}});
    let good = object(json!({"list": rule(small, json!([{"rule": "self.all(x, self.all(y, x == y))"}]))}));
    assert_eq!(checked(&good), Vec::<String>::new());
}
