//! Types of an expression, found as CEL finds them: each call must match an overload, type variables are solved on the way.

use crate::ast::{Expr, Fold, FoldKind, Kind, Literal};
use crate::decls::{self, Overload};
use crate::issue::Issue;
use crate::program::Env;
use crate::types::Type;
use std::sync::Arc;

/// Finds the type of the expression and of all parts of it.
pub(crate) fn check(env: &Env, expr: &mut Expr) -> Result<Type, Vec<Issue>> {
    let mut checker = Checker { env, bound: Vec::new(), solved: Vec::new(), mixing: 0, issues: Vec::new() };
    let ty = checker.check(expr);
    let ty = checker.resolve(&ty, true);
    checker.finish(expr);
    if checker.issues.is_empty() { Ok(ty) } else { Err(checker.issues) }
}

struct Checker<'e> {
    env: &'e Env,
    /// Variables of macros around here.
    bound: Vec<(String, Type)>,
    /// What type variables stand for.
    solved: Vec<Option<Type>>,
    /// Calls around here whose lists may hold values of several types.
    mixing: usize,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn issue(&mut self, at: usize, why: String) -> Type {
        self.issues.push(Issue { at, why });
        Type::Error
    }

    fn check(&mut self, expr: &mut Expr) -> Type {
        let ty = self.kind(expr);
        expr.ty = ty.clone();
        ty
    }

    fn kind(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        if let Some(name) = self.declared_path(expr) {
            expr.kind = Kind::Ident(name);
        }
        match &mut expr.kind {
            Kind::Literal(literal) => of_literal(literal),
            Kind::Ident(name) => match self.variable(name) {
                Some(ty) => ty,
                None => {
                    let why = format!("undeclared reference to '{name}' (in container '')");
                    self.issue(at, why)
                }
            },
            Kind::Select { operand, field, test, optional } => {
                let of = self.check(operand);
                let (test, optional) = (*test, *optional);
                self.select(at, &of, field, test, optional)
            }
            Kind::Call { .. } => self.call(expr),
            Kind::List(items) => {
                let mut item = self.fresh();
                for (expr, optional) in items {
                    let ty = self.check(expr);
                    let ty = if *optional { self.unwrap_optional(expr.at, &ty) } else { ty };
                    item = self.join(expr.at, item, ty);
                }
                item.list()
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (self.fresh(), self.fresh());
                for (k, v, optional) in entries {
                    let ty = self.check(k);
                    key = self.join(k.at, key, ty);
                    let ty = self.check(v);
                    let ty = if *optional { self.unwrap_optional(v.at, &ty) } else { ty };
                    value = self.join(v.at, value, ty);
                }
                Type::Map(Arc::new(key), Arc::new(value))
            }
            Kind::Struct(name, _) => {
                let why = format!("undeclared reference to '{name}' (in container '')");
                self.issue(at, why)
            }
            Kind::Fold(fold) => self.fold(at, fold),
            Kind::OptionalMap { operand, variable, body, flat } => {
                let of = self.check(operand);
                let inner = self.unwrap_optional(operand.at, &of);
                self.bound.push((variable.clone(), inner));
                let ty = self.check(body);
                self.bound.pop();
                if *flat { ty } else { ty.optional() }
            }
        }
    }

    /// The name of a variable with dots in it, if that is what the expression is.
    fn declared_path(&self, expr: &Expr) -> Option<String> {
        let Kind::Select { .. } = &expr.kind else { return None };
        let name = expr.qualified()?;
        let root = name.split('.').next().unwrap_or("");
        let known = self.env.variable(&name).is_some() || decls::named(&name).is_some();
        (known && !self.bound.iter().any(|(n, _)| n == root)).then_some(name)
    }

    fn variable(&self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.bound.iter().rev().find(|(n, _)| n == name) {
            return Some(ty.clone());
        }
        let declared = self.env.variable(name).map(|d| d.ty.clone());
        declared.or_else(|| decls::named(name).map(|t| Type::Type(Arc::new(t))))
    }

    fn select(&mut self, at: usize, of: &Type, field: &str, test: bool, optional: bool) -> Type {
        let of = self.resolve(of, false);
        let (inner, was_optional) = match &of {
            Type::Optional(inner) => (self.resolve(inner, false), true),
            other => (other.clone(), false),
        };
        let found = match &inner {
            Type::Error => Type::Error,
            Type::Dyn => Type::Dyn,
            Type::Var(_) => {
                self.assignable(&inner, &Type::Dyn);
                Type::Dyn
            }
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(decl) => decl.ty.clone(),
                None => return self.issue(at, format!("undefined field '{field}'")),
            },
            other => return self.issue(at, format!("type '{other}' does not support field selection")),
        };
        match (test, optional || was_optional) {
            (true, _) => Type::Bool,
            (false, true) => found.optional(),
            (false, false) => found,
        }
    }

    fn fold(&mut self, at: usize, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let item = match self.resolve(&range, false) {
            Type::List(item) => (*item).clone(),
            Type::Map(key, _) => (*key).clone(),
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(fold.range.at, why)
            }
        };
        self.bound.push((fold.variable.clone(), item.clone()));
        let mut conditions = Vec::new();
        if let Some(condition) = &mut fold.condition {
            conditions.push(self.check(condition));
        }
        let body = self.check(&mut fold.body);
        self.bound.pop();
        if fold.kind != FoldKind::Map {
            conditions.push(body.clone());
        }
        for ty in conditions {
            if !self.assignable(&ty, &Type::Bool) {
                let ty = self.resolve(&ty, true);
                let why = match fold.kind {
                    FoldKind::All | FoldKind::Exists => {
                        self.issue(fold.body.at, format!("expected type 'bool' but found '{ty}'"));
                        continue;
                    }
                    FoldKind::ExistsOne => {
                        format!("found no matching overload for '_?_:_' applied to '({ty}, int, int)'")
                    }
                    FoldKind::Map | FoldKind::Filter => {
                        let list = self.resolve(if fold.kind == FoldKind::Map { &body } else { &item }, true).list();
                        format!("found no matching overload for '_?_:_' applied to '({ty}, {list}, {list})'")
                    }
                };
                self.issue(at, why);
            }
        }
        match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::Map => body.list(),
            FoldKind::Filter => item.list(),
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Call { function, target, args } = &mut expr.kind else { return Type::Error };
        // `sets.contains(..)` is a function with a dot in its name.
        if let Some(prefix) = target.as_ref().and_then(|t| t.qualified()) {
            let name = format!("{prefix}.{function}");
            if !decls::overloads(&name).is_empty() {
                (*function, *target) = (name, None);
            }
        }
        let overloads = decls::overloads(function);
        let has_target = target.is_some();
        let mixes = usize::from(function == "format");
        self.mixing += mixes;
        let of = target.as_mut().map(|t| self.check(t));
        let mut types: Vec<Type> = of.into_iter().collect();
        types.extend(args.iter_mut().map(|a| self.check(a)));
        self.mixing -= mixes;
        if overloads.is_empty() {
            let why = format!("undeclared reference to '{function}' (in container '')");
            return self.issue(at, why);
        }
        let name = function.clone();
        if matches!(name.as_str(), "_&&_" | "_||_") {
            for (arg, ty) in args.iter().zip(&types) {
                if !self.assignable(ty, &Type::Bool) {
                    let ty = self.resolve(ty, true);
                    self.issue(arg.at, format!("expected type 'bool' but found '{ty}'"));
                }
            }
            return Type::Bool;
        }
        self.resolve_overload(at, &name, overloads, &types, has_target)
    }

    fn resolve_overload(
        &mut self,
        at: usize,
        name: &str,
        overloads: &[Overload],
        types: &[Type],
        method: bool,
    ) -> Type {
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.method == method && o.args.len() == types.len()) {
            let base = u32::try_from(self.solved.len()).unwrap_or(u32::MAX);
            let before = self.solved.clone();
            self.solved.extend([None, None]);
            let fits = types.iter().zip(&overload.args).all(|(t, arg)| self.assignable(t, &shift(arg, base)));
            if !fits {
                self.solved = before;
                continue;
            }
            let ty = shift(&overload.result, base);
            let ty = self.resolve(&ty, false);
            result = Some(match result {
                None => ty,
                Some(earlier) if earlier == ty => earlier,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(ty) = result {
            return ty;
        }
        let types: Vec<String> = types.iter().map(|t| self.resolve(t, true).to_string()).collect();
        if types.iter().any(|t| t == "!error!") {
            // Reported already.
            return Type::Error;
        }
        let applied = match types.split_first() {
            Some((target, rest)) if method => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", types.join(", ")),
        };
        self.issue(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    fn fresh(&mut self) -> Type {
        self.solved.push(None);
        Type::Var(u32::try_from(self.solved.len() - 1).unwrap_or(u32::MAX))
    }

    fn unwrap_optional(&mut self, at: usize, ty: &Type) -> Type {
        match self.resolve(ty, false) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => self.issue(at, format!("expected type 'optional({other})' but found '{other}'")),
        }
    }

    /// Items of a list, and of a map, are all of one type.
    fn join(&mut self, at: usize, earlier: Type, ty: Type) -> Type {
        if self.assignable(&earlier, &ty) {
            let (a, b) = (self.resolve(&earlier, false), self.resolve(&ty, false));
            return if a.is_dyn() { a } else { b };
        }
        if self.mixing > 0 {
            return Type::Dyn;
        }
        let (expected, found) = (self.resolve(&earlier, true), self.resolve(&ty, true));
        self.issue(at, format!("expected type '{expected}' but found '{found}'"))
    }

    /// The type with what is solved put in; with `last`, what is not solved is anything.
    fn resolve(&self, ty: &Type, last: bool) -> Type {
        let inner = |t: &Arc<Type>| Arc::new(self.resolve(t, last));
        match ty {
            Type::Var(n) => match self.solved.get(*n as usize).and_then(Option::as_ref) {
                Some(solved) => self.resolve(solved, last),
                None if last => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(t) => Type::List(inner(t)),
            Type::Map(k, v) => Type::Map(inner(k), inner(v)),
            Type::Optional(t) => Type::Optional(inner(t)),
            Type::Type(t) => Type::Type(inner(t)),
            other => other.clone(),
        }
    }

    /// Whether a value of `from` may stand where `to` is expected.
    fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        let (from, to) = (self.resolve(from, false), self.resolve(to, false));
        match (&from, &to) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(n), other) | (other, Type::Var(n)) => {
                if mentions(other, *n) {
                    return false;
                }
                self.solved[*n as usize] = Some(other.clone());
                true
            }
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.assignable(a, b),
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.assignable(ak, bk) && self.assignable(av, bv),
            (Type::Null, b) | (b, Type::Null) if is_nullable(b) => true,
            (a, b) => a == b,
        }
    }

    /// Puts what is solved into all types of the tree.
    fn finish(&self, expr: &mut Expr) {
        expr.ty = self.resolve(&expr.ty, true);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.finish(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().for_each(|t| self.finish(t));
                args.iter_mut().for_each(|a| self.finish(a));
            }
            Kind::List(items) => items.iter_mut().for_each(|(e, _)| self.finish(e)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(k, v, _)| {
                self.finish(k);
                self.finish(v);
            }),
            Kind::Struct(_, fields) => fields.iter_mut().for_each(|(_, e)| self.finish(e)),
            Kind::Fold(fold) => {
                self.finish(&mut fold.range);
                fold.condition.iter_mut().for_each(|c| self.finish(c));
                self.finish(&mut fold.body);
            }
            Kind::OptionalMap { operand, body, .. } => {
                self.finish(operand);
                self.finish(body);
            }
        }
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn is_nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Opaque(_) | Type::Object(_) | Type::Timestamp | Type::Duration | Type::Optional(_))
}

/// A type of the table, with its variables numbered from `base`.
fn shift(ty: &Type, base: u32) -> Type {
    let inner = |t: &Arc<Type>| Arc::new(shift(t, base));
    match ty {
        Type::Var(n) => Type::Var(n + base),
        Type::List(t) => Type::List(inner(t)),
        Type::Map(k, v) => Type::Map(inner(k), inner(v)),
        Type::Optional(t) => Type::Optional(inner(t)),
        Type::Type(t) => Type::Type(inner(t)),
        other => other.clone(),
    }
}

fn mentions(ty: &Type, n: u32) -> bool {
    match ty {
        Type::Var(m) => *m == n,
        Type::List(t) | Type::Optional(t) | Type::Type(t) => mentions(t, n),
        Type::Map(k, v) => mentions(k, n) || mentions(v, n),
        _ => false,
    }
}
