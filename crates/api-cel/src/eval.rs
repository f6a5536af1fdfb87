//! Evaluation, and what it costs.

use crate::ast::{Expr, Fold, FoldKind, Kind, Literal};
use crate::functions;
use crate::value::{Key, List, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What variables are.
pub trait Scope {
    /// The variable of that name. What is evaluated for it is charged to `meter`.
    fn variable(&self, name: &str, meter: &mut Meter) -> Option<Result<Value, EvalError>>;

    /// A field of a variable, if the scope makes it when it is asked for.
    fn member(&self, variable: &str, field: &str, meter: &mut Meter) -> Option<Result<Value, EvalError>> {
        let _ = (variable, field, meter);
        None
    }
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvalError {
    /// Something failed, in upstream's words.
    Failed(String),
    /// It costs too much.
    CostLimit,
}

impl EvalError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::new("no such overload")
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::CostLimit => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

impl std::error::Error for EvalError {}

/// Cost so far, and how far it may go.
#[derive(Debug, Clone)]
pub struct Meter {
    used: u64,
    limit: u64,
}

impl Meter {
    /// Nothing used, `limit` to use.
    pub fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }

    /// Cost so far.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Charges a cost.
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.used = self.used.saturating_add(cost);
        if self.used > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }
}

/// Cost of naming something.
/// Functions that make a constant of a constant.
const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// Whether upstream knows the value before it evaluates anything, so that it costs nothing: literals, conversions of them,
/// lists and maps of such.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::List(items) => items.iter().all(|(e, optional)| !optional && is_constant(e)),
        Kind::Map(entries) => entries.iter().all(|(k, v, optional)| !optional && is_constant(k) && is_constant(v)),
        Kind::Call { function, target: None, args } => {
            CONVERSIONS.contains(&function.as_str()) && matches!(args.as_slice(), [one] if is_constant(one))
        }
        _ => false,
    }
}

/// Whether a call is made before anything is evaluated, or looks a value up among literals.
fn is_free(function: &str, target: Option<&Expr>, args: &[Expr]) -> bool {
    match args {
        [one] => target.is_none() && CONVERSIONS.contains(&function) && is_constant(one),
        [_, Expr { kind: Kind::List(items), .. }] if function == "@in" => {
            let plain =
                |e: &Expr| matches!(&e.kind, Kind::Literal(l) if !matches!(l, Literal::Null | Literal::Bytes(_)));
            items.iter().all(|(e, optional)| !optional && plain(e))
        }
        _ => false,
    }
}

const NAME_COST: u64 = 1;
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;

type Result_ = Result<Value, EvalError>;

/// Evaluates an expression.
pub(crate) fn eval(expr: &Expr, scope: &dyn Scope, meter: &mut Meter) -> Result_ {
    Evaluator { scope, meter, bound: Vec::new() }.eval(expr)
}

struct Evaluator<'a> {
    scope: &'a dyn Scope,
    meter: &'a mut Meter,
    /// Variables of macros around here.
    bound: Vec<(&'a str, Value)>,
}

impl<'a> Evaluator<'a> {
    fn eval(&mut self, expr: &'a Expr) -> Result_ {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => {
                self.meter.charge(NAME_COST)?;
                self.variable(name)
            }
            Kind::Select { operand, field, test, optional } => self.select(operand, field, *test, *optional),
            Kind::Call { function, target, args } => self.call(function, target.as_deref(), args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, _) => Err(EvalError::new(format!("unknown type: {name}"))),
            Kind::Fold(fold) => self.fold(fold),
            Kind::OptionalMap { operand, variable, body, flat } => {
                let Value::Optional(inner) = self.eval(operand)? else { return Err(EvalError::no_overload()) };
                self.meter.charge(NAME_COST)?;
                let Some(inner) = inner else { return Ok(Value::Optional(None)) };
                self.bound.push((variable, (*inner).clone()));
                let value = self.eval(body);
                self.bound.pop();
                let value = value?;
                Ok(if *flat { value } else { Value::Optional(Some(Arc::new(value))) })
            }
        }
    }

    fn variable(&mut self, name: &str) -> Result_ {
        if let Some((_, value)) = self.bound.iter().rev().find(|(n, _)| *n == name) {
            return Ok(value.clone());
        }
        if let Some(found) = self.scope.variable(name, self.meter) {
            return found;
        }
        functions::type_named(name)
            .map(Value::Type)
            .ok_or_else(|| EvalError::new(format!("no such attribute(s): {name}")))
    }

    fn select(&mut self, operand: &'a Expr, field: &str, test: bool, optional: bool) -> Result_ {
        if let Kind::Ident(root) = &operand.kind
            && !self.bound.iter().any(|(n, _)| n == root)
            && let Some(found) = self.scope.member(root, field, self.meter)
        {
            self.meter.charge(NAME_COST + NAME_COST)?;
            return if test { Ok(Value::Bool(true)) } else { found };
        }
        let of = self.eval(operand)?;
        if !test {
            self.meter.charge(NAME_COST)?;
        }
        let (of, was_optional) = match of {
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            Value::Optional(None) => {
                return Ok(if test { Value::Bool(false) } else { Value::Optional(None) });
            }
            other => (other, false),
        };
        let found = match &of {
            Value::Map(map) => map.get(&Key::String(field.into())).cloned(),
            // What has no fields does not have this one either.
            _ => None,
        };
        if test {
            return Ok(Value::Bool(found.is_some()));
        }
        if optional || was_optional {
            return Ok(Value::Optional(found.map(Arc::new)));
        }
        found.ok_or_else(|| no_key(field))
    }

    fn call(&mut self, function: &'a str, target: Option<&'a Expr>, args: &'a [Expr]) -> Result_ {
        match (function, args) {
            ("_&&_", [a, b]) => return self.logic(a, b, false),
            ("_||_", [a, b]) => return self.logic(a, b, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(EvalError::no_overload()),
                };
            }
            ("_[_]", [of, index]) => return self.index(of, index, false),
            ("_[?_]", [of, index]) => return self.index(of, index, true),
            ("or" | "orValue", [other]) if target.is_some() => {
                let optional = target.map_or(Err(EvalError::no_overload()), |t| self.eval(t))?;
                let Value::Optional(inner) = &optional else { return Err(EvalError::no_overload()) };
                let Some(inner) = inner else { return self.eval(other) };
                return Ok(if function == "or" { optional } else { (**inner).clone() });
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.eval(arg)?);
        }
        // What can be long is charged before it is done.
        let before = if is_free(function, target, args) { 0 } else { functions::cost::before(function, &values) };
        self.meter.charge(before)?;
        let result = functions::call(function, &values)?;
        self.meter.charge(functions::cost::after(function, &result))?;
        Ok(result)
    }

    /// `&&`, or `||` if `decides` is true: an error on one side does not matter if the other side decides.
    fn logic(&mut self, a: &'a Expr, b: &'a Expr, decides: bool) -> Result_ {
        let left = self.eval(a);
        if let Ok(Value::Bool(value)) = &left
            && *value == decides
        {
            return left;
        }
        if left == Err(EvalError::CostLimit) {
            return left;
        }
        let right = self.eval(b);
        match (left, right) {
            (_, Err(EvalError::CostLimit)) => Err(EvalError::CostLimit),
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(decides)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn index(&mut self, of: &'a Expr, index: &'a Expr, optional: bool) -> Result_ {
        let (of, index) = (self.eval(of)?, self.eval(index)?);
        self.meter.charge(NAME_COST)?;
        let (of, was_optional) = match of {
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            other => (other, false),
        };
        let found = match &of {
            Value::Map(map) => index.key().and_then(|k| map.get(&k)).cloned().ok_or_else(|| no_key(&show_key(&index))),
            Value::List(list) => match index.key() {
                Some(Key::Int(i)) => {
                    let found = usize::try_from(i).ok().and_then(|i| list.items.get(i)).cloned();
                    found.ok_or_else(|| EvalError::new(format!("index out of bounds: {i}")))
                }
                _ => return Err(EvalError::new(format!("unsupported index type '{}' in list", index.type_name()))),
            },
            _ => Err(no_key(&show_key(&index))),
        };
        if optional || was_optional { Ok(Value::Optional(found.ok().map(Arc::new))) } else { found }
    }

    fn list(&mut self, items: &'a [(Expr, bool)]) -> Result_ {
        let mut values = Vec::with_capacity(items.len());
        for (expr, optional) in items {
            match self.eval(expr)? {
                Value::Optional(inner) if *optional => values.extend(inner.map(|v| (*v).clone())),
                value => values.push(value),
            }
        }
        if !items.iter().all(|(e, optional)| !optional && is_constant(e)) {
            self.meter.charge(LIST_COST)?;
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [(Expr, Expr, bool)]) -> Result_ {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let key = key.key().ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
            let value = match self.eval(value)? {
                Value::Optional(None) if *optional => continue,
                Value::Optional(Some(inner)) if *optional => (*inner).clone(),
                value => value,
            };
            map.insert(key, value);
        }
        if !entries.iter().all(|(k, v, optional)| !optional && is_constant(k) && is_constant(v)) {
            self.meter.charge(MAP_COST)?;
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn fold(&mut self, fold: &'a Fold) -> Result_ {
        let range = self.eval(&fold.range)?;
        let mut result = Folded::default();
        match &range {
            Value::List(list) => {
                for item in &list.items {
                    if self.step(fold, item.clone(), &mut result)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    if self.step(fold, key.into(), &mut result)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        self.meter.charge(if fold.kind == FoldKind::ExistsOne { 2 * NAME_COST } else { NAME_COST })?;
        match (fold.kind, result.error) {
            (FoldKind::All, _) if result.decided => Ok(Value::Bool(false)),
            (FoldKind::Exists, _) if result.decided => Ok(Value::Bool(true)),
            (_, Some(error)) => Err(error),
            (FoldKind::All, None) => Ok(Value::Bool(true)),
            (FoldKind::Exists, None) => Ok(Value::Bool(false)),
            (FoldKind::ExistsOne, None) => Ok(Value::Bool(result.count == 1)),
            (FoldKind::Map | FoldKind::Filter, None) => Ok(Value::list(result.items)),
        }
    }

    /// One item; whether that decides.
    fn step(&mut self, fold: &'a Fold, item: Value, result: &mut Folded) -> Result<bool, EvalError> {
        self.bound.push((&fold.variable, item));
        let stepped = self.step_bound(fold, result);
        self.bound.pop();
        match stepped {
            // A failure of one item does not matter if another one decides.
            Err(EvalError::Failed(why)) if matches!(fold.kind, FoldKind::All | FoldKind::Exists) => {
                result.error.get_or_insert(EvalError::Failed(why));
                Ok(false)
            }
            other => other,
        }
    }

    fn step_bound(&mut self, fold: &'a Fold, result: &mut Folded) -> Result<bool, EvalError> {
        // What the macro itself does with its result so far.
        self.meter.charge(match fold.kind {
            FoldKind::All => 3,
            FoldKind::Exists => 4,
            FoldKind::ExistsOne | FoldKind::Map | FoldKind::Filter => 0,
        })?;
        if let Some(condition) = &fold.condition
            && !self.truth(condition)?
        {
            self.meter.charge(NAME_COST)?;
            return Ok(false);
        }
        match fold.kind {
            FoldKind::All => result.decided = !self.truth(&fold.body)?,
            FoldKind::Exists => result.decided = self.truth(&fold.body)?,
            FoldKind::ExistsOne => {
                let holds = self.truth(&fold.body)?;
                result.count += u64::from(holds);
                self.meter.charge(if holds { 2 } else { 1 })?;
            }
            FoldKind::Filter => {
                if self.truth(&fold.body)? {
                    self.meter.charge(LIST_COST + 3)?;
                    let item = self.bound.last().map(|(_, v)| v.clone());
                    result.items.extend(item);
                } else {
                    self.meter.charge(NAME_COST)?;
                }
            }
            FoldKind::Map => {
                let value = self.eval(&fold.body)?;
                self.meter.charge(LIST_COST + 2)?;
                result.items.push(value);
            }
        }
        Ok(result.decided)
    }

    fn truth(&mut self, expr: &'a Expr) -> Result<bool, EvalError> {
        match self.eval(expr)? {
            Value::Bool(value) => Ok(value),
            _ => Err(EvalError::no_overload()),
        }
    }
}

#[derive(Default)]
struct Folded {
    decided: bool,
    count: u64,
    items: Vec<Value>,
    error: Option<EvalError>,
}

fn no_key(key: &str) -> EvalError {
    EvalError::new(format!("no such key: {key}"))
}

fn show_key(value: &Value) -> String {
    match value {
        Value::String(s) => s.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Double(d) => d.to_string(),
        other => other.type_name().to_owned(),
    }
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(s) => Value::text(s),
        Literal::Bytes(b) => Value::Bytes(b.as_slice().into()),
    }
}

/// Two lists, one after the other; items of sets and maps are kept unique.
pub(crate) fn concat(a: &List, b: &List) -> Value {
    use crate::value::{ListKind, keys_of};
    let mut items = a.items.clone();
    for item in &b.items {
        let same = match &a.kind {
            ListKind::Atomic => None,
            ListKind::Set => items.iter().position(|i| i.equals(item)),
            ListKind::Map(keys) => items.iter().position(|i| keys_of(i, keys) == keys_of(item, keys)),
        };
        match same {
            Some(i) => items[i] = item.clone(),
            None => items.push(item.clone()),
        }
    }
    Value::List(Arc::new(List { items, kind: a.kind.clone() }))
}
