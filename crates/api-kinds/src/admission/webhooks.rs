//! Admission webhooks as their configurations describe them, and which requests they are for. Pure.

use super::conditions::Conditions;
use super::expressions::Names;
use super::matching::Constraints;
use super::policies::{BINDINGS, GROUP, POLICIES};
use super::{items, text};
use api_core::Gvr;
use api_core::meta::Meta;
use serde_json::Value;

/// What a webhook may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Change the object.
    Mutating,
    /// Refuse it.
    Validating,
}

impl Phase {
    /// The resource of its configurations.
    pub fn configurations(self) -> Gvr {
        let resource = match self {
            Self::Mutating => MUTATING,
            Self::Validating => VALIDATING,
        };
        Gvr { group: GROUP.into(), version: "v1".into(), resource: resource.into() }
    }

    /// The kind of its configurations.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    /// As metrics of match conditions name it.
    pub fn step(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validate",
        }
    }

    /// As metrics of calls name it.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

/// Whether no webhook is asked: else one could keep itself from being taken away.
pub fn exempt(gvr: &Gvr) -> bool {
    gvr.group == GROUP && [MUTATING, VALIDATING, POLICIES, BINDINGS].contains(&gvr.resource.as_str())
}

/// A webhook of a configuration.
#[derive(Debug)]
pub struct Hook {
    /// Name of its configuration.
    pub configuration: String,
    /// The configuration's uid.
    pub configuration_uid: String,
    /// Its own name.
    pub name: String,
    /// Tells it from all others: configuration, name, and its number among those of the same name.
    pub id: String,
    /// Where it is.
    pub client_config: Value,
    /// Versions of reviews that it takes, preferred first.
    pub review_versions: Vec<String>,
    /// Whether a failure to call it is no refusal.
    pub ignores_failures: bool,
    /// Whether a dry run may call it.
    pub takes_dry_runs: bool,
    /// Seconds that it may take.
    pub timeout_s: u64,
    /// Whether it is called again after others have changed the object.
    pub reinvocable: bool,
    /// What it is for, conditions aside.
    pub constraints: Constraints,
    /// What must hold beside.
    pub conditions: Conditions,
}

/// What conditions may name.
const CONDITION_NAMES: Names = Names { params: false, authorizer: true };

/// Webhooks of a configuration, in their order.
pub fn read(configuration: &Value) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    for webhook in items(configuration, "webhooks") {
        let (owner, name) = (configuration.name(), text(webhook, "name"));
        let number = hooks.iter().filter(|h| h.name == name).count();
        hooks.push(Hook {
            configuration: owner.to_owned(),
            configuration_uid: configuration.uid().to_owned(),
            name: name.to_owned(),
            id: format!("{owner}/{name}/{number}"),
            client_config: webhook["clientConfig"].clone(),
            review_versions: items(webhook, "admissionReviewVersions")
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            ignores_failures: text(webhook, "failurePolicy") == "Ignore",
            takes_dry_runs: matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun"),
            timeout_s: webhook["timeoutSeconds"].as_u64().unwrap_or(10),
            reinvocable: text(webhook, "reinvocationPolicy") == "IfNeeded",
            constraints: Constraints::of_webhook(webhook),
            conditions: Conditions::compile(items(webhook, "matchConditions"), CONDITION_NAMES),
        });
    }
    hooks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_admission_is_exempt() {
        let of = |group: &str, resource: &str| exempt(&Gvr::new(group, "v1", resource));
        for resource in [MUTATING, VALIDATING, POLICIES, BINDINGS] {
            assert!(of(GROUP, resource), "{resource}");
        }
        assert!(!of("apps", "deployments") && !of("other", POLICIES));
    }
}
