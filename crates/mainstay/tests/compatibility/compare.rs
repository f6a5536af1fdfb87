//! Whether two answers of an API server are the same for a client.

use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// How an answer compares with the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// A failure that differs only in its wording.
    Words,
    /// Different, and where.
    Differs(String),
}

/// Fields whose values are never the same twice.
const VOLATILE: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "selfLink",
    "time",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastProbeTime",
    "startTime",
    "clusterIP",
    "continue",
    "remainingItemCount",
    "nodePort",
    "expirationTimestamp",
    "token",
    "caBundle",
    "healthCheckNodePort",
    "eventTime",
];

static RANDOM: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"(gen-|kube-api-access-)[bcdfghjklmnpqrstvwxz2456789]{5}", "$1<random>"),
        (r"0xc[0-9a-f]{8,}", "<pointer>"),
        (r"20[2-9]\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)?( m=\S+)?", "<time>"),
    ]
    .map(|(pattern, to)| (Regex::new(pattern).expect("a pattern"), to))
    .into()
});

static UUID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a pattern"));
/// The uid that scenarios send themselves starts so, and is not blanked.
const OWN_UUID: &str = "0b7e7b52";

/// The value with everything volatile replaced.
pub fn blank(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| blank_field(k, v)).collect::<Map<_, _>>()),
        Value::Array(list) => list.into_iter().filter(|item| !is_distributions_own(item)).map(blank).collect(),
        Value::String(text) => {
            let text = UUID.replace_all(&text, |found: &regex::Captures<'_>| {
                if found[0].starts_with(OWN_UUID) { found[0].to_owned() } else { "<uuid>".to_owned() }
            });
            let blanked = RANDOM.iter().fold(text.into_owned(), |text, (p, to)| p.replace_all(&text, *to).into_owned());
            Value::String(blanked)
        }
        other => other,
    }
}

/// The recorded server belongs to a distribution that adds a CA of its own to every pod's token volume; upstream's has
/// no such source.
fn is_distributions_own(item: &Value) -> bool {
    item["configMap"]["name"] == "openshift-service-ca.crt"
}

fn blank_field(key: String, value: Value) -> (String, Value) {
    let name = format!("<{key}>");
    let volatile = VOLATILE.contains(&key.as_str());
    match &value {
        Value::String(s) if volatile && !s.is_empty() && s != "None" => (key, name.into()),
        Value::Number(_) if volatile => (key, name.into()),
        Value::Array(list) if key == "clusterIPs" && list.first().is_some_and(|v| v != "None") => {
            (key, vec![name; list.len()].into())
        }
        _ => (key, blank(value)),
    }
}

/// Compares a recorded answer with ours, both blanked.
pub fn verdict(want_code: u16, want: &Value, code: u16, got: &Value) -> Verdict {
    if code != want_code {
        return Verdict::Differs(format!("code {code}, not {want_code}: {}", got["message"]));
    }
    if want["kind"] == "Status" && want["status"] == "Failure" && got.is_object() {
        if got["reason"] != want["reason"] {
            return Verdict::Differs(format!("reason {}, not {}", got["reason"], want["reason"]));
        }
        if causes(got) != causes(want) {
            return Verdict::Differs(format!("causes {:?}, not {:?}", causes(got), causes(want)));
        }
        return if want == got { Verdict::Same } else { Verdict::Words };
    }
    difference(want, got, "").map_or(Verdict::Same, Verdict::Differs)
}

fn causes(status: &Value) -> Vec<(String, String)> {
    let list = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let mut causes: Vec<_> = list.iter().map(|c| (c["reason"].to_string(), c["field"].to_string())).collect();
    causes.sort();
    causes
}

/// The first place where two values differ.
fn difference(want: &Value, got: &Value, path: &str) -> Option<String> {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => difference(a, b, &format!("{path}.{key}")),
                (a, b) => Some(format!("{path}.{key}: {b:?}, not {a:?}")),
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]")))
        }
        _ if want == got => None,
        _ => Some(format!("{path}: {got}, not {want}")),
    }
}

#[test]
fn wording_may_differ_but_causes_may_not() {
    let status = |message: &str, field: &str| {
        serde_json::json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "message": message,
            "details": {"causes": [{"reason": "FieldValueInvalid", "field": field}]}})
    };
    assert_eq!(verdict(422, &status("a", "x"), 422, &status("a", "x")), Verdict::Same);
    assert_eq!(verdict(422, &status("a", "x"), 422, &status("b", "x")), Verdict::Words);
    assert!(matches!(verdict(422, &status("a", "x"), 422, &status("a", "y")), Verdict::Differs(_)));
    assert!(matches!(verdict(200, &status("a", "x"), 422, &status("a", "x")), Verdict::Differs(_)));
    let object = |uid: &str, x: u8| blank(serde_json::json!({"metadata": {"uid": uid}, "x": x}));
    assert_eq!(verdict(200, &object("1", 1), 200, &object("2", 1)), Verdict::Same);
    assert_eq!(verdict(200, &object("1", 1), 200, &object("1", 2)), Verdict::Differs(".x: 2, not 1".into()));
}
