//! Policies with their bindings, compiled: again only when the policy changes.

use crate::view::View;
use api_cel::Type;
use api_core::meta::Meta;
use api_kinds::admission::conditions::{Conditions, Expression};
use api_kinds::admission::expressions::{self, Names};
use api_kinds::admission::matching::Constraints;
use api_kinds::admission::policies::{BINDINGS, GROUP, POLICIES};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) made_message: Option<Expression>,
    pub(super) reason: String,
}

/// What is compiled of a policy.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) conditions: Conditions,
    /// In their order; one may name those before it.
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Expression)>,
}

/// A policy and what it is bound to.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    /// `apiVersion` and `kind` of parameters.
    pub(super) param_kind: Option<(String, String)>,
    /// Whether what fails is a refusal.
    pub(super) fails: bool,
    pub(super) compiled: Arc<Compiled>,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    /// `spec.paramRef`, or null.
    pub(super) param_ref: Value,
    pub(super) actions: Vec<String>,
}

/// Number and newest revision of policies and of bindings.
type State = [Option<(usize, i64)>; 2];

#[derive(Debug, Default)]
struct Kept {
    state: Option<State>,
    policies: Arc<Vec<Policy>>,
    /// By uid and generation.
    compiled: HashMap<(String, i64), Arc<Compiled>>,
}

/// All policies.
#[derive(Debug, Clone, Default)]
pub struct Policies(Arc<Mutex<Kept>>);

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("")
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

impl Policies {
    /// Policies by their names, as the caches have them.
    pub(super) fn all(&self, view: &dyn View) -> Arc<Vec<Policy>> {
        let state: State = [view.state(GROUP, POLICIES), view.state(GROUP, BINDINGS)];
        let mut kept = self.0.lock();
        let known = state.iter().all(Option::is_some);
        if known && kept.state == Some(state) {
            return kept.policies.clone();
        }
        let mut compiled = HashMap::new();
        let bindings = view.list(GROUP, BINDINGS, "");
        let found = view.list(GROUP, POLICIES, "");
        let policies = found.iter().map(|policy| {
            let key = (policy.uid().to_owned(), policy["metadata"]["generation"].as_i64().unwrap_or(0));
            let is_known = !key.0.is_empty() && known;
            let earlier = kept.compiled.get(&key).filter(|_| is_known).cloned();
            let made = earlier.unwrap_or_else(|| Arc::new(Compiled::of(&policy["spec"])));
            compiled.insert(key, made.clone());
            Policy::read(policy, made, &bindings)
        });
        let policies = Arc::new(policies.collect::<Vec<_>>());
        *kept = Kept { state: Some(state), policies: policies.clone(), compiled };
        policies
    }
}

impl Policy {
    fn read(policy: &Value, compiled: Arc<Compiled>, bindings: &[Value]) -> Self {
        let (name, spec) = (policy.name(), &policy["spec"]);
        let kind = &spec["paramKind"];
        let bound = bindings.iter().filter(|b| text(&b["spec"], "policyName") == name);
        Self {
            name: name.to_owned(),
            constraints: Constraints::of_policy(&spec["matchConstraints"]),
            param_kind: kind.is_object().then(|| (text(kind, "apiVersion").into(), text(kind, "kind").into())),
            fails: text(spec, "failurePolicy") != "Ignore",
            compiled,
            bindings: bound.map(Binding::read).collect(),
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        Self {
            name: binding.name().to_owned(),
            constraints: Constraints::of_policy(&spec["matchResources"]),
            param_ref: spec["paramRef"].clone(),
            actions: list(spec, "validationActions").filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

impl Compiled {
    fn of(spec: &Value) -> Self {
        let params = spec["paramKind"].is_object();
        let names = Names { params, authorizer: true };
        let env = expressions::env(names);
        let plain = expressions::env(Names { authorizer: false, ..names });
        let conditions = Conditions::compile(list(spec, "matchConditions"), names);
        let (mut variables, mut types) = (Vec::new(), Vec::new());
        for variable in list(spec, "variables") {
            let scope = expressions::with_variables(env.clone(), &types);
            let expression = Expression::of_any_type(&scope, text(variable, "expression"));
            let ty = expression.program.as_ref().map_or(Type::Dyn, |p| p.output().clone());
            types.push((text(variable, "name").to_owned(), ty));
            variables.push((text(variable, "name").to_owned(), expression));
        }
        let env = expressions::with_variables(env, &types);
        let plain = expressions::with_variables(plain, &types);
        let validations = list(spec, "validations").map(|v| Validation {
            expression: Expression::compile(&env, text(v, "expression"), &[Type::Bool]),
            message: text(v, "message").trim().into(),
            made_message: Some(text(v, "messageExpression"))
                .filter(|m| !m.is_empty())
                .map(|m| Expression::compile(&plain, m, &[Type::String])),
            reason: text(v, "reason").into(),
        });
        let annotations = list(spec, "auditAnnotations").map(|a| {
            let made = Expression::compile(&env, text(a, "valueExpression"), &[Type::String, Type::Null]);
            (text(a, "key").to_owned(), made)
        });
        Self { conditions, validations: validations.collect(), annotations: annotations.collect(), variables }
    }
}
