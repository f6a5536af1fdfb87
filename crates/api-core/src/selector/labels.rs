//! Label selectors: `a=b,c in (d,e),!f` and the `LabelSelector` object of many specs.
//!
//! The grammar and the wording of its errors are those of upstream's `labels.Parse`, since clients send the one and
//! show the other.

use super::SelectorError;
use super::label_parser::Parser;
use crate::field::{BadValue, ErrorKind, Errors, Path};
use crate::names;
use serde_json::Value;
use std::fmt;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label is one of the values.
    In,
    /// The label is absent or none of the values.
    NotIn,
    /// `=`.
    Equals,
    /// `==`.
    DoubleEquals,
    /// `!=`: absent or different.
    NotEquals,
    /// An integer above the value.
    GreaterThan,
    /// An integer below the value.
    LessThan,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted.
    values: Vec<String>,
}

/// Conditions that must all hold, or one that nothing meets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key; `None` selects nothing.
    requirements: Option<Vec<Requirement>>,
}

/// Labels of an object, however they are held.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl Labels for std::collections::BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for [(String, String)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// An object held as a value: its `metadata.labels`.
impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get("metadata")?.get("labels")?.get(key)?.as_str()
    }
}

impl<L: Labels + ?Sized> Labels for Option<&L> {
    fn label(&self, key: &str) -> Option<&str> {
        (*self)?.label(key)
    }
}

impl Requirement {
    /// A requirement, if the key, the number of values and the values suit the operator.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        values.sort_unstable();
        let mut errors = Errors::new();
        let (key_path, values_path) = (Path::new("key"), Path::new("values"));
        check_key(&key_path, key, &mut errors);
        let count_error = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(detail) = count_error {
            // Upstream prints the list as Go writes it.
            let quoted: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
            let list = BadValue(format!("[]string{{{}}}", quoted.join(", ")));
            errors.push(ErrorKind::Invalid, &values_path, Some(list), detail);
        }
        for (i, value) in values.iter().enumerate() {
            let path = values_path.index(i);
            let ordered = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if ordered && value.parse::<i64>().is_err() {
                errors.invalid(&path, value, "for 'Gt', 'Lt' operators, the value must be an integer");
            }
        }
        for (i, value) in values.iter().enumerate() {
            let messages = names::is_label_value(value);
            if !messages.is_empty() {
                errors.invalid(&values_path.index(i).key(key), value, &messages.join("; "));
            }
        }
        if errors.is_empty() {
            return Ok(Self { key: key.to_owned(), operator, values });
        }
        Err(SelectorError(crate::status::aggregate(&errors)))
    }

    /// The label it is about.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether `labels` meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let label = labels.label(&self.key);
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compares(label, |a, b| a > b),
            Operator::LessThan => self.compares(label, |a, b| a < b),
        }
    }

    fn compares(&self, label: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|v| v.parse().ok());
        let label = label.and_then(|v| v.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| holds(label, bound))
    }
}

impl Selector {
    /// Selects every object.
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object.
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// All of these requirements.
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser::new(text).selector().map(Self::of)
    }

    /// Reads a `LabelSelector` object. Absent or null selects nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(Value::Object(selector)) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        if let Some(Value::Object(labels)) = selector.get("matchLabels") {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or_default().to_owned();
                requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(from_expression(expression)?);
        }
        Ok(Self::of(requirements))
    }

    /// A selector of exact labels, as `spec.selector` of a Service; they are not checked.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        };
        Self::of(labels.into_iter().map(requirement).collect())
    }

    /// Whether it has no requirement, so that everything matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether nothing can match.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// Its requirements, sorted by key; none if it selects nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// Whether `labels` meet all requirements.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }
}

fn from_expression(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |field| expression.get(field).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
    };
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
    Requirement::new(text("key"), operator, values)
}

pub(super) fn check_key(path: &Path<'_>, key: &str, errors: &mut Errors) {
    let messages = names::is_qualified_name(key);
    if !messages.is_empty() {
        errors.invalid(path, key, &messages.join("; "));
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements().iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_read_and_printed_as_upstream_does() {
        let cases = [
            ("", ""),
            ("  ", ""),
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            ("z=c , x==a,y != b", "x==a,y!=b,z=c"),
            ("x=", "x="),
            ("x= ,z= ", "x=,z="),
            ("x,!y", "x,!y"),
            ("x in (c,a,a)", "x in (a,c)"),
            ("x notin (abc)", "x notin (abc)"),
            ("x in (,abc)", "x in (,abc)"),
            ("x in (abc,)", "x in (,abc)"),
            ("x in (,)", "x in ()"),
            ("x in ()", "x in ()"),
            ("in in (in,notin)", "in in (in,notin)"),
            ("x>1,y<2", "x>1,y<2"),
            ("a.b/c=d_e", "a.b/c=d_e"),
        ];
        for (text, printed) in cases {
            assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(printed.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn errors_are_worded_as_upstream_words_them() {
        let cases = [
            ("a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("x==a==b", "found '==', expected: ',' or 'end of string'"),
            ("!x=a", "found '=', expected: ',' or 'end of string'"),
            ("x,", "found '', expected: identifier after ','"),
            (",x", "found ',', expected: !, identifier, or 'end of string'"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            ("x in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
            ("x in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            (
                "x>a",
                "unable to parse requirement: values[0]: Invalid value: \"a\": \
                 for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("x=(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
        ];
        for (text, message) in cases {
            assert_eq!(Selector::parse(text), Err(SelectorError(message.to_owned())), "{text:?}");
        }
        let bad_key = Selector::parse("a/b/c=d").unwrap_err().0;
        assert!(bad_key.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name"));
        let bad_value = Selector::parse("a=$").unwrap_err().0;
        assert!(
            bad_value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"$\": a valid label")
        );
    }

    #[test]
    fn matching() {
        let labels = json!({"metadata": {"labels": {"app": "web", "n": "5", "empty": ""}}});
        let cases = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("other notin (a)", true),
            ("app in (db,web)", true),
            ("app notin (db,web)", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
            ("other<1", false),
            ("empty=", true),
            ("empty", true),
            ("other=", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
        assert!(!Selector::nothing().matches(&labels));
        assert!(Selector::everything().matches(&None::<&Value>));
    }

    #[test]
    fn label_selector_objects() {
        let none = json!({"matchExpressions": [{"key": "c", "operator": "In"}]});
        assert_eq!(
            Selector::from_object(Some(&none)).unwrap_err().0,
            "values: Invalid value: []string{}: for 'in', 'notin' operators, values set can't be empty"
        );
        let s = json!({"matchLabels": {"b": "1", "a": "2"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["x", "y"]}, {"key": "d", "operator": "DoesNotExist"}]});
        assert_eq!(Selector::from_object(Some(&s)).unwrap().to_string(), "a=2,b=1,c in (x,y),!d");
        assert!(Selector::from_object(None).unwrap().is_nothing());
        assert!(Selector::from_object(Some(&json!({}))).unwrap().is_everything());
        let bad = json!({"matchExpressions": [{"key": "c", "operator": "Near"}]});
        assert_eq!(Selector::from_object(Some(&bad)).unwrap_err().0, "\"Near\" is not a valid label selector operator");
    }
}
