//! Where a value ends in JSON that is known to be well formed, such as an object's stored bytes: sixty-four bytes are looked at
//! in one step, and nothing is made.
//!
//! Of malformed JSON it finds some end or none, and checks nothing else.

/// Bytes that are looked at in one step; as many as a mask has bits.
const BLOCK: usize = 64;

/// Which bytes of a block are what; the first byte is the lowest bit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// `{` and `[`.
    opens: u64,
    /// `}` and `]`.
    closes: u64,
}

/// Offset after the value that begins at `at`; `None` if it does not end.
pub fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'{' | b'[' => container_end(json, at),
        b'"' => string_end(json, at),
        _ => {
            let ends = |b: &u8| matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            let length = json[at..].iter().position(ends).unwrap_or(json.len() - at);
            (length > 0).then_some(at + length)
        }
    }
}

/// Offset after the string whose opening quote is at `at`.
pub(crate) fn string_end(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += json.get(at..)?.iter().position(|b| matches!(b, b'"' | b'\\'))?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn container_end(json: &[u8], at: usize) -> Option<usize> {
    let mut walk = Walk { depth: 0, escapes: false, in_string: 0 };
    let (blocks, rest) = json[at..].as_chunks::<BLOCK>();
    for (i, block) in blocks.iter().enumerate() {
        if let Some(end) = walk.step(masks(block)) {
            return Some(at + i * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    walk.step(masks(&last)).map(|end| at + blocks.len() * BLOCK + end)
}

/// What is known at the start of a block.
struct Walk {
    /// Containers that are open.
    depth: u32,
    /// Whether the last byte escapes the next.
    escapes: bool,
    /// All bits, if it begins inside a string; else none.
    in_string: u64,
}

impl Walk {
    /// Goes through a block; gives the offset after the byte that closes the outermost container.
    fn step(&mut self, masks: Masks) -> Option<usize> {
        let quotes = masks.quotes & !self.escaped(masks.backslashes);
        // From each opening quote to before the closing one.
        let mut inside = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= self.in_string;
        self.in_string = if inside >> (BLOCK - 1) == 1 { u64::MAX } else { 0 };
        let (opens, closes) = (masks.opens & !inside, masks.closes & !inside);
        if self.depth > closes.count_ones() {
            self.depth = self.depth + opens.count_ones() - closes.count_ones();
            return None;
        }
        let mut rest = opens | closes;
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            if opens >> at & 1 == 1 {
                self.depth += 1;
                continue;
            }
            self.depth = self.depth.saturating_sub(1);
            if self.depth == 0 {
                return Some(at as usize + 1);
            }
        }
        None
    }

    /// Bytes that a backslash stands before which is not itself escaped.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = u64::from(self.escapes);
        self.escapes = false;
        let mut rest = backslashes & !escaped;
        while rest != 0 {
            let at = rest.trailing_zeros();
            match 2u64.checked_shl(at).filter(|next| *next != 0) {
                Some(next) => {
                    escaped |= next;
                    rest &= !(next | next >> 1);
                }
                None => {
                    self.escapes = true;
                    rest = 0;
                }
            }
        }
        escaped
    }
}

fn masks(block: &[u8; BLOCK]) -> Masks {
    Masks {
        quotes: bits(block, |byte| byte == b'"'),
        backslashes: if has_backslash(block) { bits(block, |byte| byte == b'\\') } else { 0 },
        // One bit tells brackets from braces.
        opens: bits(block, |byte| byte | 0x20 == b'{'),
        closes: bits(block, |byte| byte | 0x20 == b'}'),
    }
}

fn has_backslash(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |found, byte| found | (*byte == b'\\'))
}

/// A bit for each byte that is wanted. Written so that many bytes are compared by one instruction.
fn bits(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    /// Brings the lowest bit of each byte into the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut ones = [0u8; BLOCK];
    for (one, byte) in ones.iter_mut().zip(block) {
        *one = u8::from(is(*byte));
    }
    let (words, _) = ones.as_chunks::<8>();
    let gathered = words.iter().map(|word| u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56);
    gathered.rev().fold(0, |bits, byte| bits << 8 | byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_ends_where_it_ends() {
        let long = format!("{{\"{}\\\\\":[\"]}}\\\"\"]}},", "x".repeat(200));
        for (json, at, end) in [
            ("{}", 0, Some(2)),
            (" [1,[2]] ", 1, Some(8)),
            ("\"a\\\"b\",", 0, Some(6)),
            ("-1.5e3}", 0, Some(6)),
            ("true", 0, Some(4)),
            ("{\"a\":\"}\"}", 0, Some(9)),
            ("{\"a\":[}", 0, None),
            ("\"a\\", 0, None),
            ("", 0, None),
            (",", 0, None),
            (long.as_str(), 0, Some(long.len() - 1)),
        ] {
            assert_eq!(value_end(json.as_bytes(), at), end, "{json}");
        }
    }

    fn plain_masks(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks::default();
        for (i, byte) in block.iter().enumerate() {
            let bit = 1 << i;
            match byte {
                b'"' => masks.quotes |= bit,
                b'\\' => masks.backslashes |= bit,
                b'{' | b'[' => masks.opens |= bit,
                b'}' | b']' => masks.closes |= bit,
                _ => {}
            }
        }
        masks
    }

    proptest! {
        #[test]
        fn bytes_are_told_apart(block in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\"\\"[..])], BLOCK)) {
            let block = block.try_into().expect("a block");
            prop_assert_eq!(masks(&block), plain_masks(&block));
        }

        #[test]
        fn text_in_a_container_ends_nothing(texts in prop::collection::vec("[\\\\\"\\[\\]{} a]{0,40}", 1..12), deep in 0usize..70) {
            let json = format!("{}{}{}", "[".repeat(deep), serde_json::json!(texts), "]".repeat(deep));
            prop_assert_eq!(value_end(format!("{json}, []").as_bytes(), 0), Some(json.len()));
        }
    }
}
