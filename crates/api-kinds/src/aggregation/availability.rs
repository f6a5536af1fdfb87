//! Whether an extension server can be asked: what the objects say of its service, and the condition that follows.
//!
//! What only a request can tell (whether the server answers) is told by the caller.

use super::Backend;
use crate::custom::set_condition;
use serde_json::Value;

const TYPE: &str = "Available";

/// The condition that says whether a group version is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: &'static str,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

impl Condition {
    /// Of what is served here.
    pub fn local() -> Self {
        Self { status: "True", reason: "Local", message: "Local APIServices are always available".into() }
    }

    /// Of an extension server that answered.
    pub fn passed() -> Self {
        Self { status: "True", reason: "Passed", message: "all checks passed".into() }
    }

    /// Of one that did not; `why` is what came instead.
    pub fn failed_check(why: String) -> Self {
        Self::no("FailedDiscoveryCheck", why)
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }

    /// Whether it says that requests may be sent.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// Whether an object's condition says that it is available.
pub fn is_available(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == TYPE && c["status"] == "True")
}

/// The object with that condition; `None` if it has it.
pub fn with(object: &Value, condition: &Condition, now: &str) -> Option<Value> {
    let mut out = object.clone();
    let Condition { status, reason, message } = condition;
    set_condition(&mut out, [TYPE, status, reason, message], now);
    (out["status"] != object["status"]).then_some(out)
}

/// What stands in the way of asking, as far as objects tell: the service, its endpoints, its slices if they stand alone.
pub fn obstacle(
    backend: &Backend,
    service: Option<&Value>,
    endpoints: Option<&Value>,
    slices: &[Value],
) -> Option<Condition> {
    let named = format!("service/{} in {:?}", backend.service, backend.namespace);
    let Some(service) = service else {
        return Some(Condition::no("ServiceNotFound", format!("{named} is not present")));
    };
    if service["spec"]["type"].as_str().unwrap_or("ClusterIP") != "ClusterIP" {
        return None;
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.find(|p| p["port"].as_u64() == Some(backend.port.into())) else {
        let message = format!("{named} is not listening on port {}", backend.port);
        return Some(Condition::no("ServicePortError", message));
    };
    let port = port["name"].as_str().unwrap_or("");
    let has_port = |holder: &Value| {
        let mut ports = holder["ports"].as_array().into_iter().flatten();
        ports.any(|p| p["name"].as_str().unwrap_or("") == port)
    };
    let active = match endpoints {
        Some(endpoints) => {
            let mut subsets = endpoints["subsets"].as_array().into_iter().flatten();
            subsets.any(|s| s["addresses"].as_array().is_some_and(|a| !a.is_empty()) && has_port(s))
        }
        None if slices.is_empty() => {
            return Some(Condition::no("EndpointsNotFound", format!("cannot find endpoints for {named}")));
        }
        None => slices.iter().any(|s| has_ready(s) && has_port(s)),
    };
    let message = || format!("endpoints for {named} have no addresses with port name {port:?}");
    (!active).then(|| Condition::no("MissingEndpoints", message()))
}

fn has_ready(slice: &Value) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints.any(|e| e["conditions"]["ready"] != false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn backend() -> Backend {
        Backend { namespace: "n".into(), service: "s".into(), port: 443, ca_pem: Vec::new(), insecure: true }
    }

    #[track_caller]
    fn check(service: Option<Value>, endpoints: Option<Value>, slices: &[Value], expected: &str) {
        let found = obstacle(&backend(), service.as_ref(), endpoints.as_ref(), slices);
        let text = found.map_or("none".into(), |c| format!("{} {} {}", c.status, c.reason, c.message));
        assert_eq!(text, expected);
    }

    #[test]
    fn obstacles_have_upstreams_reasons() {
        let service =
            |port: u16| Some(json!({"spec": {"type": "ClusterIP", "ports": [{"name": "web", "port": port}]}}));
        let endpoints = |name: &str, addresses: Value| {
            Some(json!({"subsets": [{"addresses": addresses, "ports": [{"name": name, "port": 1}]}]}))
        };
        let one = json!([{"ip": "10.0.0.1"}]);
        check(None, None, &[], "False ServiceNotFound service/s in \"n\" is not present");
        check(service(80), None, &[], "False ServicePortError service/s in \"n\" is not listening on port 443");
        check(service(443), None, &[], "False EndpointsNotFound cannot find endpoints for service/s in \"n\"");
        let missing =
            "False MissingEndpoints endpoints for service/s in \"n\" have no addresses with port name \"web\"";
        check(service(443), Some(json!({})), &[], missing);
        check(service(443), endpoints("web", json!([])), &[], missing);
        check(service(443), endpoints("other", one.clone()), &[], missing);
        check(service(443), endpoints("web", one), &[], "none");
        let slice = |ready: bool| json!({"ports": [{"name": "web", "port": 1}], "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]});
        check(service(443), None, &[slice(false)], missing);
        check(service(443), None, &[slice(false), slice(true)], "none");
        check(Some(json!({"spec": {"type": "ExternalName"}})), None, &[], "none");
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let first = with(&json!({}), &Condition::failed_check("x".into()), "2024-01-01T00:00:00Z").expect("new");
        assert!(!is_available(&first));
        assert_eq!(with(&first, &Condition::failed_check("x".into()), "2024-01-02T00:00:00Z"), None);
        let other = with(&first, &Condition::failed_check("y".into()), "2024-01-02T00:00:00Z").expect("another");
        assert_eq!(other["status"]["conditions"][0]["lastTransitionTime"], "2024-01-01T00:00:00Z");
        let passed = with(&other, &Condition::passed(), "2024-01-03T00:00:00Z").expect("passed");
        assert_eq!(passed["status"]["conditions"][0]["lastTransitionTime"], "2024-01-03T00:00:00Z");
        assert!(is_available(&passed));
    }
}
