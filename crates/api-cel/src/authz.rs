//! `authorizer`: questions about permissions, put together step by step. Who answers is a trait.

use std::fmt;
use std::sync::Arc;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// `(namespace, name)` of a service account to ask about, not the user.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What is to be done with it.
    pub verb: String,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// Who answers.
pub trait Authorize: fmt::Debug + Send + Sync {
    /// The answer to a question.
    fn check(&self, check: &Check) -> Decision;
}

/// A value of the library.
#[derive(Debug, Clone)]
pub enum Authz {
    /// `authorizer`.
    Authorizer(Arc<dyn Authorize>, Check),
    /// After `path()`.
    Path(Arc<dyn Authorize>, Check),
    /// After `group()`.
    Group(Arc<dyn Authorize>, Check),
    /// After `resource()`.
    Resource(Arc<dyn Authorize>, Check),
    /// After `check()`.
    Decision(Decision),
}

impl Authz {
    /// `authorizer` of a request.
    pub fn new(who: Arc<dyn Authorize>) -> Self {
        Self::Authorizer(who, Check::default())
    }

    /// `authorizer.requestResource` of a request.
    pub fn resource(who: Arc<dyn Authorize>, check: Check) -> Self {
        Self::Resource(who, check)
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Authorizer(..) => "kubernetes.authorization.Authorizer",
            Self::Path(..) => "kubernetes.authorization.PathCheck",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}
