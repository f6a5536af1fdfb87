//! What can go wrong with keys and certificates.

use std::path::PathBuf;

/// Why a key or certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making or signing a certificate failed.
    #[error("cannot make the certificate for {subject:?}")]
    Sign {
        /// Common name of the certificate.
        subject: String,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// A key or certificate could not be parsed.
    #[error("{what} is not a valid PEM file")]
    Parse {
        /// What was read.
        what: String,
    },
    /// A certificate is no longer valid.
    #[error("{what} has expired")]
    Expired {
        /// Which.
        what: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A certificate is there without its key, or the other way round.
    #[error("{present} exists but {missing} does not; put it back, or remove both to have them made anew")]
    HalfPair {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
}
