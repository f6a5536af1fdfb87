//! Whether a pod may be evicted: the pure part of the `eviction` subresource, by upstream's rules for disruption budgets.

use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use api_core::status::{Cause, Details};
use api_core::{ApiError, GroupResource, Gvr, Reason};
use serde_json::{Value, json};

/// Pods that a budget may note as being disrupted.
const DISRUPTED_PODS_MAX: usize = 2000;

/// The resource of the budgets.
pub fn budgets() -> Gvr {
    Gvr::new("policy", "v1", "poddisruptionbudgets")
}

/// What an eviction does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The pod goes; no budget is concerned.
    Free,
    /// The pod goes if it is still as it was: it counts for nothing because it is not ready, which may change. The budget that
    /// lets it go, if one does.
    Unchanged(Option<String>),
    /// The pod goes once this budget, with one disruption less left, is written.
    Spend(Box<Value>),
}

/// Decides; `budgets` are all of the pod's namespace, `now` is RFC 3339.
///
/// # Errors
/// 429 if a budget forbids it, 500 if more than one budget selects the pod.
pub fn decide(pod: &Value, budgets: &[Value], now: &str) -> Result<Verdict, ApiError> {
    if is_over(pod) {
        return Ok(Verdict::Free);
    }
    if phase(pod) == "Pending" {
        return Ok(Verdict::Unchanged(None));
    }
    let mut concerned = budgets.iter().filter(|b| selects(b, pod));
    let Some(budget) = concerned.next() else { return Ok(Verdict::Free) };
    if concerned.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::new(500, Reason::Unknown, why));
    }
    if !is_ready(pod) && spares_unready(budget) {
        return Ok(Verdict::Unchanged(Some(budget.name().to_owned())));
    }
    spend(pod, budget, now).map(|budget| Verdict::Spend(budget.into()))
}

/// The refusal of an eviction whose pod changed while a budget was looked at.
pub fn changed_meanwhile(budget: &str) -> ApiError {
    refuse(format!("The disruption budget {budget} is still being processed by the server."), 10)
}

/// Says in the pod's status that it is evicted.
pub fn note(pod: &mut Value, now: &str) {
    let evicted = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting"});
    set_condition(&mut pod["status"], evicted, now);
}

/// Puts a condition in the place of the one of its type; its time stays while its status does.
fn set_condition(status: &mut Value, mut condition: Value, now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else { return };
    let old = all.iter_mut().find(|one| one["type"] == condition["type"]);
    let since = old.as_ref().filter(|old| old["status"] == condition["status"]);
    condition["lastTransitionTime"] = since.map_or_else(|| json!(now), |old| old["lastTransitionTime"].clone());
    match old {
        Some(old) => *old = condition,
        None => all.push(condition),
    }
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("")
}

fn is_over(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed") || pod.is_deleting()
}

fn selects(budget: &Value, pod: &Value) -> bool {
    Selector::from_object(budget["spec"].get("selector")).is_ok_and(|s| s.matches(pod))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod that is not ready may go if the budget says so, or if the budget is met without it.
fn spares_unready(budget: &Value) -> bool {
    if budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
        return true;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0
}

fn spend(pod: &Value, budget: &Value, now: &str) -> Result<Value, ApiError> {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if number("observedGeneration") < generation {
        return Err(changed_meanwhile(budget.name()));
    }
    let forbidden = |why: &str| {
        let gr = GroupResource { group: "policy".into(), resource: "poddisruptionbudget".into() };
        ApiError::forbidden(&gr, budget.name(), why)
    };
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = status["disruptedPods"].as_object().cloned().unwrap_or_default();
    if disrupted.len() > DISRUPTED_PODS_MAX {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let (needs, has) = (number("desiredHealthy"), number("currentHealthy"));
        let why = format!("The disruption budget {} needs {needs} healthy pods and has {has} currently", budget.name());
        return Err(refuse(why, 0));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    let mut disrupted = disrupted;
    disrupted.insert(pod.name().into(), json!(now));
    spent["status"]["disruptedPods"] = disrupted.into();
    if allowed == 1 {
        let mut none_left =
            json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": ""});
        if let Some(generation) = status["observedGeneration"].as_i64() {
            none_left["observedGeneration"] = generation.into();
        }
        set_condition(&mut spent["status"], none_left, now);
    }
    Ok(spent)
}

fn refuse(why: String, retry_after_seconds: u32) -> ApiError {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    let details = Details { causes: vec![cause], retry_after_seconds, ..Details::default() };
    ApiError::new(429, Reason::TooManyRequests, message).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"a": "b"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2}})
    }

    fn pod(phase: &str) -> Value {
        json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn a_budget_is_spent_until_nothing_is_left() {
        let decide = |pod: &Value, budgets: &[Value]| decide(pod, budgets, "2026-01-01T00:00:00Z");
        assert_eq!(decide(&pod("Running"), &[]), Ok(Verdict::Free));
        assert_eq!(decide(&pod("Pending"), &[budget(0)]), Ok(Verdict::Unchanged(None)));
        assert_eq!(decide(&pod("Failed"), &[budget(0)]), Ok(Verdict::Free));
        let mut unready = pod("Running");
        unready["status"]["conditions"] = json!([]);
        assert_eq!(decide(&unready, &[budget(0)]), Ok(Verdict::Unchanged(Some("b".into()))));
        let Ok(Verdict::Spend(spent)) = decide(&pod("Running"), &[budget(1)]) else { panic!("allowed") };
        assert_eq!(spent["status"]["disruptionsAllowed"], 0);
        assert_eq!(spent["status"]["disruptedPods"]["p"], "2026-01-01T00:00:00Z");
        let told = &spent["status"]["conditions"][0];
        assert_eq!((&told["type"], &told["status"]), (&json!("DisruptionAllowed"), &json!("False")));
        let refused = decide(&pod("Running"), &[budget(0)]).expect_err("refused");
        assert_eq!(refused.code, 429);
        assert_eq!(
            refused.details.expect("details").causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
        let two = decide(&pod("Running"), &[budget(1), budget(1)]).expect_err("two");
        assert_eq!((two.code, two.message.starts_with("This pod has more than one PodDisruptionBudget")), (500, true));
    }

    #[test]
    fn an_evicted_pod_says_why_it_goes_once() {
        let mut evicted = pod("Running");
        note(&mut evicted, "2026-01-01T00:00:00Z");
        note(&mut evicted, "2026-01-02T00:00:00Z");
        let conditions = evicted["status"]["conditions"].as_array().expect("conditions");
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["reason"], "EvictionByEvictionAPI");
        assert_eq!(conditions[1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }
}
