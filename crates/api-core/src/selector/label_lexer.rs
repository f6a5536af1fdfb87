//! Words of a label selector. Knows the alphabet only; the grammar is in [`super::labels`].

/// A kind of word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Bang,
    Open,
    Close,
    Comma,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Identifier,
    Error,
    End,
}

/// A word with its text; the text of [`Token::Error`] says what is wrong.
#[derive(Debug, Clone)]
pub(super) struct Word<'a> {
    pub token: Token,
    pub text: std::borrow::Cow<'a, str>,
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_symbol(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        "!" => Token::Bang,
        "(" => Token::Open,
        ")" => Token::Close,
        "," => Token::Comma,
        "=" => Token::Equals,
        "==" => Token::DoubleEquals,
        "!=" => Token::NotEquals,
        ">" => Token::Greater,
        "<" => Token::Less,
        _ => return None,
    })
}

/// All words of `text`; the last one is always [`Token::End`]. A NUL byte ends the text.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let text = text.split('\0').next().unwrap_or_default();
    let bytes = text.as_bytes();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if is_space(bytes[at]) {
            at += 1;
        } else if is_symbol(bytes[at]) {
            let (word, end) = scan_symbol(text, at);
            words.push(word);
            at = end;
        } else {
            let rest = &bytes[at..];
            let len = rest.iter().position(|b| is_space(*b) || is_symbol(*b)).unwrap_or(rest.len());
            let word = &text[at..at + len];
            let token = match word {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            words.push(Word { token, text: word.into() });
            at += len;
        }
    }
    words.push(Word { token: Token::End, text: "".into() });
    words
}

/// The longest known symbol that starts at `start`, as it grows byte by byte.
fn scan_symbol(text: &str, start: usize) -> (Word<'_>, usize) {
    let bytes = text.as_bytes();
    let mut last: Option<(Token, usize)> = None;
    let mut end = start;
    while end < bytes.len() && is_symbol(bytes[end]) {
        match symbol(&text[start..=end]) {
            Some(token) => last = Some((token, end + 1)),
            None if last.is_some() => break,
            None => {}
        }
        end += 1;
    }
    match last {
        Some((token, end)) => (Word { token, text: text[start..end].into() }, end),
        None => {
            let found = &text[start..end];
            let text = format!("error expected: keyword found '{found}'").into();
            (Word { token: Token::Error, text }, end)
        }
    }
}
