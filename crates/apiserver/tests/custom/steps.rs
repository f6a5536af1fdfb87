//! Requests in a row and what a real server answers to each, as data.
//!
//! A script is blocks of lines: `METHOD PATH [+TYPE]`, lines of body, and `=> CODE` with what must hold: the text of a
//! failure, `pointer value` pairs of an object, or all warnings (`~TEXT`, one a line; `~` alone for none), each on a line
//! that starts with `=>`.

use super::api::{Answer, Api};
use serde_json::Value;

const TYPES: [(&str, &str); 5] = [
    ("merge", "application/merge-patch+json"),
    ("json", "application/json-patch+json"),
    ("strategic", "application/strategic-merge-patch+json"),
    ("apply", "application/apply-patch+yaml"),
    ("yaml", "application/yaml"),
];

/// Sends all requests of a script, in order.
pub async fn walk(api: &Api, script: &str) {
    for block in script.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let mut lines = block.lines().map(str::trim);
        let mut head = lines.next().expect("a request").split_whitespace();
        let (method, path) = (head.next().expect("method"), head.next().expect("path"));
        let of = |name: &str| TYPES.iter().find(|(short, _)| *short == name).expect("a known type").1;
        let media = head.next().map(|h| h.trim_start_matches('+')).map_or("application/json", of);
        let (expected, body): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("=>"));
        let answer = api.text(method, path, &[("content-type", media)], &body.join("\n")).await;
        let mut expected = expected.iter().map(|line| line.trim_start_matches("=>").trim());
        let warned: Vec<&str> = expected.clone().filter_map(|line| line.strip_prefix('~')).collect();
        if !warned.is_empty() {
            let warned: Vec<&str> = warned.into_iter().filter(|text| !text.is_empty()).collect();
            assert_eq!(answer.warnings, warned, "{block}");
        }
        let code: u16 = expected.next().and_then(|code| code.parse().ok()).expect("a code");
        assert_eq!(answer.code, code, "{block}\n{}", answer.value);
        expected.filter(|line| !line.starts_with('~')).for_each(|expected| holds(block, &answer, expected));
    }
}

fn holds(block: &str, answer: &Answer, expected: &str) {
    if let Some(rest) = expected.strip_prefix('/') {
        let (pointer, value) = rest.split_once(' ').expect("a pointer and a value");
        let value: Value = serde_json::from_str(value).expect("JSON");
        let found = answer.value.pointer(&format!("/{pointer}")).unwrap_or(&Value::Null);
        assert_eq!(found, &value, "{block}\n{}", answer.value);
    } else {
        let message = answer.value["message"].as_str().unwrap_or_default();
        assert_eq!(message.trim(), expected, "{block}");
    }
}
