//! URLs: absolute ones, and paths.

use super::Outcome;
use crate::value::Value;
use std::collections::BTreeMap;

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// Reads a URL that is absolute or starts with a slash.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let text_no_fragment = text.split('#').next().unwrap_or("");
    let (before, query) = text_no_fragment.split_once('?').unwrap_or((text_no_fragment, ""));
    if before.starts_with('/') {
        let (host, path) = match before.strip_prefix("//").filter(|_| !before.starts_with("///")) {
            Some(rest) => authority(rest),
            None => (String::new(), before.to_owned()),
        };
        check(&host, &path).map_err(|e| wrong(&e))?;
        return Ok(Url { scheme: String::new(), host, path, query: query.into() });
    }
    let (scheme, rest) = before.split_once(':').ok_or_else(|| wrong("invalid URI for request"))?;
    let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !good {
        return Err(wrong("first path segment in URL cannot contain colon"));
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => authority(rest),
        None if rest.starts_with('/') => (String::new(), rest.to_owned()),
        // Something without slashes, as in `mailto:a`, has no path.
        None => (String::new(), String::new()),
    };
    check(&host, &path).map_err(|e| wrong(&e))?;
    Ok(Url { scheme: scheme.to_ascii_lowercase(), host, path, query: query.into() })
}

fn authority(rest: &str) -> (String, String) {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (host.to_owned(), path.to_owned())
}

fn check(host: &str, path: &str) -> Result<(), String> {
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Err(format!("invalid character in host name {host:?}"));
    }
    if let Some((_, after)) = host.rsplit_once(']') {
        if !after.is_empty() && !after.starts_with(':') {
            return Err(format!("invalid port {after:?} after host"));
        }
    } else if host.starts_with('[') {
        return Err("missing ']' in host".into());
    }
    let port = port_of(host);
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port \":{port}\" after host"));
    }
    if let Some(at) = path.find('%') {
        let digits = path.get(at + 1..at + 3).unwrap_or("");
        if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape \"%{digits}\""));
        }
    }
    Ok(())
}

fn port_of(host: &str) -> &str {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.rsplit_once(':').map_or("", |(_, port)| port)
}

fn hostname(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

pub(super) fn call(name: &str, url: &Url) -> Option<Outcome> {
    Some(Ok(match name {
        "getScheme" => Value::text(&url.scheme),
        "getHost" => Value::text(&url.host),
        "getHostname" => Value::text(hostname(&url.host)),
        "getPort" => Value::text(port_of(&url.host)),
        "getEscapedPath" => Value::text(&escape_path(&url.path)),
        "getQuery" => query(&url.query),
        _ => return None,
    }))
}

/// What may not stand in a path is written as `%xx`.
fn escape_path(path: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&b);
    path.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn query(text: &str) -> Value {
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        map.entry(unescape(key)).or_default().push(Value::text(&unescape(value)));
    }
    let lists: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, Value::list(v))).collect();
    Value::map(lists.iter().map(|(k, v)| (k.as_str(), v.clone())))
}

fn unescape(text: &str) -> String {
    let (mut out, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|h| h.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
