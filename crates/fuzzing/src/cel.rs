//! CEL: reading, checking, estimating and evaluating expressions, and the rules of schemas.

use crate::source::{Source, json, parts};
use api_cel::validations::{self, Budget, Rules};
use api_cel::{
    Authorize, Authz, CALL_COST_MAX, Check, Decision, Decl, Env, EvalError, Meter, Scope, Type, Value, estimate,
    from_json, to_json, unescape,
};
use api_core::field::{Errors, Path};
use serde_json::{Value as Json, json};
use std::sync::{Arc, LazyLock};

#[derive(Debug)]
struct OnlyPods;

impl Authorize for OnlyPods {
    fn check(&self, check: &Check) -> Decision {
        Decision { allowed: check.resource == "pods", reason: check.namespace.clone(), error: None }
    }
}

struct Variables(Json);

impl Scope for Variables {
    fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Value, EvalError>> {
        if name == "authorizer" {
            return Some(Ok(Value::Authz(Arc::new(Authz::new(Arc::new(OnlyPods))))));
        }
        self.0.get(name).map(|v| Ok(from_json(v)))
    }
}

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let of = |ty| Arc::new(Decl::of(ty));
    let text = Arc::new(Decl { max: Some(10), ..Decl::of(Type::String) });
    let list = Arc::new(Decl { max: Some(10), ..(*Decl::list(text.clone())).clone() });
    let typed = Decl::object("Typed", [("name", text), ("items", list), ("count", of(Type::Int))]);
    Env::new()
        .with("object", Decl::any())
        .with("typed", typed)
        .with("authorizer", of(Type::Opaque("kubernetes.authorization.Authorizer")))
});

fn variables() -> Variables {
    let object = json!({"metadata": {"name": "a", "labels": {"x": "y", "app.io/z": "1"}}, "spec": {"replicas": 3,
        "ports": [80, 443], "ratio": 0.5, "names": ["a", "b", "ü"], "on": true, "none": null, "port": "http",
        "long": "0123456789".repeat(200), "many": (0..200).collect::<Vec<_>>()}});
    Variables(json!({"object": object, "typed": {"name": "n", "items": ["b", "a"], "count": 2}}))
}

/// An expression: the same source gives the same value at the same cost; it never costs more than it may; what comes out
/// is JSON.
pub fn cel(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let program = match ENV.compile(source) {
        Ok(program) => program,
        Err(issues) => return assert!(!issues.to_string().is_empty()),
    };
    drop(program.output().to_string());
    let _ = estimate(&program, &ENV);
    let evaluate = |limit| {
        let mut meter = Meter::new(limit);
        let result = program.eval(&variables(), &mut meter).map(|v| to_json(&v)).map_err(|e| e.to_string());
        (result, meter.used())
    };
    let (result, cost) = evaluate(CALL_COST_MAX);
    // The step that goes past the limit is the last one.
    assert!(result.is_err() || cost <= CALL_COST_MAX, "{source:?} costs {cost}");
    assert_eq!(evaluate(CALL_COST_MAX), (result.clone(), cost), "{source:?} is not always the same");
    if result.is_ok() && cost > 0 {
        assert!(evaluate(cost - 1).0.is_err(), "{source:?} costs {cost} and is given for less");
    }
    drop(unescape(source));
}

/// A schema with rules on the first line, the old and the new object on the others.
pub fn cel_rules(data: &[u8]) {
    let [schema, new, old] = parts(data);
    let schema = serde_json::from_slice(schema).unwrap_or_else(|_| rule_schema(schema));
    let mut errors = Errors::new();
    let checks = validations::Checks { limited: true, show: &|rule| rule.to_string(), bad: &[] };
    validations::check(&Path::new("spec"), &schema, &checks, &mut errors);
    let Some(rules) = Rules::compile(&schema, true) else { return };
    let (new, old) = (json(new), json(old));
    for old in [None, Some(&old), Some(&new)] {
        let (mut errors, mut warnings) = (Errors::new(), Vec::new());
        rules.validate(&Path::ROOT, &new, old, &mut Budget::of(CALL_COST_MAX), &mut errors, &mut warnings);
    }
}

/// The bytes as a rule at several places of a schema.
fn rule_schema(bytes: &[u8]) -> Json {
    let rule = String::from_utf8_lossy(bytes).into_owned();
    let mut source = Source::new(bytes);
    let rules = json!([{"rule": rule, "messageExpression": rule, "fieldPath": source.text(), "optionalOldSelf": true},
        {"rule": rule, "message": source.text()}]);
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": rules},
        "b": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "x-kubernetes-validations": rules}},
        "spec": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": rules}}}})
}
