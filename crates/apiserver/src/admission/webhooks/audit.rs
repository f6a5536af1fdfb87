//! What the audit log is told of webhooks, under upstream's keys. What a webhook itself has to say is told by `call`.
//!
//! Upstream tells patches too, at the level Request and above; the log here is of the level Metadata.

use super::super::Attributes;
use api_kinds::admission::webhooks::{Hook, Phase};
use serde::Serialize;

/// Which call of a request it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) phase: Phase,
    /// 1 if the webhook is asked again.
    pub(super) round: usize,
    /// Number of the webhook: among all mutating ones, or among the validating ones that are asked.
    pub(super) index: usize,
}

impl Place {
    fn key(self, prefix: &str) -> String {
        format!("{prefix}/round_{}_index_{}", self.round, self.index)
    }
}

#[derive(Serialize)]
struct Mutation<'a> {
    configuration: &'a str,
    webhook: &'a str,
    mutated: bool,
}

/// A mutating webhook was asked; `mutated` if it changed the object.
pub(super) fn mutation(a: &Attributes<'_>, place: Place, hook: &Hook, mutated: bool) {
    let value = Mutation { configuration: &hook.configuration, webhook: &hook.name, mutated };
    match serde_json::to_string(&value) {
        Ok(value) => a.annotate(place.key("mutation.webhook.admission.k8s.io"), value),
        Err(error) => tracing::error!(%error, "a mutation could not be told to the audit log"),
    }
}

/// A webhook could not be asked, and the write went on.
pub(super) fn failed_open(a: &Attributes<'_>, place: Place, hook: &Hook) {
    let prefix = match place.phase {
        Phase::Mutating => "failed-open.mutation.webhook.admission.k8s.io",
        Phase::Validating => "failed-open.validating.webhook.admission.k8s.io",
    };
    a.annotate(place.key(prefix), hook.name.clone());
}
