//! JSON paths of printer columns: `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.list[0]`, `..name`.

use crate::codec;
use crate::row::Cell;
use api_core::go;
use api_core::time::{ZERO_UNIX_US, parse_unix_us};
use serde_json::Value;

/// Values that one path may find. What comes after is not looked at.
const FOUND_MAX: usize = 10_000;
/// Values that one path may look at on its way, filters included. Past it nothing more is found.
const VISITED_MAX: usize = 100_000;
/// Steps of a path, those of its filters included, and filters in filters. A longer path is none.
const STEPS_MAX: usize = 200;
const FILTER_DEPTH_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// Fields of these names, or items at these places.
    Any(Vec<Step>),
    Index(i64),
    /// From, to, step.
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// Everything below, at any depth.
    Deep,
    Filter(JsonPath, Option<(Compare, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const OPERATORS: [(&str, Compare); 6] = [
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

/// A path into an object.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let path = Self::parse_at(text, 0)?;
        (path.steps() <= STEPS_MAX).then_some(path)
    }

    fn parse_at(text: &str, depth: usize) -> Option<Self> {
        if depth > FILTER_DEPTH_MAX {
            return None;
        }
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches(['$', '@']);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Deep);
                let (name, left) = name(after)?;
                if !name.is_empty() {
                    steps.push(field(name));
                }
                rest = left;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, left) = name(after)?;
                if !name.is_empty() {
                    steps.push(field(name));
                }
                rest = left;
            } else {
                let after = rest.strip_prefix('[')?;
                let end = closing(after)?;
                steps.push(bracket(after[..end].trim(), depth)?);
                rest = &after[end + 1..];
            }
        }
        Some(Self(steps))
    }

    fn steps(&self) -> usize {
        self.0.iter().map(Step::count).sum()
    }

    /// All values at the path.
    pub fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        Search { left: VISITED_MAX }.find(self, object)
    }

    /// The cell of a column of that type.
    pub(super) fn cell(&self, object: &Value, kind: &str) -> Cell {
        let found = self.find(object);
        let Some(first) = found.first() else { return Value::Null.into() };
        #[expect(clippy::cast_possible_truncation, reason = "upstream cuts off the fraction")]
        match (kind, first) {
            ("string", Value::String(_)) => (*first).clone().into(),
            ("string", Value::Null) => "<no value>".into(),
            ("string", Value::Number(n)) if n.as_i64().is_none() => go::double(n.as_f64().unwrap_or_default()).into(),
            ("string", other) => as_json(other).map(go::json).into(),
            ("integer", Value::Number(n)) => match n.as_i64() {
                Some(n) => n.into(),
                // What does not fit is the least, as Go has it.
                None => n.as_f64().map(|f| if f.abs() < 9.3e18 { f as i64 } else { i64::MIN }).into(),
            },
            ("number", Value::Number(n)) => n.as_f64().into(),
            ("boolean", Value::Bool(_)) => (*first).clone().into(),
            ("date", Value::String(text)) if text.is_empty() || text == "null" => "<unknown>".into(),
            ("date", Value::String(text)) => match parse_unix_us(text) {
                Some(ZERO_UNIX_US) => "<unknown>".into(),
                Some(then_unix_us) => Cell::Since { before: String::new(), then_unix_us, after: "" },
                None => "<invalid>".into(),
            },
            _ => Value::Null.into(),
        }
    }
}

/// Compact JSON, with numbers as Go writes them.
fn as_json(value: &Value) -> Option<String> {
    let mut text = Vec::new();
    codec::write(&mut text, value).ok()?;
    String::from_utf8(text).ok()
}

/// The name at the start, and what comes after it. A dot in a name is escaped: `a\.b`.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return Some((name, &text[at..])),
            '\\' => name.push(chars.next()?.1),
            ']' | '{' | '}' | '(' | ')' | ',' | '|' | '\n' => return None,
            c => name.push(c),
        }
    }
    Some((name, ""))
}

fn field(name: String) -> Step {
    if name == "*" { Step::All } else { Step::Field(name) }
}

/// Offset of the bracket that closes; quotes and filters may have brackets of their own.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote))
}

fn bracket(text: &str, depth: usize) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return filter_step(filter, depth + 1);
    }
    if let Some(name) = quoted(text, '\'').filter(|n| !n.contains(['\'', '"'])) {
        return Some(Step::Field(name.to_owned()));
    }
    if text.contains(',') {
        return text.split(',').map(|part| bracket(part.trim(), depth)).collect::<Option<Vec<_>>>().map(Step::Any);
    }
    if let Some((from, rest)) = text.split_once(':') {
        let (to, step) = rest.split_once(':').unwrap_or((rest, ""));
        let bound = |t: &str| if t.is_empty() { Some(None) } else { t.parse().ok().map(Some) };
        return Some(Step::Slice(bound(from)?, bound(to)?, bound(step)?.unwrap_or(1)));
    }
    text.parse().ok().map(Step::Index)
}

fn filter_step(text: &str, depth: usize) -> Option<Step> {
    for (operator, compare) in OPERATORS {
        if let Some((left, right)) = text.split_once(operator) {
            let right = right.trim();
            let value = match quoted(right, '\'').or(quoted(right, '"')) {
                Some(text) => text.into(),
                None => serde_json::from_str(right).ok()?,
            };
            return Some(Step::Filter(JsonPath::parse_at(left.trim(), depth)?, Some((compare, value))));
        }
    }
    Some(Step::Filter(JsonPath::parse_at(text.trim(), depth)?, None))
}

fn at(list: &[Value], index: i64) -> Option<&Value> {
    let length = i64::try_from(list.len()).ok()?;
    list.get(usize::try_from(if index < 0 { index + length } else { index }).ok()?)
}

impl Step {
    fn count(&self) -> usize {
        match self {
            Self::Any(steps) => steps.iter().map(Self::count).sum(),
            Self::Filter(path, _) => 1 + path.steps(),
            _ => 1,
        }
    }
}

/// One search, and how many values it may still look at.
struct Search {
    left: usize,
}

impl Search {
    fn find<'v>(&mut self, path: &JsonPath, object: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![object];
        for step in &path.0 {
            let mut next = Vec::new();
            for value in found {
                if self.left == 0 || next.len() >= FOUND_MAX {
                    break;
                }
                next.extend(self.apply(step, value));
            }
            next.truncate(FOUND_MAX);
            found = next;
        }
        found
    }

    fn apply<'v>(&mut self, step: &Step, value: &'v Value) -> Vec<&'v Value> {
        let found: Vec<&Value> = match step {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(i) => value.as_array().and_then(|list| at(list, *i)).into_iter().collect(),
            Step::Any(steps) => steps.iter().flat_map(|step| self.apply(step, value)).collect(),
            Step::Slice(from, to, step) => slice(value, *from, *to, *step),
            Step::All => children(value),
            Step::Deep => deep(value),
            Step::Filter(path, wanted) => {
                let list = value.as_array().into_iter().flatten();
                list.filter(|item| self.left > 0 && self.chosen(path, wanted.as_ref(), item)).collect()
            }
        };
        self.left = self.left.saturating_sub(1 + found.len());
        found
    }

    fn chosen(&mut self, path: &JsonPath, wanted: Option<&(Compare, Value)>, item: &Value) -> bool {
        let found = self.find(path, item);
        let Some((compare, wanted)) = wanted else { return !found.is_empty() };
        found.first().is_some_and(|first| compare.holds(first, wanted))
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn deep(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    let mut next = 0;
    while next < all.len() && all.len() < FOUND_MAX {
        all.extend(children(all[next]));
        next += 1;
    }
    all
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(list) = value.as_array() else { return Vec::new() };
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let place = |i: i64| if i < 0 { i.saturating_add(length) } else { i }.clamp(0, length);
    let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
    let Ok(step) = usize::try_from(step.max(1)) else { return Vec::new() };
    (from..to).step_by(step).filter_map(|i| at(list, i)).collect()
}

impl Compare {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found, wanted) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => return matches!(self, Self::NotEqual) != (a == b),
        };
        order.is_some_and(|order| match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_their_values() {
        let object = json!({"spec": {"n": 3, "f": 2.5, "l": ["a", "b", "c"], "o": {"x": 1}, "b": true,
            "html": {"a": "<&>\u{2028}", "f": 1e21}, "big": 9007199254740993_i64, "far": 12345678901234567000_u64, "null": "null", "zero": "0001-01-01T01:00:00+01:00"},
            "metadata": {"annotations": {"a.b": "c"}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "at": "1970-01-01T00:01:40Z"}, {"type": "X", "n": 5}]}});
        let cases = [
            (".spec.n", "integer", json!(3)),
            (".spec.f", "integer", json!(2)),
            (".spec.f", "number", json!(2.5)),
            (".spec.n", "number", json!(3.0)),
            (".spec.big", "number", json!(9007199254740992.0)),
            (".spec.big", "integer", json!(9007199254740993_i64)),
            (".spec.big", "string", json!("9007199254740993")),
            (".spec.far", "string", json!("1.2345678901234567e+19")),
            (".spec.f", "string", json!("2.5")),
            (".spec.l[1]", "string", json!("b")),
            (".spec.l[-1]", "string", json!("c")),
            (".spec.l[1:]", "string", json!("b")),
            (".spec.l[*]", "string", json!("a")),
            (".spec.l", "string", json!("[\"a\",\"b\",\"c\"]")),
            (".spec.o", "string", json!("{\"x\":1}")),
            (".spec['n']", "integer", json!(3)),
            (".spec.n", "string", json!("3")),
            (".spec.n", "boolean", json!(null)),
            (".spec.b", "boolean", json!(true)),
            (".status.conditions[?(@.type==\"Ready\")].status", "string", json!("True")),
            (".status.conditions[?(@.n>4)].type", "string", json!("X")),
            (".status..status", "string", json!("True")),
            (".metadata.annotations.a\\.b", "string", json!("c")),
            (".spec.none", "string", json!(null)),
            (".spec.n", "date", json!(null)),
            (".spec.html", "string", json!("{\"a\":\"\\u003c\\u0026\\u003e\\u2028\",\"f\":1e+21}")),
            (".spec.null", "date", json!("<unknown>")),
            (".spec.zero", "date", json!("<unknown>")),
        ];
        for (path, kind, expected) in cases {
            let path = JsonPath::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(path.cell(&object, kind), expected.into(), "{path:?} {kind}");
        }
        let date = JsonPath::parse(".status.conditions[?(@.type=='Ready')].at").expect("a path");
        let then = Cell::Since { before: String::new(), then_unix_us: 100_000_000, after: "" };
        assert_eq!(date.cell(&object, "date"), then);
        for bad in [".a[", ".a[x]", ".a]", ".a[?(@.b==)]", "a"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_takes_no_longer_than_it_may() {
        let filters = |n: usize| format!(".a{}{}", "[?(@.a".repeat(n), ")]".repeat(n));
        assert!(JsonPath::parse(&filters(FILTER_DEPTH_MAX)).is_some());
        for bad in [filters(FILTER_DEPTH_MAX + 1), filters(50_000), "..".repeat(STEPS_MAX + 1), ".a".repeat(100_000)] {
            assert_eq!(JsonPath::parse(&bad), None, "{} bytes", bad.len());
        }
        let wide = json!({"a": (0..5000).map(|i| json!({"a": [i, i]})).collect::<Vec<_>>()});
        for path in
            ["..".repeat(STEPS_MAX), format!(".a[?(@{})]", "..".repeat(100)), format!(".a[{}*]", "*,".repeat(150))]
        {
            let mut search = Search { left: VISITED_MAX };
            let path = JsonPath::parse(&path).expect("a path");
            search.find(&path, &wide);
            assert_eq!(search.left, 0, "it ends where it may not go on");
        }
    }
}
