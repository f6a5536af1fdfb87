//! What a pod's failure means for its Job, by the Job's pod failure policy. Pure.

use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;

/// What to do about one failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Count it towards the backoff limit.
    Count,
    /// Act as if it had not happened.
    Ignore,
    /// The pod's index is given up.
    FailIndex,
    /// The whole Job has failed, with this message.
    FailJob(String),
}

/// The verdict of the first rule that matches.
pub fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let Some(what) = by_exit_code(rule, pod).or_else(|| by_condition(rule, pod)) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{what} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn by_exit_code(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let wanted = rule.on_exit_codes.as_ref()?;
    let status = pods::status(pod)?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let code = |container: &ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let listed = wanted.values.contains(&code);
        let matches = if wanted.operator == "NotIn" { !listed } else { listed };
        let named = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
        (code != 0 && matches && named).then_some(code)
    };
    let (name, code) = all.filter_map(|container| Some((&container.name, code(container)?))).next()?;
    Some(format!("Container {name} for pod {} failed with exit code {code}", of(pod)))
}

fn by_condition(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let conditions = pods::status(pod)?.conditions.as_ref()?;
    let wanted = rule.on_pod_conditions.as_ref()?;
    let holds = |kind: &str, status: &str| conditions.iter().any(|have| have.type_ == kind && have.status == status);
    let matched = wanted.iter().find(|wanted| holds(&wanted.type_, &wanted.status))?;
    Some(format!("Pod {} has condition {}", of(pod), matched.type_))
}

fn of(pod: &Pod) -> String {
    controller_kit::Key::of(pod).to_string()
}
