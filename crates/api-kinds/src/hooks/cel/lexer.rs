//! Words of a CEL expression.

/// A word, with the byte where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word<'a> {
    pub at: usize,
    pub token: Token<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Identifier(&'a str),
    /// Number, text, bytes.
    Literal,
    /// An operator or a bracket.
    Symbol(&'a str),
    /// What is no word.
    Unknown,
    End,
}

const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", ".", ",", "?", ":", "<", ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]",
    "{", "}", "=",
];

/// All words; the last one is [`Token::End`].
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (token, len) = word(rest);
            words.push(Word { at, token });
            at += len;
        }
    }
    words.push(Word { at, token: Token::End });
    words
}

fn word(rest: &str) -> (Token<'_>, usize) {
    if let Some(len) = string(rest) {
        return (if len.1 { Token::Literal } else { Token::Unknown }, len.0);
    }
    let span = |good: fn(u8) -> bool| rest.bytes().take_while(|b| good(*b)).count();
    let first = rest.bytes().next().unwrap_or(0);
    if first.is_ascii_digit() || first == b'.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
        return (Token::Literal, number(rest));
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let len = span(|b| b.is_ascii_alphanumeric() || b == b'_');
        return (Token::Identifier(&rest[..len]), len);
    }
    match SYMBOLS.iter().find(|s| rest.starts_with(**s) && **s != "=") {
        Some(symbol) => (Token::Symbol(symbol), symbol.len()),
        None => (Token::Unknown, rest.chars().next().map_or(1, char::len_utf8)),
    }
}

fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    let mut len = if hex { 2 } else { 0 };
    while let Some(b) = bytes.get(len) {
        let exponent_sign = !hex && matches!(b, b'+' | b'-') && matches!(bytes[len - 1], b'e' | b'E');
        // A dot belongs to the number only if a digit follows.
        let dot = !hex && *b == b'.' && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
        let part = if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() || matches!(b, b'e' | b'E') };
        if !(part || dot || len > 0 && exponent_sign) {
            break;
        }
        len += 1;
    }
    len + usize::from(matches!(bytes.get(len), Some(b'u' | b'U')))
}

/// The length of a string, and whether it ends. `None` if no string starts here.
fn string(rest: &str) -> Option<(usize, bool)> {
    let prefix = rest.bytes().take(2).take_while(|b| matches!(b, b'r' | b'R' | b'b' | b'B')).count();
    let raw = rest[..prefix].contains(['r', 'R']);
    let body = &rest[prefix..];
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| body.starts_with(q))?;
    let mut at = quote.len();
    while at < body.len() {
        let here = &body[at..];
        if here.starts_with(quote) {
            return Some((prefix + at + quote.len(), true));
        }
        let c = here.chars().next()?;
        if quote.len() == 1 && c == '\n' {
            break;
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += body[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    Some((rest.len(), false))
}
