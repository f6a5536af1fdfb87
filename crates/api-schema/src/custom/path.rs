//! JSON paths of printer columns: `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.list[0]`, `..name`.

use crate::codec;
use crate::row::Cell;
use api_core::go;
use api_core::time::{ZERO_UNIX_US, parse_unix_us};
use serde_json::{Number, Value};

/// Values that one path may find. What comes after is not looked at.
const FOUND_MAX: usize = 10_000;
/// Values that one path may look at on its way, filters included. Past it nothing more is found.
const VISITED_MAX: usize = 100_000;
/// Steps of a path, those of its filters included. A longer path is none.
const STEPS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// What is at these paths, one after the other.
    Any(Vec<JsonPath>),
    Index(i64),
    /// From, to, step.
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// Everything below, at any depth.
    Deep,
    /// Items of lists, by whether the path finds something in them, or by how that compares with what the other one finds there.
    Filter(JsonPath, Option<(Compare, JsonPath)>),
    /// A text in quotes, whatever was found.
    Text(Value),
    /// A number or a truth in place of each value.
    Literal(Value),
    /// A word without a meaning.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// An operator that nobody knows.
    Unknown,
}

/// Upstream ends a search that comes to what does not fit, and shows nothing of what was found before.
#[derive(Debug)]
struct Unfit;

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
        let path = Self::read(text.trim().trim_start_matches('{').trim_end_matches('}'))?;
        (path.steps() <= STEPS_MAX).then_some(path)
    }

    fn read(mut rest: &str) -> Option<Self> {
        let mut steps = Vec::new();
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            if let Some(filter) = rest.strip_prefix("[?(") {
                let (text, left) = filter.split_at(filter_end(filter)?);
                steps.push(filter_step(text)?);
                rest = left.strip_prefix(")]")?;
            } else if let Some(below) = rest.strip_prefix("..") {
                if matches!(steps.last(), Some(Step::Deep)) {
                    return None;
                }
                steps.push(Step::Deep);
                rest = below;
                if below.starts_with(is_word) {
                    let (name, left) = name(below)?;
                    steps.push(field(name));
                    rest = left;
                }
            } else if first == '.' {
                let (name, left) = name(after)?;
                steps.push(field(name));
                rest = left;
            } else if first == '[' {
                let (inside, left) = after.split_once(']').filter(|(inside, _)| !inside.contains('\n'))?;
                steps.extend(bracket(inside)?);
                rest = left;
            } else if matches!(first, '\'' | '"') {
                let (text, left) = after.split_at(quote_end(after, first)?);
                steps.push(Step::Text(unquoted(text, first)?.into()));
                rest = &left[1..];
            } else if matches!(first, '+' | '-') || first.is_numeric() {
                let end =
                    after.find(|c: char| c != '.' && !c.is_numeric()).map_or(rest.len(), |end| first.len_utf8() + end);
                steps.push(Step::Literal(number(&rest[..end])?));
                rest = &rest[end..];
            } else if is_word(first) {
                let (word, left) = rest.split_at(rest.find(is_terminator).unwrap_or(rest.len()));
                steps.push(word.parse().map_or(Step::Unknown, |truth: bool| Step::Literal(truth.into())));
                rest = left;
            } else {
                rest = Some(after).filter(|_| matches!(first, ' ' | '@' | '$'))?;
            }
        }
        Some(Self(steps))
    }

    /// Whether it may find what is below `metadata.managedFields`, or something that has it.
    pub(super) fn may_find_managers(&self) -> bool {
        match self.0.as_slice() {
            [Step::Field(first), Step::Field(second), ..] => first == "metadata" && second == "managedFields",
            [Step::Field(first), ..] => first == "metadata",
            _ => true,
        }
    }

    fn steps(&self) -> usize {
        self.0.iter().map(Step::count).sum()
    }

    /// All values at the path. None at all if it comes to what does not fit: an item that is not there, say, or two values that
    /// cannot be compared.
    pub fn find<'v>(&'v self, object: &'v Value) -> Vec<&'v Value> {
        Search { left: VISITED_MAX }.find(self, object).unwrap_or_default()
    }

    /// The cell of a column of that type.
    pub(super) fn cell(&self, object: &Value, kind: &str) -> Cell {
        let found = self.find(object);
        let Some(first) = found.first() else { return Value::Null.into() };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "upstream cuts off the fraction"
        )]
        match (kind, first) {
            ("string", Value::String(_)) => (*first).clone().into(),
            ("string", Value::Null) => "<no value>".into(),
            ("string", Value::Number(n)) if n.as_i64().is_none() => go::double(n.as_f64().unwrap_or_default()).into(),
            ("string", other) => as_json(other).map(go::json).into(),
            ("integer", Value::Number(n)) => match n.as_i64() {
                Some(n) => n.into(),
                // What does not fit is the least, as Go has it; 2^63 is the first that does not.
                None => n.as_f64().map(|f| if f < i64::MAX as f64 { f as i64 } else { i64::MIN }).into(),
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

/// A letter, digit or underscore.
fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What a name ends before.
fn is_terminator(c: char) -> bool {
    matches!(c, '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}' | ' ' | '\t' | '\r' | '\n')
}

/// The name at the start, and what comes after it. A dot in a name is escaped: `a\.b`.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if is_terminator(c) => return Some((name, &text[at..])),
            '\\' => name.extend(Some(chars.next()?.1).filter(|c| *c != '\\')),
            c => name.push(c),
        }
    }
    Some((name, ""))
}

fn field(name: String) -> Step {
    if name == "*" { Step::All } else { Step::Field(name) }
}

/// Offset of the parenthesis that closes: the first one that is not in the first text in quotes.
fn filter_end(text: &str) -> Option<usize> {
    let (mut quote, mut before) = (None, ' ');
    let mut is_over = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (_, '\n') => return None,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open && before != '\\' => is_over = true,
            (_, ')') if quote.is_none() || is_over => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

/// Offset of the quote that closes a text: the first one that no backslash is before.
fn quote_end(text: &str, quote: char) -> Option<usize> {
    let mut before = quote;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return None,
            c if c == quote && before != '\\' => return Some(at),
            c => before = c,
        }
    }
    None
}

/// A text that was in quotes; `None` if it has an escape that Go does not know, or a quote that is not escaped (after an escaped
/// backslash, say).
fn unquoted(mut rest: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(rest.len());
    let bare = |plain: &str| plain.contains(quote);
    while let Some((plain, escaped)) = rest.split_once('\\').filter(|(plain, _)| !bare(plain)) {
        bytes.extend_from_slice(plain.as_bytes());
        let escape = escaped.chars().next()?;
        rest = &escaped[escape.len_utf8()..];
        let mut code = |digits: usize, radix: u32| {
            let (code, left) =
                rest.split_at_checked(digits).filter(|(code, _)| code.chars().all(|c| c.is_digit(radix)))?;
            rest = left;
            u32::from_str_radix(code, radix).ok()
        };
        let byte = match escape {
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            '\\' => b'\\',
            c if c == quote => u8::try_from(c).ok()?,
            'x' => u8::try_from(code(2, 16)?).ok()?,
            '0'..='7' => u8::try_from(escape.to_digit(8)? * 64 + code(2, 8)?).ok()?,
            'u' | 'U' => {
                let c = char::from_u32(code(if escape == 'u' { 4 } else { 8 }, 16)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(byte);
    }
    bytes.extend_from_slice(rest.as_bytes());
    (!bare(rest)).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    Number::from_f64(text.parse().ok()?).map(Value::Number)
}

/// What is in brackets, but for filters: alternatives, a name, an index, a range.
fn bracket(text: &str) -> Option<Vec<Step>> {
    if text.contains(',') {
        let parts = text.split(',').map(|part| JsonPath::read(&format!("[{}]", part.trim_matches(' '))));
        return Some(vec![Step::Any(parts.collect::<Option<_>>()?)]);
    }
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    if let Some(name) = quoted.filter(|name| !name.contains('\'')) {
        // A dot in it is one between names.
        return JsonPath::read(&format!(".{name}")).map(|path| path.0);
    }
    let number = |text: &str| Some(text).filter(|text| !text.starts_with('+'))?.parse::<i64>().ok();
    let bound = |text: &str| if text.is_empty() { Some(None) } else { number(text).map(Some) };
    Some(vec![match text.split_once(':') {
        Some((from, rest)) => {
            let (to, step) = rest.split_once(':').unwrap_or((rest, ""));
            Step::Slice(bound(from)?, bound(to)?, bound(step)?.unwrap_or(1))
        }
        None if text == "*" => Step::Slice(None, None, 1),
        None => Step::Index(bound(text)?.unwrap_or(0)),
    }])
}

/// The first characters that may be an operator are it.
fn filter_step(text: &str) -> Option<Step> {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let Some(start) = text.find(is_operator).filter(|start| *start > 0) else {
        return Some(Step::Filter(JsonPath::read(text)?, None));
    };
    let (left, rest) = text.split_at(start);
    let right = rest.trim_start_matches(is_operator);
    let operator = &rest[..rest.len() - right.len()];
    let compare = OPERATORS.iter().find(|(known, _)| *known == operator).map_or(Compare::Unknown, |(_, known)| *known);
    let right = Some(right).filter(|right| !right.is_empty())?;
    Some(Step::Filter(JsonPath::read(left)?, Some((compare, JsonPath::read(right)?))))
}

fn at(list: &[Value], index: i64) -> Option<&Value> {
    let length = i64::try_from(list.len()).ok()?;
    list.get(usize::try_from(if index < 0 { index + length } else { index }).ok()?)
}

impl Step {
    fn count(&self) -> usize {
        match self {
            Self::Any(paths) => paths.iter().map(JsonPath::steps).sum(),
            Self::Filter(left, right) => 1 + left.steps() + right.as_ref().map_or(0, |(_, right)| right.steps()),
            _ => 1,
        }
    }
}

/// One search, and how many values it may still look at.
struct Search {
    left: usize,
}

impl Search {
    fn find<'v>(&mut self, path: &'v JsonPath, object: &'v Value) -> Result<Vec<&'v Value>, Unfit> {
        self.walk(path, vec![object])
    }

    fn walk<'v>(&mut self, path: &'v JsonPath, from: Vec<&'v Value>) -> Result<Vec<&'v Value>, Unfit> {
        path.0.iter().try_fold(from, |found, step| self.step(step, &found))
    }

    /// What is found one step further.
    fn step<'v>(&mut self, step: &'v Step, from: &[&'v Value]) -> Result<Vec<&'v Value>, Unfit> {
        let mut found = Vec::new();
        if self.left == 0 {
            return Ok(found);
        }
        match step {
            Step::Any(paths) => {
                for path in paths {
                    self.charge(1);
                    found.extend(self.walk(path, from.to_vec())?);
                }
            }
            Step::Text(text) => {
                self.charge(1);
                found.push(text);
            }
            _ => {
                for value in from {
                    if self.left == 0 || found.len() >= FOUND_MAX {
                        break;
                    }
                    let Some(here) = self.apply(step, value)? else { break };
                    self.charge(1 + here.len());
                    found.extend(here);
                }
            }
        }
        found.truncate(FOUND_MAX);
        Ok(found)
    }

    fn charge(&mut self, values: usize) {
        self.left = self.left.saturating_sub(values);
    }

    /// The same from one value; `None` if those after it are not looked at.
    fn apply<'v>(&mut self, step: &'v Step, value: &'v Value) -> Result<Option<Vec<&'v Value>>, Unfit> {
        Ok(Some(match (step, value) {
            (Step::Field(name), _) => value.get(name).into_iter().collect(),
            (Step::All, _) => children(value),
            (Step::Deep, _) => self.deep(value),
            (Step::Literal(literal), _) => vec![literal],
            // Not here: they are of all values together.
            (Step::Any(_) | Step::Text(_), _) => Vec::new(),
            (Step::Index(_) | Step::Slice(..), Value::Null) => Vec::new(),
            (Step::Index(i), Value::Array(list)) => vec![at(list, *i).ok_or(Unfit)?],
            (Step::Slice(from, to, step), Value::Array(list)) => return slice(list, *from, *to, *step),
            (Step::Filter(path, wanted), Value::Array(list)) => {
                let mut chosen = Vec::new();
                for item in list.iter() {
                    if self.left == 0 {
                        break;
                    }
                    self.charge(1);
                    if self.is_chosen(path, wanted.as_ref(), item)? {
                        chosen.push(item);
                    }
                }
                chosen
            }
            (Step::Index(_) | Step::Slice(..) | Step::Filter(..) | Step::Unknown, _) => return Err(Unfit),
        }))
    }

    fn is_chosen<'v>(
        &mut self,
        path: &'v JsonPath,
        wanted: Option<&'v (Compare, JsonPath)>,
        item: &'v Value,
    ) -> Result<bool, Unfit> {
        let left = self.find(path, item);
        // What does not fit counts as there, as upstream has it.
        let Some((compare, wanted)) = wanted else { return Ok(left.map_or(true, |left| !left.is_empty())) };
        let Some(left) = only(&left?)? else { return Ok(false) };
        only(&self.find(wanted, item)?)?.map_or(Ok(false), |right| compare.holds(left, right))
    }

    /// A value and all below it, each before what is in it, but for what has nothing in it.
    fn deep<'v>(&mut self, value: &'v Value) -> Vec<&'v Value> {
        let (mut all, mut next) = (Vec::new(), vec![value]);
        while let Some(value) = next.pop().filter(|_| self.left > 0) {
            self.charge(1);
            let inner = children(value);
            let is_text = value.as_str().is_some_and(|text| !text.is_empty());
            if all.len() < FOUND_MAX && (is_text || !inner.is_empty()) {
                all.push(value);
                next.extend(inner.into_iter().rev());
            }
        }
        all
    }
}

/// The one value that was found, if any was.
fn only<'v>(found: &[&'v Value]) -> Result<Option<&'v Value>, Unfit> {
    if found.len() > 1 { Err(Unfit) } else { Ok(found.first().copied()) }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn slice(list: &[Value], from: Option<i64>, to: Option<i64>, step: i64) -> Result<Option<Vec<&Value>>, Unfit> {
    let length = i64::try_from(list.len()).map_err(|_| Unfit)?;
    let place = |i: i64| if i < 0 { i.saturating_add(length) } else { i };
    let (from, to) = (from.map_or(0, place), to.map_or(length, place));
    if from == to {
        return Ok(None);
    }
    let index = |i: i64| usize::try_from(i).map_err(|_| Unfit);
    let part = list.get(index(from)?..index(to)?).ok_or(Unfit)?;
    let step = index(step).ok().filter(|step| *step > 0).ok_or(Unfit)?;
    Ok(Some(part.iter().step_by(step).collect()))
}

impl Compare {
    /// Values of different types are not compared, integers and doubles neither; nor is what has no order by its order.
    fn holds(self, left: &Value, right: &Value) -> Result<bool, Unfit> {
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                (None, None) => a.as_f64().partial_cmp(&b.as_f64()).ok_or(Unfit)?,
                _ => return Err(Unfit),
            },
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) if matches!(self, Self::Equal | Self::NotEqual) => a.cmp(b),
            _ => return Err(Unfit),
        };
        match self {
            Self::Equal => Ok(order.is_eq()),
            Self::NotEqual => Ok(order.is_ne()),
            Self::Less => Ok(order.is_lt()),
            Self::LessOrEqual => Ok(order.is_le()),
            Self::Greater => Ok(order.is_gt()),
            Self::GreaterOrEqual => Ok(order.is_ge()),
            Self::Unknown => Err(Unfit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_ends_the_search() {
        let object = json!({"n": 3,
            "lists": [[1, 2], [], ["x", 3], [true]], "nothing": null,
            "pairs": [{"a": "x==y", "b": "", "c": "text"}, {"a": "1", "b": "1", "c": "same"}, {"a": "2", "c": "no b"}]});
        for (path, found) in [
            // What does not fit ends the search, also after something was found.
            (".lists[*][0]", json!(null)),
            (".lists[0:1][0]", json!("1")),
            (".lists[0][?(@>1)]", json!("2")),
            (".lists[0][?(@>1.0)]", json!(null)),
            (".lists[2][?(@>1)]", json!(null)),
            (".lists[2][?(@==true)]", json!(null)),
            (".lists[3][?(@==true)]", json!("true")),
            (".lists[3][?(@>=true)]", json!(null)),
            (".lists[0][?(@=>1)]", json!(null)),
            (".pairs[?(@.a==@.b)].c", json!("same")),
            (".pairs[?(@.a==word)].c", json!(null)),
            (".pairs[?(@.a=='x==y')].c", json!("text")),
            // Texts, numbers and words may be on either side, and anywhere else.
            (".pairs[?('1'==@.a)].c", json!("same")),
            (".lists[0][?(1<@)]", json!("2")),
            (".pairs[?(@.a==no-such.word)].c", json!(null)),
            (r".pairs[?(@.a=='\x31')].c", json!("same")),
            (r#".pairs[?(@.a=="\u0031")].c"#, json!("same")),
            (r".pairs[?(@.c=='\163ame')].c", json!("same")),
            (".n 'text'", json!("text")),
            (".none 'text'", json!("text")),
            (".n 5", json!("5")),
            (".none 5", json!(null)),
            (".lists true", json!("true")),
            (".n word", json!(null)),
            (".pairs[?(@.c[5])].c", json!("text")),
            // The first alternative in all values, then the next.
            (".pairs[*]['none','c']", json!("text")),
            (".n[0]", json!(null)),
            (".n[?(@.x)]", json!(null)),
            (".nothing[0]", json!(null)),
        ] {
            let read = JsonPath::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(read.cell(&object, "string"), found.into(), "{path}");
        }
    }

    #[test]
    fn columns_find_their_values() {
        let object = json!({"spec": {"n": 3, "f": 2.5, "l": ["a", "b", "c"], "o": {"x": 1}, "b": true,
            "html": {"a": "<&>\u{2028}", "f": 1e21}, "big": 9007199254740993_i64, "far": 12345678901234567000_u64, "edge": 9223372036854775808_u64, "null": "null", "zero": "0001-01-01T01:00:00+01:00"},
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
            (".spec.edge", "integer", json!(i64::MIN)),
            (".spec.far", "string", json!("1.2345678901234567e+19")),
            (".spec.f", "string", json!("2.5")),
            (".spec.l[1]", "string", json!("b")),
            (".spec.l[-1]", "string", json!("c")),
            (".spec.l[1:]", "string", json!("b")),
            (".spec.l[2:1]", "string", json!(null)),
            (".spec.l[:9]", "string", json!(null)),
            (".spec.l[::-1]", "string", json!(null)),
            (".spec.l[]", "string", json!("a")),
            (".spec.o[*]", "string", json!(null)),
            (".spec.o.*", "string", json!("1")),
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
    }

    #[test]
    fn a_path_is_read_as_upstream_reads_it() {
        let bad = [
            ".a[",
            ".a[x]",
            ".a]",
            ".a[?(@.b==)]",
            ".a[ 0 ]",
            ".a[0 ]",
            ".a[ 'b' ]",
            ".a[+1]",
            ".a[-]",
            ".a[1.5]",
            "....a",
            ".a,.b",
            "..*",
            ".a[\"b\"]",
            ".a[?(@.a==1 && @.b==2)]",
            ".a[?(!@.b)]",
            ".a[?(@.b[?(@.c)])]",
            ".a[?(@.b)",
            ".a[?(@.b]",
            r".a[?(@=='b\\'c')]",
            r"'\\'",
        ];
        for bad in bad {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
        let object = json!({"a": {"b.c": 1, "b": {"c": 2}, "": 3, "x|y": 4, "(z)": 5, "l": ["p", "q", {"n": "a)b"}]}, "true": 6});
        for (path, found) in [
            (".a['b.c']", json!("2")),
            (".a.b\\.c", json!("1")),
            (".a['b\\.c']", json!("1")),
            (".a.", json!("3")),
            (".a['']", json!("3")),
            (".a.x|y", json!("4")),
            (".a.(z)", json!("5")),
            (".a.l[0]x", json!(null)),
            (".a .b .c", json!("2")),
            ("$.a.@b.c", json!(null)),
            (".a.l[1, 0]", json!("q")),
            (".a.l[2]..n", json!("a)b")),
            (".a.l[2:][?(@.n)]", json!(null)),
            ("...c", json!("2")),
            (".a.l[?(@.n==\"a)b\")].n", json!("a)b")),
            (".a.l[0:2]", json!("p")),
            ("a", json!(null)),
        ] {
            let read = JsonPath::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(read.cell(&object, "string"), found.into(), "{path}");
        }
        for (path, may) in [
            (".metadata.name", false),
            (".spec", false),
            (".metadata", true),
            (".metadata.managedFields[0].manager", true),
            (".metadata['managedFields']", true),
            ("..manager", true),
            (".*", true),
            ("", true),
        ] {
            assert_eq!(JsonPath::parse(path).expect(path).may_find_managers(), may, "{path}");
        }
    }

    #[test]
    fn a_path_takes_no_longer_than_it_may() {
        let filters = |n: usize| format!(".a{}{}", "[?(@.a".repeat(n), ")]".repeat(n));
        assert!(JsonPath::parse(&filters(1)).is_some() && JsonPath::parse(&filters(2)).is_none());
        assert!(JsonPath::parse(&".a[?(@.a)]".repeat(STEPS_MAX / 3)).is_some());
        assert!(JsonPath::parse(&"9".repeat(308)).is_some() && JsonPath::parse(&"9".repeat(309)).is_none());
        let many = [".a[?(@.a)]", "..a", ".a", "[1,2]", "['a.b']"].map(|step| step.repeat(STEPS_MAX + 1));
        for bad in many.into_iter().chain([filters(50_000), ".a".repeat(100_000), "['".repeat(100_000)]) {
            assert_eq!(JsonPath::parse(&bad), None, "{} bytes", bad.len());
        }
        let wide = json!({"a": (0..30_000).map(|i| json!({"a": [i, i]})).collect::<Vec<_>>(), "n": vec![0; 200_000]});
        let paths = [".a[?(@..a)]", ".a[?(@.a[0]!=-1)]", ".n[?(@>1)]", ".n[?(@.x)]", ".n..x"].map(str::to_owned);
        let (any, texts) = (format!(".a[{}*]", "*,".repeat(150)), format!(".n[?({})]", "'a'".repeat(190)));
        for path in paths.into_iter().chain([any, texts]) {
            let mut search = Search { left: VISITED_MAX };
            let path = JsonPath::parse(&path).expect("a path");
            drop(search.find(&path, &wide));
            assert_eq!(search.left, 0, "it ends where it may not go on");
        }
    }
}
