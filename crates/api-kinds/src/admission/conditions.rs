//! Expressions that have been compiled, and conditions made of them. Pure: what they name comes through a [`Scope`].

use super::expressions::{self, Names};
use super::text;
use api_cel::{CALL_COST_MAX, CONDITIONS_COST_MAX, Env, EvalError, Meter, Program, Scope, Type, Value as Cel};
use serde_json::Value;

/// What is said when all expressions together cost too much.
pub const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// An expression as it is written, and what was made of it.
#[derive(Debug)]
pub struct Expression {
    /// As it is written.
    pub source: String,
    /// Compiled, or why it cannot be.
    pub program: Result<Program, String>,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// In upstream's words.
    Own(String),
    /// All expressions together have cost too much.
    Budget,
}

impl Expression {
    /// Compiles one that must be of one of those types.
    pub fn compile(env: &Env, source: &str, types: &[Type]) -> Self {
        Self { source: source.to_owned(), program: env.compile_as(source, types) }
    }

    /// Compiles one that may be of any type.
    pub fn of_any_type(env: &Env, source: &str) -> Self {
        let program = env.compile(source).map_err(|issues| format!("compilation failed: {issues}"));
        Self { source: source.to_owned(), program }
    }

    /// Its value. What it costs is taken from `budget`.
    ///
    /// # Errors
    /// If it cannot be compiled, it fails, or it costs too much.
    pub fn run(&self, scope: &dyn Scope, budget: &mut u64) -> Result<Cel, Failure> {
        let program = self.program.as_ref().map_err(|why| Failure::Own(format!("compilation error: {why}")))?;
        let mut meter = Meter::new(CALL_COST_MAX);
        let result = program.eval(scope, &mut meter);
        *budget = budget.checked_sub(meter.used()).ok_or(Failure::Budget)?;
        result.map_err(|e: EvalError| Failure::Own(format!("expression '{}' resulted in error: {e}", self.source)))
    }
}

/// `matchConditions` of a webhook or a policy.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Expression>);

/// What has come of conditions.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// Whether all hold. An error, in upstream's words, if some fail and none is false.
    pub result: Result<bool, String>,
    /// How many failed.
    pub errors: u64,
}

impl Conditions {
    /// Compiles a list of them.
    pub fn compile<'v>(list: impl Iterator<Item = &'v Value>, names: Names) -> Self {
        let mut list = list.peekable();
        if list.peek().is_none() {
            return Self::default();
        }
        let env = expressions::env(names);
        Self(list.map(|c| Expression::compile(&env, text(c, "expression"), &[Type::Bool])).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that is false is stronger than one that fails, and what they cost together than either.
    pub fn hold(&self, scope: &dyn Scope) -> Held {
        let (mut budget, mut errors, mut all) = (CONDITIONS_COST_MAX, Vec::new(), true);
        for condition in &self.0 {
            match condition.run(scope, &mut budget) {
                Ok(Cel::Bool(true)) => {}
                Ok(_) => all = false,
                Err(Failure::Own(why)) => errors.push(why),
                Err(Failure::Budget) => return Held { result: Err(OUT_OF_BUDGET.into()), errors: 0 },
            }
        }
        let count = errors.len() as u64;
        // Said once, however often it is so.
        let mut said: Vec<String> = Vec::new();
        for error in errors {
            if !said.contains(&error) {
                said.push(error);
            }
        }
        let result = match said.as_slice() {
            _ if !all => Ok(false),
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        };
        Held { result, errors: count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Object(Cel);

    impl Scope for Object {
        fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Cel, EvalError>> {
            (name == "object").then(|| Ok(self.0.clone()))
        }
    }

    fn held(expressions: &[&str]) -> Held {
        let list: Vec<Value> = expressions.iter().map(|e| json!({"name": "c", "expression": e})).collect();
        let names = Names { params: false, authorizer: true };
        let scope = Object(api_cel::from_json(&json!({"a": 1})));
        Conditions::compile(list.iter(), names).hold(&scope)
    }

    #[test]
    fn conditions() {
        const MISSING: &str = "expression 'object.b == 1' resulted in error: no such key: b";
        for (expressions, result, errors) in [
            (&[][..], Ok(true), 0),
            (&["true", "object.a == 1"], Ok(true), 0),
            (&["true", "object.a == 2"], Ok(false), 0),
            (&["object.b == 1", "false"], Ok(false), 1),
            (&["false", "object.b == 1"], Ok(false), 1),
            (&["true", "object.b == 1"], Err(MISSING.to_owned()), 1),
            (&["object.b == 1", "object.b == 1"], Err(MISSING.to_owned()), 2),
            (
                &["object.b == 1", "object.c == 1"],
                Err(format!("[{MISSING}, expression 'object.c == 1' resulted in error: no such key: c]")),
                2,
            ),
            (&["object.a"], Err("compilation error: must evaluate to bool".into()), 1),
        ] {
            assert_eq!(held(expressions), Held { result, errors }, "{expressions:?}");
        }
    }

    #[test]
    fn costs_are_bounded() {
        let list = format!("[{}]", vec!["1"; 200].join(","));
        let dear = format!("{list}.all(a, {list}.all(b, a + b > 0))");
        // Each may be run alone; all together may not.
        assert_eq!(held(&[&dear]).result, Ok(true));
        let all = vec![dear.as_str(); 64];
        assert_eq!(held(&all).result, Err(OUT_OF_BUDGET.into()));
    }
}
