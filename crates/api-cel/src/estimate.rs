//! What an expression may cost at most, from the sizes that a schema allows. Definitions are refused by it, so it must come
//! out as upstream's does.

use crate::ast::{Expr, Fold, FoldKind, Kind, Literal};
use crate::functions::cost::{CHARACTER, CHECK, PATTERN_CHARACTER};
use crate::program::{Env, Program};
use crate::types::{Decl, Type};
use std::sync::Arc;

/// Least and most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
}

/// Sizes of something of which nothing is known.
const UNKNOWN: Estimate = Estimate { min: 0, max: u64::MAX };
const LIST_COST: Estimate = Estimate::of(10);
const MAP_COST: Estimate = Estimate::of(30);
const NAME_COST: Estimate = Estimate::of(1);

impl Estimate {
    const fn of(n: u64) -> Self {
        Self { min: n, max: n }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn by(self, factor: f64) -> Self {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let scale = |n: u64| (n as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What the program may cost, where variables are as `env` declares them.
pub fn estimate(program: &Program, env: &Env) -> Estimate {
    Estimator { env, bound: Vec::new() }.node(&program.expr).cost
}

/// What is known of a part.
#[derive(Clone)]
struct Known {
    cost: Estimate,
    /// Where it comes from.
    decl: Option<Arc<Decl>>,
    /// Its size, where it was made.
    size: Option<Estimate>,
}

impl Known {
    fn of(cost: Estimate) -> Self {
        Self { cost, decl: None, size: None }
    }

    fn size(&self) -> Estimate {
        let declared = || self.decl.as_ref().and_then(|d| d.max).map(|max| Estimate { min: 0, max });
        self.size.or_else(declared).unwrap_or(UNKNOWN)
    }
}

struct Estimator<'a> {
    env: &'a Env,
    bound: Vec<(&'a str, Option<Arc<Decl>>)>,
}

impl<'a> Estimator<'a> {
    fn node(&mut self, expr: &'a Expr) -> Known {
        match &expr.kind {
            Kind::Literal(literal) => {
                Known { size: Some(Estimate::of(literal_size(literal))), ..Known::of(Estimate::of(0)) }
            }
            Kind::Ident(name) => {
                let bound = self.bound.iter().rev().find(|(n, _)| n == name).map(|(_, d)| d.clone());
                let decl = bound.unwrap_or_else(|| self.env.variable(name).cloned());
                Known { decl, ..Known::of(NAME_COST) }
            }
            Kind::Select { operand, field, test, .. } => {
                let of = self.node(operand);
                let decl = of.decl.as_ref().and_then(|d| d.field(field).cloned().or_else(|| d.item.clone()));
                let own = if *test { Estimate::of(0) } else { NAME_COST };
                Known { decl: decl.filter(|_| !*test), ..Known::of(of.cost.plus(own)) }
            }
            Kind::List(items) => {
                let cost = items.iter().fold(LIST_COST, |cost, (e, _)| cost.plus(self.node(e).cost));
                Known { size: Some(Estimate::of(items.len() as u64)), ..Known::of(cost) }
            }
            Kind::Map(entries) => {
                let both = |s: &mut Self, k, v| s.node(k).cost.plus(s.node(v).cost);
                let cost = entries.iter().fold(MAP_COST, |cost, (k, v, _)| cost.plus(both(self, k, v)));
                Known { size: Some(Estimate::of(entries.len() as u64)), ..Known::of(cost) }
            }
            Kind::Struct(_, fields) => {
                let cost = fields.iter().fold(Estimate::of(40), |cost, (_, e)| cost.plus(self.node(e).cost));
                Known::of(cost)
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::OptionalMap { operand, variable, body, .. } => {
                let of = self.node(operand);
                self.bound.push((variable, of.decl.clone()));
                let body = self.node(body);
                self.bound.pop();
                Known::of(of.cost.plus(Estimate::of(2)).plus(Estimate { min: 0, max: body.cost.max.saturating_add(1) }))
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Known {
        let range = self.node(&fold.range);
        let item = range.decl.as_ref().and_then(|d| d.key.clone().or_else(|| d.item.clone()));
        self.bound.push((&fold.variable, item.clone()));
        let condition = fold.condition.as_ref().map(|c| self.node(c).cost);
        let body = self.node(&fold.body).cost;
        self.bound.pop();
        let (start, step, end) = match fold.kind {
            FoldKind::All => (0, Estimate { min: 3, max: body.max.saturating_add(3) }, 1),
            FoldKind::Exists => (0, Estimate { min: 4, max: body.max.saturating_add(4) }, 1),
            FoldKind::ExistsOne => (0, body.plus(Estimate { min: 1, max: 2 }), 2),
            FoldKind::Filter => (10, body.plus(Estimate { min: 1, max: 13 }), 1),
            FoldKind::Map => {
                let made = body.plus(Estimate::of(12));
                (10, condition.map_or(made, |c| c.plus(made.or(NAME_COST))), 1)
            }
        };
        let count = range.size();
        let cost = range.cost.plus(Estimate::of(start + end)).plus(count.times(step));
        let decl = if fold.kind == FoldKind::Filter { range.decl.filter(|d| d.key.is_none()) } else { None };
        let size = matches!(fold.kind, FoldKind::Map | FoldKind::Filter).then_some(count);
        Known { cost, decl, size }
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&'a Expr>, args: &'a [Expr]) -> Known {
        let exprs: Vec<&'a Expr> = target.into_iter().chain(args).collect();
        let known: Vec<Known> = exprs.iter().map(|e| self.node(e)).collect();
        let costs = |from: usize| known[from..].iter().fold(Estimate::of(0), |c, k| c.plus(k.cost));
        let all = costs(0);
        match (function, known.as_slice()) {
            ("_&&_" | "_||_", [a, b]) => {
                return Known::of(Estimate { min: a.cost.min, max: a.cost.max.saturating_add(b.cost.max) });
            }
            ("_?_:_", [condition, yes, no]) => {
                let cost = condition.cost.plus(yes.cost.or(no.cost));
                return Known {
                    cost,
                    decl: yes.decl.clone().or(no.decl.clone()),
                    size: Some(yes.size().or(no.size())),
                };
            }
            ("_[_]" | "_[?_]", [of, _]) => {
                let decl = of.decl.as_ref().and_then(|d| d.item.clone());
                return Known { decl, ..Known::of(all.plus(NAME_COST)) };
            }
            ("orValue" | "or", [a, b]) => {
                let cost = a.cost.plus(Estimate { min: 0, max: b.cost.max });
                return Known { cost: cost.plus(NAME_COST), decl: a.decl.clone(), size: Some(a.size().or(b.size())) };
            }
            _ => {}
        }
        let types: Vec<&Type> = exprs.iter().map(|e| &e.ty).collect();
        let (own, size) = own_cost(function, &types, &known);
        let keeps = matches!(function, "dyn" | "value" | "optional.of" | "optional.ofNonZeroValue");
        let decl = known.first().and_then(|k| k.decl.clone()).filter(|_| keeps);
        let size = size.or_else(|| is_scalar(&expr.ty).then_some(Estimate::of(1)));
        Known { cost: all.plus(own), decl, size }
    }
}

fn is_scalar(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration | Type::Null)
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::String(s) => s.chars().count() as u64,
        Literal::Bytes(b) => b.len() as u64,
        _ => 1,
    }
}

/// Cost of a call without its arguments, and the size of what comes out.
fn own_cost(function: &str, types: &[&Type], known: &[Known]) -> (Estimate, Option<Estimate>) {
    let size = |i: usize| -> Estimate {
        match known.get(i) {
            Some(_) if types.get(i).is_some_and(|t| is_scalar(t)) => Estimate::of(1),
            Some(k) => k.size(),
            None => Estimate::of(0),
        }
    };
    let one = Estimate::of(1);
    let is_text = types.first().is_some_and(|t| matches!(t, Type::String | Type::Bytes | Type::Dyn));
    match function {
        "check" => (Estimate::of(CHECK), None),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let max = size(0).max.min(size(1).max);
            // The first of what is compared may decide.
            (Estimate { min: max.min(1), max }.by(CHARACTER), None)
        }
        "startsWith" | "endsWith" => (size(1).by(CHARACTER), None),
        "bytes" | "string" if is_text => (size(0).by(CHARACTER), Some(size(0))),
        "strings.quote" => {
            let of = size(0);
            (of.by(CHARACTER), Some(Estimate { min: of.min, max: of.max.saturating_mul(2) }))
        }
        "format" => (size(0).by(CHARACTER), None),
        "@in" if types.get(1).is_some_and(|t| matches!(t, Type::List(_) | Type::Dyn)) => (size(1), None),
        "_+_" if is_text && !types.iter().all(|t| matches!(t, Type::Dyn)) => {
            let sum = size(0).plus(size(1));
            (sum.by(CHARACTER), Some(sum))
        }
        "_+_" => (one, Some(size(0).plus(size(1)))),
        "matches" | "find" | "findAll" => {
            let text = size(0).plus(one).by(CHARACTER);
            let out = Estimate { min: 0, max: size(0).max };
            (text.times(size(1).by(PATTERN_CHARACTER)), Some(out))
        }
        "contains" => (size(0).by(CHARACTER).times(size(1).by(CHARACTER)), None),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => (traversal(types, known, size(0)), None),
        "url" | "isURL" | "quantity" | "isQuantity" => (size(0).by(CHARACTER), None),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => (size(0).by(CHARACTER), Some(size(0))),
        "replace" => (size(0).by(2.0 * CHARACTER), Some(replaced(size(0), size(1), size(2)))),
        "split" => (size(0).by(2.0 * CHARACTER), Some(Estimate { min: 0, max: size(0).max })),
        "join" => {
            let out = joined(known, size(0), size(1), known.len() > 1);
            (out.by(CHARACTER), Some(out))
        }
        "sets.contains" | "sets.intersects" => (size(0).times(size(1)).plus(one), None),
        "sets.equivalent" => (size(0).times(size(1)).times(Estimate::of(2)).plus(one), None),
        _ => (one, None),
    }
}

fn traversal(types: &[&Type], known: &[Known], size: Estimate) -> Estimate {
    let item = known.first().and_then(|k| k.decl.as_ref()).and_then(|d| d.item.as_ref());
    match types.first() {
        Some(Type::List(of)) if matches!(**of, Type::String | Type::Bytes) => {
            let each = item.and_then(|i| i.max).map_or(UNKNOWN, |max| Estimate { min: 0, max });
            size.times(Estimate::of(1).plus(each.by(CHARACTER)))
        }
        Some(Type::List(_)) => size,
        _ => size.by(CHARACTER),
    }
}

/// The size after each occurrence has been replaced.
fn replaced(text: Estimate, old: Estimate, new: Estimate) -> Estimate {
    let count = |text: u64, old: u64| text.div_ceil(old.max(1));
    let max = if old.min == 0 {
        text.max.saturating_add(1).saturating_mul(new.max).saturating_add(text.max)
    } else if new.max <= old.min {
        text.max
    } else {
        count(text.max, old.min).saturating_mul(new.max)
    };
    let min = if old.max == 0 {
        text.min.saturating_add(1).saturating_mul(new.min).saturating_add(text.min)
    } else if old.max <= new.min {
        text.min
    } else {
        count(text.min, old.max).saturating_mul(new.min)
    };
    Estimate { min, max }
}

fn joined(known: &[Known], count: Estimate, by: Estimate, has_separator: bool) -> Estimate {
    let item = known.first().and_then(|k| k.decl.as_ref()).and_then(|d| d.item.as_ref()).and_then(|d| d.max);
    let texts = item.map_or(Estimate::of(0), |max| count.times(Estimate { min: 0, max }));
    if !has_separator {
        return texts;
    }
    texts.plus(by.times(Estimate { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) }))
}
