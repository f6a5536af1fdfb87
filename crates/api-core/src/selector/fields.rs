//! Field selectors: `metadata.name=a,spec.nodeName!=b`.
//!
//! Grammar, escapes and wording are those of upstream's `fields.ParseSelector`. Which fields a kind offers is not
//! known here.

use super::SelectorError;
use std::fmt;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// The field, such as `metadata.name`.
    pub field: String,
    /// Unescaped; an absent field reads as empty.
    pub value: String,
    /// `!=` instead of `=`.
    pub negated: bool,
}

/// Conditions that must all hold. The empty one selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector {
    /// In the order of their text.
    terms: Vec<Term>,
}

impl Selector {
    /// Reads `field=value`, `field==value` and `field!=value`, separated by commas; `\` escapes `\`, `,` and `=`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let Some((field, value, negated)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let value = unescape(value)?;
            // No field that is nothing: upstream takes it for everything, whichever the operator is.
            if !field.is_empty() || !value.is_empty() {
                terms.push(Term { field: field.to_owned(), value, negated });
            }
        }
        Ok(Self { terms })
    }

    /// Selects objects whose `field` is `value`.
    pub fn exact(field: &str, value: &str) -> Self {
        Self { terms: vec![Term { field: field.into(), value: value.into(), negated: false }] }
    }

    /// Its conditions.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have to match, if the selector says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| !t.negated && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether all conditions hold; `get` gives the value of a field, and nothing reads as empty.
    pub fn matches<'a>(&self, mut get: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|t| (get(&t.field).unwrap_or_default() == t.value) != t.negated)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Field, value as written, whether negated.
fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    let operator = |i: &usize| term[*i..].starts_with('=') || term[*i..].starts_with("!=");
    let at = term.char_indices().map(|(i, _)| i).find(operator)?;
    let rest = &term[at..];
    let (value, negated) = match (rest.strip_prefix("!="), rest.strip_prefix("==")) {
        (Some(value), _) => (value, true),
        (None, Some(value)) => (value, false),
        (None, None) => (&rest[1..], false),
    };
    Some((&term[..at], value, negated))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let bad_escape =
        |sequence: String| SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad_escape(format!("\\{c}"))),
                None => return Err(bad_escape("\\".into())),
            },
            ',' | '=' => {
                // Upstream prints the character's number.
                let number = u32::from(c);
                let message = format!("invalid field selector: unescaped character in value: {number}");
                return Err(SelectorError(message));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// `value` so that it can stand in a selector.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_sorted_and_printed() {
        let cases = [
            ("", ""),
            (",,", ""),
            ("b=2,a=1", "a=1,b=2"),
            ("a==1,b!=2", "a=1,b!=2"),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
            ("a=", "a="),
            ("a!b=c", "a!b=c"),
            ("=", ""),
            ("==,!=,a=1", "a=1"),
            ("=1", "=1"),
        ];
        for (text, printed) in cases {
            assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(printed.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn errors_are_worded_as_upstream_words_them() {
        let cases = [
            ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
            ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            (r"a=\", r"invalid field selector: invalid escape sequence: \"),
        ];
        for (text, message) in cases {
            assert_eq!(Selector::parse(text), Err(SelectorError(message.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn matching() {
        let get = |field: &str| (field == "metadata.name").then_some("web");
        for (text, expected) in
            [("", true), ("metadata.name=web", true), ("metadata.name!=web", false), ("x=", true), ("x=1", false)]
        {
            assert_eq!(Selector::parse(text).unwrap().matches(get), expected, "{text}");
        }
        assert_eq!(Selector::parse("a!=1,metadata.name=web").unwrap().required("metadata.name"), Some("web"));
    }
}
