//! Words of an expression.

use crate::ast::Literal;
use crate::issue::Issue;

/// Words that name nothing.
pub(crate) const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", ".", ",", "?", ":", "<", ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]",
    "{", "}", "=",
];

/// A word, and the characters before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word<'a> {
    pub at: usize,
    pub text: &'a str,
    pub token: Token,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Identifier,
    /// Its value; a number too large has none.
    Literal(Option<Literal>),
    Symbol,
    End,
}

/// All words; the last one is [`Token::End`].
pub(crate) fn words(text: &str) -> Result<Vec<Word<'_>>, Issue> {
    let (mut words, mut at, mut chars) = (Vec::new(), 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next().unwrap_or(' ');
        let length = if first.is_ascii_whitespace() || first == '\u{c}' {
            1
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            let (token, length) = word(rest).map_err(|why| Issue { at: chars, why })?;
            words.push(Word { at: chars, text: &rest[..length], token });
            length
        };
        chars += rest[..length].chars().count();
        at += length;
    }
    words.push(Word { at: chars, text: "<EOF>", token: Token::End });
    Ok(words)
}

fn word(rest: &str) -> Result<(Token, usize), String> {
    if let Some(found) = string(rest) {
        return found;
    }
    let bytes = rest.as_bytes();
    let digit_follows = bytes.get(1).is_some_and(u8::is_ascii_digit);
    if bytes[0].is_ascii_digit() || bytes[0] == b'.' && digit_follows {
        return Ok(number(rest));
    }
    if bytes[0].is_ascii_alphabetic() || bytes[0] == b'_' {
        let length = bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        return Ok((Token::Identifier, length));
    }
    match SYMBOLS.iter().find(|s| rest.starts_with(**s) && **s != "=") {
        Some(symbol) => Ok((Token::Symbol, symbol.len())),
        None => {
            let c = rest.chars().next().unwrap_or(' ');
            Err(format!("Syntax error: token recognition error at: '{c}'"))
        }
    }
}

fn number(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let hex = bytes.len() > 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') && bytes[2].is_ascii_hexdigit();
    if hex {
        let length = 2 + bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        return integer(&rest[2..length], 16, length, bytes.get(length));
    }
    let mut length = digits(0);
    let mut float = false;
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        float = true;
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = if length + 1 + sign < bytes.len() { digits(length + 1 + sign) } else { 0 };
        if exponent > 0 {
            float = true;
            length += 1 + sign + exponent;
        }
    }
    if float {
        return (Token::Literal(rest[..length].parse().ok().map(Literal::Double)), length);
    }
    integer(&rest[..length], 10, length, bytes.get(length))
}

fn integer(digits: &str, radix: u32, length: usize, next: Option<&u8>) -> (Token, usize) {
    let value = u64::from_str_radix(digits, radix).ok();
    if matches!(next, Some(b'u' | b'U')) {
        return (Token::Literal(value.map(Literal::Uint)), length + 1);
    }
    // The smallest integer is written as the negative of what is none; the parser sees to that.
    let value = value.filter(|v| *v <= i64::MIN.unsigned_abs());
    #[allow(clippy::cast_possible_wrap)]
    let literal = value.map(|v| Literal::Int(v as i64));
    (Token::Literal(literal), length)
}

fn string(rest: &str) -> Option<Result<(Token, usize), String>> {
    let prefix = rest.bytes().take(2).take_while(|b| matches!(b, b'r' | b'R' | b'b' | b'B')).count();
    let marks = rest[..prefix].to_ascii_lowercase();
    let (raw, bytes) = (marks.contains('r'), marks.contains('b'));
    if marks == "rr" || marks == "bb" {
        return None;
    }
    let body = &rest[prefix..];
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| body.starts_with(q))?;
    let mut at = quote.len();
    while at < body.len() {
        let here = &body[at..];
        if here.starts_with(quote) {
            let inner = &body[quote.len()..at];
            let length = prefix + at + quote.len();
            return Some(unquote(inner, raw, bytes).map(|l| (Token::Literal(Some(l)), length)));
        }
        let c = here.chars().next()?;
        if quote.len() == 1 && (c == '\n' || c == '\r') {
            break;
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += body[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    Some(Err(format!("Syntax error: token recognition error at: '{}'", &rest[..prefix + at])))
}

fn unquote(text: &str, raw: bool, bytes: bool) -> Result<Literal, String> {
    if raw {
        return Ok(if bytes { Literal::Bytes(text.into()) } else { Literal::String(text.into()) });
    }
    let (mut out, mut chars) = (Vec::new(), text.chars());
    let mut push = |c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let mut raw_bytes: Vec<u8> = Vec::new();
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(c);
            continue;
        }
        match escape(&mut chars).ok_or("Syntax error: invalid escape in a string")? {
            (code, true) if bytes && code <= 0xff => {
                #[allow(clippy::cast_possible_truncation)]
                raw_bytes.push(code as u8);
                push('\u{fffc}');
            }
            (code, _) => push(char::from_u32(code).ok_or("Syntax error: invalid code point in a string")?),
        }
    }
    if !bytes {
        return String::from_utf8(out).map(Literal::String).map_err(|_| "Syntax error: invalid UTF-8".into());
    }
    Ok(Literal::Bytes(place(&out, &raw_bytes)))
}

/// Puts bytes given by number in the places that were kept for them.
fn place(out: &[u8], raw: &[u8]) -> Vec<u8> {
    let (mark, mut rest, mut raw) = ("\u{fffc}".as_bytes(), out, raw.iter());
    let mut placed = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with(mark)
            && let Some(byte) = raw.next()
        {
            placed.push(*byte);
            rest = &rest[mark.len()..];
        } else {
            placed.push(rest[0]);
            rest = &rest[1..];
        }
    }
    placed
}

/// The code behind a backslash; whether it was a number of at most two digits or octal, a byte where there are bytes.
fn escape(chars: &mut std::str::Chars<'_>) -> Option<(u32, bool)> {
    Some(match chars.next()? {
        'a' => (7, false),
        'b' => (8, false),
        'f' => (12, false),
        'n' => (10, false),
        'r' => (13, false),
        't' => (9, false),
        'v' => (11, false),
        c @ ('\\' | '\'' | '"' | '`' | '?') => (u32::from(c), false),
        'x' | 'X' => (digits(chars, 2, 16, 0)?, true),
        'u' => (digits(chars, 4, 16, 0)?, false),
        'U' => (digits(chars, 8, 16, 0)?, false),
        c @ '0'..='3' => (digits(chars, 2, 8, c.to_digit(8)?)?, true),
        _ => return None,
    })
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    (0..count).try_fold(first, |code, _| code.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}
