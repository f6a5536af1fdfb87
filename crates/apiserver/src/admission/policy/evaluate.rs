//! One policy, with one parameter, applied to a write.

use super::super::{Attributes, Context};
use super::is_own;
use super::loaded::{Compiled, Expression, Policy, Validation};
use super::values::{self, Asker};
use api_cel::{
    Authz, CALL_COST_MAX, CONDITIONS_COST_MAX, EvalError, Meter, REQUEST_COST_MAX, Scope, Value as Cel, from_json,
};
use api_core::Gvr;
use api_kinds::admission::expressions;
use api_kinds::admission::policies::Request;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest message that an expression may make, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// What was decided against a write.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) message: String,
    /// Empty if the policy names none.
    pub(super) reason: String,
}

/// What a policy makes of a write.
#[derive(Debug, Default)]
pub(super) struct Evaluated {
    /// Refusals, with the number of the validation.
    pub(super) decisions: Vec<(usize, Decision)>,
    /// Keys and values of annotations; an error is a refusal.
    pub(super) annotations: Vec<(String, Result<String, String>)>,
}

/// A write as expressions see it.
pub(super) struct Write {
    object: Cel,
    old: Cel,
    request: Cel,
    namespace: Cel,
    authorizer: Cel,
    own_check: Cel,
}

impl Write {
    /// In the version `gvr`.
    pub(super) fn new(context: &Context, a: &Attributes<'_>, request: &Request<'_>, gvr: &Gvr) -> Self {
        let is_whole = a.row.subresource(a.subresource).is_none_or(|s| s.kind == a.row.kind);
        let version = if is_own(a, gvr) { None } else { context.view.row(gvr) };
        let row = version.as_deref().unwrap_or(a.row);
        let shown = |object: Option<&Value>| {
            let mut object = object.cloned()?;
            if is_whole {
                context.view.convert(row, &mut object);
            }
            Some(object)
        };
        let kind = if is_whole { &row.kind } else { a.row.subresource(a.subresource).map_or(&row.kind, |s| &s.kind) };
        let namespace =
            (!a.namespace.is_empty()).then(|| context.view.get("", "namespaces", "", a.namespace)).flatten();
        let who = Arc::new(Asker { authorizer: context.authorizer.clone(), user: a.user.clone() });
        let check = values::resource_check(a, request.name);
        Self {
            object: expressions::object_value(shown(request.object).as_ref()),
            old: expressions::object_value(shown(request.old).as_ref()),
            request: values::request(a, request.name, request.namespace, gvr, kind),
            namespace: namespace.as_ref().map_or(Cel::Null, expressions::namespace_value),
            authorizer: Cel::Authz(Arc::new(Authz::new(who.clone()))),
            own_check: Cel::Authz(Arc::new(Authz::resource(who, check))),
        }
    }
}

/// What expressions of a policy may name.
struct Variables<'a> {
    write: &'a Write,
    compiled: &'a Compiled,
    params: Cel,
    /// Variables that have been asked for.
    known: RefCell<HashMap<&'a str, Result<Cel, EvalError>>>,
}

impl Scope for Variables<'_> {
    fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Cel, EvalError>> {
        let value = match name {
            "object" => &self.write.object,
            "oldObject" => &self.write.old,
            "request" => &self.write.request,
            "namespaceObject" => &self.write.namespace,
            "params" => &self.params,
            "authorizer" => &self.write.authorizer,
            "authorizer.requestResource" => &self.write.own_check,
            _ => return None,
        };
        Some(Ok(value.clone()))
    }

    fn member(&self, variable: &str, field: &str, meter: &mut Meter) -> Option<Result<Cel, EvalError>> {
        if variable != "variables" {
            return None;
        }
        let (name, expression) = self.compiled.variables.iter().find(|(name, _)| name == field)?;
        if let Some(value) = self.known.borrow().get(name.as_str()) {
            return Some(value.clone());
        }
        let failed =
            |how: &str, why: String| EvalError::Failed(format!("composited variable {name:?} fails to {how}: {why}"));
        let value = match &expression.program {
            Ok(program) => program.eval(self, meter).map_err(|error| match error {
                EvalError::CostLimit => EvalError::CostLimit,
                EvalError::Failed(why) => failed("evaluate", why),
            }),
            Err(why) => Err(failed("compile", why.clone())),
        };
        self.known.borrow_mut().insert(name, value.clone());
        Some(value)
    }
}

/// Why an expression has no value.
enum Failure {
    /// In upstream's words.
    Own(String),
    /// All expressions together have cost too much.
    Budget,
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

fn run(expression: &Expression, scope: &Variables<'_>, budget: &mut u64) -> Result<Cel, Failure> {
    let program = expression.program.as_ref().map_err(|why| Failure::Own(format!("compilation error: {why}")))?;
    let mut meter = Meter::new(CALL_COST_MAX);
    let result = program.eval(scope, &mut meter);
    *budget = budget.checked_sub(meter.used()).ok_or(Failure::Budget)?;
    result.map_err(|e| Failure::Own(format!("expression '{}' resulted in error: {e}", expression.source)))
}

/// Applies a policy.
pub(super) fn evaluate(write: &Write, policy: &Policy, param: Option<&Value>) -> Evaluated {
    let compiled = &*policy.compiled;
    let params = param.map_or(Cel::Null, from_json);
    let scope = Variables { write, compiled, params, known: RefCell::default() };
    match conditions_hold(&scope, compiled) {
        Ok(true) => {}
        Ok(false) => return Evaluated::default(),
        Err(message) => return failed(policy, message),
    }
    let (mut evaluated, mut budget) = (Evaluated::default(), REQUEST_COST_MAX);
    for (index, validation) in compiled.validations.iter().enumerate() {
        match validate(&scope, validation, &mut budget) {
            Ok(None) => {}
            Ok(Some(decision)) => evaluated.decisions.push((index, decision)),
            Err(Failure::Own(message)) if policy.fails => {
                evaluated.decisions.push((index, Decision { message, reason: String::new() }));
            }
            Err(Failure::Own(_)) => {}
            Err(Failure::Budget) => return failed(policy, OUT_OF_BUDGET.into()),
        }
    }
    let mut budget = REQUEST_COST_MAX;
    for (key, expression) in &compiled.annotations {
        let value = match run(expression, &scope, &mut budget) {
            Ok(Cel::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(Cel::String(_) | Cel::Null) => continue,
            Ok(other) => Err(format!(
                "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                expression.source,
                other.type_name()
            )),
            Err(Failure::Budget) => return failed(policy, OUT_OF_BUDGET.into()),
            Err(Failure::Own(_)) if !policy.fails => continue,
            Err(Failure::Own(why)) => Err(why),
        };
        evaluated.annotations.push((key.clone(), value));
    }
    evaluated
}

fn failed(policy: &Policy, message: String) -> Evaluated {
    let decision = Decision { message, reason: String::new() };
    Evaluated { decisions: policy.fails.then_some((0, decision)).into_iter().collect(), annotations: Vec::new() }
}

/// Whether all match conditions hold. One that does not is stronger than one that fails.
fn conditions_hold(scope: &Variables<'_>, compiled: &Compiled) -> Result<bool, String> {
    let (mut budget, mut errors) = (CONDITIONS_COST_MAX, Vec::new());
    for condition in &compiled.conditions {
        match run(condition, scope, &mut budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(Failure::Own(why)) => errors.push(why),
            Err(Failure::Budget) => {
                errors.push(OUT_OF_BUDGET.into());
                break;
            }
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn validate(scope: &Variables<'_>, validation: &Validation, budget: &mut u64) -> Result<Option<Decision>, Failure> {
    if let Cel::Bool(true) = run(&validation.expression, scope, budget)? {
        return Ok(None);
    }
    let mut message = String::new();
    if let Some(made) = &validation.made_message {
        match run(made, scope, budget) {
            Ok(Cel::String(text)) if text.len() <= MESSAGE_BYTES_MAX && !text.trim().contains('\n') => {
                text.trim().clone_into(&mut message);
            }
            Ok(_) => {}
            Err(Failure::Own(error)) => tracing::debug!(error, "a message expression failed"),
            Err(Failure::Budget) => return Err(Failure::Own(format!("failed messageExpression: {OUT_OF_BUDGET}"))),
        }
    }
    if message.is_empty() {
        message.clone_from(&validation.message);
    }
    if message.is_empty() {
        message = format!("failed expression: {}", validation.expression.source.trim());
    }
    let reason = if validation.reason.is_empty() { "Invalid" } else { &validation.reason };
    Ok(Some(Decision { message, reason: reason.to_owned() }))
}
