//! Bytes of a fuzzer as a source of choices, texts and JSON. When the bytes are used up, every choice is the first one.

use serde_json::{Map, Number, Value};

/// Levels of JSON that is made up.
const DEPTH_MAX: usize = 6;

/// Texts that mean something to some parser.
const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "name",
    "0",
    "1",
    "-1",
    "100m",
    "1Gi",
    "1e3",
    "25%",
    "true",
    "null",
    "web",
    "kubernetes.io/x",
    "a.b/c",
    "2024-07-16T21:03:45Z",
    "2024-07-16T21:03:45.000001Z",
    "QUJD",
    "f:spec",
    "k:{\"name\":\"a\"}",
    "v:1",
    "i:0",
    ".",
    "$patch",
    "delete",
    "replace",
    "merge",
    "$deleteFromPrimitiveList/x",
    "$setElementOrder/x",
    "$retainKeys",
    "metadata",
    "spec",
    "ünï\"\\\n",
    "a\u{0}b",
    "10.0.0.1",
    "::1",
    "TCP",
    "Always",
    "9223372036854775808",
    "* * * * *",
    "http",
    "x,y=z",
    "~1~0/",
    "999999999999999999999",
    "app=web",
    "$(A)",
    "..",
    "-",
    "{.spec}",
    "system:node:x",
    "self.a == 1",
];

/// Bytes that are taken from the front.
#[derive(Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// All of these bytes.
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next byte; 0 after the last one.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % end
    }

    /// Whether all bytes are used up.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A text that means something, or some of the bytes.
    pub fn text(&mut self) -> String {
        let choice = self.below(TEXTS.len() + 8);
        if let Some(text) = TEXTS.get(choice) {
            return (*text).to_owned();
        }
        let (taken, rest) = self.rest.split_at(self.rest.len().min(choice - TEXTS.len()));
        self.rest = rest;
        String::from_utf8_lossy(taken).into_owned()
    }

    /// A whole number, mostly one at a border.
    pub fn int(&mut self) -> i64 {
        let ints = [0, 1, -1, 2, 80, 127, 65_535, 65_536, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN];
        let choice = self.below(ints.len() + 4);
        ints.get(choice).copied().unwrap_or_else(|| i64::from(self.byte()) - 128)
    }

    /// Any JSON.
    pub fn json(&mut self) -> Value {
        self.json_below(DEPTH_MAX)
    }

    fn json_below(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => Value::Bool(self.byte().is_multiple_of(2)),
            2 => self.int().into(),
            3 => Number::from_f64([0.5, -0.0, 1e300, 1e-9, 1.5e9][self.below(5)]).map_or(Value::Null, Value::Number),
            4 | 5 => self.text().into(),
            6 => (0..self.below(4)).map(|_| self.json_below(depth - 1)).collect(),
            _ => {
                let entries: Map<_, _> =
                    (0..self.below(4)).map(|_| (self.text(), self.json_below(depth - 1))).collect();
                Value::Object(entries)
            }
        }
    }
}

/// The input as that many parts, cut at line ends; those that are not there are empty.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut lines = data.splitn(N, |b| *b == b'\n');
    std::array::from_fn(|_| lines.next().unwrap_or_default())
}

/// The same, where all of it is text.
pub fn texts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(data).ok()?;
    let mut lines = text.splitn(N, '\n');
    Some(std::array::from_fn(|_| lines.next().unwrap_or_default()))
}

/// JSON as it stands if it is some; otherwise made up from the bytes.
pub fn json(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or_else(|_| Source::new(data).json())
}
