//! Tokens that live in secrets: when each was last used, so that those that nobody uses can be found and removed.
//!
//! The day of the last use is a label of the secret; the day since which that is known is in a config map, which the
//! server makes once.

use crate::authn::{self, UserInfo};
use crate::server::Inner;
use crate::view::View;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::names;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Label of a secret: the last day on which its token was used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Says since when uses are noted.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// Uses that wait to be noted; more are noted with the token's next use.
const USES_PENDING_MAX: usize = 256;
/// Between attempts when the store does not answer.
const RETRY: Duration = Duration::from_secs(5);

type Secret = (String, String);

/// Where uses are reported.
#[derive(Debug)]
pub(crate) struct Uses {
    report: Sender<Secret>,
    reports: Mutex<Option<Receiver<Secret>>>,
}

impl Default for Uses {
    fn default() -> Self {
        let (report, reports) = channel(USES_PENDING_MAX);
        Self { report, reports: Mutex::new(Some(reports)) }
    }
}

impl Uses {
    /// The token in this secret was used.
    pub(crate) fn note(&self, secret: Secret) {
        if let Err(TrySendError::Full((namespace, name))) = self.report.try_send(secret) {
            tracing::debug!(namespace, name, "the use of a token is not noted this time");
        }
    }
}

/// The day, as labels have it.
fn day(unix_s: i64) -> String {
    api_core::time::format_unix_s(unix_s).chars().take(10).collect()
}

/// Notes uses until the server drains.
pub(crate) async fn run(server: Arc<Inner>) {
    let Some(mut reports) = server.authenticator.uses.reports.lock().take() else { return };
    let work = async {
        if server.config.bootstrap {
            let mut bootstrapped = server.bootstrapped.subscribe();
            // The sender lives in `server`, so this only ends with `true`.
            if bootstrapped.wait_for(|done| *done).await.is_err() {
                return;
            }
            while let Err(error) = begin(&server).await {
                tracing::warn!(%error, "cannot note since when the uses of tokens are tracked");
                tokio::time::sleep(RETRY).await;
            }
        }
        while let Some((namespace, name)) = reports.recv().await {
            if let Err(error) = note(&server, &namespace, &name).await {
                tracing::warn!(%error, namespace, name, "cannot note the use of a token");
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

/// Says since when uses are noted, unless that is said already.
async fn begin(server: &Arc<Inner>) -> Result<(), ApiError> {
    const NAMESPACE: &str = "kube-system";
    let found = server.registry.get("", names::CONFIG_MAPS, NAMESPACE, TRACKING);
    let said = found.as_ref().and_then(|map| map["data"]["since"].as_str()).unwrap_or("");
    let is_day = said.len() == 10 && api_core::time::parse_unix_s(&format!("{said}T00:00:00Z")).is_some();
    if is_day {
        return Ok(());
    }
    let data = json!({"since": day(authn::now())});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/{}", names::CONFIG_MAPS);
    let (me, map) =
        (UserInfo::apiserver(), json!({"metadata": {"name": TRACKING, "namespace": NAMESPACE}, "data": data}));
    let written = match found {
        Some(_) => server.call(&me, Method::PATCH, &format!("{path}/{TRACKING}"), Some(&json!({"data": data}))).await,
        None => server.call(&me, Method::POST, &path, Some(&map)).await,
    };
    match written {
        // Another server was quicker.
        Err(e) if e.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

async fn note(server: &Arc<Inner>, namespace: &str, name: &str) -> Result<(), ApiError> {
    let today = day(authn::now());
    let Some(secret) = server.registry.get("", names::SECRETS, namespace, name) else { return Ok(()) };
    if secret.label(LAST_USED) == Some(&today) {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": secret.uid(), "labels": {LAST_USED: today}}});
    let path = format!("/api/v1/namespaces/{namespace}/{}/{name}", names::SECRETS);
    match server.call(&UserInfo::apiserver(), Method::PATCH, &path, Some(&patch)).await {
        // It has gone meanwhile, or is another one.
        Err(e) if e.code == 404 || e.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date() {
        assert_eq!(day(1_704_153_599), "2024-01-01");
        assert_eq!(day(1_704_153_600), "2024-01-02");
    }
}
