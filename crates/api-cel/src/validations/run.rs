//! What an object owes the rules of its schema.

use super::{Rule, Rules};
use crate::CALL_COST_MAX;
use crate::convert::to_typed;
use crate::eval::{EvalError, Meter, Scope};
use crate::program::Program;
use crate::value::Value;
use api_core::field::{BadValue, Error, ErrorKind, Errors, Path};
use serde_json::Value as Json;
use std::sync::Arc;

/// Longest message that an expression may make, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// Cost that is left for all rules of a request; `None` once it is spent.
#[derive(Debug, Clone)]
pub struct Budget(Option<u64>);

impl Budget {
    /// What one request may cost.
    pub fn request() -> Self {
        Self::of(crate::REQUEST_COST_MAX)
    }

    /// So much.
    pub fn of(cost: u64) -> Self {
        Self(Some(cost))
    }

    fn spend(&mut self, cost: u64) -> bool {
        self.0 = self.0.and_then(|left| left.checked_sub(cost));
        self.0.is_some()
    }
}

/// Where errors go.
struct Sink<'a> {
    budget: &'a mut Budget,
    errors: &'a mut Errors,
    warnings: &'a mut Vec<String>,
}

struct Variables<'a> {
    own: &'a Value,
    old: Option<Value>,
}

impl Scope for Variables<'_> {
    fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Value, EvalError>> {
        match name {
            "self" => Some(Ok(self.own.clone())),
            "oldSelf" => self.old.clone().map(Ok),
            _ => None,
        }
    }
}

impl Rules {
    /// Evaluates all rules over an object at `path` and, on an update, the object before it. Refusals are field errors;
    /// those about what an update has not changed are warnings. Past the budget nothing more is evaluated.
    pub fn validate(
        &self,
        path: &Path<'_>,
        object: &Json,
        old: Option<&Json>,
        budget: &mut Budget,
        errors: &mut Errors,
        warnings: &mut Vec<String>,
    ) {
        let mut sink = Sink { budget, errors, warnings };
        self.at(path, object, old, old.is_some_and(|o| o == object), &mut sink);
    }

    /// `unchanged` tells whether this, or something that it is in, is as it was.
    fn at(&self, path: &Path<'_>, object: &Json, old: Option<&Json>, unchanged: bool, sink: &mut Sink<'_>) {
        let old = old.filter(|o| !o.is_null());
        if object.is_null() || sink.budget.0.is_none() {
            return;
        }
        self.own(path, object, old, unchanged, sink);
        match object {
            Json::Array(items) => self.items(path, items, old, unchanged, sink),
            Json::Object(fields) => {
                for (name, value) in fields {
                    let before = old.filter(|_| self.map_is_granular).and_then(|o| o.get(name));
                    let same = unchanged || before.is_some_and(|b| b == value);
                    if let Some(rules) = self.properties.get(name) {
                        rules.at(&path.child(name), value, before, same, sink);
                    } else if let Some(rules) = &self.additional {
                        rules.at(&path.key(name), value, before, same, sink);
                    }
                }
            }
            _ => {}
        }
    }

    fn items(&self, path: &Path<'_>, items: &[Json], old: Option<&Json>, unchanged: bool, sink: &mut Sink<'_>) {
        let Some(rules) = &self.items else { return };
        let before = old.and_then(Json::as_array);
        for (i, item) in items.iter().enumerate() {
            let earlier = match (&self.list_keys, before) {
                (Some(keys), Some(before)) => {
                    before.iter().find(|b| keys.iter().all(|k| b.get(k.as_str()) == item.get(k.as_str())))
                }
                _ => None,
            };
            let same = unchanged || earlier.is_some_and(|e| e == item);
            rules.at(&path.index(i), item, earlier, same, sink);
        }
    }

    fn own(&self, path: &Path<'_>, object: &Json, old: Option<&Json>, unchanged: bool, sink: &mut Sink<'_>) {
        if self.rules.is_empty() {
            return;
        }
        let own = to_typed(object, &self.decl);
        let before = old.map(|o| to_typed(o, &self.decl));
        for rule in &self.rules {
            if rule.uses_old && before.is_none() && !rule.old_is_optional {
                continue;
            }
            let old =
                if rule.old_is_optional { Some(Value::Optional(before.clone().map(Arc::new))) } else { before.clone() };
            let scope = Variables { own: &own, old };
            if !self.evaluate(rule, path, &scope, unchanged, sink) {
                sink.budget.0 = None;
                return;
            }
        }
    }

    fn invalid(&self, path: &Path<'_>, why: &str, sink: &mut Sink<'_>) {
        sink.errors.invalid(path, self.kind.as_str(), why);
    }

    /// Whether evaluation may go on.
    fn evaluate(
        &self,
        rule: &Rule,
        path: &Path<'_>,
        scope: &Variables<'_>,
        unchanged: bool,
        sink: &mut Sink<'_>,
    ) -> bool {
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.invalid(path, &format!("rule compile error: {why}"), sink);
                return true;
            }
        };
        let (result, within) = run(program, scope, sink.budget);
        let shown = rule.shown();
        let over = "no further validation rules will be run";
        if !within {
            let why = format!("validation failed due to running out of cost budget, {over}");
            self.invalid(path, &why, sink);
            return false;
        }
        match result {
            Ok(Value::Bool(true)) => true,
            Err(EvalError::CostLimit) => {
                let error = EvalError::CostLimit;
                self.invalid(
                    path,
                    &format!("'{error}': {over} due to call cost exceeds limit for rule: {shown}"),
                    sink,
                );
                false
            }
            Err(EvalError::Failed(why)) if why.starts_with("no such overload") => {
                let did = "call arguments did not match a supported operator, function or macro signature";
                self.invalid(path, &format!("'{why}': {did} for rule: {shown}"), sink);
                true
            }
            Err(EvalError::Failed(why)) => {
                self.invalid(path, &format!("{why} evaluating rule: {shown}"), sink);
                true
            }
            Ok(_) => self.refuse(rule, path, scope, unchanged, sink),
        }
    }

    fn refuse(
        &self,
        rule: &Rule,
        path: &Path<'_>,
        scope: &Variables<'_>,
        unchanged: bool,
        sink: &mut Sink<'_>,
    ) -> bool {
        let mut goes_on = true;
        let mut detail = None;
        if let Some(made) = &rule.made_message {
            let (result, within) = run(made, scope, sink.budget);
            let over = "no further validation rules will be run";
            let wrong = match result {
                _ if !within => {
                    Some(format!("messageExpression evaluation failed due to running out of cost budget, {over}"))
                }
                Err(EvalError::CostLimit) => {
                    Some(format!("{over} due to call cost exceeds limit for messageExpression"))
                }
                Ok(Value::String(text)) => {
                    detail = usable(&text);
                    None
                }
                _ => None,
            };
            goes_on = wrong.is_none();
            detail = wrong.or(detail);
        }
        let detail = detail.unwrap_or_else(|| match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.source),
            message => message.to_owned(),
        });
        let mut found = Errors::new();
        let kind = match rule.reason.as_str() {
            "FieldValueForbidden" => ErrorKind::Forbidden,
            "FieldValueRequired" => ErrorKind::Required,
            "FieldValueDuplicate" => ErrorKind::Duplicate,
            _ => ErrorKind::Invalid,
        };
        let value =
            matches!(kind, ErrorKind::Invalid | ErrorKind::Duplicate).then(|| BadValue::from(self.kind.as_str()));
        let detail = if kind == ErrorKind::Duplicate { "" } else { &detail };
        found.push(kind, path, value, detail);
        if let Some(error) = found.0.pop() {
            let field = below(&error.field, &rule.field_path);
            let error = Error { field, ..error };
            if unchanged && !rule.uses_old {
                sink.warnings.push(error.to_string());
            } else {
                sink.errors.0.push(error);
            }
        }
        goes_on
    }
}

/// Evaluates, and whether the budget covers it.
fn run(program: &Program, scope: &Variables<'_>, budget: &mut Budget) -> (Result<Value, EvalError>, bool) {
    let mut meter = Meter::new(CALL_COST_MAX);
    let result = program.eval(scope, &mut meter);
    let within = budget.spend(meter.used());
    (result, within)
}

/// A message that can be shown.
fn usable(text: &str) -> Option<String> {
    let text = text.trim();
    let good = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
    good.then(|| text.to_owned())
}

/// The steps of `.spec['a.b'].c`.
pub(super) fn segments(path: &str) -> Vec<String> {
    let (mut rest, mut steps) = (path, Vec::new());
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("['") {
            let (step, after) = quoted.split_once("']").unwrap_or((quoted, ""));
            steps.push(format!("[{}]", step.replace("\\'", "'")));
            rest = after;
        } else {
            let named = rest.strip_prefix('.').unwrap_or(rest);
            let (step, after) = named.split_at(named.find(['.', '[']).unwrap_or(named.len()));
            steps.push(format!(".{step}"));
            // A step of nothing would go on for ever.
            rest = if after.len() < rest.len() { after } else { "" };
        }
    }
    steps
}

fn below(field: &str, steps: &[String]) -> String {
    if steps.is_empty() {
        return field.to_owned();
    }
    let joined = format!("{}{}", if field == "<nil>" { "" } else { field }, steps.concat());
    joined.strip_prefix('.').map_or(joined.clone(), str::to_owned)
}
