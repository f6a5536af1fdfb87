//! Environments and the programs that are compiled in them.

use crate::ast::Expr;
use crate::eval::{self, EvalError, Meter, Scope};
use crate::issue::Issues;
use crate::types::{Decl, Type};
use crate::value::Value;
use crate::{ast, checker, literals, parser};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What expressions may name.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, Arc<Decl>>,
}

/// An expression that has been read and checked.
#[derive(Debug)]
pub struct Program {
    pub(crate) expr: Expr,
    output: Type,
}

impl Env {
    /// Nothing is declared.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable; its name may have dots.
    #[must_use]
    pub fn with(mut self, name: &str, decl: Arc<Decl>) -> Self {
        self.variables.insert(name.into(), decl);
        self
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// With all that is wrong with it.
    pub fn compile(&self, source: &str) -> Result<Program, Issues> {
        let mut expr = parser::parse(source).map_err(|issue| Issues::new(source, vec![issue]))?;
        let output = checker::check(self, &mut expr).map_err(|issues| Issues::new(source, issues))?;
        match literals::check(&expr) {
            issues if issues.is_empty() => Ok(Program { expr, output }),
            issues => Err(Issues::new(source, issues)),
        }
    }

    /// Reads and checks an expression that must be of one of those types.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn compile_as(&self, source: &str, types: &[Type]) -> Result<Program, String> {
        let program = self.compile(source).map_err(|issues| format!("compilation failed: {issues}"))?;
        if types.contains(&program.output) {
            return Ok(program);
        }
        Err(match types {
            [one] => format!("must evaluate to {}", named(one)),
            many => {
                let names: Vec<String> = many.iter().map(named).collect();
                format!("must evaluate to one of [{}]", names.join(" "))
            }
        })
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Arc<Decl>> {
        self.variables.get(name)
    }
}

fn named(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".into(),
        other => other.to_string(),
    }
}

impl Program {
    /// The type of what comes out.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// If something in it fails, or it costs more than `meter` allows.
    pub fn eval(&self, scope: &dyn Scope, meter: &mut Meter) -> Result<Value, EvalError> {
        eval::eval(&self.expr, scope, meter)
    }

    /// Whether it names that variable.
    pub fn names(&self, variable: &str) -> bool {
        let mut found = false;
        ast::visit(&self.expr, &mut |expr| {
            found |= matches!(&expr.kind, ast::Kind::Ident(name) if name == variable);
        });
        found
    }
}
