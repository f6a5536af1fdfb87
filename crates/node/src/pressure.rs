//! When a node is short of memory, disk or process ids: the thresholds, and whether what was measured is below them.
//! Pure; knows nothing of how it is measured.

use crate::machine::{Disk, Memory};
use crate::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::fmt;
use std::str::FromStr;

/// What must stay free of something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// Bytes or pieces.
    Amount(u64),
    /// A share of all there is.
    Percent(f64),
}

impl Bound {
    fn is_above(self, free: u64, total: u64) -> bool {
        match self {
            Bound::Amount(least) => free < least,
            // What has no measure of its own (inodes of btrfs or overlay) is never short.
            Bound::Percent(percent) => total > 0 && (free as f64) * 100.0 < percent * (total as f64),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Amount(amount) if amount % (1 << 20) == 0 => write!(f, "{}Mi", amount >> 20),
            Bound::Amount(amount) => write!(f, "{amount}"),
            Bound::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What a threshold is about; the names are the kubelet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Memory,
    Disk,
    Inodes,
    ImageDisk,
    ImageInodes,
    Pids,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::Memory),
    ("nodefs.available", Signal::Disk),
    ("nodefs.inodesFree", Signal::Inodes),
    ("imagefs.available", Signal::ImageDisk),
    ("imagefs.inodesFree", Signal::ImageInodes),
    ("pid.available", Signal::Pids),
];

/// Below which the node is under pressure, as the kubelet's `--eviction-hard`: `memory.available<100Mi,nodefs.available<10%`.
/// A signal that is not named has no threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<(Signal, Bound)>);

impl Default for Thresholds {
    /// Upstream's.
    fn default() -> Self {
        Self(vec![
            (Signal::Memory, Bound::Amount(100 << 20)),
            (Signal::Disk, Bound::Percent(10.0)),
            (Signal::Inodes, Bound::Percent(5.0)),
            (Signal::ImageDisk, Bound::Percent(15.0)),
            (Signal::ImageInodes, Bound::Percent(5.0)),
        ])
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.entries().map(|(name, bound)| format!("{name}<{bound}")).collect();
        f.write_str(&all.join(","))
    }
}

/// Why a text is no list of thresholds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdsError {
    /// Not of the form SIGNAL<AMOUNT.
    #[error("{0:?} is no threshold such as nodefs.available<10%")]
    Form(String),
    /// A signal that there is not.
    #[error("{0:?} is no signal; there are {list}", list = SIGNALS.map(|(name, _)| name).join(", "))]
    Signal(String),
    /// Neither a quantity nor a percentage from 0 to 100.
    #[error("{0:?} is neither a quantity such as 1Gi nor a percentage such as 10%")]
    Amount(String),
    /// Named more than once.
    #[error("{0} has more than one threshold")]
    Twice(String),
}

impl FromStr for Thresholds {
    type Err = ThresholdsError;

    fn from_str(text: &str) -> Result<Self, ThresholdsError> {
        let mut all: Vec<(Signal, Bound)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (name, amount) = part.split_once('<').ok_or_else(|| ThresholdsError::Form(part.into()))?;
            let found = SIGNALS.iter().find(|(known, _)| *known == name);
            let (_, signal) = found.ok_or_else(|| ThresholdsError::Signal(name.into()))?;
            if all.iter().any(|(one, _)| one == signal) {
                return Err(ThresholdsError::Twice(name.into()));
            }
            let bound = bound(amount).ok_or_else(|| ThresholdsError::Amount(amount.into()))?;
            all.push((*signal, bound));
        }
        Ok(Self(all))
    }
}

fn bound(text: &str) -> Option<Bound> {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Bound::Percent),
        None => {
            let amount = quantity::value(&Quantity(text.into()))?;
            u64::try_from(amount).ok().map(Bound::Amount)
        }
    }
}

/// What a node is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// `MemoryPressure`.
    pub memory: bool,
    /// `DiskPressure`.
    pub disk: bool,
    /// `PIDPressure`.
    pub pids: bool,
}

impl Thresholds {
    /// Each signal by its name, with what must stay free of it.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let name = |signal: Signal| SIGNALS.iter().find(|(_, one)| *one == signal).map_or("", |(name, _)| *name);
        self.0.iter().map(move |(signal, bound)| (name(*signal), bound.to_string()))
    }

    /// Bytes of memory that pods may not use, so that the node does not come under pressure.
    pub fn memory_kept_bytes(&self, total_bytes: u64) -> u64 {
        let kept = self.0.iter().filter(|(signal, _)| *signal == Signal::Memory).map(|(_, bound)| match bound {
            Bound::Amount(amount) => *amount,
            Bound::Percent(percent) => (total_bytes as f64 * percent / 100.0) as u64,
        });
        kept.sum()
    }

    /// What is short. Images and containers lie on one disk. `pids` is how many there are, and may be.
    pub fn pressure(&self, memory: &Memory, disk: &Disk, pids: (u64, u64)) -> Pressure {
        let mut out = Pressure::default();
        for (signal, bound) in &self.0 {
            match signal {
                Signal::Memory => {
                    let measured = memory.total_bytes > 0;
                    out.memory |= measured && bound.is_above(memory.available_bytes, memory.total_bytes);
                }
                Signal::Disk | Signal::ImageDisk => out.disk |= bound.is_above(disk.free_bytes, disk.total_bytes),
                Signal::Inodes | Signal::ImageInodes => {
                    out.disk |= disk.inodes > 0 && bound.is_above(disk.inodes_free, disk.inodes);
                }
                Signal::Pids => out.pids |= bound.is_above(pids.1.saturating_sub(pids.0), pids.1),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_the_kubelet_writes_them() {
        let parse = |text: &str| text.parse::<Thresholds>();
        assert_eq!(parse(&Thresholds::default().to_string()), Ok(Thresholds::default()));
        assert_eq!(parse(""), Ok(Thresholds(vec![])));
        assert_eq!(parse("nodefs.available<0%"), Ok(Thresholds(vec![(Signal::Disk, Bound::Percent(0.0))])));
        assert_eq!(parse("memory.available<1Gi").map(|t| t.memory_kept_bytes(1 << 40)), Ok(1 << 30));
        assert_eq!(parse("memory.available<50%").map(|t| t.memory_kept_bytes(100)), Ok(50));
        for (text, error) in [
            ("nodefs.available", ThresholdsError::Form("nodefs.available".into())),
            ("a<1,", ThresholdsError::Signal("a".into())),
            ("pid.available<-1", ThresholdsError::Amount("-1".into())),
            ("pid.available<101%", ThresholdsError::Amount("101%".into())),
            ("pid.available<NaN%", ThresholdsError::Amount("NaN%".into())),
            ("pid.available<1,pid.available<2", ThresholdsError::Twice("pid.available".into())),
            ("nodefs.available<5%,", ThresholdsError::Form(String::new())),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_below_its_threshold_is_short() {
        let memory = |available_bytes| Memory { available_bytes, total_bytes: 1 << 30, ..Memory::default() };
        let disk = |free_bytes, inodes_free, inodes| Disk { free_bytes, total_bytes: 1000, inodes, inodes_free };
        let plenty = (memory(1 << 30), disk(1000, 10, 10), (1, 100));
        let of = |text: &str, memory: &Memory, disk: &Disk, pids| {
            let thresholds = text.parse::<Thresholds>().unwrap();
            let found = thresholds.pressure(memory, disk, pids);
            [found.memory, found.disk, found.pids].map(u8::from)
        };
        let all = Thresholds::default().to_string();
        assert_eq!(of(&all, &plenty.0, &plenty.1, plenty.2), [0, 0, 0]);
        assert_eq!(of(&all, &memory(99 << 20), &plenty.1, plenty.2), [1, 0, 0]);
        assert_eq!(of(&all, &plenty.0, &disk(150, 10, 10), plenty.2), [0, 0, 0]);
        assert_eq!(of(&all, &plenty.0, &disk(149, 10, 10), plenty.2), [0, 1, 0], "images want 15 %");
        assert_eq!(of("nodefs.available<1%", &plenty.0, &disk(149, 10, 10), plenty.2), [0, 0, 0]);
        assert_eq!(of(&all, &plenty.0, &disk(1000, 0, 0), plenty.2), [0, 0, 0], "no inodes are counted");
        assert_eq!(of(&all, &plenty.0, &disk(1000, 4, 100), plenty.2), [0, 1, 0]);
        assert_eq!(of("pid.available<10", &plenty.0, &plenty.1, (95, 100)), [0, 0, 1]);
    }
}
