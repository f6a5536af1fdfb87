//! One call of one webhook: the document, the time it may take, what was said, and how that is counted.

use super::super::{Attributes, values, versions};
use super::Webhooks;
use super::health::{self, Advice, PROBE_TIMEOUT};
use super::metrics::Outcome;
use super::notice::Notice;
use super::review::{self, Asked};
use crate::webhook::{Document, Target};
use api_core::{ApiError, Gvr};
use api_kinds::admission::webhooks::{Hook, Phase};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// What a webhook said.
pub(super) struct Said {
    /// Whether the write may happen.
    pub(super) allowed: Result<(), ApiError>,
    pub(super) patch: Vec<u8>,
    pub(super) warnings: Vec<String>,
}

/// Why nothing was said.
pub(super) enum Failure {
    /// It could not be asked, or its answer made no sense; in upstream's words.
    Calling(String),
    /// It is down, and the write does not wait for it; what the client is told.
    PassedOver(String),
    /// The request cannot be put to it.
    Own(ApiError),
}

impl Webhooks {
    /// Asks a webhook about a write.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        phase: Phase,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: Option<&Value>,
    ) -> Result<Said, Failure> {
        if a.dry_run && !hook.takes_dry_runs {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Failure::Own(ApiError::bad_request(why)));
        }
        let may_pass = !hook.ignores_failures && self.may_pass(hook, a);
        let advice = if may_pass { self.health.advice(&hook.id, Instant::now()) } else { Advice::Call };
        if advice == Advice::Pass {
            return Err(Failure::PassedOver(passed_over(hook)));
        }
        let own = Duration::from_secs(hook.timeout_s);
        let at_most = if advice == Advice::Probe { own.min(PROBE_TIMEOUT) } else { own };
        let started = Instant::now();
        let result = self.exchange(hook, phase, a, gvr, object, at_most).await;
        let outcome = match &result {
            Ok(said) => said.allowed.as_ref().err().map_or((false, 200, "no_error"), |e| (true, e.code, "no_error")),
            Err(Failure::Own(_)) => (true, 0, "apiserver_internal_error"),
            Err(_) => (!hook.ignores_failures, 0, "calling_webhook_error"),
        };
        let outcome = Outcome { rejected: outcome.0, code: outcome.1, error_type: outcome.2 };
        self.metrics.called(hook, phase, a.operation, outcome, started.elapsed());
        match &result {
            Ok(_) => self.came_up(hook, phase),
            Err(Failure::Calling(why)) if self.health.failed(&hook.id, Instant::now()) => {
                self.went_down(hook, phase, why);
                if may_pass {
                    return Err(Failure::PassedOver(passed_over(hook)));
                }
            }
            Err(_) => {}
        }
        result
    }

    async fn exchange(
        &self,
        hook: &Hook,
        phase: Phase,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: Option<&Value>,
        at_most: Duration,
    ) -> Result<Said, Failure> {
        let failed = |why: String| Failure::Calling(format!("failed calling webhook {:?}: {why}", hook.name));
        let version = review::version(&hook.review_versions).map_err(failed)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let document = self.document(version, &uid, a, gvr, object, phase).await.map_err(Failure::Own)?;
        let target = Target::read(&hook.client_config);
        let target = target.map_err(|e| failed(format!("could not get REST client: {e}")))?;
        let wanted = Document { group: "admission.k8s.io", version, kind: "AdmissionReview" };
        let answer = self.client.call(&target, document.to_string().into(), wanted, hook.timeout_s, at_most).await;
        let answer = answer.map_err(|e| failed(format!("failed to call webhook: {e}")))?;
        review::check_types(&answer).map_err(|e| failed(format!("failed to call webhook: {e}")))?;
        let verdict = review::verdict(version, &uid, phase == Phase::Mutating, &answer);
        let verdict = verdict.map_err(|e| failed(format!("received invalid webhook response: {e}")))?;
        if let Some(other) = verdict.foreign_patch {
            return Err(failed(format!("unsupported patch type {other:?}")));
        }
        for (name, value) in verdict.annotations {
            a.annotate(format!("{}/{name}", hook.name), value);
        }
        let allowed = if verdict.allowed { Ok(()) } else { Err(review::denied(&hook.name, &verdict.status)) };
        Ok(Said { allowed, patch: verdict.patch, warnings: verdict.warnings })
    }

    async fn document(
        &self,
        version: &str,
        uid: &str,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: Option<&Value>,
        phase: Phase,
    ) -> Result<Value, ApiError> {
        let (kind, request_kind) = (versions::kind(&*self.registry, a, gvr)?, versions::own_kind(a));
        let asked = Asked {
            uid,
            kind: &kind,
            resource: gvr,
            request: (&request_kind, a.resource),
            subresource: a.subresource,
            name: a.name,
            namespace: versions::namespace(a),
            operation: a.operation.as_str(),
            user: a.user,
            object: self.shown(phase, a, gvr, object).await?.unwrap_or_default(),
            old: self.shown(phase, a, gvr, a.old).await?.unwrap_or_default(),
            dry_run: a.dry_run,
            options: &values::options(a),
        };
        Ok(review::request(version, asked))
    }

    /// Whether the write need not wait for the webhook if it is down.
    fn may_pass(&self, hook: &Hook, a: &Attributes<'_>) -> bool {
        let target = Target::read(&hook.client_config).ok();
        let backend = target.as_ref().and_then(Target::service).map(|s| s.namespace.as_str());
        health::is_component(a.user, &self.controllers) && health::is_vital(a, versions::namespace(a), backend)
    }

    fn went_down(&self, hook: &Hook, phase: Phase, why: &str) {
        if self.health.announce(&hook.id) {
            tracing::error!(webhook = hook.name, configuration = hook.configuration, why, "a webhook is down");
            self.metrics.down(hook, true);
            self.notify(Notice::new(hook, phase, Some(why)));
        }
    }

    fn came_up(&self, hook: &Hook, phase: Phase) {
        if self.health.answered(&hook.id) {
            tracing::info!(webhook = hook.name, configuration = hook.configuration, "a webhook is up again");
            self.metrics.down(hook, false);
            self.notify(Notice::new(hook, phase, None));
        }
    }

    fn notify(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::warn!(%error, "an event of a webhook is lost");
        }
    }
}

fn passed_over(hook: &Hook) -> String {
    format!(
        "admission webhook {:?} of {:?} is down; this write of the cluster's own did not wait for it",
        hook.name, hook.configuration
    )
}
