//! Users that a front proxy vouches for, in `X-Remote-*` headers: read from one, written as one.

use super::user::UserInfo;
use crate::query::decode_segment;
use http::header::{InvalidHeaderName, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write;

/// Why a user cannot be named in headers.
#[derive(Debug, thiserror::Error)]
pub enum Unspeakable {
    /// The key of an extra attribute.
    #[error(transparent)]
    Key(#[from] InvalidHeaderName),
    /// A name, a group, or an attribute.
    #[error(transparent)]
    Value(#[from] InvalidHeaderValue),
}

/// Names the user in the headers, in place of whoever was named there.
pub fn write(headers: &mut HeaderMap, user: &UserInfo) -> Result<(), Unspeakable> {
    let theirs: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with("x-remote-")).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    headers.insert("x-remote-user", HeaderValue::from_bytes(user.name.as_bytes())?);
    for group in &user.groups {
        headers.append("x-remote-group", HeaderValue::from_bytes(group.as_bytes())?);
    }
    for (key, values) in &user.extra {
        let name = HeaderName::from_bytes(format!("x-remote-extra-{}", escape(key)).as_bytes())?;
        for value in values {
            headers.append(&name, HeaderValue::from_bytes(value.as_bytes())?);
        }
    }
    Ok(())
}

/// What may not stand in a header's name, and `%`, as `%XX`.
fn escape(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

/// The user of the headers; `None` if they name nobody.
pub fn user(headers: &HeaderMap) -> Option<UserInfo> {
    let text = |v: &http::HeaderValue| v.to_str().ok().map(str::to_owned);
    let name = headers.get("x-remote-user").and_then(text).filter(|n| !n.is_empty())?;
    let groups: Vec<String> = headers.get_all("x-remote-group").iter().filter_map(text).collect();
    let mut user = UserInfo::authenticated(name, groups);
    for (header, value) in headers {
        if let (Some(key), Some(value)) = (header.as_str().strip_prefix("x-remote-extra-"), text(value)) {
            user.extra.entry(decode_segment(key).into_owned()).or_default().push(value);
        }
    }
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_a_user() {
        let mut headers = HeaderMap::new();
        assert_eq!(user(&headers), None);
        for (key, value) in
            [("x-remote-user", "ann"), ("x-remote-group", "a"), ("x-remote-group", "b"), ("x-remote-extra-k%2fx", "1")]
        {
            headers.append(http::HeaderName::from_static(key), http::HeaderValue::from_static(value));
        }
        let user = user(&headers).expect("user");
        assert_eq!((user.name.as_str(), user.groups.len()), ("ann", 3));
        assert_eq!(user.extra["k/x"], ["1"]);
    }

    #[test]
    fn a_user_is_written_as_it_is_read() {
        let mut ann = UserInfo::authenticated("ann", ["a", "b"]);
        ann.extra.insert("example.com/100%-sure".into(), vec!["x".into(), "y z".into()]);
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("eve"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        headers.insert("x-remote-uid", HeaderValue::from_static("0"));
        write(&mut headers, &ann).expect("headers");
        assert_eq!(headers["x-remote-extra-example.com%2f100%25-sure"], "x");
        assert_eq!(headers.get("x-remote-uid"), None);
        assert_eq!(user(&headers), Some(ann));
        assert!(write(&mut headers, &UserInfo::new("a\nb", &[])).is_err());
    }
}
