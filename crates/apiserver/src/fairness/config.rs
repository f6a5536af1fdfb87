//! From flow schemas and priority levels as they are stored to what decides about requests. Pure.
//!
//! A schema that leads to no level is left out, and said to be dangling. The mandatory two of each are there even if
//! their objects are not.

use super::metrics::SchemaMetrics;
use api_core::meta::Meta;
use flow::rules::{Digest, SchemaSpec};
use flow::{LevelConfig, LevelId, Queuing, System};
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Name of the mandatory schema and level that limit nothing.
pub(super) const EXEMPT: &str = "exempt";
/// Name of the mandatory schema and level for what matches nothing else.
pub(super) const CATCH_ALL: &str = "catch-all";
/// Type of the condition that tells a schema without a level.
const DANGLING: &str = "Dangling";

/// A level as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) config: LevelConfig,
    uid: String,
}

/// A schema as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    name: String,
    uid: String,
    spec: SchemaSpec,
}

/// A schema in force.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) spec: SchemaSpec,
    pub(super) level: LevelId,
    /// Name of its level.
    pub(super) level_name: String,
    /// Most seats of one request; `None` where its level has no queues.
    pub(super) seats_max: Option<u32>,
    pub(super) uid: HeaderValue,
    pub(super) level_uid: HeaderValue,
    pub(super) metrics: SchemaMetrics,
}

/// Where the level's limits stand in its spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LevelSpec {
    r#type: String,
    limited: Option<Limited>,
    exempt: Option<Limited>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limited {
    nominal_concurrency_shares: Option<u32>,
    lendable_percent: Option<u32>,
    borrowing_limit_percent: Option<u32>,
    limit_response: LimitResponse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitResponse {
    queuing: Option<QueuingSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueuingSpec {
    queues: u32,
    hand_size: u32,
    queue_length_limit: u32,
}

/// Shares of a limited level that names none.
const SHARES: u32 = 30;

impl Level {
    /// Reads an object; `None` if it cannot be one.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let spec: LevelSpec = serde_json::from_value(object["spec"].clone()).ok()?;
        let exempt = spec.r#type == "Exempt";
        let limits = if exempt { spec.exempt.unwrap_or_default() } else { spec.limited? };
        let queuing = limits.limit_response.queuing.map(|q| Queuing {
            queues: q.queues.max(1),
            hand_size: q.hand_size.clamp(1, q.queues.max(1)),
            length_max: q.queue_length_limit.max(1),
        });
        let config = LevelConfig {
            name: object.name().to_owned(),
            exempt,
            shares: limits.nominal_concurrency_shares.unwrap_or(if exempt { 0 } else { SHARES }),
            lendable_percent: limits.lendable_percent.unwrap_or(0),
            borrowing_percent: limits.borrowing_limit_percent,
            queuing: queuing.filter(|_| !exempt),
        };
        Some(Self { config, uid: object.uid().to_owned() })
    }

    fn mandatory(name: &str, exempt: bool) -> Self {
        let shares = if exempt { 0 } else { 5 };
        let config = LevelConfig {
            name: name.to_owned(),
            exempt,
            shares,
            lendable_percent: 0,
            borrowing_percent: None,
            queuing: None,
        };
        Self { config, uid: String::new() }
    }
}

impl Stored {
    /// Reads an object; `None` if it cannot be one.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let spec = serde_json::from_value(object["spec"].clone()).ok()?;
        Some(Self { name: object.name().to_owned(), uid: object.uid().to_owned(), spec })
    }

    fn mandatory(name: &str, precedence: i32, groups: &[&str]) -> Option<Self> {
        let subjects: Vec<Value> = groups.iter().map(|g| json!({"kind": "Group", "group": {"name": g}})).collect();
        let rules = json!([{"subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]);
        let spec = json!({"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"}, "rules": rules});
        Self::read(&json!({"metadata": {"name": name}, "spec": spec}))
    }
}

/// The levels, with the mandatory ones.
pub(super) fn complete_levels(mut levels: Vec<Level>) -> Vec<Level> {
    for (name, exempt) in [(EXEMPT, true), (CATCH_ALL, false)] {
        if !levels.iter().any(|l| l.config.name == name) {
            levels.push(Level::mandatory(name, exempt));
        }
    }
    levels
}

/// The schemas in force, in the order in which they are asked; `system` has the levels already.
pub(super) fn schemas(
    stored: Vec<Stored>,
    levels: &[Level],
    system: &System,
    metrics: impl Fn(&str, &str) -> SchemaMetrics,
) -> Vec<Arc<Schema>> {
    let mut stored: Vec<Stored> = stored;
    let mandatory = [
        (EXEMPT, 1, &["system:masters"][..]),
        (CATCH_ALL, 10_000, &["system:unauthenticated", "system:authenticated"][..]),
    ];
    for (name, precedence, groups) in mandatory {
        if !stored.iter().any(|s| s.name == name) {
            stored.extend(Stored::mandatory(name, precedence, groups));
        }
    }
    stored.sort_by(|a, b| (a.spec.matching_precedence, &a.name).cmp(&(b.spec.matching_precedence, &b.name)));
    let uids: HashMap<&str, &str> = levels.iter().map(|l| (l.config.name.as_str(), l.uid.as_str())).collect();
    let header = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
    let in_force = stored.into_iter().filter_map(|s| {
        let level_name = s.spec.priority_level_configuration.name.clone();
        let level = system.level(&level_name)?;
        Some(Arc::new(Schema {
            level,
            seats_max: system.request_seats_max(level),
            uid: header(&s.uid),
            level_uid: header(uids.get(level_name.as_str()).copied().unwrap_or("")),
            metrics: metrics(&level_name, &s.name),
            level_name,
            name: s.name,
            spec: s.spec,
        }))
    });
    in_force.collect()
}

/// Place of the schema that the request belongs to.
pub(super) fn classify(schemas: &[Arc<Schema>], request: &Digest<'_>) -> usize {
    // Whoever is in no group at all matches not even the last.
    schemas.iter().position(|s| s.spec.matches(request)).unwrap_or(schemas.len().saturating_sub(1))
}

/// The condition that a schema's status should have and has not.
pub(super) fn missing_condition(schema: &Value, levels: &[Level], now: &str) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or("");
    let reference = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = if levels.iter().any(|l| l.config.name == level) {
        ("False", "Found", format!("{reference} and it exists"))
    } else {
        ("True", "NotFound", format!("{reference} but there is no such object"))
    };
    let wanted = [("type", DANGLING), ("status", status), ("reason", reason), ("message", &message)];
    let conditions = schema["status"]["conditions"].as_array();
    if conditions.into_iter().flatten().any(|have| wanted.iter().all(|(field, value)| have[*field] == *value)) {
        return None;
    }
    let mut condition: Value = wanted.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
    condition["lastTransitionTime"] = now.into();
    Some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, level: &str, precedence: i32) -> Value {
        json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {"matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": [format!("/{name}")]}]}]}})
    }

    fn level(name: &str, shares: Value) -> Value {
        json!({"metadata": {"name": name, "uid": "u"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 5}}}}})
    }

    #[test]
    fn schemas_are_asked_by_precedence_then_name_and_dangling_ones_are_not() {
        let levels = complete_levels(vec![Level::read(&level("a", Value::Null)).expect("level")]);
        assert_eq!(levels[0].config.shares, 30);
        let configs: Vec<LevelConfig> = levels.iter().map(|l| l.config.clone()).collect();
        let mut system = System::new(600, 2);
        system.configure(0, &configs);
        let objects = [schema("z", "a", 5), schema("b", "a", 5), schema("c", "a", 2), schema("lost", "gone", 3)];
        let stored: Vec<Stored> = objects.iter().filter_map(Stored::read).collect();
        let got = schemas(stored, &levels, &system, |_, _| SchemaMetrics::unregistered());
        let names: Vec<&str> = got.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["exempt", "c", "b", "z", "catch-all"]);
        let of = |path: &str| {
            let target = flow::rules::Target::Path(path);
            got[classify(&got, &Digest { user: "u", groups: &[], verb: "get", target })].name.clone()
        };
        assert_eq!((of("/b"), of("/lost"), of("/none")), ("b".into(), "catch-all".into(), "catch-all".into()));
    }

    #[test]
    fn a_condition_is_written_when_it_differs() {
        let levels = complete_levels(Vec::new());
        let mut object = schema("s", "gone", 5);
        let condition = missing_condition(&object, &levels, "T").expect("missing");
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        object["status"] = json!({"conditions": [condition]});
        assert_eq!(missing_condition(&object, &levels, "T2"), None);
        object["spec"]["priorityLevelConfiguration"]["name"] = "exempt".into();
        assert_eq!(missing_condition(&object, &levels, "T3").expect("changed")["status"], "False");
    }
}
