//! JSON paths of printer columns: `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.list[0]`.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    /// Items whose field is this text.
    Filter(Vec<String>, String),
}

/// A path into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path; `None` if it is of a form that columns do not need.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                // A dot in a name is escaped: `.metadata.annotations.a\.b`.
                let mut end = end;
                while after[..end].ends_with('\\') {
                    end += 1 + after[end + 1..].find(['.', '[']).unwrap_or(after.len() - end - 1);
                }
                if end > 0 {
                    steps.push(Step::Field(after[..end].replace('\\', "")));
                }
                rest = &after[end..];
            } else {
                let after = rest.strip_prefix('[')?;
                let end = if after.starts_with("?(") { after.find(")]")? + 1 } else { after.find(']')? };
                steps.push(bracket(&after[..end])?);
                rest = &after[end + 1..];
            }
        }
        Some(Self(steps))
    }

    /// All values at the path.
    pub fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![object];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| apply(step, value)).collect();
        }
        found
    }

    /// The cell of a column of that type.
    pub(super) fn cell(&self, object: &Value, kind: &str, now_unix_s: i64) -> Value {
        let found = self.find(object);
        let Some(first) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
        match (kind, first) {
            ("integer", Value::Number(n)) => n.as_i64().map_or_else(|| Value::Number(n.clone()), Value::from),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
            ("date", Value::String(text)) => {
                let age = api_core::time::parse_unix_s(text).map(|at| age(now_unix_s - at));
                age.unwrap_or_else(|| "<invalid>".to_owned()).into()
            }
            ("string", _) => {
                let texts = found.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(",").into()
            }
            _ => Value::Null,
        }
    }
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    if let Some(name) = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
        return Some(Step::Field(name.to_owned()));
    }
    let filter = text.strip_prefix("?(@.")?.strip_suffix(')')?;
    let (field, value) = filter.split_once("==")?;
    let field = field.trim().split('.').map(str::to_owned).collect();
    Some(Step::Filter(field, value.trim().trim_matches(['"', '\'']).to_owned()))
}

fn apply<'v>(step: &Step, value: &'v Value) -> Vec<&'v Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(i) => value.get(i).into_iter().collect(),
        Step::All => value.as_array().map(|l| l.iter().collect()).unwrap_or_default(),
        Step::Filter(field, wanted) => {
            let list = value.as_array().into_iter().flatten();
            list.filter(|item| super::at(item, field).and_then(Value::as_str) == Some(wanted)).collect()
        }
    }
}

/// An age as kubectl shows it.
fn age(seconds: i64) -> String {
    const STEPS: [(i64, i64, &str); 4] =
        [(120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h"), (i64::MAX, 86_400, "d")];
    let seconds = seconds.max(0);
    let (_, unit, name) = STEPS.into_iter().find(|(below, ..)| seconds < *below).unwrap_or((0, 86_400, "d"));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_their_values() {
        let object = json!({"spec": {"n": 3, "l": ["a", "b"]}, "metadata": {"annotations": {"a.b": "c"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let cases = [
            (".spec.n", "integer", json!(3)),
            (".spec.l[1]", "string", json!("b")),
            (".spec.l[*]", "string", json!("a,b")),
            (".status.conditions[?(@.type==\"Ready\")].status", "string", json!("True")),
            (".metadata.annotations.a\\.b", "string", json!("c")),
            (".spec.none", "string", json!(null)),
        ];
        for (path, kind, expected) in cases {
            assert_eq!(JsonPath::parse(path).expect(path).cell(&object, kind, 0), expected, "{path}");
        }
        assert_eq!((age(90), age(600), age(100_000)), ("90s".into(), "10m".into(), "27h".into()));
    }
}
