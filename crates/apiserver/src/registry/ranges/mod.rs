//! The record of service addresses and node ports that all servers on one store share, where and as upstream keeps it.
//!
//! A write that takes or gives back is one transaction with the record, so that nothing is taken twice, also beside
//! servers of another make, and nothing is lost when one of them dies. A store that is one process's own has no record:
//! there the caches say what is taken (`pools`). Tests with a real etcd: `tests/interchange`.

mod bitmap;

use super::txn::failed;
use crate::config::Config;
use api_core::ApiError;
use api_schema::row::Allocation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitmap::Bitmap;
use bytes::Bytes;
use ipnet::IpNet;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use store::{Compare, Op, OpResult, Range, Store, Txn};
use tokio::sync::{Mutex, MutexGuard};

/// Addresses of an IPv6 range that are given out: as many as upstream has bits for.
pub(super) const ADDRESSES_V6_MAX: u128 = 1 << 16;
/// Attempts to write the record at the start, against others that do the same.
const ATTEMPTS_MAX: usize = 20;

/// What a write takes from the ranges and gives back to them.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) take: Vec<Allocation>,
    pub(crate) give: Vec<Allocation>,
}

impl Claims {
    /// Nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.take.is_empty() && self.give.is_empty()
    }
}

/// Someone else has taken what a write was about to take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken;

/// One range, and the key of its record.
#[derive(Debug)]
struct Extent {
    key: &'static str,
    /// How the record says which range it is of.
    spec: String,
    /// The number of the first bit: an address or a port.
    first: u128,
    size: u128,
    is_ports: bool,
}

impl Extent {
    fn addresses(range: IpNet) -> Self {
        let first = number(range.network()) + 1;
        Self {
            key: "/registry/ranges/serviceips",
            spec: range.trunc().to_string(),
            first,
            size: addresses(range),
            is_ports: false,
        }
    }

    fn ports(ports: &std::ops::RangeInclusive<u16>) -> Self {
        let (first, last) = (*ports.start(), *ports.end());
        Self {
            key: "/registry/ranges/servicenodeports",
            spec: format!("{first}-{last}"),
            first: first.into(),
            size: u128::from(last.saturating_sub(first)) + 1,
            is_ports: true,
        }
    }

    /// The bit of an address or port of this range.
    fn bit(&self, of: &Allocation) -> Option<usize> {
        let number = match of {
            Allocation::Ip(ip) if !self.is_ports => number(*ip),
            Allocation::Port(port) if self.is_ports => (*port).into(),
            _ => return None,
        };
        let bit = number.checked_sub(self.first).filter(|bit| *bit < self.size)?;
        usize::try_from(bit).ok()
    }

    fn encode(&self, map: &Bitmap) -> Bytes {
        let data = map.to_stored();
        let mut value = json!({"kind": KIND, "apiVersion": "v1", "metadata": {"creationTimestamp": null},
            "range": self.spec, "data": null});
        if !data.is_empty() {
            value["data"] = STANDARD.encode(data).into();
        }
        super::object::encode(&value)
    }

    /// The record, whoever wrote it; `None` if it is of another range.
    fn decode(&self, stored: &[u8]) -> Result<Option<Bitmap>, String> {
        let value = api_kinds::stored::message(stored).map_err(|e| e.to_string())?;
        if value["range"] != self.spec.as_str() {
            return Ok(None);
        }
        let data = STANDARD.decode(value["data"].as_str().unwrap_or("")).map_err(|e| e.to_string())?;
        Ok(Some(Bitmap::from_stored(&data)))
    }
}

const KIND: &str = "RangeAllocation";

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Addresses of the range that a service may have: all but the first, and in IPv4 the last.
pub(super) fn addresses(range: IpNet) -> u128 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let all = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
    match range {
        IpNet::V4(_) => all.saturating_sub(2),
        IpNet::V6(_) => all.min(ADDRESSES_V6_MAX).saturating_sub(1),
    }
}

/// What the record says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    /// Of addresses and of ports: when it was written last (0 for never), and what is taken.
    of: [(i64, Bitmap); 2],
}

/// The record of a store.
#[derive(Debug)]
pub(crate) struct Ranges {
    extents: [Extent; 2],
    /// The record as it was last seen here. Writes that change it take turns: they would only overtake each other.
    seen: Mutex<Recorded>,
}

/// Someone's turn to write the record.
pub(crate) struct Turn<'a> {
    ranges: &'a Ranges,
    seen: MutexGuard<'a, Recorded>,
}

/// Conditions, writes, and what the record says after them.
pub(crate) struct Amendment {
    pub(crate) compare: Vec<Compare>,
    pub(crate) puts: Vec<Op>,
    /// Of addresses and of ports, where that changes.
    after: [Option<Bitmap>; 2],
}

impl Ranges {
    pub(crate) fn new(config: &Config) -> Self {
        let extents = [Extent::addresses(config.service_cidr), Extent::ports(&config.node_ports)];
        Self { extents, seen: Mutex::default() }
    }

    /// The record as it is now.
    pub(crate) async fn read(&self, store: &Arc<dyn Store>) -> Result<Recorded, ApiError> {
        let gets = self.extents.iter().map(|e| Op::Get(Range::key(e.key))).collect();
        let txn = Txn { compare: Vec::new(), success: gets, failure: Vec::new() };
        let result = store.txn(txn).await.map_err(|e| failed(&e))?;
        let mut recorded = Recorded::default();
        for ((extent, slot), found) in self.extents.iter().zip(&mut recorded.of).zip(result.results) {
            let OpResult::Get(found) = found else { continue };
            let Some(kv) = found.kvs.into_iter().next() else { continue };
            let unreadable = |why| ApiError::internal(format!("the record {} is unreadable: {why}", extent.key));
            let map = extent.decode(&kv.value).map_err(unreadable)?;
            // A record of another range holds nothing of this one; to write it is to replace that one.
            *slot = (kv.mod_revision, map.unwrap_or_default());
        }
        Ok(recorded)
    }

    /// Whether the record has it.
    pub(crate) fn has(&self, recorded: &Recorded, it: &Allocation) -> bool {
        let mut places = self.extents.iter().zip(&recorded.of);
        places.any(|(extent, (_, map))| extent.bit(it).is_some_and(|bit| map.has(bit)))
    }

    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn { ranges: self, seen: self.seen.lock().await }
    }

    /// Writes into the record what stored objects hold. What else it says stays: it may be of a write under way.
    pub(crate) async fn restore(&self, store: &Arc<dyn Store>, held: Vec<Allocation>) -> Result<(), ApiError> {
        let claims = Claims { take: held, give: Vec::new() };
        let mut turn = self.turn().await;
        for _ in 0..ATTEMPTS_MAX {
            turn.refresh(store).await?;
            let amendment = turn.amended(&claims, true);
            if amendment.puts.is_empty() {
                return Ok(());
            }
            let txn = Txn { compare: amendment.compare.clone(), success: amendment.puts.clone(), failure: Vec::new() };
            let result = store.txn(txn).await.map_err(|e| failed(&e))?;
            if result.succeeded {
                turn.wrote(amendment, result.revision);
                return Ok(());
            }
        }
        Err(ApiError::internal("too many others write the record of service addresses"))
    }
}

impl Turn<'_> {
    /// Reads the record again; whether it was written meanwhile. If it has gone, what it said is not forgotten.
    pub(crate) async fn refresh(&mut self, store: &Arc<dyn Store>) -> Result<bool, ApiError> {
        let now = self.ranges.read(store).await?;
        let mut is_new = false;
        for (seen, now) in self.seen.of.iter_mut().zip(now.of) {
            is_new |= seen.0 != now.0;
            *seen = if now.0 == 0 { (0, std::mem::take(&mut seen.1)) } else { now };
        }
        Ok(is_new)
    }

    /// What makes the record say it; `None` if someone else has taken it.
    pub(crate) async fn settle(
        &mut self,
        store: &Arc<dyn Store>,
        claims: &Claims,
    ) -> Result<Option<Amendment>, ApiError> {
        // What another server has taken is not in the record as it was last seen here, and could not be given back.
        let gives_unseen = claims.give.iter().any(|it| !self.ranges.has(&self.seen, it));
        if !gives_unseen && let Ok(amendment) = self.amend(claims) {
            return Ok(Some(amendment));
        }
        // It may have been given back since the record was read.
        self.refresh(store).await?;
        Ok(self.amend(claims).ok())
    }

    fn amend(&self, claims: &Claims) -> Result<Amendment, Taken> {
        if claims.take.iter().any(|it| self.ranges.has(&self.seen, it)) {
            return Err(Taken);
        }
        Ok(self.amended(claims, false))
    }

    fn amended(&self, claims: &Claims, missing_too: bool) -> Amendment {
        let mut amendment = Amendment { compare: Vec::new(), puts: Vec::new(), after: [None, None] };
        for ((extent, (revision, before)), slot) in
            self.ranges.extents.iter().zip(&self.seen.of).zip(&mut amendment.after)
        {
            let mut after = before.clone();
            claims.give.iter().filter_map(|it| extent.bit(it)).for_each(|bit| after.remove(bit));
            claims.take.iter().filter_map(|it| extent.bit(it)).for_each(|bit| after.insert(bit));
            if *before != after || (missing_too && *revision == 0) {
                let value = extent.encode(&after);
                amendment.compare.push(Compare::ModRevision(extent.key.into(), *revision));
                amendment.puts.push(Op::Put { key: extent.key.into(), value, lease: 0 });
                *slot = Some(after);
            }
        }
        amendment
    }

    /// The amendment was written, at this revision.
    pub(crate) fn wrote(&mut self, amendment: Amendment, revision: i64) {
        for (slot, map) in self.seen.of.iter_mut().zip(amendment.after) {
            if let Some(map) = map {
                *slot = (revision, map);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn ranges(cidr: &str) -> Ranges {
        Ranges::new(&Config { service_cidr: cidr.parse().expect("a range"), ..Config::default() })
    }

    fn ip(text: &str) -> Allocation {
        Allocation::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn bits_are_counted_from_where_upstream_counts() {
        for (cidr, address, bit) in [
            ("10.96.0.0/16", "10.96.0.1", Some(0)),
            ("10.96.0.0/16", "10.96.1.0", Some(255)),
            ("10.96.0.0/16", "10.96.255.254", Some(65533)),
            ("10.96.0.0/16", "10.96.255.255", None),
            ("10.96.0.0/16", "10.96.0.0", None),
            ("10.96.0.0/16", "10.97.0.1", None),
            ("fd00::/64", "fd00::1", Some(0)),
            ("fd00::/64", "fd00::ffff", Some(65534)),
            ("fd00::/64", "fd00::1:0", None),
        ] {
            assert_eq!(ranges(cidr).extents[0].bit(&ip(address)), bit, "{address} of {cidr}");
        }
        let ports = &ranges("10.0.0.0/24").extents[1];
        assert_eq!(ports.spec, "30000-32767");
        let of = |port| ports.bit(&Allocation::Port(port));
        assert_eq!((of(29999), of(30000), of(32767), of(32768)), (None, Some(0), Some(2767), None));
    }

    #[test]
    fn a_record_is_read_in_both_languages_and_not_of_another_range() {
        let extent = &ranges("10.96.0.0/16").extents[0];
        let mut map = Bitmap::default();
        map.insert(0);
        map.insert(9);
        let json = extent.encode(&map);
        let written: Value = serde_json::from_slice(&json).expect("json");
        assert_eq!((&written["range"], &written["data"]), (&json!("10.96.0.0/16"), &json!("AgE=")));
        assert_eq!(extent.decode(&json), Ok(Some(map.clone())));
        let message =
            b"k8s\0\x0a\x15\x0a\x02v1\x12\x0fRangeAllocation\x12\x14\x0a\x00\x12\x0c10.96.0.0/16\x1a\x02\x02\x01";
        assert_eq!(extent.decode(message), Ok(Some(map)));
        assert_eq!(ranges("10.97.0.0/16").extents[0].decode(&json), Ok(None));
        assert!(extent.decode(b"k8s:enc:aescbc:v1:k:x").is_err());
    }
}
