//! Tables: an expression, and what comes of it: its value as JSON, what is wrong with it, what it costs.

use crate::{
    Authorize, Authz, Check, Decision, Decl, Env, EvalError, Meter, Scope, Type, Value, estimate, from_json, to_json,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::Arc;

#[derive(Debug)]
struct OnlyPods;

impl Authorize for OnlyPods {
    fn check(&self, check: &Check) -> Decision {
        let allowed = check.resource == "pods" && check.verb == "get" || check.path.as_deref() == Some("/healthz");
        let error = check.service_account.is_some().then(|| "no such account".to_owned());
        Decision { allowed, reason: check.namespace.clone(), error }
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

fn object() -> Json {
    json!({"metadata": {"name": "a", "labels": {"x": "y", "app.io/z": "1"}}, "spec": {"replicas": 3, "ports": [80, 443],
           "ratio": 0.5, "names": ["a", "b"], "on": true, "none": null, "port": "http"}})
}

fn env() -> Env {
    let text = Arc::new(Decl { max: Some(10), ..Decl::of(Type::String) });
    let list = Arc::new(Decl { max: Some(10), ..(*Decl::list(text.clone())).clone() });
    let this = Decl::object("Typed", [("name", text), ("items", list), ("count", Arc::new(Decl::of(Type::Int)))]);
    Env::new()
        .with("object", Decl::any())
        .with("self", this)
        .with("authorizer", Arc::new(Decl::of(Type::Opaque("kubernetes.authorization.Authorizer"))))
}

fn evaluate(source: &str, limit: u64) -> (Result<Value, String>, u64) {
    let program = match env().compile(source) {
        Ok(program) => program,
        Err(issues) => return (Err(issues.to_string()), 0),
    };
    let scope = Variables(json!({"object": object(), "self": {"name": "n", "items": ["b", "a"], "count": 2}}));
    let mut meter = Meter::new(limit);
    let result = program.eval(&scope, &mut meter).map_err(|e| e.to_string());
    (result, meter.used())
}

#[test]
fn values() {
    for line in include_str!("../testdata/values.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (source, expected) = line.split_once(" => ").unwrap_or_else(|| panic!("no value in {line}"));
        let (result, _) = evaluate(source, crate::CALL_COST_MAX);
        let found = match result {
            Ok(value) => to_json(&value).to_string(),
            Err(why) => format!("error {}", why.lines().next().unwrap_or("")),
        };
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn errors_show_the_place() {
    let found = env().compile("1 +\n  other").map(|_| ()).map_err(|e| e.to_string());
    let expected = "ERROR: <input>:2:3: undeclared reference to 'other' (in container '')\n |   other\n | ..^";
    assert_eq!(found, Err(expected.to_owned()));
    let found = env().compile("a && b").map(|_| ()).map_err(|e| e.to_string()).unwrap_err();
    assert_eq!(found.matches("ERROR").count(), 2, "{found}");
}

#[test]
fn literals_are_read_when_an_expression_is_compiled() {
    for (source, expected) in [
        ("duration('1h') > duration('5 minutes')", "1:27: invalid duration argument"),
        ("timestamp('2020-01-01T00:00:00Z') < timestamp('yesterday')", "1:47: invalid timestamp argument"),
        ("object.metadata.name.matches('[a-')", "1:30: invalid matches argument"),
        ("object.metadata.name.matches('[a-z]+') && matches('a', object.metadata.name)", ""),
        ("duration(object.metadata.name) > duration('1h')", ""),
    ] {
        let found = env().compile(source).map_or_else(|e| e.to_string(), |_| String::new());
        let first = found.lines().next().unwrap_or("").trim_start_matches("ERROR: <input>:");
        assert_eq!(first, expected, "{source}");
    }
}

#[test]
fn costs() {
    for (source, expected) in [
        ("true", 0),
        ("object", 1),
        ("object.spec", 2),
        ("has(object.spec)", 1),
        ("1 + 2", 1),
        ("object.spec.replicas == 3", 4),
        ("[1, 2, 3].all(x, x > 0)", 16),
        ("[1, 2, 3].exists(x, x == 1)", 7),
        ("object.spec.names.map(n, n).size() == 2", 32),
        ("authorizer.group('').resource('pods').check('get').allowed()", 350_004),
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.contains('b')", 3),
    ] {
        let (result, cost) = evaluate(source, crate::CALL_COST_MAX);
        assert!(result.is_ok(), "{source}: {result:?}");
        assert_eq!(cost, expected, "{source}");
    }
    let (result, _) = evaluate("[1, 2, 3].all(x, [1, 2, 3].all(y, x + y > 0))", 40);
    assert_eq!(result.map(|_| ()), Err("operation cancelled: actual cost limit exceeded".into()));
    // Two questions about permissions fit, a third does not.
    let ask = "authorizer.path('/a').check('get').allowed()";
    let (two, three) = (format!("{ask} || {ask}"), format!("{ask} || {ask} || {ask}"));
    assert!(evaluate(&two, crate::CALL_COST_MAX).0.is_ok());
    assert!(evaluate(&three, crate::CALL_COST_MAX).0.is_err());
}

#[test]
fn estimates() {
    for (source, min, max) in [
        ("self.count > 1", 3, 3),
        ("self.name == 'abc'", 3, 3),
        ("self.items.all(i, i == 'x')", 3, 3 + 10 * 5),
        ("self.items.all(i, i.startsWith('x'))", 3, 3 + 10 * 5),
        ("self.name.matches('a{4}')", 3, 4),
        ("self.items.exists(a, self.items.exists(b, a == b))", 3, 3 + 10 * (4 + 3 + 10 * 7)),
    ] {
        let program = env().compile(source).expect(source);
        let found = estimate(&program, &env());
        assert_eq!((found.min, found.max), (min, max), "{source}");
    }
}

#[test]
fn output_types() {
    let wrong = |source: &str, types: &[Type]| env().compile_as(source, types).map(|_| ()).unwrap_err();
    assert_eq!(wrong("1", &[Type::Bool]), "must evaluate to bool");
    assert_eq!(wrong("object.a", &[Type::Bool]), "must evaluate to bool");
    assert_eq!(wrong("1", &[Type::String, Type::Null]), "must evaluate to one of [string null_type]");
}

#[test]
fn names() {
    use crate::{escape, unescape};
    for (plain, escaped) in [
        ("a.b-c/d__e", Some("a__dot__b__dash__c__slash__d__underscores__e")),
        ("namespace", Some("__namespace__")),
        ("1a", None),
        ("a b", None),
        ("self", Some("self")),
    ] {
        assert_eq!(escape(plain).as_deref(), escaped);
        if let Some(escaped) = escaped {
            assert_eq!(unescape(escaped), plain);
        }
    }
}

/// Text that looks like expressions.
fn source() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "object",
        ".",
        "spec",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "'a'",
        "1",
        "-",
        "!",
        "+",
        "*",
        "/",
        "%",
        "==",
        "in",
        "?",
        ":",
        ",",
        "has",
        "all",
        "map",
        "filter",
        "x",
        "names",
        "size",
        "replace",
        "split",
        "join",
        "1u",
        "1.5",
        "&&",
        "||",
        "null",
        "b'\\xff'",
        "\"\\u00e9\"",
        "timestamp",
        "duration",
        "self",
        "items",
        ".?",
        "[?",
        " ",
        "\n",
        "9223372036854775808",
        "'2020-01-01T00:00:00Z'",
        "matches",
        "format",
        "'%d %s'",
        "url",
        "quantity",
        "é",
    ]);
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_panics(text in prop_oneof![source(), ".{0,40}"]) {
        let (result, cost) = evaluate(&text, 10_000);
        // What went past the limit did so by one step.
        prop_assert!(cost <= 10_000 || result.is_err());
    }
}

#[test]
fn deep_and_long_expressions_are_refused() {
    for text in ["(".repeat(100_000), "!".repeat(100_000), format!("1{}", "+1".repeat(100_000)), "a.".repeat(100_000)] {
        assert!(env().compile(&text).is_err());
    }
    // Each chain is short enough; as a tree they would be thousands of levels high.
    for link in [".a".repeat(240), "+1".repeat(200), "[0]".repeat(200)] {
        let nested = (0..40).fold("object".to_owned(), |inner, _| format!("({inner}{link})"));
        assert!(env().compile(&nested).is_err(), "{link}");
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}"), ("-(", ")")] {
        let nested = format!("{}1{}", open.repeat(120), close.repeat(120));
        assert!(evaluate(&nested, 10_000).0.is_ok(), "{open}");
    }
}
