//! What a real API server answers to requests that are out of the ordinary, of built-in and of custom resources alike: a
//! table of requests in `tests/data/answers.txt`, each with the code and a part of the answer.

use super::api::{Api, WIDGETS, widget, widgets};
use serde_json::json;

const TABLE: &str = include_str!("../data/answers.txt");

/// Each paragraph: `METHOD PATH [HEADER=VALUE ...]`, perhaps `< BODY`, then `> CODE PART`. A part may stand anywhere in the
/// answer's message, or, if there is none, in its JSON.
#[tokio::test]
async fn unusual_requests_are_answered_as_upstream_answers_them() {
    let api = Api::start().await;
    api.define(&widgets(json!({"type": "object", "properties": {"n": {"type": "integer"}}}))).await;
    api.post(WIDGETS, &widget("w", json!({"n": 1}))).await.ok(201);
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for paragraph in TABLE.split("\n\n").map(str::trim).filter(|p| !p.is_empty() && !p.starts_with('#')) {
        let mut lines = paragraph.lines();
        let request = lines.next().expect("a request");
        let (mut body, mut wanted) = ("", "");
        for line in lines {
            match line.split_once(' ') {
                Some(("<", text)) => body = text,
                Some((">", text)) => wanted = text,
                _ => panic!("neither body nor answer: {line}"),
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        let headers: Vec<(&str, &str)> = words.map(|word| word.split_once('=').expect("a header")).collect();
        let answer = api.text(method, path, &headers, body).await;
        let said = match answer.value["message"].as_str() {
            Some(message) => message.to_owned(),
            None => answer.value.to_string(),
        };
        let (code, part) = wanted.split_once(' ').unwrap_or((wanted, ""));
        asked += 1;
        if code != answer.code.to_string() || !said.contains(part) {
            wrong.push(format!("{paragraph}\nbut it was {} {said}", answer.code));
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(asked > 40, "only {asked} requests");
}
