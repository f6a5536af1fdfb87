//! What of a request's URL an extension server is asked: the path and the query in the one form that upstream's aggregator
//! writes them in, whatever form the client chose. Pure.

use crate::query;

/// Bytes of a path that stand for themselves.
const IN_PATHS: &[u8] = b"-_.~$&+,/:;=@";
/// Those of names and values in a query.
const IN_QUERIES: &[u8] = b"-_.~";

/// A path: what is escaped without need is not, and what needs it is.
pub(super) fn path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    escape(&query::unescaped(path, false), IN_PATHS, &mut out);
    out
}

/// A query: parameters by name, each with its values in their order; what cannot be read is left out.
pub(super) fn query(query: &str) -> String {
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let well = |text: &str| query::is_well_escaped(text).then(|| query::unescaped(text, true));
        Some((well(name)?, well(value)?))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = pairs.filter_map(read).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = String::with_capacity(query.len());
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        escape(&name, IN_QUERIES, &mut out);
        out.push('=');
        escape(&value, IN_QUERIES, &mut out);
    }
    // Only here a space is written so; what else is a plus was escaped.
    out.replace("%20", "+")
}

/// The path that the server is told it is reached by: without empty segments and those that are dots.
pub(super) fn seen(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn escape(bytes: &[u8], plain: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || plain.contains(byte) {
            out.push(char::from(*byte));
        } else {
            let digits = [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend(digits.map(char::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_in_one_form() {
        let table = [
            ("/apis/g/v1/a%20b", "/apis/g/v1/a%20b"),
            ("/a%2Fb/%41", "/a/b/A"),
            ("/a'b!c*(d)", "/a%27b%21c%2A%28d%29"),
            ("/a:b@c;d,e=f$g&h+i", "/a:b@c;d,e=f$g&h+i"),
            ("/%c3%a9/%25/%3F", "/%C3%A9/%25/%3F"),
            ("/%zz", "/%25zz"),
        ];
        for (given, want) in table {
            assert_eq!(path(given), want, "{given}");
        }
    }

    #[test]
    fn queries_are_written_in_one_form() {
        let table = [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=1&b=2&a=0", "a=1&a=0&b=2"),
            ("a", "a="),
            ("x=%20y&z=a+b", "x=+y&z=a+b"),
            ("x=a%2Bb", "x=a%2Bb"),
            ("x=a;b&y=%zz&&w=1", "w=1"),
            ("%41=~&*=(", "%2A=%28&A=~"),
            ("x=%2520", "x=%2520"),
        ];
        for (given, want) in table {
            assert_eq!(query(given), want, "{given}");
        }
    }

    #[test]
    fn the_path_that_is_told_has_no_detours() {
        let table = [("/a//b/", "/a/b/"), ("/a/../b/./c", "/b/c"), ("/a/b/..", "/a"), ("/../x", "/x"), ("/", "/")];
        for (given, want) in table {
            assert_eq!(seen(given), want, "{given}");
        }
    }
}
