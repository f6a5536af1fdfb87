//! Fields that a field selector may name beside `metadata.name` and `metadata.namespace`, with their values.
//!
//! A kind's function gives all its names whatever the object, so that a bare value shows which there are.

use serde_json::Value;

/// Gives the selectable fields of an object in its stored version.
pub type Fields = fn(&Value) -> Vec<(&'static str, String)>;

/// How a kind's fields are read; `None` if it has none of its own.
pub fn for_kind(group: &str, kind: &str) -> Option<Fields> {
    Some(match (group, kind) {
        ("", "Pod") => pod,
        ("", "Node") => |o| vec![("spec.unschedulable", truth(o, &["spec", "unschedulable"]))],
        ("", "Namespace") => |o| vec![("status.phase", text(o, &["status", "phase"]))],
        ("", "Secret") => |o| vec![("type", text(o, &["type"]))],
        ("", "Event") => event,
        ("events.k8s.io", "Event") => event_of_its_group,
        ("", "ReplicationController") => |o| vec![("status.replicas", number(o, &["status", "replicas"]))],
        ("batch", "Job") => |o| vec![("status.successful", number(o, &["status", "succeeded"]))],
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            |o| vec![("spec.signerName", text(o, &["spec", "signerName"]))]
        }
        _ => return None,
    })
}

/// What a client is told who names a field that the kind does not offer.
pub fn unknown(group: &str, kind: &str, field: &str) -> String {
    match (group, kind) {
        ("batch", "Job") => format!("field label {field:?} not supported for {kind}"),
        _ => format!("field label not supported: {field}"),
    }
}

/// Paths of all that a kind's function reads.
pub fn paths(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("" | "events.k8s.io", "Event") => {
            &["involvedObject", "reason", "reportingComponent", "source.component", "type"]
        }
        ("", "ReplicationController") => &["status.replicas"],
        ("batch", "Job") => &["status.succeeded"],
        ("certificates.k8s.io", "CertificateSigningRequest") => &["spec.signerName"],
        _ => &[],
    }
}

fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| value.get(field))
}

fn text(object: &Value, path: &[&str]) -> String {
    at(object, path).and_then(Value::as_str).unwrap_or("").to_owned()
}

fn truth(object: &Value, path: &[&str]) -> String {
    at(object, path).and_then(Value::as_bool).unwrap_or(false).to_string()
}

fn number(object: &Value, path: &[&str]) -> String {
    at(object, path).and_then(Value::as_i64).unwrap_or(0).to_string()
}

fn pod(o: &Value) -> Vec<(&'static str, String)> {
    let node = text(o, &["spec", "nodeName"]);
    let first = at(o, &["status", "podIPs"]).and_then(|ips| ips.get(0));
    vec![
        // An old name that is still taken.
        ("spec.host", node.clone()),
        ("spec.nodeName", node),
        ("spec.restartPolicy", text(o, &["spec", "restartPolicy"])),
        ("spec.schedulerName", text(o, &["spec", "schedulerName"])),
        ("spec.serviceAccountName", text(o, &["spec", "serviceAccountName"])),
        ("spec.hostNetwork", truth(o, &["spec", "hostNetwork"])),
        ("status.phase", text(o, &["status", "phase"])),
        ("status.podIP", first.map(|ip| text(ip, &["ip"])).unwrap_or_default()),
        // May be named, but upstream gives it no value.
        ("status.podIPs", String::new()),
        ("status.nominatedNodeName", text(o, &["status", "nominatedNodeName"])),
    ]
}

fn event(o: &Value) -> Vec<(&'static str, String)> {
    let involved = |field| text(o, &["involvedObject", field]);
    let reporter = text(o, &["reportingComponent"]);
    let source = match text(o, &["source", "component"]) {
        component if component.is_empty() => reporter.clone(),
        component => component,
    };
    vec![
        ("involvedObject.kind", involved("kind")),
        ("involvedObject.namespace", involved("namespace")),
        ("involvedObject.name", involved("name")),
        ("involvedObject.uid", involved("uid")),
        ("involvedObject.apiVersion", involved("apiVersion")),
        ("involvedObject.resourceVersion", involved("resourceVersion")),
        ("involvedObject.fieldPath", involved("fieldPath")),
        ("reason", text(o, &["reason"])),
        ("reportingComponent", reporter),
        ("source", source),
        ("type", text(o, &["type"])),
    ]
}

/// The same by the names of the group `events.k8s.io`.
fn event_of_its_group(o: &Value) -> Vec<(&'static str, String)> {
    let shown = |stored: &'static str| RENAMED.iter().find(|(_, s)| *s == stored).map_or(stored, |(shown, _)| shown);
    // Upstream has no name for the component of old here.
    let offered = event(o).into_iter().filter(|(name, _)| *name != "source");
    offered.map(|(name, value)| (shown(name), value)).collect()
}

/// Fields of events as the group `events.k8s.io` calls them, and as they are stored.
const RENAMED: &[(&str, &str)] = &[
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
];

/// How a field of a kind is called in the version that is stored, where it is called otherwise.
pub fn stored_names(group: &str, kind: &str) -> Option<fn(&str) -> Option<&'static str>> {
    ((group, kind) == ("events.k8s.io", "Event"))
        .then_some(|name| RENAMED.iter().find(|(shown, _)| *shown == name).map(|(_, stored)| *stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_core::project::Projection;
    use serde_json::json;

    /// An object in which each path of a kind has a value of its own.
    fn full(paths: &[&str], value: &Value) -> Value {
        let mut object = json!({});
        for path in paths {
            let place = path.split('.').fold(&mut object, |place, field| &mut place[field]);
            *place = value.clone();
        }
        object
    }

    #[test]
    fn the_paths_name_all_that_is_read() {
        let mut kinds = 0;
        for row in crate::rows().iter() {
            let (Some(fields), paths) = (row.hooks.selectable_fields, row.hooks.selectable_paths) else { continue };
            kinds += 1;
            assert!(!paths.is_empty(), "{:?}", row.gvr);
            // Whatever the type, each name but the two that never have a value must get one from these paths alone.
            let values = [
                json!("v"),
                json!(true),
                json!(3),
                json!([{"ip": "v"}]),
                json!(
                    FIELDS_OF_A_REFERENCE.map(|f| (f, "v")).into_iter().collect::<std::collections::BTreeMap<_, _>>()
                ),
            ];
            let empty = fields(&Value::Null);
            let mut seen: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
            for value in &values {
                let object = full(paths, value);
                assert_eq!(Projection::new(paths.iter().copied()).of(&object), object);
                let found = fields(&object);
                seen.extend(found.iter().zip(&empty).filter(|(a, b)| a != b).map(|(a, _)| a.0));
            }
            let silent: Vec<_> =
                empty.iter().map(|(n, _)| *n).filter(|n| !seen.contains(n) && *n != "status.podIPs").collect();
            assert!(silent.is_empty(), "{:?}: no path leads to {silent:?}", row.gvr);
        }
        assert!(kinds >= 9, "only {kinds} kinds have fields");
    }

    const FIELDS_OF_A_REFERENCE: [&str; 7] =
        ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];

    #[test]
    fn fields_have_the_values_that_upstream_selects_by() {
        let check = |group: &str, kind: &str, object: Value, want: &[(&str, &str)]| {
            let fields = for_kind(group, kind).unwrap();
            let got = fields(&object);
            for (name, value) in want {
                assert!(got.iter().any(|(n, v)| n == name && v == value), "{kind} {name}: {got:?}");
            }
            let names = |fields: Vec<(&'static str, String)>| fields.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
            assert_eq!(names(fields(&Value::Null)), names(got));
        };
        let pod = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        let want = [
            ("spec.nodeName", "n"),
            ("spec.hostNetwork", "false"),
            ("status.phase", "Running"),
            ("status.podIP", "10.0.0.1"),
        ];
        check("", "Pod", pod, &want);
        let event = json!({"involvedObject": {"name": "p"}, "reportingComponent": "r"});
        check("", "Event", event.clone(), &[("involvedObject.name", "p"), ("source", "r")]);
        check("events.k8s.io", "Event", event, &[("regarding.name", "p"), ("reportingController", "r")]);
        check("batch", "Job", json!({"status": {"succeeded": 2}}), &[("status.successful", "2")]);
    }
}
