//! JSON for people: indented, for who asks for it with `pretty`, and for browsers and the like unless they do not want it.

use crate::body::{self, Body};
use crate::query::Query;
use crate::request_info::RequestInfo;
use bytes::Bytes;
use http::request::Parts;
use http::{Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;

/// Programs that people look through.
const AGENTS: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// Whether the answer is to be indented.
pub(crate) fn is_wanted(parts: &Parts, info: &RequestInfo, query: &Query) -> bool {
    let of_discovery = matches!(parts.uri.path().split('/').nth(1), Some("api" | "apis"));
    let streamed = matches!(info.verb.as_str(), "watch" | "proxy") || info.subresource == "proxy";
    if streamed || !(info.is_resource || of_discovery) {
        return false;
    }
    match query.get("pretty") {
        "" => {
            let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
            AGENTS.iter().any(|known| agent.starts_with(known))
        }
        asked => matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

/// The same answer, indented if it is JSON.
pub(crate) async fn indented(response: Response<Body>) -> Response<Body> {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if content_type.split(';').next() != Some("application/json") {
        return response;
    }
    let is_whole = response.body().size_hint().exact().is_some();
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut indenter = Indenter::default();
    let body = body.map_frame(move |frame| frame.map_data(|bytes| indenter.feed(&bytes))).boxed_unsync();
    if !is_whole {
        return Response::from_parts(parts, body);
    }
    match body.collect().await {
        Ok(all) => Response::from_parts(parts, body::full(all.to_bytes())),
        // What is whole is in memory already.
        Err(error) => body::error(http::StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Indents JSON that comes in pieces. Its memory does not grow with what it reads.
#[derive(Debug, Default)]
struct Indenter {
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// A bracket has been opened, and nothing is in it yet.
    is_open: bool,
}

impl Indenter {
    fn feed(&mut self, json: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(json.len() * 2);
        for byte in json {
            self.byte(*byte, &mut out);
        }
        out.into()
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_text {
            out.push(byte);
            (self.in_text, self.escaped) = (self.escaped || byte != b'"', !self.escaped && byte == b'\\');
            return;
        }
        if byte.is_ascii_whitespace() {
            return;
        }
        let closes = matches!(byte, b'}' | b']');
        match (std::mem::take(&mut self.is_open), closes) {
            (true, false) => {
                self.depth += 1;
                self.line(out);
            }
            (false, true) => {
                self.depth = self.depth.saturating_sub(1);
                self.line(out);
            }
            _ => {}
        }
        out.push(byte);
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.is_open = true,
            b',' => self.line(out),
            b':' => out.push(b' '),
            _ => {}
        }
    }

    fn line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 2 * self.depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_as_others_indent_it_whatever_the_pieces() {
        let text = "a\\\"b\n{[,:]} \u{e9}";
        let value = json!({"a": {}, "b": [], text: [text, "", "\\", {"x": [[], [1, [2.5, null]], {}], "y": true}], "c": {"d": {"e": "\""}}});
        let (compact, expected) = (value.to_string(), serde_json::to_string_pretty(&value).expect("text"));
        for size in 1..compact.len() {
            let mut indenter = Indenter::default();
            let pieces: Vec<Bytes> = compact.as_bytes().chunks(size).map(|piece| indenter.feed(piece)).collect();
            assert_eq!(String::from_utf8(pieces.concat()).expect("text"), expected);
        }
        assert_eq!(Indenter::default().feed(expected.as_bytes()), expected, "what is indented stays so");
    }
}
