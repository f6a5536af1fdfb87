//! Whether the expressions of a policy fit the types that its rules name, which its status tells its author. Pure: types
//! come from the documents that the server publishes about them.

use super::expressions::{self, Names};
use super::{items, text};
use api_cel::{Decl, Env, Type};
use api_core::{Gvk, Gvr};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Types that a policy is checked with for one of its rules; with the last of them the check ends.
pub const TYPES_MAX: usize = 10;
/// Deepest nesting of a schema that is followed; below is anything.
const DEPTH_MAX: usize = 64;

/// A type that a policy is for.
#[derive(Debug, Clone)]
pub struct Typed {
    /// Its kind.
    pub kind: Gvk,
    /// What is known of its objects.
    pub object: Arc<Decl>,
}

/// Resources that each rule of a policy names, in the order in which they are tried. A rule with a wildcard names none.
pub fn resources(spec: &Value) -> Vec<Vec<Gvr>> {
    let rules = spec.get("matchConstraints").into_iter().flat_map(|c| items(c, "resourceRules"));
    rules.map(of_rule).collect()
}

fn of_rule(rule: &Value) -> Vec<Gvr> {
    let sorted = |field: &str| {
        let mut list: Vec<&str> = items(rule, field).filter_map(Value::as_str).collect();
        list.sort_unstable();
        list
    };
    let (groups, versions) = (sorted("apiGroups"), sorted("apiVersions"));
    if groups.iter().chain(&versions).any(|name| name.contains('*')) {
        return Vec::new();
    }
    let plain: Vec<&str> = sorted("resources").into_iter().filter(|r| !r.contains(['*', '/'])).collect();
    let mut all = Vec::new();
    for group in &groups {
        for version in &versions {
            all.extend(plain.iter().map(|resource| Gvr::new(group, version, resource)));
        }
    }
    all
}

/// What an OpenAPI v3 document says of a kind; `None` if it does not have it.
pub fn declaration(document: &Value, kind: &Gvk) -> Option<Arc<Decl>> {
    let schemas = document["components"]["schemas"].as_object()?;
    let is_of = |schema: &&Value| {
        items(schema, "x-kubernetes-group-version-kind").any(|k| {
            text(k, "group") == kind.group && text(k, "version") == kind.version && text(k, "kind") == kind.kind
        })
    };
    let schema = Resolver { schemas, path: Vec::new() }.resolve(schemas.values().find(is_of)?, 0);
    let is_whole = ["apiVersion", "kind", "metadata"].iter().all(|field| schema["properties"].get(field).is_some());
    api_cel::declare(&schema, !is_whole, &kind.kind)
}

/// Puts what references lead to in their place.
struct Resolver<'a> {
    schemas: &'a Map<String, Value>,
    /// References around here.
    path: Vec<&'a str>,
}

/// Where a schema refers to; a reference may be wrapped to keep its description.
fn reference(schema: &Value) -> Option<&str> {
    let own = schema.get("$ref").and_then(Value::as_str).map(|r| r.rsplit('/').next().unwrap_or(r));
    own.or_else(|| items(schema, "allOf").find_map(reference))
}

impl<'a> Resolver<'a> {
    fn resolve(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(name) = reference(schema) {
            return match self.schemas.get(name) {
                // What contains itself is an object of which nothing more is known.
                Some(_) if self.path.contains(&name) => json!({"type": "object"}),
                Some(target) => {
                    self.path.push(name);
                    let resolved = self.resolve(target, depth + 1);
                    self.path.pop();
                    resolved
                }
                None => Value::Null,
            };
        }
        let mut out = Map::new();
        for (field, value) in schema.as_object().into_iter().flatten() {
            match (field.as_str(), value) {
                ("properties", Value::Object(all)) => {
                    let all = all.iter().map(|(name, child)| (name.clone(), self.resolve(child, depth + 1)));
                    out.insert(field.clone(), Value::Object(all.collect()));
                }
                ("items" | "additionalProperties", Value::Object(_)) => {
                    out.insert(field.clone(), self.resolve(value, depth + 1));
                }
                ("format", Value::String(format)) if format == "int-or-string" => {
                    out.insert("x-kubernetes-int-or-string".into(), true.into());
                }
                ("description" | "allOf" | "oneOf" | "anyOf" | "not" | "example", _) => {}
                _ => {
                    out.insert(field.clone(), value.clone());
                }
            }
        }
        Value::Object(out)
    }
}

/// What is wrong with a policy: `ExpressionWarning`s of its status. `params` is what is known of its parameters.
pub fn warnings(spec: &Value, types: &[Typed], params: Option<&Arc<Decl>>) -> Vec<Value> {
    let envs: Vec<(&Gvk, Env)> = types.iter().map(|typed| (&typed.kind, env(spec, &typed.object, params))).collect();
    let mut found = Vec::new();
    for (i, validation) in items(spec, "validations").enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(validation, field);
            if source.is_empty() && field == "messageExpression" {
                continue;
            }
            let wrong = envs.iter().filter_map(|(kind, env)| {
                let issues = env.compile(source).err()?;
                Some(format!("{}/{}, Kind={}: {issues}\n", kind.group, kind.version, kind.kind))
            });
            let wrong: Vec<String> = wrong.collect();
            if !wrong.is_empty() {
                let place = format!("spec.validations[{i}].{field}");
                found.push(json!({"fieldRef": place, "warning": wrong.join("\n")}));
            }
        }
    }
    found
}

fn env(spec: &Value, object: &Arc<Decl>, params: Option<&Arc<Decl>>) -> Env {
    let names = Names { params: params.is_some(), authorizer: true };
    let env = expressions::typed_env(names, object, &params.cloned().unwrap_or_else(Decl::any));
    let mut variables = Vec::new();
    for variable in items(spec, "variables") {
        let scope = expressions::with_variables(env.clone(), &variables);
        let ty = scope.compile(text(variable, "expression")).map_or(Type::Dyn, |p| p.output().clone());
        variables.push((text(variable, "name").to_owned(), ty));
    }
    expressions::with_variables(env, &variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Value {
        let of = |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}], "description": "d"});
        json!({"components": {"schemas": {
            "Thing": {"type": "object",
                "x-kubernetes-group-version-kind": [{"group": "g.io", "version": "v1", "kind": "Thing"}],
                "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": of("Meta"),
                    "spec": of("Spec")}},
            "Meta": {"type": "object", "properties": {"name": {"type": "string"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}}},
            "Spec": {"type": "object", "properties": {"replicas": {"type": "integer", "format": "int32"},
                "port": of("IntOrString"), "limit": of("Quantity"), "when": of("Time"), "next": of("Spec"),
                "names": {"type": "array", "items": {"type": "string"}}}},
            "IntOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
            "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
            "Time": {"type": "string", "format": "date-time"},
        }}})
    }

    fn kind(name: &str) -> Gvk {
        Gvk { group: "g.io".into(), version: "v1".into(), kind: name.into() }
    }

    /// What is said of a policy with these expressions, without the places.
    fn check(spec: &Value) -> Vec<(String, String)> {
        let object = declaration(&published(), &kind("Thing")).expect("declared");
        let typed = [Typed { kind: kind("Thing"), object: object.clone() }];
        let said = |w: &Value| {
            let line = text(w, "warning").lines().next().unwrap_or("");
            (text(w, "fieldRef").to_owned(), line.rsplit_once(": ERROR: ").map_or(line, |(_, why)| why).to_owned())
        };
        let params = spec["paramKind"].is_object().then_some(&object);
        warnings(spec, &typed, params).iter().map(said).collect()
    }

    #[test]
    fn expressions_fit_the_types() {
        for (expression, expected) in [
            ("object.spec.replicas > 1", ""),
            (
                "object.spec.replicas > '1'",
                "<input>:1:22: found no matching overload for '_>_' applied to '(int, string)'",
            ),
            ("object.spec.missing == 1", "<input>:1:12: undefined field 'missing'"),
            ("object.metadata.labels['a'] == 'b' && object.metadata.name != oldObject.metadata.name", ""),
            (
                "object.metadata.labels.a == 1",
                "<input>:1:26: found no matching overload for '_==_' applied to '(string, int)'",
            ),
            ("object.spec.port == 1 || object.spec.port == 'a'", ""),
            // Without a type in its schema, a field cannot be spoken of.
            ("object.spec.limit == '1'", "<input>:1:12: undefined field 'limit'"),
            ("object.spec.when < timestamp('2000-01-01T00:00:00Z')", ""),
            (
                "object.spec.names.all(n, n > 1)",
                "<input>:1:28: found no matching overload for '_>_' applied to '(string, int)'",
            ),
            ("object.spec.next.replicas == 1", "<input>:1:17: undefined field 'replicas'"),
            ("authorizer.requestResource.check('get').allowed() && request.operation == 'CREATE'", ""),
            ("params.spec.replicas == 1", "<input>:1:1: undeclared reference to 'params' (in container '')"),
        ] {
            let found = check(&json!({"validations": [{"expression": expression}]}));
            let all: &[(String, String)] = &found;
            match all {
                [] => assert_eq!(expected, "", "{expression}"),
                [(place, why)] => {
                    assert_eq!((place.as_str(), why.as_str()), ("spec.validations[0].expression", expected))
                }
                more => panic!("{more:?}"),
            }
        }
    }

    #[test]
    fn variables_messages_and_parameters_have_types() {
        let spec = json!({"paramKind": {"apiVersion": "g.io/v1", "kind": "Thing"},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "m", "expression": "variables.n + 1"}],
            "validations": [{"expression": "variables.m > params.spec.replicas"},
                {"expression": "variables.m", "messageExpression": "'is ' + variables.m"}]});
        let expected = "<input>:1:7: found no matching overload for '_+_' applied to '(string, int)'";
        assert_eq!(check(&spec), [("spec.validations[1].messageExpression".to_owned(), expected.to_owned())]);
    }

    #[test]
    fn each_type_is_told_apart() {
        let object = declaration(&published(), &kind("Thing")).expect("declared");
        let core = Gvk { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        let types = [Typed { kind: core, object: object.clone() }, Typed { kind: kind("Thing"), object }];
        let found = warnings(&json!({"validations": [{"expression": "object.x"}]}), &types, None);
        let why = "ERROR: <input>:1:7: undefined field 'x'\n | object.x\n | ......^\n";
        assert_eq!(found[0]["warning"], format!("/v1, Kind=Pod: {why}\ng.io/v1, Kind=Thing: {why}"));
        assert_eq!(declaration(&published(), &kind("Other")).map(|_| ()), None);
    }

    #[test]
    fn rules_name_resources() {
        let rule = |groups: Value, versions: Value, resources: Value| {
            json!({"matchConstraints": {"resourceRules": [
            {"apiGroups": groups, "apiVersions": versions, "resources": resources}]}})
        };
        for (spec, expected) in [
            (rule(json!(["b", "a"]), json!(["v1"]), json!(["x", "y/status", "*/scale"])), "a/v1/x b/v1/x"),
            (rule(json!(["a"]), json!(["v2", "v1"]), json!(["y", "x"])), "a/v1/x a/v1/y a/v2/x a/v2/y"),
            (rule(json!(["*"]), json!(["v1"]), json!(["x"])), ""),
            (rule(json!(["a"]), json!(["*"]), json!(["x"])), ""),
            (rule(json!(["a"]), json!(["v1"]), json!(["*"])), ""),
            (json!({}), ""),
        ] {
            let all: Vec<String> = resources(&spec)
                .into_iter()
                .flatten()
                .map(|r| format!("{}/{}/{}", r.group, r.version, r.resource))
                .collect();
            assert_eq!(all.join(" "), expected);
        }
    }
}
