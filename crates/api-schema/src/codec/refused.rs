//! Why a document is not read, in parts: who reads it for another purpose words it in another way.

use api_core::{ApiError, Gvk};

/// Why a document is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is no document of a kind that is known, in whole sentences.
    Whole(String),
    /// It cannot be read as the kind that is wanted.
    Unfit {
        /// What it says it is.
        found: Gvk,
        /// What is wanted.
        wanted: String,
        /// What stands in the way.
        why: String,
    },
}

impl Refused {
    /// What is wrong, without what was wanted.
    pub fn why(&self) -> &str {
        match self {
            Self::Whole(why) | Self::Unfit { why, .. } => why,
        }
    }

    /// 400, as the answer to a body.
    pub fn into_api(self) -> ApiError {
        match self {
            Self::Whole(why) => ApiError::bad_request(why),
            Self::Unfit { found: Gvk { kind, version, .. }, wanted, why } => {
                ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {wanted}: {why}"))
            }
        }
    }
}
