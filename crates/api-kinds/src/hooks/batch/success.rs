//! Rules of `successPolicy`: when an indexed job has succeeded before all of its indexes have. Only the template of a cron job
//! keeps it in this version, in which the feature is off.

use crate::hooks::check::Node;
use api_core::field::Errors;

const RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 << 10;

/// Checks the policy of the spec of a job.
pub(super) fn validate(spec: &Node<'_, '_>, e: &mut Errors) {
    let policy = spec.at("successPolicy");
    if !policy.present() {
        return;
    }
    if spec.text("completionMode") != "Indexed" {
        policy.invalid("requires indexed completion mode", e);
        return;
    }
    let rules = policy.at("rules");
    if rules.is_empty() {
        e.required(&rules.path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        e.too_many(&rules.path, rules.len(), RULES_MAX);
    }
    let completions = spec.at("completions").int_or_zero();
    for rule in rules.items() {
        validate_rule(&rule, completions, e);
    }
}

fn validate_rule(rule: &Node<'_, '_>, completions: i64, e: &mut Errors) {
    let (count, indexes) = (rule.at("succeededCount"), rule.at("succeededIndexes"));
    if !count.present() && !indexes.present() {
        e.required(&rule.path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut listed = None;
    if indexes.present() {
        if indexes.str().len() > INDEXES_BYTES_MAX {
            indexes.too_long(INDEXES_BYTES_MAX, e);
        }
        let read = count_indexes(indexes.str(), completions);
        if let Err(why) = &read {
            indexes.invalid(&format!("error parsing succeededIndexes: {why}"), e);
        }
        listed = Some(read.unwrap_or(0));
    }
    let Some(wanted) = count.int() else { return };
    count.non_negative(e);
    if wanted > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        count.invalid(&why, e);
    }
    if let Some(listed) = listed.filter(|listed| wanted > *listed) {
        let why = format!(
            "must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes field)"
        );
        count.invalid(&why, e);
    }
}

/// How many indexes a text such as `0,2-4` lists, all of them below `completions`. The error says what is wrong.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = read_interval(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(disordered(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn disordered(last: i64, next: i64) -> String {
    format!("non-increasing order, previous: {last}, current: {next}")
}

fn read_interval(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = interval.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let read = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let first = read(limits[0])?;
    match limits.get(1) {
        None => Ok((first, first)),
        Some(text) => match read(text)? {
            end if first >= end => Err(disordered(first, end)),
            end => Ok((first, end)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(mode: &str, policy: &Value) -> Vec<String> {
        let spec = json!({"completionMode": mode, "completions": 5, "successPolicy": policy});
        let mut errors = Errors::new();
        validate(&Node::root(&spec), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policies() {
        let one = |rule: Value| json!({"rules": [rule]});
        for good in [
            one(json!({"succeededIndexes": "0,2-4"})),
            one(json!({"succeededIndexes": ""})),
            one(json!({"succeededCount": 5})),
            one(json!({"succeededIndexes": "0-2", "succeededCount": 3})),
        ] {
            assert_eq!(found("Indexed", &good), [""; 0], "{good}");
        }
        let rule = "successPolicy.rules[0]";
        for (bad, why) in [
            (
                json!({}),
                format!("{rule}: Required value: at least one of succeededCount or succeededIndexes must be specified"),
            ),
            (
                json!({"succeededCount": 6}),
                format!(
                    "{rule}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
                ),
            ),
            (
                json!({"succeededCount": 3, "succeededIndexes": "0-1"}),
                format!(
                    "{rule}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"
                ),
            ),
            (
                json!({"succeededIndexes": "1,1"}),
                format!(
                    "{rule}.succeededIndexes: Invalid value: \"1,1\": error parsing succeededIndexes: non-increasing order, previous: 1, current: 1"
                ),
            ),
            (
                json!({"succeededIndexes": "3-2"}),
                format!(
                    "{rule}.succeededIndexes: Invalid value: \"3-2\": error parsing succeededIndexes: non-increasing order, previous: 3, current: 2"
                ),
            ),
            (
                json!({"succeededIndexes": "5"}),
                format!(
                    "{rule}.succeededIndexes: Invalid value: \"5\": error parsing succeededIndexes: too large index: \"5\""
                ),
            ),
            (
                json!({"succeededIndexes": "a"}),
                format!(
                    "{rule}.succeededIndexes: Invalid value: \"a\": error parsing succeededIndexes: cannot convert string to integer for index: \"a\""
                ),
            ),
            (
                json!({"succeededIndexes": "0-1-2"}),
                format!(
                    "{rule}.succeededIndexes: Invalid value: \"0-1-2\": error parsing succeededIndexes: the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'"
                ),
            ),
        ] {
            assert_eq!(found("Indexed", &one(bad)), [why]);
        }
        assert!(
            found("NonIndexed", &one(json!({"succeededCount": 1})))[0].ends_with("requires indexed completion mode")
        );
        let none = "successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified";
        assert_eq!(found("Indexed", &json!({})), [none]);
        let many = json!({"rules": vec![json!({"succeededCount": 1}); 21]});
        assert_eq!(found("Indexed", &many), ["successPolicy.rules: Too many: 21: must have at most 20 items"]);
    }
}
