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
const ONE: Estimate = Estimate::of(1);

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

/// What the program may cost, where `self` is as `env` declares it. Sizes are looked up by paths from `self`, whatever a path
/// begins with, as upstream does.
pub fn estimate(program: &Program, env: &Env) -> Estimate {
    Estimator { root: env.variable("self").cloned(), bound: Vec::new() }.node(&program.expr).cost
}

/// Where in an object a part comes from, as far as its path tells. Sizes are looked up by it.
#[derive(Clone)]
enum Place {
    /// A part that was made: it has no path. A step from it is a path of one word, which says as much as `self`.
    Made,
    /// A path, and what is declared there.
    At(Arc<Decl>),
    /// A path to something that is not declared.
    Unknown,
}

/// One step of a path.
enum Step<'a> {
    Field(&'a str),
    /// An item of a list or a value of a map.
    Item,
    Key,
}

/// What is known of a part.
#[derive(Clone)]
struct Known {
    cost: Estimate,
    place: Place,
    /// Its size, where it was made.
    size: Option<Estimate>,
    is_scalar: bool,
}

impl Known {
    fn of(cost: Estimate) -> Self {
        Self { cost, place: Place::Made, size: None, is_scalar: false }
    }

    /// The size, or the bounds of sizes if nothing is known.
    fn size(&self) -> Estimate {
        self.known_size().unwrap_or(if self.is_scalar { Estimate::of(1) } else { UNKNOWN })
    }

    /// The size for functions of Kubernetes and of sets, which do not know what a number has for a size.
    fn extension_size(&self) -> Estimate {
        self.known_size().unwrap_or(UNKNOWN)
    }

    fn known_size(&self) -> Option<Estimate> {
        self.size.or_else(|| match &self.place {
            Place::At(decl) => Some(declared(decl)),
            Place::Made | Place::Unknown => None,
        })
    }
}

/// Only what holds others or characters has a size.
fn declared(decl: &Decl) -> Estimate {
    Estimate { min: 0, max: decl.max.unwrap_or(0) }
}

struct Estimator<'a> {
    /// What `self` is.
    root: Option<Arc<Decl>>,
    bound: Vec<(&'a str, Place)>,
}

impl<'a> Estimator<'a> {
    fn root(&self) -> Place {
        self.root.clone().map_or(Place::Unknown, Place::At)
    }

    fn step(&self, from: &Place, step: &Step<'_>) -> Place {
        let found = match from {
            Place::Made => return self.root(),
            Place::Unknown => None,
            Place::At(decl) => match step {
                Step::Field(name) => decl.field(name),
                Step::Item => decl.item.as_ref(),
                Step::Key => decl.key.as_ref(),
            },
        };
        found.cloned().map_or(Place::Unknown, Place::At)
    }

    fn node(&mut self, expr: &'a Expr) -> Known {
        let known = match &expr.kind {
            Kind::Literal(literal) => {
                Known { size: Some(Estimate::of(literal_size(literal))), ..Known::of(Estimate::of(0)) }
            }
            Kind::Ident(name) => {
                let bound = self.bound.iter().rev().find(|(n, _)| n == name).map(|(_, place)| place.clone());
                Known { place: bound.unwrap_or_else(|| self.root()), ..Known::of(NAME_COST) }
            }
            Kind::Select { operand, field, test, optional } => self.select(operand, field, *test, *optional),
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
                self.bound.push((variable, Place::Made));
                let body = self.node(body);
                self.bound.pop();
                Known::of(of.cost.plus(Estimate::of(2)).plus(Estimate { min: 0, max: body.cost.max.saturating_add(1) }))
            }
            Kind::Call { function, target, args } => self.call(function, target.as_deref(), args),
        };
        Known { is_scalar: is_scalar(&expr.ty), ..known }
    }

    fn select(&mut self, operand: &'a Expr, field: &str, test: bool, optional: bool) -> Known {
        let of = self.node(operand);
        if optional {
            return Known::of(of.cost.plus(Estimate::of(1)));
        }
        if test {
            return Known::of(of.cost);
        }
        let own = if matches!(operand.ty, Type::Map(..) | Type::Object(_) | Type::Var(_)) { 1 } else { 0 };
        Known { place: self.step(&of.place, &Step::Field(field)), ..Known::of(of.cost.plus(Estimate::of(own))) }
    }

    fn fold(&mut self, fold: &'a Fold) -> Known {
        let range = self.node(&fold.range);
        let item = match fold.range.ty {
            Type::List(_) => self.step(&range.place, &Step::Item),
            Type::Map(..) => self.step(&range.place, &Step::Key),
            _ => Place::Made,
        };
        self.bound.push((&fold.variable, item));
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
        Known { size: Some(count), ..Known::of(cost) }
    }

    fn call(&mut self, function: &str, target: Option<&'a Expr>, args: &'a [Expr]) -> Known {
        let exprs: Vec<&'a Expr> = target.into_iter().chain(args).collect();
        let known: Vec<Known> = exprs.iter().map(|e| self.node(e)).collect();
        let all = known.iter().fold(Estimate::of(0), |c, k| c.plus(k.cost));
        match (function, known.as_slice()) {
            ("_&&_" | "_||_", [a, b]) => {
                Known::of(Estimate { min: a.cost.min, max: a.cost.max.saturating_add(b.cost.max) })
            }
            ("_?_:_", [condition, yes, no]) => {
                let cost = condition.cost.plus(yes.cost.or(no.cost));
                Known { size: Some(yes.size().or(no.size())), ..Known::of(cost) }
            }
            ("_[_]", [of, _]) => Known { place: self.step(&of.place, &Step::Item), ..Known::of(all.plus(NAME_COST)) },
            _ => {
                let types: Vec<&Type> = exprs.iter().map(|e| &e.ty).collect();
                let item = match types.first() {
                    // What a list holds, or the first of a map's types: its keys.
                    Some(Type::List(of) | Type::Map(of, _)) => {
                        let place = match &known[0].place {
                            Place::Made => Place::Unknown,
                            place => self.step(place, &Step::Item),
                        };
                        Some(Item { is_text: matches!(**of, Type::String | Type::Bytes), place })
                    }
                    _ => None,
                };
                let call = Call { types: &types, known: &known, args, item };
                let (own, size) = call.own(function);
                Known { size, ..Known::of(all.plus(own)) }
            }
        }
    }
}

fn is_scalar(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration)
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::String(s) => s.chars().count() as u64,
        Literal::Bytes(b) => b.len() as u64,
        _ => 1,
    }
}

/// What the list is of that a function goes over.
struct Item {
    is_text: bool,
    place: Place,
}

impl Item {
    fn size(&self) -> Estimate {
        match &self.place {
            Place::At(decl) => declared(decl),
            Place::Made | Place::Unknown => UNKNOWN,
        }
    }
}

/// A call, its target the first of its parts.
struct Call<'a> {
    types: &'a [&'a Type],
    known: &'a [Known],
    args: &'a [Expr],
    item: Option<Item>,
}

impl Call<'_> {
    fn size(&self, i: usize) -> Estimate {
        self.known.get(i).map_or(Estimate::of(0), Known::size)
    }

    /// The same for functions of Kubernetes.
    fn extension(&self, i: usize) -> Estimate {
        self.known.get(i).map_or(Estimate::of(0), Known::extension_size)
    }

    /// Its cost without that of its parts, and the size of what comes out.
    fn own(&self, function: &str) -> (Estimate, Option<Estimate>) {
        match function {
            "check" => (Estimate::of(CHECK), None),
            "_==_" | "_!=_" => (self.comparison(), None),
            "_<_" | "_<=_" | "_>_" | "_>=_" => self.overloaded(|ty| match ty {
                Type::String | Type::Bytes => (self.comparison(), None),
                _ => (ONE, None),
            }),
            "startsWith" | "endsWith" => (self.size(1).by(CHARACTER), None),
            "bytes" | "string" | "_+_" => self.overloaded(|ty| self.conversion_or_sum(function, ty)),
            "strings.quote" => {
                let of = self.size(0);
                let quoted =
                    Estimate { min: of.min.saturating_add(2), max: of.max.saturating_mul(2).saturating_add(2) };
                (of.by(CHARACTER), Some(quoted))
            }
            "format" => (self.size(0).by(CHARACTER), None),
            "@in" => match self.types.get(1) {
                Some(Type::List(_)) => (self.size(1), None),
                Some(Type::Map(..)) => (ONE, None),
                _ => (self.size(1).or(ONE), None),
            },
            "matches" => {
                let text = self.size(0).plus(ONE).by(CHARACTER);
                (text.times(self.size(1).by(PATTERN_CHARACTER)), None)
            }
            "contains" => (self.size(0).by(CHARACTER).times(self.size(1).by(CHARACTER)), None),
            _ => self.of_extension(function),
        }
    }

    /// Functions that Kubernetes adds, and those on sets.
    fn of_extension(&self, function: &str) -> (Estimate, Option<Estimate>) {
        let of = self.extension(0);
        match function {
            "find" | "findAll" => {
                let text = of.plus(ONE).by(CHARACTER);
                let found = Estimate { min: 0, max: of.max };
                (text.times(self.extension(1).by(PATTERN_CHARACTER)), Some(found))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let cost = match &self.item {
                    Some(item) if item.is_text => of.times(ONE.plus(item.size().by(CHARACTER))),
                    Some(_) => of,
                    None => of.by(CHARACTER),
                };
                (cost, None)
            }
            "url" | "quantity" | "isQuantity" => (of.by(CHARACTER), None),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (of.by(CHARACTER), Some(of)),
            "replace" => (of.by(2.0 * CHARACTER), Some(replaced(of, self.extension(1), self.extension(2)))),
            "split" => {
                let limit = self.args.get(1).and_then(|limit| match limit.kind {
                    Kind::Literal(Literal::Int(n)) => Some(n.cast_unsigned()),
                    _ => None,
                });
                (of.by(2.0 * CHARACTER), Some(Estimate { min: 0, max: limit.unwrap_or(of.max) }))
            }
            "join" => {
                let texts = self.item.as_ref().map_or(Estimate::of(0), |item| of.times(item.size()));
                let between = Estimate { min: of.min.saturating_sub(1), max: of.max.saturating_sub(1) };
                let out = if self.known.len() > 1 { texts.plus(self.extension(1).times(between)) } else { texts };
                (out.by(CHARACTER), Some(out))
            }
            "sets.contains" | "sets.intersects" => (of.times(self.extension(1)).plus(ONE), None),
            "sets.equivalent" => (of.times(self.extension(1)).times(Estimate::of(2)).plus(ONE), None),
            _ => (ONE, None),
        }
    }

    fn comparison(&self) -> Estimate {
        let max = self.size(0).max.min(self.size(1).max);
        // The first of what is compared may decide.
        Estimate { min: max.min(1), max }.by(CHARACTER)
    }

    fn conversion_or_sum(&self, function: &str, ty: &Type) -> (Estimate, Option<Estimate>) {
        let of = self.size(0);
        match (function, ty) {
            ("bytes", Type::String) => (of.by(CHARACTER), Some(Estimate { max: of.max.saturating_mul(4), ..of })),
            ("string", Type::Bytes) => (of.by(CHARACTER), Some(Estimate { min: of.min / 4, ..of })),
            ("_+_", Type::String | Type::Bytes) => {
                let sum = of.plus(self.size(1));
                (sum.by(CHARACTER), Some(sum))
            }
            ("_+_", Type::List(_)) => (ONE, Some(of.plus(self.size(1)))),
            _ => (ONE, None),
        }
    }

    /// The cost by the type of the first part, or the bounds of all costs if it can be any.
    fn overloaded(&self, of: impl Fn(&Type) -> (Estimate, Option<Estimate>)) -> (Estimate, Option<Estimate>) {
        let known = self.types.iter().find(|ty| !ty.is_dyn() && !matches!(ty, Type::Var(_)));
        if let Some(ty) = known {
            return of(ty);
        }
        let every = [Type::Int, Type::String, Type::Bytes, Type::List(Arc::new(Type::Dyn))].map(|ty| of(&ty));
        let cost = every.iter().map(|(cost, _)| *cost).reduce(Estimate::or).unwrap_or(ONE);
        (cost, every.iter().filter_map(|(_, size)| *size).reduce(Estimate::or))
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
