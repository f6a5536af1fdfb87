//! Regular expressions in RE2's syntax, as Go reads them.
//!
//! The `regex` crate is of the same family, but classes such as `\d` hold more than ASCII there, brackets inside of brackets
//! have a meaning, and other things are refused. An expression is read by Go's rules, which say in Go's words what is wrong
//! with it, and is written on the way as the `regex` crate takes it.

mod classes;

use regex::{Error, Regex, RegexBuilder};

/// Highest number in `{2,5}`, and what the numbers of repetitions in each other may make.
const REPEAT_MAX: u32 = 1000;
/// Names that may stand in `[[:alpha:]]`, or after a `^` there.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiles an expression. One that takes more than `bytes_max` is refused.
///
/// ```
/// use api_core::re2::compile;
/// assert!(compile("^[^]]+$", 1 << 20).is_ok_and(|regex| regex.is_match("a[b")));
/// assert_eq!(compile("a**", 1 << 20).map(drop), Err("error parsing regexp: invalid nested repetition operator: `**`".into()));
/// ```
///
/// # Errors
/// With what is wrong, in Go's words.
pub fn compile(pattern: &str, bytes_max: usize) -> Result<Regex, String> {
    let told = |fault: Fault<'_>| format!("error parsing regexp: {}: `{}`", fault.what, fault.text);
    let text = translate(pattern).map_err(told)?;
    RegexBuilder::new(&text).size_limit(bytes_max).build().map_err(|error| match error {
        Error::CompiledTooBig(_) => told(Fault { what: "expression too large", text: pattern }),
        // It is well-formed: all that is left is how deep it is.
        _ => told(Fault { what: "expression nests too deeply", text: pattern }),
    })
}

/// What is wrong with an expression, and the part of it where it is so.
struct Fault<'p> {
    what: &'static str,
    text: &'p str,
}

/// The expression as the `regex` crate takes it.
fn translate(whole: &str) -> Result<String, Fault<'_>> {
    let mut reader = Reader {
        whole,
        rest: whole,
        out: String::with_capacity(whole.len() + 16),
        groups: vec![1],
        operand: None,
        repetition: None,
        last_named_end: whole.rfind(":]"),
    };
    while let Some(c) = reader.rest.chars().next() {
        let start = reader.rest;
        reader.repetition = reader.step(c)?.then_some(start);
    }
    if reader.groups.len() > 1 {
        return Err(Fault { what: "missing closing )", text: whole });
    }
    Ok(reader.out)
}

struct Reader<'p> {
    whole: &'p str,
    /// What has not been read.
    rest: &'p str,
    out: String,
    /// How often something is repeated at most in each group that is open, of which the expression itself is the first.
    groups: Vec<u32>,
    /// The same in what stands before, if that is something that an operator can repeat.
    operand: Option<u32>,
    /// The expression from the repetition on that was read last, if nothing came after it.
    repetition: Option<&'p str>,
    /// Where the last `:]` is: who looked for one past it again and again would look for long.
    last_named_end: Option<usize>,
}

impl<'p> Reader<'p> {
    /// Reads one thing; gives whether it is a repetition.
    fn step(&mut self, c: char) -> Result<bool, Fault<'p>> {
        match c {
            '(' => self.open()?,
            ')' => self.close()?,
            '[' => self.class()?,
            '\\' => self.backslash()?,
            '*' | '+' | '?' => return self.repeat(1, 1).map(|()| true),
            '{' => match self.count()? {
                Some((length, times)) => return self.repeat(length, times).map(|()| true),
                None => self.literal_at_start(c),
            },
            '|' => {
                self.out.push(c);
                self.skip(1);
                self.operand = None;
            }
            '^' | '$' | '.' => {
                self.out.push(c);
                self.skip(1);
                self.put_operand(1);
            }
            c => self.literal_at_start(c),
        }
        Ok(false)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn next_character(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    /// What was read since then.
    fn since(&self, start: &'p str) -> &'p str {
        &start[..start.len() - self.rest.len()]
    }

    fn literal_at_start(&mut self, c: char) {
        self.skip(c.len_utf8());
        self.literal(c);
    }

    fn literal(&mut self, c: char) {
        self.write(c);
        self.put_operand(1);
    }

    /// Notes that there is something to repeat, in which something is repeated so often.
    fn put_operand(&mut self, repeats: u32) {
        self.operand = Some(repeats);
        if let Some(most) = self.groups.last_mut() {
            *most = repeats.max(*most);
        }
    }

    /// Writes a character that stands for itself, inside of a class or not.
    fn write(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// Reads a repetition, the first part of which is so long.
    fn repeat(&mut self, bytes: usize, times: u32) -> Result<(), Fault<'p>> {
        let start = self.rest;
        self.skip(bytes);
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        let text = self.since(start);
        if let Some(before) = self.repetition {
            return Err(Fault { what: "invalid nested repetition operator", text: self.since(before) });
        }
        let Some(repeats) = self.operand else {
            return Err(Fault { what: "missing argument to repetition operator", text });
        };
        if times > 1 && repeats * times > REPEAT_MAX {
            return Err(Fault { what: "invalid repeat count", text });
        }
        self.out.push_str(text);
        self.put_operand(repeats * times.max(1));
        Ok(())
    }

    /// The length of `{2}`, `{2,}` or `{2,5}`, and how often that is at most; a brace that begins none of these stands for
    /// itself.
    fn count(&self) -> Result<Option<(usize, u32)>, Fault<'p>> {
        let inner = &self.rest[1..];
        let end = inner.bytes().position(|b| !b.is_ascii_digit() && b != b',').unwrap_or(inner.len());
        if !inner[end..].starts_with('}') {
            return Ok(None);
        }
        let (text, inner) = (&self.rest[..end + 2], &inner[..end]);
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let is_number = |text: &str| {
            let has_zero = text.len() > 1 && text.starts_with('0');
            !text.is_empty() && !has_zero && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !is_number(least) || !most.is_empty() && !is_number(most) {
            return Ok(None);
        }
        let size = |text: &str| text.parse::<u32>().ok().filter(|size| *size <= REPEAT_MAX);
        let times = match (size(least), size(most)) {
            (Some(least), None) if most.is_empty() => Some(least),
            (Some(least), Some(most)) if least <= most => Some(most),
            _ => None,
        };
        times.map(|times| Some((text.len(), times))).ok_or(Fault { what: "invalid repeat count", text })
    }

    /// Reads the beginning of a group, or flags.
    fn open(&mut self) -> Result<(), Fault<'p>> {
        let start = self.rest;
        let prefixes = ["(?P<", "(?<"];
        let name = prefixes.iter().find_map(|prefix| start.strip_prefix(prefix)).filter(|name| !name.is_empty());
        if let Some(name) = name {
            let Some((name, rest)) = name.split_once('>') else {
                return Err(Fault { what: "invalid named capture", text: start });
            };
            self.rest = rest;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(Fault { what: "invalid named capture", text: self.since(start) });
            }
        } else if start.starts_with("(?") {
            return self.flags();
        } else {
            self.skip(1);
        }
        // Nobody asks for a group by its name, which need not be the only one there.
        self.begin_group("(");
        Ok(())
    }

    fn begin_group(&mut self, text: &str) {
        self.out.push_str(text);
        self.groups.push(1);
        self.operand = None;
    }

    /// Reads `(?i-s)`, or `(?i-s:`, which begins a group.
    fn flags(&mut self) -> Result<(), Fault<'p>> {
        let start = self.rest;
        self.skip(2);
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negated, mut any) = (false, false);
        while let Some(c) = self.next_character() {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    any = true;
                    on.retain(|flag| flag != c);
                    off.retain(|flag| flag != c);
                    let flags = if negated { &mut off } else { &mut on };
                    flags.push(c);
                }
                '-' if !negated => (negated, any) = (true, false),
                ':' | ')' if any || !negated => {
                    let off = if off.is_empty() { off } else { format!("-{off}") };
                    match c {
                        ':' => self.begin_group(&format!("(?{on}{off}:")),
                        _ if on.is_empty() && off.is_empty() => {}
                        _ => self.out.push_str(&format!("(?{on}{off})")),
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(Fault { what: "invalid or unsupported Perl syntax", text: self.since(start) })
    }

    fn close(&mut self) -> Result<(), Fault<'p>> {
        let (Some(repeats), false) = (self.groups.pop(), self.groups.is_empty()) else {
            return Err(Fault { what: "unexpected )", text: self.whole });
        };
        self.out.push(')');
        self.skip(1);
        self.put_operand(repeats);
        Ok(())
    }

    /// Reads a class in brackets. A bracket that closes is a character of the class if it is the first.
    fn class(&mut self) -> Result<(), Fault<'p>> {
        let start = self.rest;
        self.out.push('[');
        self.skip(1);
        if self.rest.starts_with('^') {
            self.out.push('^');
            self.skip(1);
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.named_class()? || self.unicode_class()? || self.perl_class() {
                continue;
            }
            let range = self.rest;
            let least = self.class_character(start)?;
            let is_range = self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]");
            self.write(least);
            if is_range {
                self.skip(1);
                let most = self.class_character(start)?;
                if most < least {
                    return Err(Fault { what: "invalid character class range", text: self.since(range) });
                }
                self.out.push('-');
                self.write(most);
            }
        }
        self.skip(1);
        self.out.push(']');
        self.put_operand(1);
        Ok(())
    }

    fn class_character(&mut self, class: &'p str) -> Result<char, Fault<'p>> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.next_character().ok_or(Fault { what: "missing closing ]", text: class })
    }

    /// Reads `[:alpha:]` inside of a class, if it is there.
    fn named_class(&mut self) -> Result<bool, Fault<'p>> {
        let at = self.whole.len() - self.rest.len();
        let Some(name) = self.rest.strip_prefix("[:").filter(|_| self.last_named_end > Some(at + 1)) else {
            return Ok(false);
        };
        let Some(end) = name.find(":]") else { return Ok(false) };
        let text = &self.rest[..end + 4];
        let name = &name[..end];
        if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(Fault { what: "invalid character class range", text });
        }
        self.out.push_str(text);
        self.skip(text.len());
        Ok(true)
    }

    /// Reads `\pL`, `\p{Lu}` or one that is negated, if it is there.
    fn unicode_class(&mut self) -> Result<bool, Fault<'p>> {
        let start = self.rest;
        let Some(after) = ["\\p", "\\P"].iter().find_map(|prefix| start.strip_prefix(prefix)) else { return Ok(false) };
        let fault = |text| Fault { what: "invalid character class range", text };
        let name = match after.strip_prefix('{') {
            Some(name) => {
                let (name, rest) = name.split_once('}').ok_or(fault(start))?;
                self.rest = rest;
                name
            }
            None => {
                self.skip(2);
                self.next_character();
                &self.since(start)[2..]
            }
        };
        let text = self.since(start);
        let bare = name.strip_prefix('^').unwrap_or(name);
        let negated = start.starts_with("\\P") != (bare.len() < name.len());
        let class = classes::unicode(bare, negated).ok_or_else(|| fault(text))?;
        self.out.push_str(&class);
        self.put_operand(1);
        Ok(true)
    }

    /// Reads `\d` and the like, if it is there. They are of ASCII.
    fn perl_class(&mut self) -> bool {
        let class = match self.rest.get(..2) {
            Some("\\d") => "[0-9]",
            Some("\\D") => "[^0-9]",
            Some("\\w") => "[0-9A-Za-z_]",
            Some("\\W") => "[^0-9A-Za-z_]",
            Some("\\s") => "[\\t\\n\\f\\r ]",
            Some("\\S") => "[^\\t\\n\\f\\r ]",
            _ => return false,
        };
        self.out.push_str(class);
        self.skip(2);
        self.put_operand(1);
        true
    }

    /// Reads what begins with a backslash outside of a class.
    fn backslash(&mut self) -> Result<(), Fault<'p>> {
        let assertion = match self.rest.get(..2) {
            Some("\\A") => "\\A",
            Some("\\z") => "\\z",
            Some("\\b") => "(?-u:\\b)",
            Some("\\B") => "(?-u:\\B)",
            Some(text @ "\\C") => return Err(Fault { what: "invalid escape sequence", text }),
            Some("\\Q") => {
                let (quoted, rest) = self.rest[2..].split_once("\\E").unwrap_or((&self.rest[2..], ""));
                quoted.chars().for_each(|c| self.literal(c));
                self.rest = rest;
                return Ok(());
            }
            _ => {
                if !self.unicode_class()? && !self.perl_class() {
                    let c = self.escape()?;
                    self.literal(c);
                }
                return Ok(());
            }
        };
        self.out.push_str(assertion);
        self.skip(2);
        self.put_operand(1);
        Ok(())
    }

    /// Reads an escape that stands for one character.
    fn escape(&mut self) -> Result<char, Fault<'p>> {
        let start = self.rest;
        self.skip(1);
        let c = self.next_character().ok_or(Fault { what: "trailing backslash at end of expression", text: "" })?;
        let is_octal = self.rest.starts_with(|c: char| c.is_digit(8));
        let code = match c {
            'a' => Some(0x07),
            't' => Some(0x09),
            'n' => Some(0x0a),
            'v' => Some(0x0b),
            'f' => Some(0x0c),
            'r' => Some(0x0d),
            '0' => Some(self.octal(0)),
            '1'..='7' if is_octal => Some(self.octal(u32::from(c) - u32::from('0'))),
            'x' => self.hexadecimal(),
            c => (c.is_ascii() && !c.is_ascii_alphanumeric()).then_some(u32::from(c)),
        };
        // Half of a surrogate pair is no character: nothing that is matched has one.
        let character = code.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        character.ok_or_else(|| Fault { what: "invalid escape sequence", text: self.since(start) })
    }

    /// Up to two more digits of an octal number.
    fn octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.skip(1);
        }
        code
    }

    /// The number of `x41` or `x{41}` after the `x`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.next_character()?;
        if first != '{' {
            let second = self.next_character()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut code = None;
        loop {
            match self.next_character()? {
                '}' => return code,
                c => code = Some(code.unwrap_or(0) * 16 + c.to_digit(16)?).filter(|code| *code <= u32::from(char::MAX)),
            }
            code?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn expressions_mean_what_they_mean_in_re2() {
        for (pattern, good, bad) in [
            (r"^\d+$", "12", "١٢"),
            (r"^[\w.]+$", "a.b", "é"),
            (r"^[^\D]$", "1", "a"),
            (r"^\W\S\D$", "-aa", "a a"),
            (r"^[^[]+$", "abc", "a[b"),
            (r"^[^]]+$", "a[b", "a]b"),
            (r"^[]a]+$", "]a", "b"),
            (r"^[a&&b~~]+$", "&ab~", "c"),
            (r"^[+--]+$", "+,-", "a"),
            (r"^[a-]+$", "a-", "b"),
            (r"^[[:alpha:]-]+$", "a-b", "1"),
            (r"^[[:^alpha:]]+$", "1-", "a"),
            (r"^[[:a]+$", "[:a", "b"),
            (r"^{a}$", "{a}", "a"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{02}$", "a{02}", "aa"),
            (r"^a{2,3}$", "aa", "a"),
            (r"^a{2,}?$", "aaa", "a"),
            (r"^\Qa.b*\E$", "a.b*", "axb"),
            (r"^\Qa.\", "a.\\", "axx"),
            (r"^\p{Lu}{2}$", "AB", "ab"),
            (r"^\pL\p{^Lu}\PL$", "Aa1", "AB1"),
            (r"^[\p{Greek}\PC]\p{Any}$", "αa", "\u{1}a"),
            (r"^\P{C}$", "\u{378}", "\u{1}"),
            (r"^[\PC]\P{Cs}[\p{Cs}a]$", "\u{378}aa", "\u{1}ab"),
            (r"^(?i)abc$", "ABC", "abd"),
            (r"^(?i-i:a)(?)b$", "ab", "Ab"),
            (r"^(?P<n>a)(?<n>b)$", "ab", "a"),
            (r"^\x41\x{1F600}\101\0\.\_\-$", "A\u{1f600}A\0._-", "AA"),
            (r"\bé", "aé", "éé"),
            (r"^<\<>\>$", "<<>>", "<"),
            (r"^()*(a|)+$", "aa", "b"),
            (r"\A^*a\z", "a", "ba"),
        ] {
            let regex = compile(pattern, BYTES_MAX).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(regex.is_match(good) && !regex.is_match(bad), "{pattern}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (pattern, expected) in [
            ("*", "missing argument to repetition operator: `*`"),
            ("+?a", "missing argument to repetition operator: `+?`"),
            ("\u{61b}(+|a)", "missing argument to repetition operator: `+`"),
            ("a|{2}", "missing argument to repetition operator: `{2}`"),
            (r"(?i)?", "missing argument to repetition operator: `?`"),
            (r"\Q\E*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a*+b", "invalid nested repetition operator: `*+`"),
            ("a{2}??{3}", "invalid nested repetition operator: `{2}??`"),
            ("(abc", "missing closing ): `(abc`"),
            ("[(](", "missing closing ): `[(](`"),
            ("abc)", "unexpected ): `abc)`"),
            ("x[a-z", "missing closing ]: `[a-z`"),
            ("[]", "missing closing ]: `[]`"),
            ("[^]", "missing closing ]: `[^]`"),
            ("[[:alpha:]", "missing closing ]: `[[:alpha:]`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            (r"[\d\x62-\x61]", r"invalid character class range: `\x62-\x61`"),
            ("[[:word:][:x y:]]", "invalid character class range: `[:x y:]`"),
            (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
            (r"\p{greek}", r"invalid character class range: `\p{greek}`"),
            (r"[\P{lu}]", r"invalid character class range: `\P{lu}`"),
            (r"\p{Lu", r"invalid character class range: `\p{Lu`"),
            (r"\p", r"invalid character class range: `\p`"),
            (r"\p{gc=Lu}", r"invalid character class range: `\p{gc=Lu}`"),
            (r"abc\", "trailing backslash at end of expression: ``"),
            (r"[a\", "trailing backslash at end of expression: ``"),
            (r"\x", r"invalid escape sequence: `\x`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
            (r"\x{}", r"invalid escape sequence: `\x{}`"),
            (r"a\8b", r"invalid escape sequence: `\8`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            (r"\é", r"invalid escape sequence: `\é`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            (r"a\C", r"invalid escape sequence: `\C`"),
            (r"\u0041", r"invalid escape sequence: `\u`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?\u{61b})", "invalid or unsupported Perl syntax: `(?\u{61b}`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?ii-s-i)", "invalid or unsupported Perl syntax: `(?ii-s-`"),
            ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?", "invalid or unsupported Perl syntax: `(?`"),
            ("(?<!a)b", "invalid named capture: `(?<!a)b`"),
            ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
            ("(?P<>c)", "invalid named capture: `(?P<>`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a{99999999999,}", "invalid repeat count: `{99999999999,}`"),
            ("(a{40}b{2}){26}", "invalid repeat count: `{26}`"),
            (r"(\pL{1000})", r"expression too large: `(\pL{1000})`"),
        ] {
            let error = compile(pattern, BYTES_MAX).expect_err(pattern);
            assert_eq!(error.strip_prefix("error parsing regexp: "), Some(expected), "{pattern}");
        }
    }

    #[test]
    fn long_expressions_are_read_in_one_go() {
        for part in ["[:", "{", "(?i)", "\\p{Greek}", "(?:a)", "[^]]", "\\Q\\E"] {
            let pattern = format!("[{}", part.repeat(200_000));
            assert!(translate(&pattern).is_err() || part.contains(']'), "{part}");
            drop(translate(&pattern[1..]));
        }
    }
}
