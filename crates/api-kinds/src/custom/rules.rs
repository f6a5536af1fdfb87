//! Rules in CEL (`x-kubernetes-validations`) of a custom resource's schema.

use api_cel::validations::{Budget, Rules};
use api_core::field::{Errors, Path};
use api_schema::custom::ObjectRules;
use serde_json::Value;

#[derive(Debug)]
struct Compiled(Rules);

/// The rules of a schema, compiled; `None` if it has none.
pub(super) fn of(schema: &Value) -> Option<Box<dyn ObjectRules>> {
    Some(Box::new(Compiled(Rules::compile(schema, true)?)))
}

impl ObjectRules for Compiled {
    fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors, warnings: &mut Vec<String>) {
        self.0.validate(&Path::ROOT, object, old, &mut Budget::request(), errors, warnings);
    }
}
