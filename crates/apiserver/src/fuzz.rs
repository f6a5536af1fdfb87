//! What must hold of what the server reads from strangers and keeps to itself: URLs, headers, tokens, certificates, answers
//! of webhooks. For the crate `fuzzing` alone; nothing else may name this module.

use crate::authn::{self, UserInfo, request_header};
use crate::negotiate::{Form, Media, Offer, content_type, takes_gzip};
use crate::proxy;
use crate::query::{Query, decode, decode_segment};
use crate::registry::call::body_media;
use crate::registry::options::{DeleteOptions, ListOptions, WriteOptions, parse_revision};
use crate::registry::{decode_token, encode_token};
use crate::request_info::RequestInfo;
use crate::tokens::claims::Claims;
use crate::{admission, registry, webhook};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A percent-encoded text, read the slow way.
fn decoded(text: &str, plus_is_space: bool) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digit = |i: usize| after.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            (b'+', ..) if plus_is_space => {
                out.push(b' ');
                rest = after;
            }
            (byte, ..) => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A method and a URL on one line: what is read of them agrees, and options are read or refused.
pub fn request_url(data: &[u8]) {
    let Some(line) = text(data) else { return };
    let (method, url) = line.split_once(' ').unwrap_or(("GET", line));
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    for part in [path, query] {
        assert_eq!(decode(part), decoded(part, true), "{part:?}");
        assert_eq!(decode_segment(part), decoded(part, false), "{part:?}");
    }
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let query = Query::parse(Some(query));
    let info = RequestInfo::new(&method, path, &query);
    assert_eq!(info.is_resource, !info.api_prefix.is_empty(), "{line:?}");
    assert!(!info.is_resource || info.parts.first() == Some(&info.resource), "{line:?}");
    assert!(!info.name_in_path || info.parts.get(1) == Some(&info.name), "{line:?}");
    info.is_long_running(&query);
    assert!(info.resource_path().starts_with(&info.resource));
    for watch in [false, true] {
        if let Ok(options) = ListOptions::read(&query, watch) {
            assert!(!matches!(options.revision(), Ok(Some(r)) if r < 0), "{line:?}");
        }
    }
    for (kind, apply) in [("CreateOptions", false), ("PatchOptions", true), ("PatchOptions", false)] {
        let options = WriteOptions::read(&query, kind, apply);
        assert!(options.is_err() || !apply || !query.get("fieldManager").is_empty(), "{line:?}");
    }
    let options = DeleteOptions::read(&query, None).map(|o| o.to_value());
    drop(options.map(|v| DeleteOptions::read(&query, Some(&v))));
    proxy::read_url(path, &info, &query);
}

/// A token to go on with, or a resource version.
pub fn continue_token(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok((revision, start)) = decode_token(text, "/registry/pods/") {
        assert!(start.starts_with("/registry/pods/") && !start.contains("/../"), "{text:?} leads to {start:?}");
        let token = encode_token(revision, start["/registry/pods/".len()..].trim_end_matches('\0'));
        assert_eq!(decode_token(&token, "/registry/pods/").map(|t| t.0).ok(), Some(revision), "{text:?}");
    }
    if let Ok(Some(revision)) = parse_revision(text) {
        assert_eq!(text.trim_start_matches('+').parse(), Ok(revision), "{text:?}");
    }
    if !text.is_empty() && !text.contains(['\0', '/']) && !matches!(text, "." | "..") {
        let token = encode_token(7, text);
        let read = decode_token(&token, "/p/").unwrap_or_else(|e| panic!("{text:?}: {}", e.message));
        assert_eq!(read, (7, format!("/p/{text}\0")));
    }
}

/// Headers, one on each line: they are read or refused, and a user that is written is read as the same.
pub fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n').take(64) {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    for offer in [Offer::Plain, Offer::Views, Offer::Custom] {
        if let Ok(form) = Form::negotiate(&headers, offer, true) {
            assert!(
                offer != Offer::Custom || form.media != Media::Protobuf || form.view != crate::negotiate::View::Object
            );
        }
    }
    Media::of_failure(&headers);
    takes_gzip(&headers);
    drop(content_type(&headers));
    drop(body_media(&headers));
    authn::read_headers(&headers);
    let Some(user) = request_header::user(&headers) else { return };
    let mut written = HeaderMap::new();
    if request_header::write(&mut written, &user).is_ok() {
        let again = request_header::user(&written);
        assert_eq!(again.as_ref().map(|u| (&u.name, &u.groups)), Some((&user.name, &user.groups)));
    }
}

/// Claims of a token as JSON: what is read is written as what reads the same.
pub fn token_claims(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let Some(claims) = Claims::read(&value) else { return };
    let user: UserInfo = claims.user();
    assert!(user.name.starts_with("system:serviceaccount:"), "{value}");
    let written = claims.to_value();
    if let Some(again) = Claims::read(&written) {
        assert_eq!(again.to_value(), written, "{value}");
        assert_eq!(again.user(), user, "{value}");
    }
}

/// A certificate in DER form, or a name and a pattern of one.
pub fn certificate(data: &[u8]) {
    if let Some(user) = authn::user_of_certificate(data) {
        assert!(!user.name.is_empty());
    }
    webhook::check_certificate(data);
    let Some((pattern, host)) = text(data).and_then(|t| t.split_once('\n')) else { return };
    if webhook::covers(pattern, host) {
        let wild = pattern.starts_with("*.");
        assert!(wild || pattern.trim_end_matches('.').eq_ignore_ascii_case(host), "{pattern:?} covers {host:?}");
    }
}

/// Answers of webhooks: to an admission review, to a conversion.
pub fn webhook_answer(data: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Value>(data) else { return };
    for version in ["v1", "v1beta1"] {
        for mutating in [false, true] {
            let Ok(verdict) = admission::webhooks::review::verdict(version, "u", mutating, &answer) else { continue };
            assert!(version != "v1" || mutating || verdict.patch.is_empty(), "{answer}");
            if verdict.allowed {
                let object = serde_json::json!({"metadata": {"name": "a"}, "spec": {"l": [1]}});
                drop(api_patch::json_patch(&object, &verdict.patch));
            } else {
                let error = admission::webhooks::review::denied("w", &verdict.status);
                assert!((400..1000).contains(&error.code), "{answer}: {}", error.code);
            }
        }
        registry::custom::read_answer(&answer, version);
    }
}
