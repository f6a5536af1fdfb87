//! Whether text may be a name: labels and subdomains of DNS, qualified names, label values, keys, ports, addresses.
//!
//! Each function answers with what is wrong, in the words of the API; an empty answer means that the text is good.
//! The number of messages counts: each becomes a cause of its own.

use std::net::IpAddr;

/// Longest label of a DNS name, in bytes.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name, in bytes.
pub const DNS_SUBDOMAIN_BYTES_MAX: usize = 253;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
const EMPTY: &str = "must be non-empty";

/// A label of a DNS name, as RFC 1123 has it.
pub fn is_dns1123_label(s: &str) -> Vec<String> {
    let mut errors = at_most(s, DNS_LABEL_BYTES_MAX);
    if !label(s.as_bytes()) {
        errors.push(if subdomain(s) {
            "must not contain dots".into()
        } else {
            let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            pattern(what, LABEL_FMT, &["my-name", "123-abc"])
        });
    }
    errors
}

/// A DNS name, as RFC 1123 has it.
pub fn is_dns1123_subdomain(s: &str) -> Vec<String> {
    let mut errors = at_most(s, DNS_SUBDOMAIN_BYTES_MAX);
    if !subdomain(s) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                    must start and end with an alphanumeric character";
        errors.push(pattern(what, SUBDOMAIN_FMT, &["example.com"]));
    }
    errors
}

/// A label of a DNS name, as RFC 1035 has it: it starts with a letter.
pub fn is_dns1035_label(s: &str) -> Vec<String> {
    let mut errors = at_most(s, DNS_LABEL_BYTES_MAX);
    if !(label(s.as_bytes()) && s.as_bytes()[0].is_ascii_lowercase()) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        errors.push(pattern(what, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// `*.` and a DNS name.
pub fn is_wildcard_dns1123_subdomain(s: &str) -> Vec<String> {
    let mut errors = at_most(s, DNS_SUBDOMAIN_BYTES_MAX);
    if !s.strip_prefix("*.").is_some_and(subdomain) {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errors.push(pattern(what, &format!(r"\*\.{SUBDOMAIN_FMT}"), &["*.example.com"]));
    }
    errors
}

/// A name with an optional DNS prefix: `example.com/MyName`.
pub fn is_qualified_name(s: &str) -> Vec<String> {
    let parts: Vec<&str> = s.split('/').collect();
    let mut errors = Vec::new();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            let wrong = if prefix.is_empty() { vec![EMPTY.to_owned()] } else { is_dns1123_subdomain(prefix) };
            errors.extend(wrong.iter().map(|e| format!("prefix part {e}")));
            name
        }
        _ => {
            let what = pattern(QUALIFIED, QUALIFIED_FMT, &QUALIFIED_EXAMPLES);
            let and = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {what} {and}")];
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {EMPTY}"));
    } else {
        errors.extend(at_most(name, 63).iter().map(|e| format!("name part {e}")));
    }
    if !qualified(name) {
        errors.push(format!("name part {}", pattern(QUALIFIED, QUALIFIED_FMT, &QUALIFIED_EXAMPLES)));
    }
    errors
}

/// The value of a label; may be empty.
pub fn is_label_value(s: &str) -> Vec<String> {
    let mut errors = at_most(s, 63);
    if !s.is_empty() && !qualified(s) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                    must start and end with an alphanumeric character";
        errors.push(pattern(what, &format!("({QUALIFIED_FMT})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// A DNS name of at least two labels, with or without a dot at its end. The first message is for an empty one.
pub fn is_fully_qualified_domain_name(s: &str) -> Vec<String> {
    let name = s.strip_suffix('.').unwrap_or(s);
    let errors = is_dns1123_subdomain(name);
    if !errors.is_empty() {
        return errors;
    }
    if name.split('.').count() < 2 {
        return vec!["should be a domain with at least two segments separated by dots".into()];
    }
    name.split('.').map(is_dns1123_label).find(|e| !e.is_empty()).unwrap_or_default()
}

/// A DNS name of at least three labels.
pub fn is_fully_qualified_name(s: &str) -> Vec<String> {
    let errors = is_dns1123_subdomain(s);
    if errors.is_empty() && s.split('.').count() < 3 {
        return vec!["should be a domain with at least three segments separated by dots".into()];
    }
    errors
}

/// A DNS name, a slash and a path: `acme.io/foo`. Gives the parts that are wrong, and why.
pub fn is_domain_prefixed_path(s: &str) -> Vec<(&str, String)> {
    let must = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    let Some((domain, path)) = s.split_once('/').filter(|(d, p)| !d.is_empty() && !p.is_empty()) else {
        return vec![(s, must.into())];
    };
    let mut wrong: Vec<_> = is_dns1123_subdomain(domain).into_iter().map(|why| (domain, why)).collect();
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(ok) {
        wrong.push((path, pattern("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[])));
    }
    wrong
}

/// An identifier of the C language.
pub fn is_c_identifier(s: &str) -> Vec<String> {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    if !s.is_empty() && start(s.as_bytes()[0]) && s.bytes().all(|b| start(b) || b.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'";
    vec![pattern(what, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// The name of an environment variable.
pub fn is_env_var_name(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let start = |b: u8| b.is_ascii_alphabetic() || b"-._".contains(&b);
    if s.is_empty() || !start(s.as_bytes()[0]) || !s.bytes().all(|b| start(b) || b.is_ascii_digit()) {
        let what = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', \
                    and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(pattern(what, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(dotted_directory(s));
    errors
}

/// A key of a config map or a secret.
pub fn is_config_map_key(s: &str) -> Vec<String> {
    let mut errors = at_most(s, DNS_SUBDOMAIN_BYTES_MAX);
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(pattern(what, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(dotted_directory(s));
    errors
}

fn dotted_directory(s: &str) -> Option<String> {
    match s {
        "." | ".." => Some(format!("must not be '{s}'")),
        _ if s.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// The name of a port.
pub fn is_port_name(s: &str) -> Vec<String> {
    let mut errors = at_most(s, 15);
    let mut when = |wrong: bool, what: &str| {
        if wrong {
            errors.push(what.to_owned());
        }
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    when(
        s.is_empty() || !s.bytes().all(plain),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    when(!s.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    when(s.contains("--"), "must not contain consecutive hyphens");
    when(s.starts_with('-') || s.ends_with('-'), "must not begin or end with a hyphen");
    errors
}

/// The number of a port.
pub fn is_port_number(n: i64) -> Vec<String> {
    is_in_range(n, 1, 65535)
}

/// A number between two, both included.
pub fn is_in_range(n: i64, min: i64, max: i64) -> Vec<String> {
    if (min..=max).contains(&n) {
        return Vec::new();
    }
    vec![format!("must be between {min} and {max}, inclusive")]
}

/// `50%`.
pub fn is_percent(s: &str) -> Vec<String> {
    let good = s.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if good {
        return Vec::new();
    }
    let what = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern(what, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
pub fn is_http_header_name(s: &str) -> Vec<String> {
    if !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    let what = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern(what, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// Part of a path of a URL.
pub fn is_path_segment(s: &str) -> Vec<String> {
    if s == "." || s == ".." {
        return vec![format!("may not be '{s}'")];
    }
    path_segment_prefix(s)
}

fn path_segment_prefix(s: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|c| s.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// An IP address.
pub fn is_ip(s: &str) -> Vec<String> {
    if parse_ip(s).is_some() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()]
}

/// Reads an IP address; leading zeros of an IPv4 octet are let pass, as upstream still does.
pub fn parse_ip(s: &str) -> Option<IpAddr> {
    if let Ok(ip) = s.parse::<IpAddr>() {
        return Some(ip);
    }
    let (head, v4) = match s.rfind(':') {
        Some(i) => (&s[..=i], &s[i + 1..]),
        None => ("", s),
    };
    let octets: Vec<&str> = v4.split('.').collect();
    let octet = |o: &&str| !o.is_empty() && o.bytes().all(|b| b.is_ascii_digit());
    if octets.len() != 4 || !octets.iter().all(octet) {
        return None;
    }
    let numbers: Option<Vec<String>> = octets
        .iter()
        .map(|o| o.trim_start_matches('0'))
        .map(|o| if o.is_empty() { "0" } else { o })
        .map(|o| o.parse::<u8>().ok().map(|n| n.to_string()))
        .collect();
    format!("{head}{}", numbers?.join(".")).parse().ok()
}

/// As [`is_dns1123_subdomain`], for a name (`prefix` false) or for what a name is generated from.
pub fn name_is_dns_subdomain(s: &str, prefix: bool) -> Vec<String> {
    masked(s, prefix, is_dns1123_subdomain)
}

/// As [`is_dns1123_label`], for a name or for what a name is generated from.
pub fn name_is_dns_label(s: &str, prefix: bool) -> Vec<String> {
    masked(s, prefix, is_dns1123_label)
}

/// As [`is_dns1035_label`], for a name or for what a name is generated from.
pub fn name_is_dns1035_label(s: &str, prefix: bool) -> Vec<String> {
    masked(s, prefix, is_dns1035_label)
}

/// As [`is_path_segment`], for a name or for what a name is generated from.
pub fn name_is_path_segment(s: &str, prefix: bool) -> Vec<String> {
    if prefix { path_segment_prefix(s) } else { is_path_segment(s) }
}

/// A hyphen at the end of a prefix is good, since more follows it.
fn masked(s: &str, prefix: bool, check: fn(&str) -> Vec<String>) -> Vec<String> {
    if prefix && s.len() > 1 && s.ends_with('-') && s.is_char_boundary(s.len() - 2) {
        return check(&format!("{}a", &s[..s.len() - 2]));
    }
    check(s)
}

fn at_most(s: &str, max: usize) -> Vec<String> {
    if s.len() <= max {
        return Vec::new();
    }
    vec![format!("must be no more than {max} characters")]
}

fn label(s: &[u8]) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    s.first().is_some_and(edge) && s.last().is_some_and(edge) && s.iter().all(|b| edge(b) || *b == b'-')
}

fn subdomain(s: &str) -> bool {
    s.split('.').all(|part| label(part.as_bytes()))
}

fn qualified(s: &str) -> bool {
    let s = s.as_bytes();
    s.first().is_some_and(u8::is_ascii_alphanumeric)
        && s.last().is_some_and(u8::is_ascii_alphanumeric)
        && s.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// A sentence with examples and the regular expression, as the API words it.
fn pattern(what: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{format}')");
    }
    let quoted: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{format}')", quoted.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Vec<String>;

    #[test]
    fn good_and_bad_names() {
        let long = "a".repeat(64);
        let cases: &[(Check, &[&str], &[&str])] = &[
            (is_dns1123_label, &["a", "0a-b"], &["", "-a", "a-", "a.b", "A", "a_b", &long, "ä"]),
            (is_dns1123_subdomain, &["a", "a.b-c.0", &long], &["", "a..b", ".a", "a.", "a.-b", "A.b"]),
            (is_dns1035_label, &["a", "a-0"], &["", "0a", "a.b"]),
            (is_wildcard_dns1123_subdomain, &["*.a.b"], &["*", "*.", "a.b", "*.*.a"]),
            (is_qualified_name, &["a", "A_b.c", "x.y/A"], &["", "/a", "a/", "a/b/c", "-a", "A/b", &long]),
            (is_label_value, &["", "a_B.c"], &["-", "a/b", &long]),
            (is_env_var_name, &["A", "_a.b-c", "-"], &["", "1a", "a=b", ".", "..a"]),
            (is_config_map_key, &["a", ".a", "A_b-c.d"], &["", "a/b", ".", "..", "..a", "a b"]),
            (is_port_name, &["a", "http-1"], &["", "1", "-a", "a--b", "A", "abcdefghijklmnop"]),
            (is_percent, &["0%", "150%"], &["%", "5", "5.5%"]),
            (
                is_ip,
                &["10.0.0.1", "::1", "010.0.0.1", "::ffff:1.2.3.4"],
                &["", "10.0.0", "1.2.3.400", "fe80::1%eth0", "x"],
            ),
            (is_c_identifier, &["_a1"], &["", "1a", "a-b"]),
            (is_path_segment, &["a:b", "A B", "..."], &[".", "..", "a/b", "a%b"]),
            (is_fully_qualified_domain_name, &["a.b", "a.b."], &["", "a", "a..b"]),
            (is_fully_qualified_name, &["a.b.c"], &["a.b", ""]),
            (
                |s| is_domain_prefixed_path(s).into_iter().map(|(_, why)| why).collect(),
                &["a.b/c", "a/b/c"],
                &["", "a", "/a", "a/", "A/b", "a/ b"],
            ),
        ];
        for (check, good, bad) in cases {
            for name in *good {
                assert_eq!(check(name), Vec::<String>::new(), "{name:?}");
            }
            for name in *bad {
                assert!(!check(name).is_empty(), "{name:?}");
            }
        }
    }

    #[test]
    fn an_empty_part_of_a_qualified_name_is_wrong_twice() {
        assert_eq!(is_qualified_name("a/").len(), 2);
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"],);
        assert_eq!(
            is_config_map_key("a/b")[0],
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        );
    }

    #[test]
    fn a_prefix_may_end_with_a_hyphen() {
        assert!(name_is_dns_label("web-", true).is_empty());
        assert!(!name_is_dns_label("web-", false).is_empty());
        assert!(!name_is_dns_label("-", true).is_empty());
    }
}
