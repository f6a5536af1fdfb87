//! The three cases of an operation: nobody may, nothing is there, nothing is kept.

use crate::Outcome;
use crate::operation::Operation;
use crate::samples;
use crate::world::{Answer, NAMESPACE, World};
use serde_json::{Value, json};

/// Namespace and name that nothing has.
const ABSENT: &str = "absent";

/// 403, in upstream's words.
pub async fn authorization(world: &World, operation: &Operation) -> Outcome {
    let (code, answer) = world.nobody(operation.method(), &operation.path(NAMESPACE, "x")).await;
    let name = if operation.is_named() { " \"x\"" } else { "" };
    let sub = if operation.subresource.is_empty() { String::new() } else { format!("/{}", operation.subresource) };
    // A namespace is its own namespace.
    let scope = match (operation.namespaced, operation.resource.as_str()) {
        (true, _) => format!("in the namespace {NAMESPACE:?}"),
        (false, "namespaces") if operation.is_named() => "in the namespace \"x\"".to_owned(),
        (false, _) => "at the cluster scope".to_owned(),
    };
    let expected = format!(
        "{}{name} is forbidden: User \"nobody\" cannot {} resource \"{}{sub}\" in API group \"{}\" {scope}",
        operation.group_resource(),
        operation.verb,
        operation.resource,
        operation.group,
    );
    Outcome::Ran(wants(&(code, answer), 403, "Forbidden", &expected))
}

/// 404, in upstream's words; a list of nothing where a namespace is not asked after.
pub async fn not_found(world: &World, operation: &Operation) -> Outcome {
    if operation.is_named() {
        return not_found_by_name(world, operation).await;
    }
    match operation.verb.as_str() {
        "list" | "deletecollection" if operation.namespaced => {
            let (code, answer) = world.admin(operation.method(), &operation.path(ABSENT, ""), None).await;
            let empty = code == 200 && answer["items"] == json!([]);
            Outcome::Ran(if empty { Ok(()) } else { Err(format!("{code} {answer}")) })
        }
        "create" if operation.namespaced && !operation.is_review() => {
            let Some(mut sample) = samples::of(operation) else { return Outcome::Uncovered };
            sample["metadata"]["namespace"] = json!(ABSENT);
            let answer = world.admin("POST", &operation.path(ABSENT, ""), Some(&sample)).await;
            Outcome::Ran(wants(&answer, 404, "NotFound", &format!("namespaces {ABSENT:?} not found")))
        }
        // Nothing has to be there for these.
        _ => Outcome::None,
    }
}

async fn not_found_by_name(world: &World, operation: &Operation) -> Outcome {
    let body = match (operation.verb.as_str(), operation.subresource.as_str()) {
        ("patch", _) => Some(json!({})),
        ("update", "scale") => Some(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1},
            "metadata": {"name": ABSENT, "namespace": NAMESPACE}})),
        ("update", _) if !operation.connects() => {
            let Some(mut sample) = samples::of(operation) else { return Outcome::Uncovered };
            sample["metadata"]["name"] = json!(ABSENT);
            Some(sample)
        }
        ("create", _) if !operation.connects() => {
            let Some(sample) = samples::of_subresource(operation, ABSENT) else { return Outcome::Uncovered };
            Some(sample)
        }
        _ => None,
    };
    let answer = world.admin(operation.method(), &operation.path(NAMESPACE, ABSENT), body.as_ref()).await;
    let may_be_made = MADE_BY_UPDATE.contains(&operation.resource.as_str());
    if operation.verb == "update" && matches!(operation.subresource.as_str(), "" | "status") && may_be_made {
        // As upstream has it, also through the status; then it must be there.
        let (code, _) = world.admin("DELETE", &operation.object(NAMESPACE, ABSENT), None).await;
        return Outcome::Ran(if (answer.0, code) == (201, 200) { Ok(()) } else { Err(format!("{answer:?}")) });
    }
    if operation.resource == "componentstatuses" {
        let told = answer.1["message"] == format!("Component not found: {ABSENT}");
        return Outcome::Ran(if answer.0 == 500 && told { Ok(()) } else { Err(format!("{answer:?}")) });
    }
    let missing = match (operation.verb.as_str(), operation.what().as_str()) {
        // Whoever asks for a scale is told of it in the words of its kind.
        ("get", "v1/replicationcontrollers/scale") => "replicationcontrollers/scale.autoscaling".to_owned(),
        ("get", "apps/v1/deployments/scale") => "deployments/scale.apps".to_owned(),
        ("get", "apps/v1/replicasets/scale") => "replicasets/scale.apps".to_owned(),
        _ => operation.group_resource().to_string(),
    };
    Outcome::Ran(wants(&answer, 404, "NotFound", &format!("{missing} {ABSENT:?} not found")))
}

/// Resources of which a PUT may make an object.
const MADE_BY_UPDATE: &[&str] = &[
    "clusterrolebindings",
    "clusterroles",
    "endpoints",
    "events",
    "leases",
    "limitranges",
    "rolebindings",
    "roles",
    "runtimeclasses",
    "services",
];

/// Success, and everything is as it was.
pub async fn dry_run(world: &World, operation: &Operation) -> Outcome {
    if operation.connects() || matches!(operation.verb.as_str(), "get" | "list" | "watch") {
        return Outcome::None;
    }
    let Some(sample) = samples::of(operation) else { return Outcome::Uncovered };
    if operation.is_review() {
        let (code, answer) = world.admin("POST", &dry(operation.path(NAMESPACE, "")), Some(&sample)).await;
        let answered = code == 201 && answer["status"].is_object();
        return Outcome::Ran(if answered { Ok(()) } else { Err(format!("{code} {answer}")) });
    }
    if operation.resource == "bindings" {
        return dry_run_of_binding(world, operation).await;
    }
    let name = sample["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let object = operation.object(NAMESPACE, &name);
    if operation.verb == "create" && operation.subresource.is_empty() {
        let (code, answer) = world.admin("POST", &dry(operation.path(NAMESPACE, "")), Some(&sample)).await;
        if code != 201 {
            return Outcome::Ran(Err(format!("{code} {answer}")));
        }
        let (code, _) = world.admin("GET", &object, None).await;
        return Outcome::Ran(if code == 404 { Ok(()) } else { Err("it was made".into()) });
    }
    let made = world.must("POST", &operation.collection(NAMESPACE), &sample).await;
    let outcome = dry_run_of_change(world, operation, &name, &made).await;
    take_away(world, &object).await;
    outcome
}

async fn dry_run_of_change(world: &World, operation: &Operation, name: &str, made: &Value) -> Outcome {
    let path = dry(operation.path(NAMESPACE, name));
    let body = match (operation.verb.as_str(), operation.subresource.as_str()) {
        ("create", _) => match samples::of_subresource(operation, name) {
            Some(body) => Some(body),
            None => return Outcome::Uncovered,
        },
        ("update", "scale") => {
            let (_, mut scale) = world.admin("GET", &operation.path(NAMESPACE, name), None).await;
            scale["spec"]["replicas"] = json!(7);
            Some(scale)
        }
        ("update", _) => {
            let mut changed = made.clone();
            changed["metadata"]["annotations"]["changed"] = json!("yes");
            Some(changed)
        }
        ("patch", "scale") => Some(json!({"spec": {"replicas": 7}})),
        ("patch", _) => Some(json!({"metadata": {"annotations": {"changed": "yes"}}})),
        _ => None,
    };
    let (code, answer) = change(world, operation, name, &path, body.as_ref()).await;
    if !(200..300).contains(&code) {
        return Outcome::Ran(Err(format!("{code} {answer}")));
    }
    let (_, now) = world.admin("GET", &operation.object(NAMESPACE, name), None).await;
    if users_part(&now) != users_part(made) {
        return Outcome::Ran(Err(format!("it is now {now}")));
    }
    // The same without dry run does change it; else the case proves nothing.
    let changes = operation.subresource.is_empty() || operation.subresource == "scale";
    if changes && operation.verb != "deletecollection" {
        let path = operation.path(NAMESPACE, name);
        let (code, answer) = change(world, operation, name, &path, body.as_ref()).await;
        let (_, now) = world.admin("GET", &operation.object(NAMESPACE, name), None).await;
        if !(200..300).contains(&code) || users_part(&now) == users_part(made) {
            return Outcome::Ran(Err(format!("without dry run: {code} {answer}")));
        }
    }
    Outcome::Ran(Ok(()))
}

/// Sends a change, and sends it again of the newest version where the server has written the status meanwhile.
async fn change(world: &World, operation: &Operation, name: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (mut code, mut answer) = world.admin(operation.method(), path, body).await;
    while let (409, Some(mut newer)) = (code, body.cloned()) {
        let (_, now) = world.admin("GET", &operation.path(NAMESPACE, name), None).await;
        newer["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
        (code, answer) = world.admin(operation.method(), path, Some(&newer)).await;
    }
    (code, answer)
}

/// An object without what the server writes of some kinds by itself: the status of definitions and flow schemas.
fn users_part(object: &Value) -> Value {
    let mut object = object.clone();
    object["status"].take();
    for field in ["resourceVersion", "managedFields"] {
        object["metadata"][field].take();
    }
    object
}

/// A binding posted to the namespace binds the pod of its name.
async fn dry_run_of_binding(world: &World, operation: &Operation) -> Outcome {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bound"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.must("POST", "/api/v1/namespaces/a/pods", &pod).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bound"},
        "target": {"kind": "Node", "name": "n"}});
    let (code, answer) = world.admin("POST", &dry(operation.path(NAMESPACE, "")), Some(&binding)).await;
    let (_, pod) = world.admin("GET", "/api/v1/namespaces/a/pods/bound", None).await;
    take_away(world, "/api/v1/namespaces/a/pods/bound").await;
    let kept = code == 201 && pod["spec"]["nodeName"].is_null();
    Outcome::Ran(if kept { Ok(()) } else { Err(format!("{code} {answer}")) })
}

fn dry(path: String) -> String {
    format!("{path}?dryRun=All")
}

/// Ends an object that a case has made, with whatever holds it back.
async fn take_away(world: &World, object: &str) {
    let (code, answer) = world.admin("DELETE", &format!("{object}?gracePeriodSeconds=0"), None).await;
    assert!(matches!(code, 200 | 202 | 404), "DELETE {object}: {code} {answer}");
    let (code, mut left) = world.admin("GET", object, None).await;
    if code == 404 {
        return;
    }
    left["metadata"]["finalizers"] = Value::Null;
    let mut path = object.to_owned();
    if left["kind"] == "Namespace" {
        left["spec"]["finalizers"] = json!([]);
        path.push_str("/finalize");
    }
    // Whoever else ends such objects may be first.
    let (code, answer) = world.admin("PUT", &path, Some(&left)).await;
    assert!(matches!(code, 200 | 404 | 409), "PUT {path}: {code} {answer}");
    world.gone(object).await;
}

fn wants((code, answer): &Answer, wanted: u16, reason: &str, message: &str) -> Result<(), String> {
    if *code == wanted && answer["reason"] == reason && answer["message"] == message {
        return Ok(());
    }
    Err(format!("{code} {answer}\n    instead of {wanted} {message}"))
}
