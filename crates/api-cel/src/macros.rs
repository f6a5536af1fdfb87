//! Calls that are none: macros.

use crate::ast::{Expr, Fold, FoldKind, Kind};
use crate::issue::Issue;

/// A call, or what the macro of that name stands for.
pub(crate) fn expand(at: usize, name: &str, target: Option<Expr>, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    let Some(target) = target else {
        if name == "has" && args.len() == 1 {
            return has(at, args.remove(0));
        }
        return Ok(Expr::new(at, Kind::Call { function: name.into(), target: None, args }));
    };
    let fold = match (name, args.len()) {
        ("all", 2) => Some(FoldKind::All),
        ("exists", 2) => Some(FoldKind::Exists),
        ("exists_one" | "existsOne", 2) => Some(FoldKind::ExistsOne),
        ("map", 2 | 3) => Some(FoldKind::Map),
        ("filter", 2) => Some(FoldKind::Filter),
        _ => None,
    };
    if let Some(kind) = fold {
        let body = args.remove(args.len() - 1);
        let variable = variable(&args[0])?;
        let condition = (args.len() == 2).then(|| args.remove(1));
        return Ok(Expr::new(at, Kind::Fold(Box::new(Fold { kind, range: target, variable, condition, body }))));
    }
    if matches!(name, "optMap" | "optFlatMap") && args.len() == 2 {
        let body = Box::new(args.remove(1));
        let variable = variable(&args[0])?;
        let operand = Box::new(target);
        return Ok(Expr::new(at, Kind::OptionalMap { operand, variable, body, flat: name == "optFlatMap" }));
    }
    Ok(Expr::new(at, Kind::Call { function: name.into(), target: Some(Box::new(target)), args }))
}

fn has(at: usize, argument: Expr) -> Result<Expr, Issue> {
    match argument.kind {
        Kind::Select { operand, field, test: false, optional } => {
            Ok(Expr::new(at, Kind::Select { operand, field, test: true, optional }))
        }
        _ => Err(Issue { at: argument.at, why: "invalid argument to has() macro".into() }),
    }
}

fn variable(expr: &Expr) -> Result<String, Issue> {
    match &expr.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(Issue { at: expr.at, why: "argument must be a simple name".into() }),
    }
}
