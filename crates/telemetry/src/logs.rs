//! Where log lines go and which are kept.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not a list of `target=level`.
    #[error("log filter {filter:?} is not valid: {source}")]
    Filter {
        /// As given.
        filter: String,
        /// The cause.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice,
}

/// Writes log lines that pass `filter` (such as `info` or `info,apiserver=debug`) to standard error.
///
/// # Errors
/// [`Error::Filter`] if `filter` cannot be parsed, [`Error::Twice`] on a second call.
pub fn init(filter: &str, format: Format) -> Result<(), Error> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| Error::Filter { filter: filter.to_owned(), source })?;
    let builder = fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(false);
    match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    }
    .map_err(|_| Error::Twice)
}
