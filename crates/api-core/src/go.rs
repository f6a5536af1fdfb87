//! Text and values as Go prints them: so they stand in the messages that clients are used to.

use serde_json::{Map, Value};
use std::fmt::Write as _;

/// JSON as Go writes it: no character could be taken for HTML, or end a line of JavaScript.
///
/// ```
/// assert_eq!(api_core::go::json(r#"{"a":"<&>"}"#.into()), r#"{"a":"\u003c\u0026\u003e"}"#);
/// ```
pub fn json(json: String) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json;
    }
    let escaped = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    escaped.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// The text in double quotes, with what cannot be printed escaped (`%q`).
///
/// ```
/// assert_eq!(api_core::go::quote("a\"\u{0}\n\u{e9}\u{a0}"), r#""a\"\x00\né\u00a0""#);
/// ```
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => Some(c),
            '\u{7}' => Some('a'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{b}' => Some('v'),
            _ => None,
        };
        if let Some(short) = short {
            out.extend(['\\', short]);
            continue;
        }
        let code = u32::from(c);
        // Writing to a string cannot fail.
        match code {
            0x20..=0x7e => out.push(c),
            0..=0x1f | 0x7f => write!(out, "\\x{code:02x}").unwrap_or_default(),
            _ if is_printable(c) => out.push(c),
            0x80..=0xffff => write!(out, "\\u{code:04x}").unwrap_or_default(),
            _ => write!(out, "\\U{code:08x}").unwrap_or_default(),
        }
    }
    out.push('"');
    out
}

/// A value of JSON as `%v` has it: `map[a:1 b:[x y]]`.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => map_text(map),
        Value::Number(n) if n.is_f64() => double(n.as_f64().unwrap_or_default()),
        scalar => scalar.to_string(),
    }
}

/// The same of an object.
pub fn map_text(map: &Map<String, Value>) -> String {
    let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", text(v))).collect();
    format!("map[{}]", entries.join(" "))
}

/// A time as it is in JSON; what there is none of is the first instant that Go knows.
///
/// ```
/// assert_eq!(api_core::go::time("2026-01-02T03:04:05.060000Z"), "2026-01-02 03:04:05.06 +0000 UTC");
/// assert_eq!(api_core::go::time(""), "0001-01-01 00:00:00 +0000 UTC");
/// ```
pub fn time(text: &str) -> String {
    let text = if text.is_empty() { "0001-01-01T00:00:00Z" } else { text };
    let text = text.trim_end_matches('Z').replace('T', " ");
    let shown = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{shown} +0000 UTC")
}

/// The type that a value of JSON is read as (`%T`).
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The same as `%#v` has it.
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(k, v)| format!("{}:{}", quote(k), syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Number(n) if n.is_f64() => double(n.as_f64().unwrap_or_default()),
        scalar => scalar.to_string(),
    }
}

/// A double as Go prints it (`%v`): with an exponent if that is less than -4 or more than 5.
///
/// ```
/// use api_core::go::double;
/// assert_eq!([1e20, 1234567.0, 123456.5, 1.5e-5, 0.0].map(double), ["1e+20", "1.234567e+06", "123456.5", "1.5e-05", "0"]);
/// ```
pub fn double(n: f64) -> String {
    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.parse::<i32>() {
            Ok(small) if small < -4 => format!("{digits}e-{:02}", -small),
            Ok(large) if large >= 6 => format!("{digits}e+{large:02}"),
            _ => n.to_string(),
        },
        None => n.to_string(),
    }
}

/// Whether a character beyond ASCII is printed as it is: all but white space, controls and what is not assigned. After
/// another, so that a mark which combines with it counts.
fn is_printable(c: char) -> bool {
    !c.is_whitespace() && format!("a{c}").escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::quote;
    use serde_json::json;

    #[test]
    fn values_have_types_and_short_forms() {
        for (value, name, short) in [
            (json!(null), "<nil>", "<nil>"),
            (json!(true), "bool", "true"),
            (json!(-1), "int64", "-1"),
            (json!(u64::MAX), "float64", "18446744073709551615"),
            (json!(1.0), "float64", "1"),
            (json!("a"), "string", "a"),
            (json!([1, "x"]), "[]interface {}", "[1 x]"),
            (json!({"b": [null], "a": 1}), "map[string]interface {}", "map[a:1 b:[<nil>]]"),
        ] {
            assert_eq!((super::type_name(&value), super::text(&value).as_str()), (name, short));
        }
    }

    #[test]
    fn values_as_go_prints_them() {
        let value = json!({"a": [1.0, 1.5, 1e30, 1e-7, 3, null], "b": "x\u{0}"});
        let found = super::syntax(&value);
        let list = "[]interface {}{1, 1.5, 1e+30, 1e-07, 3, interface {}(nil)}";
        assert_eq!(found, format!(r#"map[string]interface {{}}{{"a":{list}, "b":"x\x00"}}"#));
    }

    #[test]
    fn as_go_does() {
        for (text, quoted) in [
            ("", r#""""#),
            ("it's \\ \"x\"", r#""it's \\ \"x\"""#),
            ("\u{0}\u{1f}\u{7f}\u{7}\u{b}", r#""\x00\x1f\x7f\a\v""#),
            ("日本 e\u{301} 😀", "\"日本 e\u{301} 😀\""),
            ("\u{85}\u{2028}\u{feff}\u{10ffff}", r#""\u0085\u2028\ufeff\U0010ffff""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
