//! What the server sets on a signing request, and what each subresource may change.

use crate::hooks::fill::Fill;
use api_core::time;
use api_schema::row::WriteContext;
use serde_json::{Value, json};

/// Who asks is who writes, and nothing is approved beforehand.
pub(super) fn prepare_create(context: &WriteContext<'_>, csr: &mut Value) {
    let spec = csr.make("spec");
    if let Value::Object(spec) = spec {
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        let mut put = |field: &str, value: Value, empty: bool| {
            if !empty {
                spec.insert(field.to_owned(), value);
            }
        };
        put("username", context.user.into(), context.user.is_empty());
        put("uid", context.uid.into(), context.uid.is_empty());
        put("groups", json!(context.groups), context.groups.is_empty());
        put("extra", json!(context.extra), context.extra.is_none_or(|e| e.is_empty()));
    }
    csr["status"] = json!({});
}

pub(super) fn prepare_update(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
    match context.subresource {
        "approval" => {
            let conditions = new["status"]["conditions"].take();
            new["status"] = old["status"].clone();
            if !conditions.is_null() {
                new.make("status")["conditions"] = conditions;
            } else if let Value::Object(status) = new.make("status") {
                status.remove("conditions");
            }
            set_times(context, new, old);
        }
        "status" => {
            keep_decisions(new, old);
            set_times(context, new, old);
        }
        _ => new["status"] = old["status"].clone(),
    }
}

/// What a write of the request leaves as it is: its spec is said once, and each subresource has a part of the status.
pub(super) fn reset_fields(subresource: &str) -> &'static [&'static [&'static str]] {
    match subresource {
        "status" => &[&["spec"], &["status", "conditions"]],
        "approval" => &[&["spec"], &["status", "certificate"]],
        _ => &[&["spec"], &["status"]],
    }
}

fn conditions(csr: &Value) -> &[Value] {
    csr["status"]["conditions"].as_array().map_or(&[], Vec::as_slice)
}

/// A condition of the same type as the old one has, where it is a decision, is the old one.
fn keep_decisions(new: &mut Value, old: &Value) {
    let Some(Value::Array(list)) = new.pointer_mut("/status/conditions") else { return };
    for condition in list {
        let kind = &condition["type"];
        if *kind != "Approved" && *kind != "Denied" {
            continue;
        }
        if let Some(same) = conditions(old).iter().find(|c| c["type"] == *kind) {
            *condition = same.clone();
        }
    }
}

fn set_times(context: &WriteContext<'_>, new: &mut Value, old: &Value) {
    let now = time::format_unix_s(context.now_unix_s);
    let Some(Value::Array(list)) = new.pointer_mut("/status/conditions") else { return };
    for condition in list {
        if condition.lacks("lastUpdateTime") {
            condition["lastUpdateTime"] = now.clone().into();
        }
        if condition.lacks("lastTransitionTime") {
            let same = |c: &&Value| c["type"] == condition["type"] && c["status"] == condition["status"];
            let before = conditions(old).iter().find(same).map(|c| c["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = before.filter(|t| !t.is_null()).unwrap_or_else(|| now.clone().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requester_is_who_writes() {
        let groups = ["a".to_owned()];
        let context = WriteContext { user: "u", groups: &groups, ..WriteContext::default() };
        let mut csr =
            json!({"spec": {"username": "root", "uid": "0", "groups": ["system:masters"], "signerName": "s"}});
        prepare_create(&context, &mut csr);
        assert_eq!(csr["spec"], json!({"username": "u", "groups": ["a"], "signerName": "s"}));
        assert_eq!(csr["status"], json!({}));
    }

    #[test]
    fn approval_changes_conditions_and_nothing_else() {
        let old = json!({"spec": {"signerName": "s"}, "status": {"certificate": "c"}});
        let mut new = json!({"spec": {"signerName": "x"}, "status": {
            "certificate": "d", "conditions": [{"type": "Approved", "status": "True"}],
        }});
        prepare_update(&WriteContext { subresource: "approval", ..WriteContext::default() }, &mut new, &old);
        let time = "1970-01-01T00:00:00Z";
        let approved =
            json!({"type": "Approved", "status": "True", "lastUpdateTime": time, "lastTransitionTime": time});
        assert_eq!(new, json!({"spec": {"signerName": "s"}, "status": {"certificate": "c", "conditions": [approved]}}));
    }
}
