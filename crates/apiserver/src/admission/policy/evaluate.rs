//! One policy, with one parameter, applied to a write.

use super::super::write::{Conditional, Write};
use super::loaded::{Compiled, Policy, Validation};
use api_cel::{EvalError, Meter, REQUEST_COST_MAX, Scope, Value as Cel, from_json};
use api_kinds::admission::conditions::{Failure, Held, OUT_OF_BUDGET};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

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

/// What expressions of a policy may name.
struct Variables<'a> {
    write: &'a Write,
    compiled: &'a Compiled,
    params: Cel,
    /// Variables that have been asked for.
    known: RefCell<HashMap<&'a str, Result<Cel, EvalError>>>,
}

impl Scope for Variables<'_> {
    fn variable(&self, name: &str, meter: &mut Meter) -> Option<Result<Cel, EvalError>> {
        if name == "params" { Some(Ok(self.params.clone())) } else { self.write.variable(name, meter) }
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

/// Applies a policy. `observe` measures how its match conditions are evaluated.
pub(super) fn evaluate(
    write: &Write,
    policy: &Policy,
    param: Option<&Value>,
    observe: &dyn Fn(&dyn Fn() -> Held) -> Held,
) -> Evaluated {
    let compiled = &*policy.compiled;
    let params = param.map_or(Cel::Null, from_json);
    let scope = Variables { write, compiled, params, known: RefCell::default() };
    if !compiled.conditions.is_empty() {
        let held = observe(&|| compiled.conditions.hold(&Conditional { write, params: Some(&scope.params) }));
        match held.result {
            Ok(true) => {}
            Ok(false) => return Evaluated::default(),
            Err(message) => return failed(policy, message),
        }
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
        let value = match expression.run(&scope, &mut budget) {
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

fn validate(scope: &Variables<'_>, validation: &Validation, budget: &mut u64) -> Result<Option<Decision>, Failure> {
    if let Cel::Bool(true) = validation.expression.run(scope, budget)? {
        return Ok(None);
    }
    let mut message = String::new();
    if let Some(made) = &validation.made_message {
        match made.run(scope, budget) {
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
