//! Small texts: selectors, quantities, times, names.

use crate::source::{Source, texts};
use api_core::quantity::Quantity;
use api_core::selector::{fields, labels};
use api_core::{gvk, names as rules, time as times};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A label selector: what is read prints as what reads the same, and selects the same.
pub fn label_selector(data: &[u8]) {
    let Some([text, candidate]) = texts(data) else { return };
    let object: Map<String, Value> = serde_json::from_str(candidate).unwrap_or_default();
    if let Ok(selector) = labels::Selector::parse(text) {
        let printed = selector.to_string();
        let again = labels::Selector::parse(&printed);
        let again = again.unwrap_or_else(|e| panic!("{text:?} prints as {printed:?}, which is not read: {e}"));
        assert_eq!(again, selector, "{text:?} prints as {printed:?}");
        let own: BTreeMap<String, String> = selector
            .requirements()
            .iter()
            .filter_map(|r| Some((r.key().into(), r.values().first()?.clone())))
            .collect();
        for some in [&object, &Map::new()] {
            assert_eq!(selector.matches(some), again.matches(some), "{text:?}");
        }
        assert_eq!(selector.matches(&own), again.matches(&own), "{text:?}");
    }
    let value = Value::Object(object);
    if let Ok(selector) = labels::Selector::from_object(Some(&value)) {
        let printed = selector.to_string();
        let again = labels::Selector::parse(&printed).unwrap_or_else(|e| panic!("{value} prints as {printed:?}: {e}"));
        assert_eq!(again.to_string(), printed);
    }
}

/// A field selector: what is read prints as what reads the same.
pub fn field_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(selector) = fields::Selector::parse(text) else { return };
    let printed = selector.to_string();
    let again = fields::Selector::parse(&printed).unwrap_or_else(|e| panic!("{text:?} prints as {printed:?}: {e}"));
    // Terms are in the order of their text, and `==` comes after `=`.
    let sorted = |selector: &fields::Selector| {
        let mut terms: Vec<String> = selector.terms().iter().map(|t| format!("{t:?}")).collect();
        terms.sort_unstable();
        terms
    };
    assert_eq!(sorted(&again), sorted(&selector), "{text:?}");
    let third = fields::Selector::parse(&again.to_string()).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    assert_eq!(third.to_string(), again.to_string(), "{text:?}");
    for term in selector.terms() {
        let exact = fields::Selector::exact(&term.field, &term.value).to_string();
        let read = fields::Selector::parse(&exact).unwrap_or_else(|e| panic!("{exact:?}: {e}"));
        assert_eq!(read.terms().len(), 1, "{exact:?}");
        assert!(selector.matches(|f| selector.required(f)) || selector.terms().len() > 1 || term.negated, "{text:?}");
    }
}

/// Quantities: the canonical form is read as the same amount and is its own canonical form; order and sums are those of
/// amounts.
pub fn quantity(data: &[u8]) {
    let Some([one, other]) = texts(data) else { return };
    let Ok(a) = one.parse::<Quantity>() else { return };
    // As upstream has it, an amount of few digits may be larger than one of many digits may be.
    if a.as_i64().is_none() && a.scaled_value(0).unsigned_abs() >= u64::MAX / 2 {
        return;
    }
    let printed = a.to_string();
    let again: Quantity = printed.parse().unwrap_or_else(|e| panic!("{one:?} prints as {printed:?}: {e}"));
    assert_eq!(again, a, "{one:?} prints as {printed:?}, which is {again}");
    assert_eq!(again.to_string(), printed, "{one:?}");
    assert!(a.round_up(0).sign() == a.sign() && a.round_up(-3).sign() == a.sign(), "{one:?}");
    assert_eq!(a.sign().signum(), i32::try_from(a.value().signum()).unwrap_or(0), "{one:?}");
    assert!(a.minus(a).is_zero(), "{one:?}");
    assert!(a.as_f64().is_finite(), "{one:?}");
    if let Some(whole) = a.as_i64() {
        assert_eq!(a.value(), whole, "{one:?}");
        assert_eq!(Quantity::from_int(whole), a, "{one:?}");
    }
    assert!(a.milli_value().unsigned_abs() >= a.value().unsigned_abs(), "{one:?}");
    let Ok(b) = other.parse::<Quantity>() else { return };
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse(), "{one:?} and {other:?}");
    assert_eq!(a.plus(b), b.plus(a), "{one:?} and {other:?}");
    assert_eq!(a.negated().cmp(&b.negated()), b.cmp(&a), "{one:?} and {other:?}");
    if a <= b {
        assert!(a.value() <= b.value() && a.milli_value() <= b.milli_value(), "{one:?} and {other:?}");
    }
}

/// Times: what is read is written in a form that is read as the same time.
pub fn time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = times::parse(text) {
        let printed = times::format(read);
        assert_eq!(times::parse(&printed).map(times::format).as_ref(), Ok(&printed), "{text:?}");
        let seconds = times::parse_unix_s(text).unwrap_or_else(|| panic!("{text:?} has no seconds"));
        assert_eq!(times::format_unix_s(seconds), printed, "{text:?}");
    }
    if let Ok(read) = times::parse_micro(text) {
        let printed = times::format_micro(read);
        assert_eq!(times::parse_micro(&printed).map(times::format_micro).as_ref(), Ok(&printed), "{text:?}");
    }
    let mut source = Source::new(data);
    let number = std::array::from_fn(|_| source.byte());
    let any = i64::from_le_bytes(number);
    for printed in [times::format_unix_s(any), times::format_unix_us(any)] {
        times::parse(&printed).unwrap_or_else(|e| panic!("{any} prints as {printed:?}: {}", e.0));
    }
}

/// Rules of names: none panics, and a label is a subdomain, a number of a port is a number.
pub fn name_rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let all: [fn(&str) -> Vec<String>; 18] = [
        rules::is_dns1123_label,
        rules::is_dns1123_subdomain,
        rules::is_dns1035_label,
        rules::is_wildcard_dns1123_subdomain,
        rules::is_qualified_name,
        rules::is_label_value,
        rules::is_fully_qualified_domain_name,
        rules::is_fully_qualified_name,
        |text| rules::is_domain_prefixed_path(text).into_iter().map(|(_, why)| why).collect(),
        rules::is_c_identifier,
        rules::is_env_var_name,
        rules::is_config_map_key,
        rules::is_port_name,
        rules::is_percent,
        rules::is_http_header_name,
        rules::is_path_segment,
        rules::is_ip,
        |text| rules::name_is_path_segment(text, true),
    ];
    let found = all.map(|rule| rule(text).is_empty());
    assert!(!found[0] || found[1], "{text:?} is a label and no subdomain");
    assert!(!found[2] || found[0], "{text:?} is a label of RFC 1035 and none of RFC 1123");
    assert_eq!(found[16], rules::parse_ip(text).is_some(), "{text:?}");
    for prefix in [false, true] {
        for rule in [rules::name_is_dns_subdomain, rules::name_is_dns_label, rules::name_is_dns1035_label] {
            drop(rule(text, prefix));
        }
    }
    let (group, version) = gvk::split_api_version(text);
    if !version.contains('/') && !group.is_empty() {
        assert_eq!(gvk::api_version(group, version), text);
    }
}
