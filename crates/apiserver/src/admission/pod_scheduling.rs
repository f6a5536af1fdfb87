//! Priority, tolerations and runtime class of pods, and the taint of new nodes.

use super::{Attributes, Context, Operation};
use api_core::ApiError;
use api_kinds::admission::pods;
use api_kinds::names;
use serde_json::Value;

const SCHEDULING: &str = "scheduling.k8s.io";

/// A new node takes no pods until it is ready.
pub fn taint_node(_: &Context, a: &Attributes<'_>, node: &mut Value) -> Result<(), ApiError> {
    if a.is("", names::NODES, &[Operation::Create]) {
        pods::taint_node(node);
    }
    Ok(())
}

/// A pod's priority comes from its class.
pub fn priority(context: &Context, a: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if let (true, Some(old)) = (a.is("", names::PODS, &[Operation::Update]), a.old) {
        pods::keep_priority(pod, old);
    }
    if !a.is("", names::PODS, &[Operation::Create]) {
        return Ok(());
    }
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or("");
    let (named, classes) = if name.is_empty() {
        let classes = context.view.shared_list(SCHEDULING, "priorityclasses", "");
        let defaults = classes.iter().filter(|class| class["globalDefault"] == true);
        (None, defaults.map(|class| (**class).clone()).collect())
    } else {
        (context.view.shared(SCHEDULING, "priorityclasses", "", name), Vec::new())
    };
    pods::priority(pod, named.as_deref(), &classes).map_err(|why| a.forbidden(Some(pod), &why))
}

/// There is at most one default priority class.
pub fn priority_class(
    context: &Context,
    a: &Attributes<'_>,
    class: Option<&Value>,
    _: &mut Vec<String>,
) -> Result<(), ApiError> {
    let due = a.is(SCHEDULING, "priorityclasses", &[Operation::Create, Operation::Update]);
    let Some(class) = class.filter(|c| due && c["globalDefault"] == true) else { return Ok(()) };
    let classes = context.view.list(SCHEDULING, "priorityclasses", "");
    pods::only_default_class(class, &classes).map_err(|why| a.forbidden(Some(class), &why))
}

/// Pods stay a while on a node that fails.
pub fn tolerations(_: &Context, a: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if a.is("", names::PODS, &[Operation::Create, Operation::Update]) {
        pods::default_tolerations(pod);
    }
    Ok(())
}

/// Overhead and placement come from the runtime class.
pub fn runtime_class(context: &Context, a: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !a.is("", names::PODS, &[Operation::Create]) {
        return Ok(());
    }
    let class = match pod["spec"]["runtimeClassName"].as_str().filter(|n| !n.is_empty()) {
        None => None,
        Some(name) => match context.view.get("node.k8s.io", "runtimeclasses", "", name) {
            Some(class) => Some(class),
            None => {
                let why = format!("pod rejected: RuntimeClass {name:?} not found");
                return Err(a.forbidden(Some(pod), &why));
            }
        },
    };
    pods::runtime_class(pod, class.as_ref()).map_err(|why| a.forbidden(Some(pod), &why))
}
