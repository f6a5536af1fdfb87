//! Service account tokens for projected volumes: asked for, kept, and asked for again at 80 % of their life.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};

use crate::pod::spec;

/// A token is replaced at the latest at this age.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Life of a token whose projection does not say.
const DEFAULT_LIFE_S: i64 = 3600;

/// A refusal is taken as final after waits that double from the first to the second.
const FORBIDDEN_RETRY_MIN: Duration = Duration::from_millis(20);
const FORBIDDEN_RETRY_MAX: Duration = Duration::from_millis(640);

struct Kept {
    token: String,
    refresh_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// Tokens of one pod, by audience and life.
#[derive(Default)]
pub struct Tokens(HashMap<(String, i64), Kept>);

impl Tokens {
    /// A token for a projection; an old one serves as long as it lives if no new one can be had.
    pub async fn get(
        &mut self,
        client: &kube::Client,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let audience = projection.audience.clone().unwrap_or_default();
        let life = projection.expiration_seconds.unwrap_or(DEFAULT_LIFE_S);
        let key = (audience.clone(), life);
        let now = Utc::now();
        if let Some(kept) = self.0.get(&key).filter(|k| now < k.refresh_at) {
            return Ok(kept.token.clone());
        }
        match request(client, pod, audience, life).await {
            Ok((token, expires_at)) => {
                let span = (expires_at - now).to_std().unwrap_or_default();
                let refresh_at = now + span.mul_f64(0.8).min(AGE_MAX);
                self.0.insert(key, Kept { token: token.clone(), refresh_at, expires_at });
                Ok(token)
            }
            Err(error) => match self.0.get(&key).filter(|k| now < k.expires_at) {
                Some(kept) => {
                    tracing::warn!(pod = %spec::full_name(pod), %error, "token not refreshed, the old one still serves");
                    Ok(kept.token.clone())
                }
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }

    /// When the next token must be replaced.
    pub fn refresh_at(&self) -> Option<DateTime<Utc>> {
        self.0.values().map(|k| k.refresh_at).min()
    }
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    audience: String,
    life: i64,
) -> Result<(String, DateTime<Utc>), String> {
    let account = spec::spec(pod).service_account_name.as_deref().filter(|a| !a.is_empty()).unwrap_or("default");
    let body = TokenRequest {
        spec: TokenRequestSpec {
            audiences: if audience.is_empty() { Vec::new() } else { vec![audience] },
            expiration_seconds: Some(life),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", spec::namespace(pod));
    let body = serde_json::to_vec(&body).map_err(|e| e.to_string())?;
    let mut wait = FORBIDDEN_RETRY_MIN;
    loop {
        let request = http::Request::post(&path)
            .header("Content-Type", "application/json")
            .body(body.clone())
            .map_err(|e| e.to_string())?;
        match client.request::<TokenRequest>(request).await {
            Ok(answer) => {
                let status = answer.status.ok_or("the server gave no token")?;
                return Ok((status.token, status.expiration_timestamp.0));
            }
            // Right after a pod was bound the server may not yet know that this node runs it.
            Err(kube::Error::Api(e)) if e.code == 403 && wait <= FORBIDDEN_RETRY_MAX => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(crate::volumes::api_error(error)),
        }
    }
}
