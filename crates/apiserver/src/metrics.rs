//! What the server counts, under upstream's names.

use std::time::Duration;

/// The server's metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// A request that has been answered.
    pub(crate) fn request(&self, _info: &crate::request_info::RequestInfo, _code: u16, _took: Duration) {}
}
