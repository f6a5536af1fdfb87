//! Whether the rules of a schema can be used: each can be compiled, and does not cost too much.

use super::{env, is_embedded, text};
use crate::estimate::estimate;
use crate::program::Env;
use crate::schema::{self, REQUEST_BYTES_MAX};
use crate::types::{Decl, Type};
use crate::{RULE_ESTIMATE_MAX, SCHEMA_ESTIMATE_MAX};
use api_core::field::{Errors, Path};
use serde_json::Value;
use std::sync::Arc;

/// Most expensive rules that are named if all together are too expensive, and the share of the limit that each has at least.
const NAMED_MAX: usize = 4;
const NAMED_SHARE: u64 = 100;
const ADVICE: &str = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                      strings are declared";

/// Costs seen so far.
#[derive(Default)]
struct Costs {
    total: u64,
    /// Fields with their costs.
    fields: Vec<(u64, String)>,
}

/// How rules are checked.
pub struct Checks<'a> {
    /// Whether costs are limited. A schema that was there before may cost what it costs.
    pub limited: bool,
    /// How an error shows a rule as a value.
    pub show: &'a dyn Fn(&Value) -> String,
    /// Fields of the schema that are wrong. Rules about what has such a field in it are not looked at.
    pub bad: &'a [String],
}

struct Walk<'a> {
    costs: Costs,
    errors: &'a mut Errors,
    checks: &'a Checks<'a>,
}

/// Checks all rules of the schema of an object at `path`.
pub fn check(path: &Path<'_>, schema: &Value, checks: &Checks<'_>, errors: &mut Errors) {
    let limited = checks.limited;
    let mut walk = Walk { costs: Costs::default(), errors, checks };
    walk.schema(path, schema, true, Some(1), None);
    let costs = walk.costs;
    if !limited || costs.total <= SCHEMA_ESTIMATE_MAX {
        return;
    }
    let mut fields = costs.fields;
    fields.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    for (_, field) in fields.iter().filter(|(cost, _)| *cost >= SCHEMA_ESTIMATE_MAX / NAMED_SHARE).take(NAMED_MAX) {
        let mut one = Errors::new();
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        one.forbidden(&Path::ROOT, why);
        errors.0.extend(one.0.into_iter().map(|e| api_core::field::Error { field: field.clone(), ..e }));
    }
    let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    errors.forbidden(path, &too_expensive(name, costs.total, SCHEMA_ESTIMATE_MAX));
}

fn too_expensive(name: &str, cost: u64, limit: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!("{name} exceeds budget by factor of {factor} ({ADVICE})")
}

/// Whether a field is the one at `path`, or in it.
fn is_within(field: &str, path: &str) -> bool {
    field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Walk<'_> {
    /// `count` is how often the schema can occur in an object, if there is a bound. `uncorrelatable` is where items stop to
    /// belong to those before an update.
    fn schema(
        &mut self,
        path: &Path<'_>,
        schema: &Value,
        root: bool,
        count: Option<u64>,
        uncorrelatable: Option<&str>,
    ) {
        let decl = schema::declare(schema, root, "object");
        self.rules(path, schema, decl.as_ref(), count, uncorrelatable);
        let is_atomic_map = text(schema, "x-kubernetes-map-type") == "atomic";
        let here = path.to_string();
        let inside = |atomic: bool| uncorrelatable.or(if atomic { Some(here.as_str()) } else { None });
        let max = |key: &str| schema[key].as_u64();
        let properties = path.child("properties");
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            self.schema(&properties.key(name), child, is_embedded(child), count, inside(is_atomic_map));
        }
        let times = |max: Option<u64>| Some(count?.saturating_mul(max?));
        let child = &schema["additionalProperties"];
        if child.is_object() {
            let count = times(max("maxProperties"));
            let path = path.child("additionalProperties");
            self.schema(&path, child, is_embedded(child), count, inside(is_atomic_map));
        }
        let child = &schema["items"];
        if child.is_object() {
            let path = path.child("items");
            let is_map = text(schema, "x-kubernetes-list-type") == "map";
            self.schema(&path, child, is_embedded(child), times(max("maxItems")), inside(!is_map));
        }
    }

    fn rules(
        &mut self,
        path: &Path<'_>,
        schema: &Value,
        decl: Option<&Arc<Decl>>,
        count: Option<u64>,
        uncorrelatable: Option<&str>,
    ) {
        let Some(rules) = schema["x-kubernetes-validations"].as_array().filter(|r| !r.is_empty()) else { return };
        let here = path.to_string();
        if self.checks.bad.iter().any(|bad| is_within(bad, &here)) {
            return;
        }
        let list = path.child("x-kubernetes-validations");
        // Anything at all has no type that rules could be about.
        let has_type = !text(schema, "type").is_empty() || schema["x-kubernetes-int-or-string"] == true;
        let Some(decl) = decl.filter(|_| has_type) else {
            self.errors.internal(
                &list,
                "internal error: failed to construct type information for x-kubernetes-validations rules: unable to \
                 convert structural schema to CEL declarations",
            );
            return;
        };
        // Without a bound, as many as a request has room for.
        let count = count.unwrap_or_else(|| REQUEST_BYTES_MAX / (decl.min_json + 1));
        for (i, rule) in rules.iter().enumerate() {
            self.rule(&list.index(i), rule, decl, count, uncorrelatable);
        }
    }

    fn rule(&mut self, path: &Path<'_>, rule: &Value, decl: &Arc<Decl>, count: u64, uncorrelatable: Option<&str>) {
        let optional = &rule["optionalOldSelf"];
        let env = env(decl, optional.as_bool().unwrap_or(false));
        let uses_old = self.expression(path, rule, ("rule", "estimated rule cost"), (&env, Type::Bool, count));
        if uses_old.is_some() {
            // A message is made once.
            let made = ("messageExpression", "estimated messageExpression cost");
            self.expression(path, rule, made, (&env, Type::String, 1));
        }
        match (uses_old, uncorrelatable) {
            (Some(true), Some(place)) => {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                self.errors.invalid(&path.child("rule"), text(rule, "rule"), &why);
            }
            (None | Some(false), _) if optional.is_boolean() => {
                let why = "may not be set if oldSelf is not used in rule";
                self.errors.invalid(&path.child("optionalOldSelf"), optional, why);
            }
            _ => {}
        }
    }

    /// Whether it names `oldSelf`, if it can be compiled.
    fn expression(
        &mut self,
        path: &Path<'_>,
        rule: &Value,
        (field, named): (&str, &str),
        (env, ty, count): (&Env, Type, u64),
    ) -> Option<bool> {
        let source = text(rule, field);
        if source.trim().is_empty() {
            return None;
        }
        let field = path.child(field);
        let program = match env.compile_as(source, std::slice::from_ref(&ty)) {
            Ok(program) => program,
            Err(why) => {
                let why = match (&ty, why.starts_with("must evaluate to")) {
                    (Type::Bool, true) => "cel expression must evaluate to a bool".into(),
                    (Type::Bool, false) => why,
                    (_, true) => "messageExpression must evaluate to a string".into(),
                    (_, false) => format!("messageExpression {why}"),
                };
                self.errors.invalid(&field, api_core::field::BadValue((self.checks.show)(rule)), &why);
                return None;
            }
        };
        let cost = estimate(&program, env).max.saturating_mul(count);
        if self.checks.limited && cost > RULE_ESTIMATE_MAX {
            self.errors.forbidden(&field, &too_expensive(named, cost, RULE_ESTIMATE_MAX));
        }
        self.costs.total = self.costs.total.saturating_add(cost);
        self.costs.fields.push((cost, field.to_string()));
        Some(program.names("oldSelf"))
    }
}
