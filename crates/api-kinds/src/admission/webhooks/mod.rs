//! Admission webhooks as their configurations describe them, and which requests they are for. Pure.

mod matching;

pub use matching::{Match, Request, Resource, exempt, matches};

use super::{items, text};
use api_core::Gvr;
use api_core::meta::Meta;
use api_core::selector::labels::Selector;
use matching::Rule;
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
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
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

    /// As metrics name it.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// Group of the configurations.
const GROUP: &str = "admissionregistration.k8s.io";

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
    /// Expressions that must all hold: items with `name` and `expression`. Whoever cannot evaluate them must ask the webhook.
    pub match_conditions: Vec<Value>,
    rules: Vec<Rule>,
    takes_equivalents: bool,
    /// `None` selects everything; an error is one that can no longer be read.
    namespace_selector: Result<Selector, String>,
    object_selector: Result<Selector, String>,
}

/// Webhooks of a configuration, in their order.
pub fn read(configuration: &Value) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    for webhook in items(configuration, "webhooks") {
        let (owner, name) = (configuration.name(), text(webhook, "name"));
        let number = hooks.iter().filter(|h| h.name == name).count();
        let selector = |field: &str| match webhook.get(field) {
            Some(selector) if selector.is_object() => Selector::from_object(Some(selector)).map_err(|e| e.to_string()),
            _ => Ok(Selector::everything()),
        };
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
            match_conditions: items(webhook, "matchConditions").cloned().collect(),
            rules: items(webhook, "rules").map(Rule::read).collect(),
            takes_equivalents: text(webhook, "matchPolicy") != "Exact",
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
        });
    }
    hooks
}
