//! Amounts of resources: what pods ask for and nodes have, as integers. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a container without a request counts as when nodes are scored, so that many such pods still spread.
const SCORED_CPU_MILLI: i64 = 100;
const SCORED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// CPU in thousandths, everything else in its own unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_bytes: i64,
    pub pods: i64,
    /// Extended resources and huge pages, by name.
    pub others: BTreeMap<String, i64>,
}

impl Resources {
    /// From a list as in an object. An amount that is none counts as nothing.
    pub fn from_list(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut amounts = Resources::default();
        for (name, quantity) in list.into_iter().flatten() {
            match name.as_str() {
                "cpu" => amounts.cpu_milli = milli(&quantity.0).unwrap_or(0),
                "memory" => amounts.memory_bytes = whole(&quantity.0).unwrap_or(0),
                "ephemeral-storage" => amounts.ephemeral_bytes = whole(&quantity.0).unwrap_or(0),
                "pods" => amounts.pods = whole(&quantity.0).unwrap_or(0),
                _ => {
                    amounts.others.insert(name.clone(), whole(&quantity.0).unwrap_or(0));
                }
            }
        }
        amounts
    }

    pub fn add(&mut self, more: &Resources) {
        self.combine(more, i64::saturating_add);
    }

    pub fn subtract(&mut self, less: &Resources) {
        self.combine(less, i64::saturating_sub);
    }

    fn raise(&mut self, to: &Resources) {
        self.combine(to, i64::max);
    }

    fn combine(&mut self, other: &Resources, with: fn(i64, i64) -> i64) {
        self.cpu_milli = with(self.cpu_milli, other.cpu_milli);
        self.memory_bytes = with(self.memory_bytes, other.memory_bytes);
        self.ephemeral_bytes = with(self.ephemeral_bytes, other.ephemeral_bytes);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }
}

/// What a pod asks for, itself counted as one pod: all containers together, or the most that any init container needs
/// beside the sidecars started before it, and the overhead of its runtime.
pub fn requests(spec: &PodSpec) -> Resources {
    let mut total = sum(spec, &|container| Resources::from_list(requested(container)));
    total.add(&Resources::from_list(spec.overhead.as_ref()));
    total.pods = 1;
    total
}

/// CPU and memory for scoring, where no request is not nothing.
pub fn scored(spec: &PodSpec) -> (i64, i64) {
    let of = |container: &Container| {
        let list = requested(container);
        let mut amounts = Resources::from_list(list);
        let has = |name: &str| list.is_some_and(|list| list.contains_key(name));
        if !has("cpu") {
            amounts.cpu_milli = SCORED_CPU_MILLI;
        }
        if !has("memory") {
            amounts.memory_bytes = SCORED_MEMORY_BYTES;
        }
        amounts
    };
    let mut total = sum(spec, &of);
    total.add(&Resources::from_list(spec.overhead.as_ref()));
    (total.cpu_milli, total.memory_bytes)
}

fn sum(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut needs = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&needs);
            sidecars.add(&needs);
            starting.raise(&sidecars);
        } else {
            needs.add(&sidecars);
            starting.raise(&needs);
        }
    }
    running.raise(&starting);
    running
}

fn requested(container: &Container) -> Option<&BTreeMap<String, Quantity>> {
    container.resources.as_ref()?.requests.as_ref()
}

/// A quantity in thousandths, rounded up.
pub fn milli(text: &str) -> Option<i64> {
    scaled(text, 1_000)
}

/// A quantity in whole units, rounded up.
pub fn whole(text: &str) -> Option<i64> {
    scaled(text, 1)
}

fn scaled(text: &str, unit: i128) -> Option<i64> {
    let digits_end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (up, down) = multiplier(suffix)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = &fraction[..fraction.len().min(12)];
    let joined: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(down)?;
    let product = joined.checked_mul(up)?.checked_mul(unit)?;
    let rounded = product.checked_add(divisor - 1)?.div_euclid(divisor);
    let signed = if negative { -rounded } else { rounded };
    Some(i64::try_from(signed).unwrap_or(i64::MAX))
}

/// By what a suffix multiplies, and by what it divides.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10i128.checked_pow(power.unsigned_abs().min(30))?;
            if power < 0 { (1, size) } else { (size, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities() {
        let milli_of = |text| milli(text).unwrap();
        assert_eq!(
            ["1", "100m", "1.5", "2k", "0.0001", "1e3", "1n"].map(milli_of),
            [1_000, 100, 1_500, 2_000_000, 1, 1_000_000, 1]
        );
        let whole_of = |text| whole(text).unwrap();
        assert_eq!(
            ["1Ki", "1.5Gi", "1M", "1500m", "128974848"].map(whole_of),
            [1_024, 1_610_612_736, 1_000_000, 2, 128_974_848]
        );
        assert_eq!(whole("x"), None);
        assert_eq!(whole("100E"), Some(i64::MAX));
    }

    #[test]
    fn init_containers_and_sidecars_count_as_they_run() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}, {"name": "b"}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
                {"name": "init", "resources": {"requests": {"cpu": "2", "example.com/gpu": "1"}}}],
            "overhead": {"cpu": "10m"}}))
        .unwrap();
        let total = requests(&spec);
        assert_eq!((total.cpu_milli, total.memory_bytes, total.pods), (2_510, 1 << 30, 1));
        assert_eq!(total.others["example.com/gpu"], 1);
        assert_eq!(scored(&spec).1, (1 << 30) + 2 * SCORED_MEMORY_BYTES);
    }
}
