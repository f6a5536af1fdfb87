//! Rules of addresses and of networks, wherever they stand.

use super::check::Node;
use api_core::field::Errors;
use api_core::names;
use std::net::IpAddr;

/// A network such as `10.0.0.0/8`, with the address as it is written.
pub(super) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip = names::parse_ip(address)?;
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| plain)?;
    (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, bits))
}

/// Whether `outer` holds all of `inner` and is larger.
pub(super) fn strictly_within(inner: &str, outer: &str) -> bool {
    let net = |text| parse_cidr(text).and_then(|(ip, bits)| ipnet::IpNet::new(ip, bits).ok());
    match (net(inner), net(outer)) {
        (Some(inner), Some(outer)) => outer.contains(&inner.network()) && outer.prefix_len() < inner.prefix_len(),
        _ => false,
    }
}

/// The text of `node`, without the blanks around it, is a network.
pub(super) fn cidr(node: &Node<'_, '_>, text: &str, e: &mut Errors) {
    if parse_cidr(text).is_none() {
        node.invalid("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)", e);
    }
}

/// An address that a packet can be sent to.
pub(super) fn not_special(node: &Node<'_, '_>, e: &mut Errors) {
    let Some(ip) = names::parse_ip(node.str()) else {
        node.invalid("must be a valid IP address", e);
        return;
    };
    if ip.is_unspecified() {
        node.invalid(&format!("may not be unspecified ({ip})"), e);
    }
    if ip.is_loopback() {
        node.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)", e);
    }
    let (unicast, multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] == 0xff02),
    };
    if unicast {
        node.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)", e);
    }
    if multicast {
        node.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)", e);
    }
}
