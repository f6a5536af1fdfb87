//! Users that a front proxy vouches for, in `X-Remote-*` headers.

use super::user::UserInfo;
use crate::query::decode_segment;
use http::HeaderMap;

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
}
