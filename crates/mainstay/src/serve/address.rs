//! Which address others reach this machine at.

use anyhow::{Result, bail};
use ipnet::Ipv4Net;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// A target that is never contacted: connecting a UDP socket only asks the kernel for a route (RFC 5737 address).
const ROUTE_PROBE: &str = "192.0.2.1:9";

/// The source address of the default route, else the first address that is neither loopback nor one of `pods`, whose bridge
/// is still there after a restart.
///
/// # Errors
/// If the machine has no address but loopback, which pods could not reach.
pub fn find(pods: Ipv4Net) -> Result<IpAddr> {
    if let Some(address) = default_route() {
        return Ok(address);
    }
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    match local_addresses(&table, pods).first() {
        Some(address) => Ok(IpAddr::V4(*address)),
        None => bail!(
            "this machine has no network address that pods could reach (only loopback); bring an interface up or give \
             --advertise-address"
        ),
    }
}

fn default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ROUTE_PROBE.parse::<SocketAddr>().ok()?).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Local addresses of the kernel's routing table text, in its order, without loopback and those of `pods`.
fn local_addresses(fib_trie: &str, pods: Ipv4Net) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in fib_trie.lines() {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("|-- ") {
            last = rest.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
            && !address.is_loopback()
            && !pods.contains(&address)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_kernels_table() {
        let table = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.30.0.0/24 2 0 2
        |-- 172.30.0.0
           /24 link UNICAST
        |-- 172.30.0.11
           /32 host LOCAL
        |-- 172.30.0.255
           /32 link BROADCAST
Local:
        |-- 10.244.0.1
           /32 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 172.30.0.11
           /32 host LOCAL
";
        let pods = "10.244.0.0/16".parse().expect("a network");
        assert_eq!(local_addresses(table, pods), [Ipv4Addr::new(172, 30, 0, 11)]);
        assert!(local_addresses("", pods).is_empty());
    }
}
