//! Admission webhooks: which are asked, what becomes of their answers, what becomes of the write if one does not answer.
//!
//! Matching is `api_kinds::admission::matching`, conditions are `api_kinds::admission::conditions`, the documents are [`review`], the calls [`crate::webhook`]. What the
//! cluster does about a webhook that is down for long is [`health`].

mod audit;
mod call;
pub mod health;
pub mod metrics;
mod notice;
pub mod review;

pub use notice::Notice;
pub(crate) use notice::announce;

use super::condition_metrics::{ConditionMetrics, Whose};
use super::write::{Conditional, Shown, Write};
use super::{Attributes, Operation, versions};
use crate::authz::Authorizer;
use crate::registry::{Registry, storage};
use crate::view::View;
use crate::webhook::Client;
use api_core::GroupResource;
use api_core::meta::Meta;
use api_core::{ApiError, Gvr};
use api_kinds::admission::matching::{Request, Undecided};
use api_kinds::admission::webhooks::{self, Hook, Phase};
use call::{Failure, Said};
use futures::future::join_all;
use health::Health;
use metrics::Metrics;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// All webhooks.
#[derive(Debug)]
pub struct Webhooks {
    registry: Arc<Registry>,
    authorizer: Arc<Authorizer>,
    client: Arc<Client>,
    metrics: Metrics,
    health: Health,
    /// Service accounts of the cluster's controllers, in `kube-system`.
    controllers: HashSet<String>,
    notices: mpsc::Sender<Notice>,
    loaded: Mutex<[Loaded; 2]>,
}

/// Hooks of a phase as they were read last: number and newest revision of the configurations tell whether they still hold.
#[derive(Debug, Default, Clone)]
struct Loaded {
    state: (usize, i64),
    hooks: Arc<Vec<Arc<Hook>>>,
    /// By uid and generation of the configuration: what has not changed is not compiled again.
    known: HashMap<(String, i64), Vec<Arc<Hook>>>,
}

/// What mutating webhooks of a request have done so far, to know which are asked again.
#[derive(Debug, Default)]
pub struct Rounds {
    second: bool,
    /// Asked before something changed the object; they want to see it again.
    again: HashSet<String>,
    /// Asked since.
    asked: HashSet<String>,
    changed: bool,
}

impl Rounds {
    /// Whether a webhook has changed the object.
    pub fn is_needed(&self) -> bool {
        self.changed
    }

    /// Begins the second round; `changed` tells whether the object changed since the first.
    pub fn begin_second(&mut self, changed: bool) {
        self.second = true;
        if changed {
            self.object_changed();
        }
    }

    fn object_changed(&mut self) {
        self.again.extend(self.asked.drain());
    }

    fn skips(&self, hook: &Hook) -> bool {
        self.second && !self.again.contains(&hook.id)
    }
}

/// Uid and generation of a configuration.
fn identity(configuration: &Value) -> (String, i64) {
    (configuration.uid().to_owned(), configuration["metadata"]["generation"].as_i64().unwrap_or(0))
}

impl Loaded {
    /// Webhooks of a configuration: as they were read before, if it has not changed since.
    fn read(&self, configuration: &Value) -> Vec<Arc<Hook>> {
        let key = identity(configuration);
        let earlier = self.known.get(&key).filter(|_| !key.0.is_empty() && key.1 > 0).cloned();
        earlier.unwrap_or_else(|| webhooks::read(configuration).into_iter().map(Arc::new).collect())
    }
}

impl Webhooks {
    /// Notices of webhooks that go down and come up again are sent to `notices`, as far as there is room.
    pub(crate) fn new(
        registry: Arc<Registry>,
        authorizer: Arc<Authorizer>,
        client: Arc<Client>,
        metrics: Metrics,
        controllers: HashSet<String>,
        notices: mpsc::Sender<Notice>,
        down_after: Duration,
    ) -> Self {
        let (loaded, health) = (Mutex::default(), Health::new(down_after));
        Self { registry, authorizer, client, metrics, health, controllers, notices, loaded }
    }

    /// What is counted of match conditions.
    pub(super) fn condition_metrics(&self) -> &ConditionMetrics {
        &self.metrics.conditions
    }

    /// What calls webhooks.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn tools(&self) -> versions::Tools<'_> {
        versions::Tools { view: &*self.registry, converter: Some(&self.client) }
    }

    /// Hooks of a phase, by the names of their configurations.
    fn hooks(&self, phase: Phase) -> Arc<Vec<Arc<Hook>>> {
        let gvr = phase.configurations();
        let Some(cache) = self.registry.cache_of(&gvr.group, &gvr.resource) else { return Arc::default() };
        let snapshot = cache.snapshot();
        let objects = || snapshot.prefix(cache.prefix());
        let state = objects().fold((0, 0), |(n, newest), o| (n + 1, i64::max(newest, o.revision)));
        let slot = usize::from(phase == Phase::Validating);
        let mut loaded = self.loaded.lock();
        if loaded[slot].state != state {
            let (mut hooks, mut known) = (Vec::new(), HashMap::new());
            for object in objects() {
                match storage::value(object) {
                    Ok(configuration) => {
                        let read = loaded[slot].read(&configuration);
                        hooks.extend(read.iter().cloned());
                        known.insert(identity(&configuration), read);
                    }
                    Err(error) => tracing::error!(%error, name = object.name, "a webhook configuration is unreadable"),
                }
            }
            loaded[slot] = Loaded { state, hooks: Arc::new(hooks), known };
            self.health.keep(&loaded.iter().flat_map(|l| l.hooks.iter()).map(|h| h.id.as_str()).collect());
        }
        loaded[slot].hooks.clone()
    }

    /// Asks the mutating webhooks, one after the other; each sees what those before it have made of the object.
    pub(crate) async fn mutate(
        &self,
        a: &Attributes<'_>,
        object: &mut Option<Value>,
        warnings: &mut Vec<String>,
        rounds: &mut Rounds,
    ) -> Result<(), ApiError> {
        let hooks = self.hooks(Phase::Mutating);
        if hooks.is_empty() || webhooks::exempt(a.resource) || !versions::is_reviewable(a) {
            return Ok(());
        }
        let equivalents = self.registry.equivalents(a.row, a.subresource);
        for (index, hook) in hooks.iter().enumerate() {
            let wanted = Box::pin(self.wants(hook, Phase::Mutating, a, &equivalents, object.as_ref())).await?;
            let Some(gvr) = wanted.filter(|_| !rounds.skips(hook)) else { continue };
            let said = Box::pin(self.ask(hook, Phase::Mutating, a, &gvr, object.as_ref())).await;
            let place = audit::Place { phase: Phase::Mutating, round: usize::from(rounds.second), index };
            let changed = match self.settle(hook, place, a, said, warnings) {
                Ok(Some(said)) => Box::pin(self.patch(hook, a, &gvr, object, &said)).await,
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            audit::mutation(a, place, hook, changed.as_ref().is_ok_and(|changed| *changed));
            if changed? {
                rounds.changed = true;
                rounds.object_changed();
            }
            if hook.reinvocable {
                rounds.asked.insert(hook.id.clone());
            }
        }
        Ok(())
    }

    /// Asks the validating webhooks, all at once.
    pub(crate) async fn validate(
        &self,
        a: &Attributes<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let hooks = self.hooks(Phase::Validating);
        if hooks.is_empty() || webhooks::exempt(a.resource) || !versions::is_reviewable(a) {
            return Ok(());
        }
        let equivalents = self.registry.equivalents(a.row, a.subresource);
        let mut asked = Vec::new();
        for hook in hooks.iter() {
            if let Some(gvr) = Box::pin(self.wants(hook, Phase::Validating, a, &equivalents, object)).await? {
                asked.push((hook, gvr));
            }
        }
        let asking = asked.iter().map(|(hook, gvr)| Box::pin(self.ask(hook, Phase::Validating, a, gvr, object)));
        let said = join_all(asking).await;
        let mut refused = None;
        for (index, ((hook, _), said)) in asked.iter().zip(said).enumerate() {
            let place = audit::Place { phase: Phase::Validating, round: 0, index };
            if let Err(error) = self.settle(hook, place, a, said, warnings) {
                refused.get_or_insert(error);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// The version in which the webhook wants the object; `None` if it is not asked.
    async fn wants(
        &self,
        hook: &Hook,
        phase: Phase,
        a: &Attributes<'_>,
        equivalents: &[Gvr],
        object: Option<&Value>,
    ) -> Result<Option<Gvr>, ApiError> {
        let request = Request {
            operation: a.operation.as_str(),
            resource: a.resource,
            subresource: a.subresource,
            equivalents,
            namespace: versions::namespace(a),
            name: a.name,
            object,
            old: a.old,
        };
        let namespace = |name: &str| self.registry.get("", "namespaces", "", name);
        let found = hook.constraints.matches(&request, &namespace).map_err(|undecided| match undecided {
            Undecided::NoNamespace(name) => ApiError::not_found(&namespaces(), &name),
            Undecided::Selector(why) => ApiError::internal(why),
        })?;
        match found {
            Some(gvr) if hook.conditions.is_empty() || self.conditions_hold(hook, phase, a, &gvr, object).await? => {
                Ok(Some(gvr))
            }
            _ => Ok(None),
        }
    }

    /// Whether the match conditions hold of the write. One that fails is a refusal, unless failures are ignored.
    async fn conditions_hold(
        &self,
        hook: &Hook,
        phase: Phase,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let kind = versions::kind(&*self.registry, a, gvr)?;
        let shown = Shown {
            object: self.shown(phase, a, gvr, object).await?,
            old: self.shown(phase, a, gvr, a.old).await?,
            kind: &kind,
            resource: gvr,
            name: a.name,
            namespace: versions::namespace(a),
            namespace_object: None,
        };
        let write = Write::new(&self.authorizer, a, &shown);
        let whose = Whose { kind: "webhook", name: &hook.name, step: phase.step(), operation: a.operation };
        let scope = Conditional { write: &write, params: None };
        let held = self.metrics.conditions.observe(whose, || hook.conditions.hold(&scope));
        match held.result {
            Ok(true) => Ok(true),
            Err(why) if !hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, why, "match conditions of a webhook failed");
                Err(ApiError::forbidden(&a.resource.group_resource(), a.name, &why))
            }
            Ok(false) | Err(_) => {
                self.metrics.conditions.excluded(whose);
                Ok(false)
            }
        }
    }

    /// An object as a webhook sees it; the server's own fields of a new object are set after all mutation.
    async fn shown(
        &self,
        phase: Phase,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: Option<&Value>,
    ) -> Result<Option<Value>, ApiError> {
        match object {
            Some(value) => versions::shown(self.tools(), a, gvr, value, phase == Phase::Mutating).await.map(Some),
            None => Ok(None),
        }
    }

    /// What becomes of the write after a call; the answer, if there was one.
    fn settle(
        &self,
        hook: &Hook,
        place: audit::Place,
        a: &Attributes<'_>,
        said: Result<Said, Failure>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Said>, ApiError> {
        match said {
            Ok(mut said) => {
                warnings.append(&mut said.warnings);
                said.allowed.map(|()| Some(Said { allowed: Ok(()), ..said }))
            }
            Err(Failure::PassedOver(why)) => {
                self.metrics.passed_over(hook, place.phase);
                audit::failed_open(a, place, hook);
                warnings.push(why);
                Ok(None)
            }
            Err(Failure::Calling(error)) if hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, error, "failed to call a webhook, which does not matter");
                self.metrics.failed_open(hook, place.phase);
                audit::failed_open(a, place, hook);
                Ok(None)
            }
            Err(Failure::Calling(error)) => {
                tracing::warn!(webhook = hook.name, error, "failed to call a webhook");
                Err(ApiError::internal(error))
            }
            Err(Failure::Own(error)) => Err(error),
        }
    }

    /// Makes of the object what a webhook's patch says; whether that changed it.
    async fn patch(
        &self,
        hook: &Hook,
        a: &Attributes<'_>,
        gvr: &Gvr,
        object: &mut Option<Value>,
        said: &Said,
    ) -> Result<bool, ApiError> {
        if said.patch.is_empty() || api_patch::is_empty_json_patch(&said.patch).map_err(ApiError::internal)? {
            return Ok(false);
        }
        let Some(stored) = object else {
            return Err(ApiError::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            )));
        };
        let tools = self.tools();
        let shown = versions::shown(tools, a, gvr, stored, true).await?;
        let patched = api_patch::json_patch_of_webhook(&shown, &said.patch).map_err(ApiError::internal)?;
        if patched == shown {
            return Ok(false);
        }
        let revision = patched.resource_version();
        if a.operation == Operation::Update && !revision.is_empty() && revision != shown.resource_version() {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(ApiError::conflict(&a.resource.group_resource(), a.name, why));
        }
        let changed = versions::accept(tools, a, gvr, patched, stored).await?;
        if changed == *stored {
            return Ok(false);
        }
        *stored = changed;
        Ok(true)
    }
}

fn namespaces() -> GroupResource {
    GroupResource { group: String::new(), resource: "namespaces".into() }
}
