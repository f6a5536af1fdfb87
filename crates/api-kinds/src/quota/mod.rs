//! Resource quotas: what an object counts for, which quotas it concerns, and whether a write still fits. Pure; the server
//! charges writes with it, and the quota controller recounts with it.
//!
//! An object's [`Facts`] hold what it counts for and what scopes ask about it, so that a recount need not look at the
//! object again.

mod charge;
mod pod;

pub use charge::{Write, charge, handles};
pub(crate) use pod::peak;

use crate::admission::{items, text};
use api_core::quantity::{Format, Quantity};
use api_core::{GroupResource, Gvr};
use pod::Scopes;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Amounts by the name that a quota has for them: `requests.cpu`, `count/secrets`.
pub type Amounts = BTreeMap<String, Quantity>;

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const PODS: &str = "pods";
const SERVICES: &str = "services";
const NODE_PORTS: &str = "services.nodeports";
const BALANCERS: &str = "services.loadbalancers";

/// The resource of the quotas.
pub fn quotas() -> Gvr {
    Gvr::new("", "v1", "resourcequotas")
}

/// What an object counts for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// As long as it is stored.
    stored: Amounts,
    /// As long as it runs.
    running: Amounts,
    /// When it stops counting as running, whatever else happens (Unix seconds).
    runs_until: Option<i64>,
    /// What scopes ask; `None` for what is no pod, which no scope covers.
    scopes: Option<Scopes>,
}

impl Facts {
    /// Reads an object of `resource`.
    pub fn of(resource: &GroupResource, object: &Value) -> Self {
        let mut facts = Self { stored: [(count_name(resource), Quantity::from_int(1))].into(), ..Self::default() };
        match (resource.group.as_str(), resource.resource.as_str()) {
            ("", PODS) => {
                facts.scopes = Some(Scopes::of(object));
                if !matches!(text(&object["status"], "phase"), "Succeeded" | "Failed") {
                    facts.running = pod::usage(object);
                    facts.runs_until = pod::runs_until(object);
                }
            }
            ("", SERVICES) => service(object, &mut facts.stored),
            ("", CLAIMS) => claim(object, &mut facts.stored),
            ("", other) if is_named_plainly(other) => {
                facts.stored.insert(other.to_owned(), Quantity::from_int(1));
            }
            _ => {}
        }
        facts
    }

    /// What it counts for at that time.
    pub fn amounts(&self, now_unix_s: i64) -> Amounts {
        let mut amounts = self.stored.clone();
        if self.runs_until.is_none_or(|until| now_unix_s <= until) {
            amounts.extend(self.running.clone());
        }
        amounts
    }

    /// When it will count for less though nothing happens to it, if that is after `now`.
    pub fn changes_at(&self, now_unix_s: i64) -> Option<i64> {
        self.runs_until.filter(|until| now_unix_s <= *until && !self.running.is_empty())
    }

    /// Whether all scopes of the quota cover it.
    fn is_in_scope(&self, quota: &Value) -> bool {
        requirements(quota).all(|(scope, operator, values)| {
            self.scopes.as_ref().is_some_and(|facts| facts.meet(scope, operator, &values))
        })
    }
}

/// Scope, operator and values of each condition that a quota has for what it counts.
fn requirements(quota: &Value) -> impl Iterator<Item = (&str, &str, Vec<&str>)> {
    let spec = &quota["spec"];
    let plain = items(spec, "scopes").filter_map(Value::as_str).map(|scope| (scope, "Exists", Vec::new()));
    let selected = items(&spec["scopeSelector"], "matchExpressions")
        .map(|e| (text(e, "scopeName"), text(e, "operator"), items(e, "values").filter_map(Value::as_str).collect()));
    plain.chain(selected)
}

/// `count/secrets`, `count/deployments.apps`.
pub fn count_name(resource: &GroupResource) -> String {
    format!("count/{resource}")
}

/// Core resources whose number has a name of its own beside `count/`.
fn is_named_plainly(resource: &str) -> bool {
    matches!(resource, "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets")
}

/// Whether objects of `resource` count for what a quota calls `name`.
pub fn concerns(resource: &GroupResource, name: &str) -> bool {
    if name.strip_prefix("count/").is_some_and(|counted| counted == resource.to_string()) {
        return true;
    }
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", PODS) => pod::concerns(name),
        ("", SERVICES) => matches!(name, SERVICES | NODE_PORTS | BALANCERS),
        ("", CLAIMS) => {
            let bare = name.split_once(BY_CLASS).map_or(name, |(_, bare)| bare);
            matches!(bare, CLAIMS | STORAGE)
        }
        ("", other) => is_named_plainly(other) && name == other,
        _ => false,
    }
}

/// The resource of which a quota counts `name`, as far as the name tells.
pub fn resource_of(name: &str) -> Option<GroupResource> {
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(GroupResource { group: group.into(), resource: resource.into() });
    }
    let core = [PODS, SERVICES, CLAIMS, "configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
    let core = core.map(|resource| GroupResource { group: String::new(), resource: resource.into() });
    core.into_iter().find(|resource| concerns(resource, name))
}

fn service(object: &Value, amounts: &mut Amounts) {
    let spec = &object["spec"];
    let ports = |wanted: &dyn Fn(&Value) -> bool| {
        let number = items(spec, "ports").filter(|port| wanted(port)).count();
        Quantity::from_int(i64::try_from(number).unwrap_or(i64::MAX))
    };
    let kind = text(spec, "type");
    let suppressed = kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] == false;
    let node_ports = match kind {
        // Only those that are named explicitly.
        "LoadBalancer" if suppressed => ports(&|port| port["nodePort"].as_i64().is_some_and(|p| p != 0)),
        "LoadBalancer" | "NodePort" => ports(&|_| true),
        _ => Quantity::ZERO,
    };
    amounts.insert(SERVICES.into(), Quantity::from_int(1));
    amounts.insert(NODE_PORTS.into(), node_ports);
    amounts.insert(BALANCERS.into(), Quantity::from_int(i64::from(kind == "LoadBalancer")));
}

fn claim(object: &Value, amounts: &mut Amounts) {
    const BETA: &str = "volume.beta.kubernetes.io/storage-class";
    let beta = object["metadata"]["annotations"][BETA].as_str();
    let class = beta.or_else(|| object["spec"]["storageClassName"].as_str()).unwrap_or("");
    let mut put = |name: &str, amount: Quantity| {
        amounts.insert(name.to_owned(), amount);
        if !class.is_empty() {
            amounts.insert(format!("{class}{BY_CLASS}{name}"), amount);
        }
    };
    put(CLAIMS, Quantity::from_int(1));
    let read = |list: &Value| list["storage"].as_str().and_then(|s| s.parse::<Quantity>().ok()).map(|q| q.round_up(0));
    let asked = read(&object["spec"]["resources"]["requests"]);
    // While a claim shrinks back after a failed expansion, what was allocated counts.
    let allocated = read(&object["status"]["allocatedResources"]);
    if let Some(asked) = asked {
        put(STORAGE, allocated.filter(|a| *a > asked).unwrap_or(asked));
    }
}

/// Reads a list of resources.
pub fn read(list: &Value) -> Amounts {
    let entry = |(name, amount): (&String, &Value)| Some((name.clone(), amount.as_str()?.parse().ok()?));
    list.as_object().into_iter().flatten().filter_map(entry).collect()
}

/// A list of resources as the API has it.
pub fn write(amounts: &Amounts) -> Value {
    let entries = amounts.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn add(to: &mut Amounts, name: &str, amount: Quantity) {
    let sum = to.get(name).map_or(amount, |have| have.plus(amount));
    to.insert(name.to_owned(), sum);
}

/// What the objects of `resource` in the quota's namespace use of what the quota limits. Of what it limits of them, all
/// names are in the answer.
pub fn used<'f>(
    quota: &Value,
    resource: &GroupResource,
    objects: impl Iterator<Item = &'f Facts>,
    now_unix_s: i64,
) -> Amounts {
    let hard = read(&quota["spec"]["hard"]);
    let zero = Quantity::ZERO.with_format(Format::DecimalSi);
    let mut used: Amounts = hard.into_keys().filter(|name| concerns(resource, name)).map(|name| (name, zero)).collect();
    for facts in objects.filter(|facts| facts.is_in_scope(quota)) {
        for (name, amount) in facts.amounts(now_unix_s) {
            if let Some(sum) = used.get_mut(&name) {
                *sum = sum.plus(amount);
            }
        }
    }
    used
}

#[cfg(test)]
mod tests;
