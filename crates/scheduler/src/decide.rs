//! Chooses a node for a pod: which nodes will do, and which of them is best. Pure.
//!
//! A [`Round`] is made once for pods alike: what depends on the nodes alone is computed then, and only what changes as
//! pods are placed is computed for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;

use crate::filters::{self, Reason};
use crate::needs::Needs;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::topology::Topology;

/// Up to this many nodes all are looked at; of more, a share is enough.
const LOOK_AT_ALL_NODES: usize = 100;
/// The least share of nodes looked at, in percent.
const LOOK_AT_LEAST_PERCENT: usize = 5;
const WEIGHT_RESOURCES: f64 = 1.0;
const WEIGHT_BALANCE: f64 = 1.0;
const WEIGHT_TAINTS: f64 = 3.0;
const WEIGHT_NODE_AFFINITY: f64 = 2.0;
const WEIGHT_SPREAD: f64 = 2.0;
const WEIGHT_POD_AFFINITY: f64 = 2.0;
const WEIGHT_IMAGES: f64 = 1.0;
/// Image bytes below which having them is worth nothing, and above which it is worth no more, per container.
const IMAGES_LEAST_BYTES: f64 = 23.0 * 1024.0 * 1024.0;
const IMAGES_MOST_BYTES: f64 = 1_000.0 * 1024.0 * 1024.0;

/// Where a pod goes, or why nowhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Node(String),
    /// The reasons of each node that was asked.
    Nowhere(Vec<(String, Vec<Reason>)>),
}

/// The points of one node, before and after weighing, for people to read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Points {
    /// Free CPU and memory.
    pub resources: f64,
    /// CPU and memory used evenly.
    pub balance: f64,
    /// Taints that are only a preference.
    pub taints: f64,
    /// Preferred node affinity.
    pub node_affinity: f64,
    /// Even spreading of pods alike.
    pub spread: f64,
    /// Preferred pod affinity and anti-affinity.
    pub pod_affinity: f64,
    /// Images that are there already.
    pub images: f64,
}

impl Points {
    /// The weighted sum.
    pub fn total(&self) -> f64 {
        self.resources * WEIGHT_RESOURCES
            + self.balance * WEIGHT_BALANCE
            + self.taints * WEIGHT_TAINTS
            + self.node_affinity * WEIGHT_NODE_AFFINITY
            + self.spread * WEIGHT_SPREAD
            + self.pod_affinity * WEIGHT_POD_AFFINITY
            + self.images * WEIGHT_IMAGES
    }
}

#[derive(Debug, Clone, Copy)]
struct Fixed {
    unwelcome: f64,
    preferred: f64,
    images: f64,
}

/// What pods with the same needs have in common while the nodes stay the same.
pub struct Round {
    needs: Arc<Needs>,
    fixed: Vec<Result<Fixed, Reason>>,
    topology: Topology,
}

impl Round {
    pub fn new(needs: Arc<Needs>, snapshot: &Snapshot) -> Self {
        let fixed = snapshot.nodes.iter().map(|node| {
            filters::fixed(&needs, node)?;
            Ok(Fixed {
                unwelcome: unwelcome(&needs, node),
                preferred: preferred(&needs, node),
                images: images(&needs, node, snapshot),
            })
        });
        let fixed = fixed.collect();
        let topology = Topology::new(&needs, snapshot);
        Round { needs, fixed, topology }
    }

    /// The pod `key` of this round has been placed, and `snapshot` shows it.
    pub fn placed(&mut self, key: &Key, snapshot: &Snapshot) {
        let node = snapshot.node_of(key).and_then(|node| snapshot.node(node));
        if let Some((node, pod)) = node.zip(snapshot.placed(key)) {
            self.topology.placed(&self.needs, node, pod, snapshot);
        }
    }

    /// The best node for `pod`; of equals, the first from `start` on.
    pub fn decide(&self, snapshot: &Snapshot, pod: &Key, start: usize) -> Decision {
        let count = snapshot.nodes.len();
        let enough = enough(count);
        let mut fit = Vec::with_capacity(enough);
        let mut refused = Vec::new();
        for at in (0..count).map(|step| (start + step) % count) {
            match self.check(snapshot, at, pod) {
                Ok(fixed) => {
                    fit.push((at, fixed));
                    if fit.len() == enough {
                        break;
                    }
                }
                Err(reasons) => refused.push((at, reasons)),
            }
        }
        let named = |at: usize| snapshot.nodes[at].name.clone();
        match fit.as_slice() {
            [] => Decision::Nowhere(refused.into_iter().map(|(at, reasons)| (named(at), reasons)).collect()),
            [(only, _)] => Decision::Node(named(*only)),
            _ => {
                let points = self.score(snapshot, &fit);
                let mut best = 0;
                for at in 1..points.len() {
                    if points[at].total() > points[best].total() {
                        best = at;
                    }
                }
                Decision::Node(named(fit[best].0))
            }
        }
    }

    /// What each node says about `pod`: its points, or why not.
    pub fn explain(&self, snapshot: &Snapshot, pod: &Key) -> BTreeMap<String, Result<Points, Vec<Reason>>> {
        let checked = (0..snapshot.nodes.len()).map(|at| (at, self.check(snapshot, at, pod)));
        let (fit, refused): (Vec<_>, Vec<_>) = checked.partition(|(_, result)| result.is_ok());
        let fit: Vec<(usize, Fixed)> =
            fit.into_iter().filter_map(|(at, result)| result.ok().map(|fixed| (at, fixed))).collect();
        let name = |at: usize| snapshot.nodes[at].name.clone();
        let points = self.score(snapshot, &fit);
        let good = fit.iter().zip(points).map(|((at, _), points)| (name(*at), Ok(points)));
        let bad = refused.into_iter().filter_map(|(at, result)| Some((name(at), Err(result.err()?))));
        good.chain(bad).collect()
    }

    fn check(&self, snapshot: &Snapshot, at: usize, pod: &Key) -> Result<Fixed, Vec<Reason>> {
        let node = &snapshot.nodes[at];
        let fixed = self.fixed[at].clone().map_err(|reason| vec![reason])?;
        filters::varying(&self.needs, node, pod)?;
        self.topology.check(&self.needs, node).map_err(|reason| vec![reason])?;
        Ok(fixed)
    }

    fn score(&self, snapshot: &Snapshot, fit: &[(usize, Fixed)]) -> Vec<Points> {
        let node = |at: usize| &*snapshot.nodes[at];
        let most = |of: &dyn Fn(&(usize, Fixed)) -> f64| fit.iter().map(of).fold(0.0, f64::max);
        let unwelcome = most(&|(_, fixed)| fixed.unwelcome);
        let preferred = most(&|(_, fixed)| fixed.preferred);
        let spreads = self.topology.spreads_softly();
        let crowding: Vec<f64> =
            fit.iter().map(|(at, _)| if spreads { self.topology.crowding(node(*at)) } else { 0.0 }).collect();
        let (least_crowded, most_crowded) = range(&crowding);
        let liking: Vec<f64> = fit.iter().map(|(at, _)| self.topology.liking(node(*at)) as f64).collect();
        let (least_liked, most_liked) = range(&liking);
        let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let points = fit.iter().enumerate().map(|(n, (at, fixed))| Points {
            resources: least_allocated(&self.needs, node(*at)),
            balance: balance(&self.needs, node(*at)),
            taints: 100.0 - share(fixed.unwelcome, unwelcome),
            node_affinity: share(fixed.preferred, preferred),
            spread: match most_crowded > 0.0 {
                true => 100.0 * (most_crowded + least_crowded - crowding[n]) / most_crowded,
                false => 100.0,
            },
            pod_affinity: share(liking[n] - least_liked, most_liked - least_liked),
            images: fixed.images,
        });
        points.collect()
    }
}

/// Whether `needs` fit on the node `name` of `snapshot`; for what-if questions.
pub fn fits(needs: &Needs, snapshot: &Snapshot, name: &str, pod: &Key) -> bool {
    let Some(node) = snapshot.node(name) else { return false };
    filters::fixed(needs, node).is_ok()
        && filters::varying(needs, node, pod).is_ok()
        && Topology::new(needs, snapshot).check(needs, node).is_ok()
}

fn enough(nodes: usize) -> usize {
    if nodes <= LOOK_AT_ALL_NODES {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(LOOK_AT_LEAST_PERCENT);
    (nodes * percent / 100).max(LOOK_AT_ALL_NODES)
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

fn least_allocated(needs: &Needs, node: &NodeInfo) -> f64 {
    let free = |have: i64, used: i64, want: i64| match have - used - want {
        left if have > 0 && left > 0 => 100.0 * left as f64 / have as f64,
        _ => 0.0,
    };
    let cpu = free(node.allocatable.cpu_milli, node.scored_cpu_milli, needs.scored_cpu_milli);
    let memory = free(node.allocatable.memory_bytes, node.scored_memory_bytes, needs.scored_memory_bytes);
    (cpu + memory) / 2.0
}

fn balance(needs: &Needs, node: &NodeInfo) -> f64 {
    let fraction = |used: i64, want: i64, have: i64| {
        if have > 0 { ((used + want) as f64 / have as f64).min(1.0) } else { 1.0 }
    };
    let cpu = fraction(node.requested.cpu_milli, needs.requests.cpu_milli, node.allocatable.cpu_milli);
    let memory = fraction(node.requested.memory_bytes, needs.requests.memory_bytes, node.allocatable.memory_bytes);
    (1.0 - (cpu - memory).abs() / 2.0) * 100.0
}

fn unwelcome(needs: &Needs, node: &NodeInfo) -> f64 {
    let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !filters::is_tolerated(&needs.tolerations, taint)).count() as f64
}

fn preferred(needs: &Needs, node: &NodeInfo) -> f64 {
    let liked = needs.preferred_nodes.iter().filter(|term| filters::term_selects(&term.preference, node));
    liked.map(|term| f64::from(term.weight)).sum()
}

fn images(needs: &Needs, node: &NodeInfo, snapshot: &Snapshot) -> f64 {
    let nodes = snapshot.nodes.len().max(1) as f64;
    let bytes: f64 = needs
        .images
        .iter()
        .filter_map(|image| {
            let image = normal_image(image);
            let size = *node.images.get(&image)?;
            let spread = snapshot.nodes.iter().filter(|node| node.images.contains_key(&image)).count() as f64;
            Some(size as f64 * spread / nodes)
        })
        .sum();
    let most = IMAGES_MOST_BYTES * needs.images.len().max(1) as f64;
    100.0 * (bytes.clamp(IMAGES_LEAST_BYTES, most) - IMAGES_LEAST_BYTES) / (most - IMAGES_LEAST_BYTES)
}

/// An image name as nodes report it: with a tag.
fn normal_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
