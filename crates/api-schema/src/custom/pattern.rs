//! Patterns of schemas: regular expressions in RE2's syntax, as Go reads them.
//!
//! The `regex` crate is of the same family, but classes such as `\d` hold more than ASCII there, and brackets inside of
//! brackets have a meaning. A pattern is rewritten to what it means in RE2. Wording of errors is Go's.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take. One that needs more is refused.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Compiles a pattern.
///
/// # Errors
/// If it is no regular expression, in Go's words.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let text = rewrite(pattern);
    let built = RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| wording(pattern, &error.to_string()))
}

/// The pattern as the `regex` crate takes it.
fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    // Inside of a class: how many characters of it have been read.
    let mut class: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (c, class) {
            ('\\', _) => taken += escape(&rest[1..], class.is_some(), &mut out),
            ('[', None) => {
                out.push('[');
                if rest[1..].starts_with('^') {
                    out.push('^');
                    taken += 1;
                }
                if rest[taken..].starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
                class = Some(0);
            }
            ('[', Some(_)) => match rest.find(":]").filter(|_| rest.starts_with("[:")) {
                Some(end) => {
                    out.push_str(&rest[..end + 2]);
                    taken = end + 2;
                }
                None => out.push_str("\\["),
            },
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            ('-', Some(_)) if rest[1..].starts_with('-') => out.push_str("\\-"),
            ('{', None) if !is_repetition(&rest[1..]) => out.push_str("\\{"),
            _ => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

/// What comes after a backslash; gives how many bytes of it were read.
fn escape(rest: &str, in_class: bool, out: &mut String) -> usize {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return 0;
    };
    let ascii = match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => "[\\t\\n\\f\\r ]",
        'S' => "[^\\t\\n\\f\\r ]",
        'b' if !in_class => "(?-u:\\b)",
        'B' if !in_class => "(?-u:\\B)",
        '<' => "<",
        '>' => ">",
        'Q' if !in_class => {
            let end = rest.find("\\E").unwrap_or(rest.len());
            out.push_str(&regex::escape(&rest[1..end]));
            return (end + 2).min(rest.len());
        }
        'p' | 'P' | 'x' if rest[1..].starts_with('{') => {
            let end = rest.find('}').map_or(rest.len(), |end| end + 1);
            out.push('\\');
            out.push_str(&rest[..end]);
            return end;
        }
        _ => {
            out.push('\\');
            out.push(c);
            return c.len_utf8();
        }
    };
    out.push_str(ascii);
    1
}

/// Whether `2}`, `2,}` or `2,5}` follows.
fn is_repetition(rest: &str) -> bool {
    let Some(end) = rest.find('}') else { return false };
    let (least, most) = rest[..end].split_once(',').unwrap_or((&rest[..end], ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

/// The first operator that has nothing to repeat.
fn bare_operator(pattern: &str) -> &str {
    let mut before = None;
    for (at, c) in pattern.char_indices() {
        let bare = match c {
            '*' | '+' => matches!(before, None | Some('(' | '|')),
            '?' => matches!(before, None | Some('|')),
            _ => false,
        };
        if bare {
            return &pattern[at..=at];
        }
        before = Some(c);
    }
    first_chars(pattern, 1)
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

fn wording(pattern: &str, error: &str) -> String {
    let open = pattern.rfind('[').map_or(pattern, |at| &pattern[at..]);
    let (what, text) = if error.contains("unclosed character class") {
        ("missing closing ]", open)
    } else if error.contains("unclosed group") {
        ("missing closing )", pattern)
    } else if error.contains("unopened group") {
        ("unexpected )", pattern)
    } else if error.contains("repetition operator missing") {
        ("missing argument to repetition operator", bare_operator(pattern))
    } else if error.contains("incomplete escape sequence") {
        ("trailing backslash at end of expression", "")
    } else if error.contains("look-around") {
        let at = pattern.find("(?").unwrap_or(0);
        ("invalid or unsupported Perl syntax", first_chars(&pattern[at..], 3))
    } else if error.contains("invalid character class range") {
        ("invalid character class range", open)
    } else {
        ("invalid escape sequence", pattern)
    };
    format!("error parsing regexp: {what}: `{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        for (pattern, good, bad) in [
            (r"^\d+$", "12", "١٢"),
            (r"^[\w.]+$", "a.b", "é"),
            (r"^[^[]+$", "abc", "a[b"),
            (r"^[a&&b]+$", "&a", "c"),
            (r"^{a}$", "{a}", "a"),
            (r"^a{2,3}$", "aa", "a"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^[]a]+$", "]a", "b"),
            (r"^\p{Lu}{2}$", "AB", "ab"),
            (r"^[[:alpha:]-]+$", "a-b", "1"),
            (r"^(?i)abc$", "ABC", "abd"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert!(regex.is_match(good) && !regex.is_match(bad), "{pattern}");
        }
        assert_eq!(compile("[a").unwrap_err(), "error parsing regexp: missing closing ]: `[a`");
        assert_eq!(compile("(a").unwrap_err(), "error parsing regexp: missing closing ): `(a`");
        for pattern in ["+", "\u{61b}(+|a)", "a|+"] {
            let expected = "error parsing regexp: missing argument to repetition operator: `+`";
            assert_eq!(compile(pattern).unwrap_err(), expected, "{pattern}");
        }
        assert!(compile("(?\u{61b})").is_err());
        assert!(compile(r"(?=a)").unwrap_err().contains("invalid or unsupported Perl syntax: `(?=`"));
    }
}
