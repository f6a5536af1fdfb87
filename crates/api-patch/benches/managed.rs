//! What the managed fields of a pod cost its writers: `cargo bench -p api-patch`.

use api_core::Gvr;
use api_patch::managed::{self, Manager};
use api_schema::normalize;
use serde_json::Value;
use std::time::Instant;

/// Writes that are timed as one.
const BATCH: usize = 50;
const BATCHES: usize = 100;

fn main() {
    let text = include_str!("../testdata/recorded.jsonl");
    let line = text.lines().find(|l| l.contains("create/pods/valid")).expect("a pod");
    let scenario: Value = serde_json::from_str(line).expect("JSON");
    let row = api_kinds::resource(&Gvr::new("", "v1", "pods")).expect("a built-in resource");
    let mut pod = scenario["steps"].as_array().and_then(|steps| steps.last()).expect("steps")["body"].clone();
    normalize::normalize(row.schema(), row.root(), &mut pod);
    if let Some(default) = row.hooks.default {
        default(&mut pod);
    }
    let manager =
        Manager { name: "a", api_version: "v1", subresource: "", now: "2024-01-01T00:00:00Z", reset: &[&["status"]] };
    let mut created = pod.clone();
    managed::update(row.schema(), row.root(), None, &mut created, &manager);
    let mut changed = created.clone();
    changed["metadata"]["labels"]["new"] = "x".into();
    let status = Manager { name: "kubelet", subresource: "status", reset: &[&["spec"]], ..manager };
    println!("pod of {} bytes, {} with managed fields", pod.to_string().len(), created.to_string().len());
    let measure = |what: &str, old: Option<&Value>, new: &Value, manager: &Manager<'_>| {
        // The quickest of many batches: others use the machine too.
        let batch = || {
            let mut copies = vec![new.clone(); BATCH];
            let start = Instant::now();
            for new in &mut copies {
                managed::update(row.schema(), row.root(), old, new, manager);
            }
            start.elapsed().as_secs_f64() * 1e6 / BATCH as f64
        };
        let best = (0..BATCHES).map(|_| batch()).fold(f64::MAX, f64::min);
        println!("{what}: {best:.1} us");
    };
    measure("create", None, &pod, &manager);
    measure("small change", Some(&created), &changed, &manager);
    measure("no change", Some(&created), &created, &manager);
    measure("status without change", Some(&created), &created, &status);
}
