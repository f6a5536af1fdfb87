//! Service addresses and node ports: what is taken, and who may have what. Which kinds take any is said by their rows.
//!
//! Rebuilt from the caches at start. A write takes first and gives back what it took if it does not happen. In a store
//! that others share, what is taken is recorded there (`ranges`); here is then only what writes under way have chosen.

use super::Registry;
use super::ranges::{self, Claims, Ranges, Recorded};
use crate::config::Config;
use api_core::field::Errors;
use api_schema::row::{Allocation, Pool, Row};
use ipnet::IpNet;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Draws at random before the range is searched from a random start.
const DRAWS_MAX: usize = 16;
/// Addresses that are looked at in one search of a large range.
const SEARCH_MAX: u128 = 1 << 16;
/// The start of a range is left to those who ask for an address: a part of it, within these bounds.
const ASKED_ADDRESSES: Band = Band { part: 16, least: 16, most: 256 };
/// The same for node ports.
const ASKED_PORTS: Band = Band { part: 32, least: 16, most: 128 };

/// All pools of a cluster.
#[derive(Debug)]
pub(crate) struct Pools {
    range: IpNet,
    v6: [bool; 1],
    ports: RangeInclusive<u16>,
    taken: Mutex<HashSet<Allocation>>,
    /// The record in the store, if others share it.
    pub(super) ranges: Option<Ranges>,
}

/// What a write has taken; given back unless kept.
#[must_use]
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pools: &'a Pools,
    taken: Vec<Allocation>,
    recorded: Recorded,
    /// Whether nothing is to be written: then any port may be had, as upstream has it.
    dry_run: bool,
}

impl Held<'_> {
    /// The write has happened.
    pub(crate) fn keep(mut self) {
        if self.pools.ranges.is_none() {
            self.taken.clear();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let mut all = self.pools.taken.lock();
            for a in &self.taken {
                all.remove(a);
            }
        }
    }
}

impl Pools {
    /// Nothing is taken; `is_shared` says whether others write to the same store.
    pub(crate) fn new(config: &Config, is_shared: bool) -> Self {
        Self {
            ranges: is_shared.then(|| Ranges::new(config)),
            v6: [matches!(config.service_cidr, IpNet::V6(_))],
            range: config.service_cidr,
            ports: config.node_ports.clone(),
            taken: Mutex::default(),
        }
    }

    /// Takes what a new or changed object needs; writes it into the object.
    pub(crate) fn allocate<'a>(
        &'a self,
        row: &Row,
        new: &mut Value,
        old: Option<&Value>,
        errors: &mut Errors,
        recorded: Recorded,
        dry_run: bool,
    ) -> Held<'a> {
        let mut held = Held { pools: self, taken: Vec::new(), recorded, dry_run };
        if let Some(allocate) = row.hooks.allocate {
            allocate(new, old, &mut held, errors);
        }
        held
    }

    /// Marks what a stored object holds.
    pub(crate) fn mark(&self, row: &Row, value: &Value) {
        if let Some(allocated) = self.kept_here(row) {
            self.taken.lock().extend(allocated(value));
        }
    }

    fn kept_here(&self, row: &Row) -> Option<fn(&Value) -> Vec<Allocation>> {
        row.hooks.allocated.filter(|_| self.ranges.is_none())
    }

    /// What a write of `new` in the place of `old` takes and gives back, for the record; nothing if there is none.
    pub(crate) fn claims(
        &self,
        row: &Row,
        held: Option<&Held<'_>>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Claims {
        let (Some(_), Some(allocated)) = (&self.ranges, row.hooks.allocated) else { return Claims::default() };
        let kept = new.map(allocated).unwrap_or_default();
        let mut give = old.map(allocated).unwrap_or_default();
        give.retain(|a| !kept.contains(a));
        Claims { take: held.map(|held| held.taken.clone()).unwrap_or_default(), give }
    }

    /// How many addresses of the services' range, and then node ports, are taken and are free. `None` if others take some too.
    pub(crate) fn usage(&self) -> Option<[(i64, i64); 2]> {
        if self.ranges.is_some() {
            return None;
        }
        let all = self.taken.lock();
        let addresses_taken = all.iter().filter(|a| matches!(a, Allocation::Ip(_))).count();
        let ports_taken = all.len() - addresses_taken;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let of = |taken: usize, all: i64| (number(taken), all.saturating_sub(number(taken)));
        let addresses = i64::try_from(ranges::addresses(self.range)).unwrap_or(i64::MAX);
        Some([of(addresses_taken, addresses), of(ports_taken, number(self.ports.len()))])
    }

    /// The services' range.
    pub(crate) fn range(&self) -> IpNet {
        self.range
    }

    /// What an object holds and `new`, which takes its place, does not.
    pub(crate) fn dropped(&self, row: &Row, old: &Value, new: Option<&Value>) -> Vec<Allocation> {
        let Some(allocated) = self.kept_here(row) else { return Vec::new() };
        let kept = new.map(allocated).unwrap_or_default();
        let mut dropped = allocated(old);
        dropped.retain(|a| !kept.contains(a));
        dropped
    }

    /// Gives back what was [`dropped`](Self::dropped).
    pub(crate) fn release(&self, dropped: &[Allocation]) {
        if !dropped.is_empty() {
            let mut taken = self.taken.lock();
            for a in dropped {
                taken.remove(a);
            }
        }
    }
}

impl Held<'_> {
    fn take(&mut self, all: &mut HashSet<Allocation>, a: Allocation) -> bool {
        let recorded = self.pools.ranges.as_ref().is_some_and(|ranges| ranges.has(&self.recorded, &a));
        let free = !recorded && all.insert(a);
        if free {
            self.taken.push(a);
        }
        free
    }
}

impl Pool for Held<'_> {
    fn ip(&mut self, v6: bool, wanted: Option<IpAddr>) -> Result<IpAddr, String> {
        let (pools, range) = (self.pools, self.pools.range);
        let mut all = pools.taken.lock();
        if let Some(ip) = wanted {
            if !range.contains(&ip) || ip == range.network() || (!v6 && ip == range.broadcast()) {
                return Err(format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                ));
            }
            let free = self.take(&mut all, Allocation::Ip(ip));
            return if free { Ok(ip) } else { Err("provided IP is already allocated".into()) };
        }
        if v6 != pools.v6[0] {
            return Err("no IP family of the cluster is the one asked for".into());
        }
        let size = ranges::addresses(range).max(1);
        let mut rng = rand::rng();
        let band = ASKED_ADDRESSES.of(size);
        let draws = (0..DRAWS_MAX).map(|_| rng.random_range(band..size)).collect::<Vec<_>>();
        let start = rng.random_range(band..size);
        let search = (0..size.min(SEARCH_MAX)).map(|i| (start + i) % size);
        for offset in draws.into_iter().chain(search) {
            let ip = nth(range, offset + 1);
            if self.take(&mut all, Allocation::Ip(ip)) {
                return Ok(ip);
            }
        }
        Err("range is full".into())
    }

    fn port(&mut self, wanted: Option<u16>) -> Result<u16, String> {
        let (pools, ports) = (self.pools, self.pools.ports.clone());
        let mut all = pools.taken.lock();
        if let Some(port) = wanted.filter(|_| self.dry_run) {
            return Ok(port);
        }
        if let Some(port) = wanted {
            if !ports.contains(&port) {
                let (first, last) = (ports.start(), ports.end());
                return Err(format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                ));
            }
            let free = self.take(&mut all, Allocation::Port(port));
            return if free { Ok(port) } else { Err("provided port is already allocated".into()) };
        }
        let count = u32::from(ports.end() - ports.start()) + 1;
        let band = u32::try_from(ASKED_PORTS.of(count.into())).unwrap_or(0);
        let start = rand::rng().random_range(band..count);
        for i in 0..count {
            let offset = (start + i) % count;
            let port = ports.start() + u16::try_from(offset).unwrap_or(0);
            if self.take(&mut all, Allocation::Port(port)) {
                return Ok(port);
            }
        }
        Err("range is full".into())
    }

    fn families(&self) -> &[bool] {
        &self.pools.v6
    }
}

/// How much of a range is left to those who ask for a certain place.
struct Band {
    part: u128,
    least: u128,
    most: u128,
}

impl Band {
    /// So many of `size` places; none of few.
    fn of(&self, size: u128) -> u128 {
        if size <= self.least { 0 } else { (size / self.part).clamp(self.least, self.most) }
    }
}

fn nth(range: IpNet, offset: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => {
            let offset = u32::try_from(offset).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().wrapping_add(offset)))
        }
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().wrapping_add(offset))),
    }
}

impl Registry {
    /// The address of that offset in the services' range; the first is the server's own.
    pub fn service_ip(&self, offset: u32) -> IpAddr {
        nth(self.pools.range, u128::from(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_unless_kept() {
        let pools =
            Pools::new(&Config { service_cidr: "10.0.0.0/30".parse().expect("range"), ..Config::default() }, false);
        let held = || Held { pools: &pools, taken: Vec::new(), recorded: Recorded::default(), dry_run: false };
        let mut a = held();
        let first = a.ip(false, None).expect("free");
        let mut b = held();
        assert_eq!(b.ip(false, Some(first)), Err("provided IP is already allocated".into()));
        b.ip(false, None).expect("free");
        assert_eq!(b.ip(false, None), Err("range is full".into()));
        a.keep();
        drop(b);
        let mut c = held();
        assert_ne!(c.ip(false, None).expect("free"), first);
        assert!(c.ip(false, Some("10.0.1.1".parse().expect("ip"))).is_err());
        assert_eq!(c.port(Some(80)).map_err(|e| e.starts_with("provided port is not in")), Err(true));
        assert_eq!(c.port(Some(30001)), Ok(30001));
        assert_eq!(c.port(Some(30001)), Err("provided port is already allocated".into()));
        assert!(c.port(None).expect("free") >= 30085, "the first 85 are for those who ask");
    }
}
