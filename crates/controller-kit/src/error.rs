//! Why a reconciliation did not finish. The driver retries all of them; the variants decide how loudly it says so.

use client::Key;

/// A failed step of a reconciliation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or could not be asked.
    #[error("cannot {verb} {kind} {key}")]
    Api {
        /// What was tried: `create`, `update`, ...
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// The object.
        key: Key,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The request could not be made from the object.
    #[error("cannot build the request to {verb} {kind} {key}")]
    Request {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// The object.
        key: Key,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object holds something that no plan can be made from.
    #[error("{kind} {key} cannot be acted on: {reason}")]
    Invalid {
        /// Kind of the object.
        kind: &'static str,
        /// The object.
        key: Key,
        /// What is wrong with it.
        reason: String,
    },
    /// The state changed between reading and acting; looking again will tell.
    #[error("{kind} {key} has changed meanwhile")]
    Stale {
        /// Kind of the object.
        kind: &'static str,
        /// The object.
        key: Key,
    },
}

impl Error {
    /// The status code of the API's answer, if there was one.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// The reason word of the API's answer, if there was one.
    pub fn reason(&self) -> Option<&str> {
        self.status().map(|status| status.reason.as_str())
    }

    /// The message of the API's answer, if there was one.
    pub fn message(&self) -> Option<&str> {
        self.status().map(|status| status.message.as_str())
    }

    /// The object was not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody else was first: a newer version, or the name is taken.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409) || matches!(self, Error::Stale { .. })
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == Some("AlreadyExists")
    }

    /// The namespace does not take new objects because it is going away.
    pub fn is_namespace_terminating(&self) -> bool {
        self.code() == Some(403) && self.message().is_some_and(|message| message.contains("is being terminated"))
    }

    fn status(&self) -> Option<&kube::core::ErrorResponse> {
        match self {
            Error::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}
