//! URLs as upstream's parser reads them, and what it finds wrong with them.
//!
//! Only what rules of kinds ask for: scheme, user, host, query and fragment. Knows no kind.

/// The parts of a URL that rules look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Url<'t> {
    /// In small letters.
    pub scheme: String,
    /// What stands before `@`, escaped anew; `None` without an `@`.
    pub user: Option<String>,
    pub host: &'t str,
    pub query: &'t str,
    pub fragment: &'t str,
}

/// Reads a URL. The error is upstream's, `parse "TEXT": WHY`.
pub(super) fn parse(text: &str) -> Result<Url<'_>, String> {
    let (whole, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut url = parts(whole).map_err(|why| format!("parse {whole:?}: {why}"))?;
    escapes(fragment).map_err(|why| format!("parse {text:?}: {why}"))?;
    url.fragment = fragment;
    Ok(url)
}

fn parts(text: &str) -> Result<Url<'_>, String> {
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (scheme, rest) = split_scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), query, ..Url::default() };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(url);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let mut path = rest;
    if let Some(after) = rest.strip_prefix("//")
        && (!scheme.is_empty() || !after.starts_with('/'))
    {
        let (authority, below) = after.split_at(after.find('/').unwrap_or(after.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        check_host(host)?;
        url.user = user.map(user_info).transpose()?;
        url.host = host;
        path = below;
    }
    escapes(path)?;
    Ok(url)
}

/// The scheme, if there is one, and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port, zone) = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        let (name, zone) = host[..end].split_at(host[..end].find("%25").unwrap_or(end));
        (name, &host[end + 1..], zone)
    } else {
        let (name, port) = host.split_at(host.rfind(':').unwrap_or(host.len()));
        (name, port, "")
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    escapes(zone)?;
    // Of ASCII, nothing may be escaped in the name.
    escapes(name)?;
    if let Some(at) = name.find('%').filter(|at| name.as_bytes()[at + 1] < b'8') {
        return Err(format!("invalid URL escape {:?}", &name[at..at + 3]));
    }
    let may_stand = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!$&'()*+,;=:[]<>\"-_.~%".contains(c);
    match name.chars().find(|c| !may_stand(*c)) {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => Ok(()),
    }
}

/// A name and maybe a password, with what is no letter of them escaped.
fn user_info(text: &str) -> Result<String, String> {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !text.chars().all(may_stand) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    escapes(text)?;
    Ok(text.replace('@', "%40"))
}

/// Each `%` is followed by two hexadecimal digits.
fn escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits: String = text[at + 1..].chars().take(2).collect();
        if digits.len() < 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {:?}", format!("%{digits}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_refused_in_upstreams_words() {
        let cases = [
            ("::1", r#"parse "::1": missing protocol scheme"#),
            ("10.0.0.1:80", r#"parse "10.0.0.1:80": first path segment in URL cannot contain colon"#),
            ("https://h:port/x", r#"parse "https://h:port/x": invalid port ":port" after host"#),
            ("https://[::1", r#"parse "https://[::1": missing ']' in host"#),
            ("https://[::1]:x", r#"parse "https://[::1]:x": invalid port ":x" after host"#),
            ("https://h?q#f%zz", r#"parse "https://h?q#f%zz": invalid URL escape "%zz""#),
            ("https://h/%zz", r#"parse "https://h/%zz": invalid URL escape "%zz""#),
            ("https://h/%", r#"parse "https://h/%": invalid URL escape "%""#),
            ("https://h%zz/", r#"parse "https://h%zz/": invalid URL escape "%zz""#),
            ("https://%41/", r#"parse "https://%41/": invalid URL escape "%41""#),
            ("https://a b/", r#"parse "https://a b/": invalid character " " in host name"#),
            ("a\tb", r#"parse "a\tb": net/url: invalid control character in URL"#),
            ("https://u|@h", r#"parse "https://u|@h": net/url: invalid userinfo"#),
            ("https://[fe80::1%en]/", r#"parse "https://[fe80::1%en]/": invalid URL escape "%en""#),
        ];
        for (text, why) in cases {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn parts_of_urls() {
        let cases = [
            ("", ("", None, "", "", "")),
            ("example.com:8443/x", ("example.com", None, "", "", "")),
            ("HTTPS://h", ("https", None, "h", "", "")),
            ("https:h", ("https", None, "", "", "")),
            ("//h/x", ("", None, "h", "", "")),
            ("///x", ("", None, "", "", "")),
            ("https://u@v@h?q#f", ("https", Some("u%40v"), "h", "q", "f")),
            ("https://@h", ("https", Some(""), "h", "", "")),
            ("https://[fe80::1%25eth0]:1/", ("https", None, "[fe80::1%25eth0]:1", "", "")),
            ("https://h:99999999/a b", ("https", None, "h:99999999", "", "")),
            ("https://ü/", ("https", None, "ü", "", "")),
        ];
        for (text, expected) in cases {
            let url = parse(text).unwrap();
            assert_eq!((&*url.scheme, url.user.as_deref(), url.host, url.query, url.fragment), expected, "{text}");
        }
    }
}
