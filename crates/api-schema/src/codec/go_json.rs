//! Wording of broken JSON as Go's decoder words it, and of its start. Only run once a document is known to be broken.

/// First bytes of a body that an error quotes.
const SUMMARY_BYTES_MAX: usize = 30;

/// The start of a body: JSON as it is, anything else in hexadecimal.
pub fn summary(body: &[u8]) -> String {
    let head = &body[..body.len().min(SUMMARY_BYTES_MAX)];
    let text = match head.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|b| format!("{b:02x}")).collect(),
    };
    if body.len() > SUMMARY_BYTES_MAX { format!("{text} ...") } else { text }
}

/// What is wrong with a document that `error` was found in.
pub fn wording(body: &[u8], error: &serde_json::Error) -> String {
    Scanner { body, at: 0 }.document().err().unwrap_or_else(|| error.to_string())
}

/// What Go's decoder calls a value of this type.
pub fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}

/// Walks a document only to find where Go's scanner would stop.
struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

type Step = Result<(), String>;

impl Scanner<'_> {
    fn document(&mut self) -> Step {
        self.value(0)?;
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.invalid("after top-level value"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn invalid(&self, context: &str) -> Step {
        match self.peek() {
            None => Err("unexpected end of JSON input".into()),
            Some(c) => Err(format!("invalid character {} {context}", quoted(c))),
        }
    }

    fn expect(&mut self, wanted: u8, context: &str) -> Step {
        self.space();
        if self.peek() != Some(wanted) {
            return self.invalid(context);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Step {
        if depth > super::DEPTH_MAX {
            return self.invalid("exceeded max depth");
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.invalid("looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Step {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return self.invalid("looking for beginning of object key string");
            }
            self.string()?;
            self.expect(b':', "after object key")?;
            self.value(depth + 1)?;
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            return self.expect(b'}', "after object key:value pair");
        }
    }

    fn array(&mut self, depth: usize) -> Step {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            return self.expect(b']', "after array element");
        }
    }

    fn string(&mut self) -> Step {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' | b'u') => self.at += 1,
                        _ => return self.invalid("in string escape code"),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return self.invalid("in string literal"),
            }
        }
    }

    fn word(&mut self, word: &str) -> Step {
        for (i, c) in word.bytes().enumerate() {
            if self.peek() != Some(c) {
                let expecting = char::from(word.as_bytes()[i]);
                return self.invalid(&format!("in literal {word} (expecting '{expecting}')"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Step {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.invalid(context);
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Step {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

fn quoted(c: u8) -> String {
    match c {
        b'\'' => "'\\''".into(),
        b'"' => "'\"'".into(),
        b' '..=b'~' | 0xa1.. if c != 0xad => format!("'{}'", char::from(c)),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x7f.. => format!("'\\u00{c:02x}'"),
        _ => format!("'\\x{c:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_documents_are_worded_as_go_words_them() {
        for (body, want) in [
            ("{nope", "invalid character 'n' looking for beginning of object key string"),
            ("", "unexpected end of JSON input"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("[1 2]", "invalid character '2' after array element"),
            ("hello", "invalid character 'h' looking for beginning of value"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(body).unwrap_err();
            assert_eq!(wording(body.as_bytes(), &error), want, "{body}");
        }
    }

    #[test]
    fn a_body_is_quoted_up_to_its_thirtieth_byte() {
        assert_eq!(summary(b"{nope"), "{nope");
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"ab"), "6162");
        assert_eq!(summary(&[b'{'; 31]), format!("{} ...", "{".repeat(30)));
    }
}
