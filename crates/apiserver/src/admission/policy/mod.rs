//! Validating admission policies: which are for a write, with which parameters, and what becomes of the write.
//!
//! Matching and what expressions may name are `api_kinds::admission`; expressions are `api_cel`. [`loaded`] keeps policies
//! compiled, [`evaluate`] applies one to a write.

mod evaluate;
mod loaded;
mod params;
#[cfg(test)]
mod tests;

pub use loaded::Policies;

use super::condition_metrics::Whose;
use super::write::{Shown, Write};
use super::{Attributes, Context, versions};
use api_core::meta::Meta;
use api_core::status::Cause;
use api_core::{ApiError, Gvr, Reason, gvk};
use api_kinds::admission::conditions::Held;
use api_kinds::admission::matching::Request;
use api_kinds::admission::policies;
use evaluate::{Decision, Evaluated};
use loaded::{Binding, Policy};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest value of an audit annotation, in bytes; the rest is cut off.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

/// Under which the audit log is told of validations that failed.
const FAILURE_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A validation that failed, for the audit log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: &'a [String],
}

/// Why a write is refused.
struct Denied {
    message: String,
    reason: String,
}

/// What has come of the policies so far.
#[derive(Default)]
struct Outcome {
    denied: Vec<Denied>,
    warnings: Vec<String>,
    annotations: Vec<(String, String)>,
}

/// Refuses a write that a policy denies.
pub async fn validate(
    context: &Context,
    a: &Attributes<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    if policies::exempt(a.resource) {
        return Ok(());
    }
    let all = context.policies.all(&*context.view);
    if all.is_empty() {
        return Ok(());
    }
    let equivalents = context.view.equivalents(a.row, a.subresource);
    let of_namespaces = a.resource.group.is_empty() && a.resource.resource == "namespaces";
    let own_name = object.map_or("", Meta::name);
    let name = if a.name.is_empty() { own_name } else { a.name };
    let request = Request {
        operation: a.operation.as_str(),
        resource: a.resource,
        subresource: a.subresource,
        equivalents: &equivalents,
        namespace: if of_namespaces { name } else { a.namespace },
        name,
        object,
        old: a.old,
    };
    let mut outcome = Outcome::default();
    for policy in all.iter() {
        Box::pin(outcome.policy(context, a, &request, policy)).await;
    }
    warnings.append(&mut outcome.warnings);
    for (key, value) in outcome.annotations {
        a.annotate(key, value);
    }
    match outcome.denied.into_iter().next() {
        Some(denied) => Err(refusal(a, object, denied)),
        None => Ok(()),
    }
}

/// The error of a refusal: a 403 in form, with the reason and the code that the policy names.
fn refusal(a: &Attributes<'_>, object: Option<&Value>, denied: Denied) -> ApiError {
    let mut error = a.forbidden(object, &denied.message);
    (error.code, error.reason) = match denied.reason.as_str() {
        "Forbidden" => (403, Reason::Forbidden),
        "Unauthorized" => (401, Reason::Unauthorized),
        "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
        _ => (422, Reason::Invalid),
    };
    let mut details = error.details.take().unwrap_or_default();
    details.causes.push(Cause { message: denied.message, ..Cause::default() });
    error.details = Some(details);
    error
}

impl Outcome {
    async fn policy(&mut self, context: &Context, a: &Attributes<'_>, request: &Request<'_>, policy: &Policy) {
        let namespace = |name: &str| context.view.get("", "namespaces", "", name);
        if policy.bindings.is_empty() {
            return;
        }
        let gvr = match policy.constraints.matches(request, &namespace) {
            Ok(Some(gvr)) => gvr,
            Ok(None) => return,
            Err(why) => return self.misconfigured(policy, None, &why.to_string()),
        };
        if let Some((api_version, kind)) = &policy.param_kind
            && context.view.resource_of(api_version, kind).is_none()
        {
            let (group, version) = gvk::split_api_version(api_version);
            let why = format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'");
            return self.misconfigured(policy, None, &why);
        }
        let mut write = None;
        let mut annotations = BTreeMap::new();
        for binding in &policy.bindings {
            match binding.constraints.matches(request, &namespace) {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why.to_string());
                    continue;
                }
            }
            let found = match params::collect(context, policy, binding, a.namespace).await {
                Ok(found) => found,
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why);
                    continue;
                }
            };
            if write.is_none() {
                match shown(context, a, request, &gvr).await {
                    Ok(made) => write = Some(made),
                    Err(error) => return self.misconfigured(policy, None, &error.message),
                }
            }
            let Some(write) = &write else { continue };
            let whose = Whose { kind: "policy", name: &policy.name, step: "validate", operation: a.operation };
            let observe = |hold: &dyn Fn() -> Held| match &context.conditions {
                Some(metrics) => metrics.observe(whose, hold),
                None => hold(),
            };
            for param in found {
                let evaluated = evaluate::evaluate(write, policy, param.as_ref(), &observe);
                self.take(evaluated, policy, binding, &mut annotations);
            }
        }
        let joined = annotations
            .into_iter()
            .map(|(key, values): (String, Vec<String>)| (format!("{}/{key}", policy.name), values.join(", ")));
        self.annotations.extend(joined);
    }

    /// The policy cannot be applied.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.fails {
            let what = if binding.is_some() { "binding" } else { "policy" };
            let decision = Decision { message: format!("failed to configure {what}: {why}"), reason: String::new() };
            self.deny(policy, binding, decision);
        }
    }

    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, decision: Decision) {
        let with = binding.map(|b| format!(" with binding '{}'", b.name)).unwrap_or_default();
        let name = format!("ValidatingAdmissionPolicy '{}'{with}", policy.name);
        self.denied
            .push(Denied { message: format!("{name} denied request: {}", decision.message), reason: decision.reason });
    }

    /// What becomes of what a policy made of the write.
    fn take(
        &mut self,
        result: Evaluated,
        policy: &Policy,
        binding: &Binding,
        annotations: &mut BTreeMap<String, Vec<String>>,
    ) {
        for (index, decision) in result.decisions {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => self.deny(policy, Some(binding), decision.clone()),
                    "Warn" => self.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, decision.message
                    )),
                    "Audit" => {
                        let failed = Failed {
                            message: &decision.message,
                            policy: &policy.name,
                            binding: &binding.name,
                            expression_index: index,
                            validation_actions: &binding.actions,
                        };
                        match serde_json::to_string(&[failed]) {
                            Ok(value) => self.annotations.push((FAILURE_KEY.into(), value)),
                            Err(error) => tracing::error!(%error, "a failure could not be told to the audit log"),
                        }
                    }
                    _ => {}
                }
            }
        }
        for (key, value) in result.annotations {
            match value {
                Ok(mut value) => {
                    let end = (0..=ANNOTATION_BYTES_MAX.min(value.len())).rev().find(|i| value.is_char_boundary(*i));
                    value.truncate(end.unwrap_or(0));
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Err(message) => self.deny(policy, Some(binding), Decision { message, reason: String::new() }),
            }
        }
    }
}

/// The write as expressions of a policy that is for the version see it.
async fn shown(context: &Context, a: &Attributes<'_>, request: &Request<'_>, gvr: &Gvr) -> Result<Write, ApiError> {
    let (tools, kind) = (context.tools(), versions::kind(&*context.view, a, gvr)?);
    let object = match request.object {
        Some(object) => Some(versions::shown(tools, a, gvr, object, false).await?),
        None => None,
    };
    let old = match request.old {
        Some(old) => Some(versions::shown(tools, a, gvr, old, false).await?),
        None => None,
    };
    let namespace_object =
        (!a.namespace.is_empty()).then(|| context.view.get("", "namespaces", "", a.namespace)).flatten();
    let (name, namespace) = (request.name, request.namespace);
    let shown = Shown { object, old, kind: &kind, resource: gvr, name, namespace, namespace_object };
    Ok(Write::new(&context.authorizer, a, &shown))
}
