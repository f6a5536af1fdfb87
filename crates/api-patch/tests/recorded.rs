//! Managed fields and patches as a real v1.30 API server answers them.
//!
//! `testdata/recorded.jsonl` holds requests with recorded answers; a file named in `RECORDED_SCENARIOS` gives more. Each
//! scenario is played against an object store in memory that knows nothing but patches, defaults and managed fields.

use api_core::meta::Meta;
use api_core::{ApiError, Gvr};
use api_patch::managed::{self, Manager};
use api_schema::codec::{FieldValidation, Media, decode, decode_value};
use api_schema::row::Row;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const NOW: &str = "2024-07-16T00:00:00Z";

/// Where a request goes.
struct Target {
    row: Arc<Row>,
    object_path: String,
    subresource: String,
    query: HashMap<String, String>,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version) = match parts.remove(0) {
            "api" => ("", parts.remove(0)),
            _ => (parts.remove(0), parts.remove(0)),
        };
        if parts.first() == Some(&"namespaces") && parts.len() > 2 {
            parts.drain(..2);
        }
        let row = api_kinds::resource(&Gvr::new(group, version, parts[0]))?.clone();
        let subresource = parts.get(2).copied().unwrap_or_default().to_owned();
        let object_path = path.strip_suffix(&format!("/{subresource}")).unwrap_or(path).to_owned();
        let query = query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Some(Self { row, object_path, subresource, query })
    }

    fn manager(&self) -> Manager<'_> {
        let status = self.row.subresource("status").is_some();
        Manager {
            name: self.query.get("fieldManager").map_or("unknown", String::as_str),
            api_version: Box::leak(self.row.gvr.api_version().into_boxed_str()),
            subresource: &self.subresource,
            now: NOW,
            reset: managed::reset_fields(status, &self.subresource),
        }
    }
}

#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
}

impl Server {
    /// The object after a write, or why there is none. `None` for requests that are not played.
    fn step(&mut self, step: &Value) -> Option<Result<Value, ApiError>> {
        let target = Target::parse(step["path"].as_str()?)?;
        let body = match &step["body"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let outcome = match step["method"].as_str()? {
            "POST" if target.subresource.is_empty() => self.create(&target, &body),
            "PUT" => self.update(&target, &body),
            "PATCH" => self.patch(&target, &body, step["headers"]["Content-Type"].as_str()?),
            "DELETE" => {
                self.objects.remove(&target.object_path);
                return None;
            }
            _ => return None,
        };
        if let (Ok((path, object)), false) = (&outcome, target.query.contains_key("dryRun")) {
            self.objects.insert(path.clone(), object.clone());
        }
        Some(outcome.map(|(_, object)| object))
    }

    fn create(&self, target: &Target, body: &str) -> Result<(String, Value), ApiError> {
        let mut object = decode(&target.row, body.as_bytes(), Media::Json, FieldValidation::Ignore)?.value;
        finish(&target.row, &mut object);
        managed::update(target.row.schema(), target.row.root(), None, &mut object, &target.manager());
        Ok((format!("{}/{}", target.object_path, object.name()), object))
    }

    fn update(&self, target: &Target, body: &str) -> Result<(String, Value), ApiError> {
        let object = decode(&target.row, body.as_bytes(), Media::Json, FieldValidation::Ignore)?.value;
        self.replace(target, object)
    }

    fn replace(&self, target: &Target, mut object: Value) -> Result<(String, Value), ApiError> {
        let old = self.live(target)?;
        finish(&target.row, &mut object);
        managed::update(target.row.schema(), target.row.root(), Some(old), &mut object, &target.manager());
        Ok((target.object_path.clone(), object))
    }

    fn live(&self, target: &Target) -> Result<&Value, ApiError> {
        let missing = || ApiError::not_found(&target.row.gvr.group_resource(), "");
        self.objects.get(&target.object_path).ok_or_else(missing)
    }

    fn patch(&self, target: &Target, body: &str, media: &str) -> Result<(String, Value), ApiError> {
        let row = &target.row;
        let patch: Value = serde_json::from_str(body).map_err(ApiError::internal)?;
        let patched = match media {
            "application/apply-patch+yaml" => {
                let force = target.query.get("force").is_some_and(|f| f == "true");
                let live = self.objects.get(&target.object_path);
                let applied = managed::apply(row.schema(), row.root(), live, &patch, &target.manager(), force)?;
                let mut object = decode_value(row, applied, FieldValidation::Ignore)?.value;
                finish(row, &mut object);
                return Ok((target.object_path.clone(), object));
            }
            "application/json-patch+json" => api_patch::json_patch(self.live(target)?, body.as_bytes())?,
            "application/merge-patch+json" => api_patch::merge_patch(self.live(target)?.clone(), body.as_bytes())?,
            "application/strategic-merge-patch+json" => {
                api_patch::strategic_merge(row.schema(), row.root(), self.live(target)?.clone(), &patch)?
            }
            _ => return Err(ApiError::new(415, api_core::Reason::UnsupportedMediaType, "")),
        };
        self.replace(target, decode_value(row, patched, FieldValidation::Ignore)?.value)
    }
}

fn finish(row: &Row, object: &mut Value) {
    if let Some(default) = row.hooks.default {
        default(object);
    }
}

/// Entries by manager, with times blanked: recorded ones may or may not be of the same second.
fn comparable(object: &Value) -> BTreeMap<String, Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let entry = |mut entry: Value| {
        if let Some(time) = entry.get_mut("time") {
            *time = Value::from("<time>");
        }
        (format!("{} {} {} {}", entry["manager"], entry["operation"], entry["apiVersion"], entry["subresource"]), entry)
    };
    entries.into_iter().map(entry).collect()
}

/// What differs from the recording.
fn play(scenario: &Value) -> Vec<String> {
    let mut server = Server::default();
    let mut wrong = Vec::new();
    for (i, step) in scenario["steps"].as_array().into_iter().flatten().enumerate() {
        let outcome = server.step(step);
        let (Some(code), Some(outcome)) = (step["code"].as_u64(), outcome) else { continue };
        let what = match (code, outcome) {
            (200 | 201, Ok(object)) => {
                let (want, got) = (comparable(&step["answer"]), comparable(&object));
                if want == got { continue } else { format!("\n  want {want:?}\n  got  {got:?}") }
            }
            (200 | 201, Err(e)) => format!("{} {}", e.code, e.message),
            // Validation is not played.
            (_, Ok(_)) => continue,
            (_, Err(e)) if e.to_status() == step["answer"] => continue,
            (_, Err(e)) => format!("\n  want {}\n  got  {}", step["answer"], e.to_status()),
        };
        wrong.push(format!("{} step {i}: {what}", scenario["name"]));
    }
    wrong
}

fn check(text: &str) -> (usize, Vec<String>) {
    let scenarios: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a scenario")).collect();
    (scenarios.len(), scenarios.iter().flat_map(play).collect())
}

#[test]
fn managed_fields_are_those_of_a_real_server() {
    let (count, wrong) = check(include_str!("../testdata/recorded.jsonl"));
    assert!(count > 20, "{count} scenarios");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn more_scenarios_if_given() {
    let Ok(path) = std::env::var("RECORDED_SCENARIOS") else { return };
    let (count, wrong) = check(&std::fs::read_to_string(path).expect("readable"));
    for line in &wrong {
        println!("{line}");
    }
    println!("{} of {count} wrong", wrong.len());
}
