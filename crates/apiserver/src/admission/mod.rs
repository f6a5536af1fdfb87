//! Admission: what is changed in, and checked of, a write after authorization and before validation and storage.
//!
//! [`PLUGINS`] is the list, in the order in which they run. A plugin is one file here: it looks up what the rule needs and
//! words the refusal; the rules of kinds are pure functions in `api_kinds::admission`. Webhooks and policies come at the
//! end of either pass.

mod certificates;
pub mod condition_metrics;
mod escalation;
mod ingress_class;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_scheduling;
pub mod pod_security;
mod policy;
mod service_account;
mod storage;
mod values;
mod versions;
pub mod webhooks;
mod write;

use crate::audit::Annotations;
use crate::authn::UserInfo;
use crate::authz::Authorizer;
use crate::query::Query;
use crate::registry::options::DeleteOptions;
use crate::request_info::RequestInfo;
use crate::stage_metrics::AdmissionMetrics;
use crate::view::View;
use crate::webhook;
use api_core::meta::Meta;
use api_core::{ApiError, Gvr};
use api_kinds::names;
use api_schema::row::Row;
use condition_metrics::ConditionMetrics;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use webhooks::{Rounds, Webhooks};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// An object, or part of it, is replaced.
    Update,
    /// An object is deleted.
    Delete,
    /// A connection to something: exec, attach, proxy.
    Connect,
}

impl Operation {
    /// As admission words it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What a write is about. Objects are in their stored version.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// What it does.
    pub operation: Operation,
    /// Who does it.
    pub user: &'a UserInfo,
    /// The resource.
    pub row: &'a Row,
    /// The resource asked for: of `row`, or that of an equivalent version.
    pub resource: &'a Gvr,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name; empty on a create with `generateName`.
    pub name: &'a str,
    /// The object before it; `None` on create.
    pub old: Option<&'a Value>,
    /// Revision of the object before it; 0 if there is none.
    pub revision: i64,
    /// Whether nothing is to be stored, and no side effect to be had.
    pub dry_run: bool,
    /// The request itself, for who wants its options or has to say more of it.
    pub(crate) request: Option<Asked<'a>>,
    /// Options of a deletion.
    pub(crate) delete_options: Option<&'a DeleteOptions>,
}

/// The request behind a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) info: &'a RequestInfo,
    pub(crate) query: &'a Query,
    /// What its record in the audit log says beside.
    pub(crate) annotations: &'a Annotations,
}

impl Attributes<'_> {
    /// Whether it is about objects of that resource themselves, and does one of `operations`.
    fn is(&self, group: &str, resource: &str, operations: &[Operation]) -> bool {
        self.is_any(group, resource, operations) && self.subresource.is_empty()
    }

    /// The same, for any subresource.
    fn is_any(&self, group: &str, resource: &str, operations: &[Operation]) -> bool {
        self.resource.group == group && self.resource.resource == resource && operations.contains(&self.operation)
    }

    /// Has something said of the write in the audit log. A key is a name below a domain; others are dropped.
    fn annotate(&self, key: String, value: String) {
        let Some(request) = self.request else { return };
        let wrong = api_core::names::is_qualified_name(&key);
        if wrong.is_empty() && key.contains('/') {
            request.annotations.add(std::iter::once((key, value)));
        } else {
            tracing::warn!(key, ?wrong, "an annotation for the audit log has no valid key");
        }
    }

    /// 403 with `why`. Names the object as far as it has a name.
    fn forbidden(&self, object: Option<&Value>, why: &str) -> ApiError {
        let of_object = |field: &str| object.map(|o| o.meta_str(field)).filter(|n| !n.is_empty());
        let name = Some(self.name).filter(|n| !n.is_empty());
        let name = name.or_else(|| of_object("name")).or_else(|| of_object("generateName")).unwrap_or("Unknown");
        ApiError::forbidden(&self.resource.group_resource(), name, why)
    }
}

/// What plugins look things up in.
#[derive(Debug, Clone)]
pub struct Context {
    /// Objects.
    pub view: Arc<dyn View>,
    /// Permissions.
    pub authorizer: Arc<Authorizer>,
    /// Policies, compiled.
    pub policies: policy::Policies,
    /// What is counted of match conditions.
    pub conditions: Option<ConditionMetrics>,
    /// Converts custom resources whose definition names a webhook for it.
    pub converter: Option<Arc<webhook::Client>>,
    /// What is counted of pod security.
    pub pod_security: Option<pod_security::Evaluations>,
}

impl Context {
    fn tools(&self) -> versions::Tools<'_> {
        versions::Tools { view: &*self.view, converter: self.converter.as_deref() }
    }
}

type Mutate = fn(&Context, &Attributes<'_>, &mut Value) -> Result<(), ApiError>;
type Validate = fn(&Context, &Attributes<'_>, Option<&Value>, &mut Vec<String>) -> Result<(), ApiError>;

/// A step of admission.
struct Plugin {
    /// As upstream calls it.
    name: &'static str,
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

const fn plugin(name: &'static str, mutate: Option<Mutate>, validate: Option<Validate>) -> Plugin {
    Plugin { name, mutate, validate }
}

/// The step of policies.
const POLICIES: &str = "ValidatingAdmissionPolicy";

/// All steps, in their order. Namespaces and service accounts come first (see [`Admission::mutate`]): they may have to
/// wait for an object that is just being made. Policies may have to wait for a conversion.
const PLUGINS: &[Plugin] = &[
    plugin("NamespaceLifecycle", None, Some(namespace_lifecycle::validate)),
    plugin("LimitRanger", Some(limit_ranger::mutate), Some(limit_ranger::validate)),
    plugin(names::SERVICE_ACCOUNT, None, Some(service_account::validate)),
    plugin("NodeRestriction", Some(node_restriction::mutate), None),
    plugin("TaintNodesByCondition", Some(pod_scheduling::taint_node), None),
    plugin("PodSecurity", None, Some(pod_security::validate)),
    plugin("Priority", Some(pod_scheduling::priority), Some(pod_scheduling::priority_class)),
    plugin("DefaultTolerationSeconds", Some(pod_scheduling::tolerations), None),
    plugin("DefaultStorageClass", Some(storage::default_class), None),
    plugin("StorageObjectInUseProtection", Some(storage::protect), None),
    plugin("PersistentVolumeClaimResize", None, Some(storage::resize)),
    plugin("RuntimeClass", Some(pod_scheduling::runtime_class), None),
    plugin("CertificateApproval", None, Some(certificates::permission)),
    plugin("CertificateSubjectRestriction", None, Some(certificates::subject)),
    plugin("DefaultIngressClass", Some(ingress_class::mutate), None),
    plugin(POLICIES, None, None),
    // Done with the write itself, in `registry::charge`.
    plugin("ResourceQuota", None, None),
    plugin("RoleEscalation", Some(escalation::mutate), None),
];

/// The plugins, and what they look things up in.
#[derive(Debug)]
pub struct Admission {
    context: Context,
    webhooks: Option<Webhooks>,
    metrics: Option<AdmissionMetrics>,
}

impl Admission {
    /// All plugins that are on by default.
    pub fn new(view: Arc<dyn View>, authorizer: Arc<Authorizer>) -> Self {
        let policies = policy::Policies::default();
        Self {
            context: Context { view, authorizer, policies, conditions: None, converter: None, pod_security: None },
            webhooks: None,
            metrics: None,
        }
    }

    /// The same, and webhooks.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: Webhooks) -> Self {
        self.context.conditions = Some(webhooks.condition_metrics().clone());
        self.context.converter = Some(webhooks.client().clone());
        self.webhooks = Some(webhooks);
        self
    }

    /// The same, and counts what it takes.
    #[must_use]
    pub(crate) fn with_metrics(mut self, metrics: AdmissionMetrics) -> Self {
        self.context.pod_security = Some(metrics.pod_security.clone());
        self.metrics = Some(metrics);
        self
    }

    /// Carries out one plugin's part of a step, and counts it.
    fn timed(
        &self,
        plugin: usize,
        a: &Attributes<'_>,
        step: usize,
        work: impl FnOnce() -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let started = Instant::now();
        let answer = work();
        if let Some(metrics) = &self.metrics {
            metrics.plugin(plugin, a.operation, step, started, &answer);
        }
        answer
    }

    fn step_ended<T>(
        &self,
        a: &Attributes<'_>,
        step: usize,
        started: Instant,
        answer: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        if let Some(metrics) = &self.metrics {
            metrics.step(a.operation, step, started, &answer);
        }
        answer
    }

    /// Names of the plugins that are on, in their order.
    pub fn plugins() -> impl Iterator<Item = &'static str> {
        PLUGINS.iter().map(|p| p.name)
    }

    /// Changes an object on its way in; adds to `warnings` what the client shall be told. Returns whether a webhook changed it.
    pub async fn mutate(
        &self,
        a: &Attributes<'_>,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<bool, ApiError> {
        let started = Instant::now();
        let answer = self.mutate_in_rounds(a, object, warnings).await;
        self.step_ended(a, 0, started, answer)
    }

    async fn mutate_in_rounds(
        &self,
        a: &Attributes<'_>,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<bool, ApiError> {
        self.plugins_mutate(a, object).await?;
        let Some(webhooks) = &self.webhooks else { return Ok(false) };
        let mut rounds = Rounds::default();
        let mut reviewed = Some(std::mem::take(object));
        let mut result = webhooks.mutate(a, &mut reviewed, warnings, &mut rounds).await;
        *object = reviewed.unwrap_or_default();
        let changed = rounds.is_needed();
        if result.is_ok() && changed {
            // What webhooks have made is new to the plugins, and what these make of it to the webhooks.
            let before = object.clone();
            self.plugins_mutate(a, object).await?;
            rounds.begin_second(before != *object);
            let mut reviewed = Some(std::mem::take(object));
            result = webhooks.mutate(a, &mut reviewed, warnings, &mut rounds).await;
            *object = reviewed.unwrap_or_default();
        }
        result.map(|()| changed)
    }

    async fn plugins_mutate(&self, a: &Attributes<'_>, object: &mut Value) -> Result<(), ApiError> {
        namespace_lifecycle::check(&self.context, a, object).await?;
        for (number, plugin) in PLUGINS.iter().enumerate() {
            if plugin.name == names::SERVICE_ACCOUNT {
                service_account::mutate(&self.context, a, object).await?;
            }
            if let Some(mutate) = plugin.mutate {
                self.timed(number, a, 0, || mutate(&self.context, a, object))?;
            }
        }
        Ok(())
    }

    /// Refuses what is posted into a namespace that cannot take it; [`Admission::mutate`] begins with it.
    pub async fn check_namespace(&self, a: &Attributes<'_>, object: &Value) -> Result<(), ApiError> {
        namespace_lifecycle::check(&self.context, a, object).await
    }

    /// Asks webhooks and policies, and what restricts node agents, which alone have a say in connections, evictions, bindings.
    pub(crate) async fn review(
        &self,
        a: &Attributes<'_>,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        node_restriction::mutate(&self.context, a, &mut object)?;
        let mut object = Some(object);
        if let Some(webhooks) = &self.webhooks {
            webhooks.mutate(a, &mut object, warnings, &mut Rounds::default()).await?;
        }
        policy::validate(&self.context, a, object.as_ref(), warnings).await?;
        let Some(webhooks) = &self.webhooks else { return Ok(object.unwrap_or_default()) };
        webhooks.validate(a, object.as_ref(), warnings).await?;
        Ok(object.unwrap_or_default())
    }

    /// Checks the deletion of an object; `reviewed` if all who have a say have been asked already.
    pub(crate) async fn validate_delete(
        &self,
        a: &Attributes<'_>,
        reviewed: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if !reviewed {
            node_restriction::validate_delete(&self.context, a)?;
        }
        let webhooks = self.webhooks.as_ref().filter(|_| !reviewed);
        if let Some(webhooks) = webhooks {
            webhooks.mutate(a, &mut None, warnings, &mut Rounds::default()).await?;
        }
        self.plugins_validate(a, None, warnings, reviewed).await?;
        match webhooks {
            Some(webhooks) => webhooks.validate(a, None, warnings).await,
            None => Ok(()),
        }
    }

    /// Checks a write.
    pub async fn validate(
        &self,
        a: &Attributes<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let started = Instant::now();
        let answer = match (self.plugins_validate(a, object, warnings, false).await, &self.webhooks) {
            (Ok(()), Some(webhooks)) => webhooks.validate(a, object, warnings).await,
            (answer, _) => answer,
        };
        self.step_ended(a, 1, started, answer)
    }

    async fn plugins_validate(
        &self,
        a: &Attributes<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
        reviewed: bool,
    ) -> Result<(), ApiError> {
        for (number, plugin) in PLUGINS.iter().enumerate() {
            if plugin.name == POLICIES && !reviewed {
                policy::validate(&self.context, a, object, warnings).await?;
            }
            if let Some(validate) = plugin.validate {
                self.timed(number, a, 1, || validate(&self.context, a, object, warnings))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
