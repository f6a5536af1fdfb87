//! Leader election on a Lease: of several candidates one works, and another takes over when it falls silent.
//!
//! [`elect`] returns when this candidate leads; the token it gives is cancelled as soon as leadership can no longer be
//! proved. Expiry is judged by when a change of the lease was seen here, never by another machine's clock.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Who wants to lead what.
#[derive(Debug, Clone)]
pub struct Candidacy {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// This candidate, unique among all.
    pub identity: String,
    /// After this time of silence another may lead.
    pub lease: Duration,
    /// Pause between renewals, a fraction of `lease`.
    pub renew_every: Duration,
}

impl Candidacy {
    /// The candidacy of `identity` for `name` in kube-system, with 15 s of lease renewed every 5 s.
    pub fn new(name: &str, identity: &str) -> Self {
        Candidacy {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
        }
    }
}

/// Leadership. Dropping it stops the renewals, so that another can lead when the lease has run out.
#[derive(Debug)]
pub struct Leadership {
    lost: CancellationToken,
    _renewing: DropGuard,
}

impl Leadership {
    /// Cancelled when leadership is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

/// Waits until this candidate leads, or until `stop`.
pub async fn elect(client: kube::Client, candidacy: Candidacy, stop: &CancellationToken) -> Option<Leadership> {
    let api: Api<Lease> = Api::namespaced(client, &candidacy.namespace);
    let mut rival: Option<(String, Instant)> = None;
    loop {
        let pause = match attempt(&api, &candidacy, &mut rival).await {
            Ok(None) => break,
            Ok(Some(pause)) => pause,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(lease = candidacy.name, error, "could not try to lead");
                candidacy.renew_every
            }
        };
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
    tracing::info!(lease = candidacy.name, identity = candidacy.identity, "leads");
    let (lost, ended) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(renew(api, candidacy, lost.clone(), ended.clone()));
    Some(Leadership { lost, _renewing: ended.drop_guard() })
}

/// Takes the lease if it is free or its holder has been silent; otherwise says how long to wait.
async fn attempt(
    api: &Api<Lease>,
    candidacy: &Candidacy,
    rival: &mut Option<(String, Instant)>,
) -> Result<Option<Duration>, kube::Error> {
    let Some(mut lease) = api.get_opt(&candidacy.name).await? else {
        let mut lease = Lease { metadata: ObjectMeta::default(), spec: None };
        lease.metadata.name = Some(candidacy.name.clone());
        claim(&mut lease, candidacy);
        return won(api.create(&PostParams::default(), &lease).await, candidacy);
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    if !holder.is_empty() && holder != candidacy.identity {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = lasts.map_or(candidacy.lease, Duration::from_secs);
        let seen = match rival {
            Some((seen, at)) if *seen == version => *at,
            _ => {
                let now = Instant::now();
                *rival = Some((version, now));
                now
            }
        };
        let left = lasts.saturating_sub(seen.elapsed());
        if !left.is_zero() {
            return Ok(Some(left));
        }
    }
    claim(&mut lease, candidacy);
    won(api.replace(&candidacy.name, &PostParams::default(), &lease).await, candidacy)
}

fn won(answer: Result<Lease, kube::Error>, candidacy: &Candidacy) -> Result<Option<Duration>, kube::Error> {
    match answer {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(candidacy.renew_every)),
        Err(error) => Err(error),
    }
}

fn claim(lease: &mut Lease, candidacy: &Candidacy) {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    let now = MicroTime(Utc::now());
    if spec.holder_identity.as_ref() != Some(&candidacy.identity) {
        let before = spec.lease_transitions;
        spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
        spec.acquire_time = Some(now.clone());
        spec.holder_identity = Some(candidacy.identity.clone());
    }
    spec.lease_duration_seconds = i32::try_from(candidacy.lease.as_secs()).ok();
    spec.renew_time = Some(now);
}

/// Renews until `ended`; cancels `lost` once two thirds of the lease have passed without success.
async fn renew(api: Api<Lease>, candidacy: Candidacy, lost: CancellationToken, ended: CancellationToken) {
    let mut renewed = Instant::now();
    let patience = candidacy.lease * 2 / 3;
    loop {
        tokio::select! {
            () = ended.cancelled() => break,
            () = tokio::time::sleep(candidacy.renew_every) => {}
        }
        match tokio::time::timeout(candidacy.renew_every, prolong(&api, &candidacy)).await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => break,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(lease = candidacy.name, error, "could not renew");
            }
            Err(_) => tracing::warn!(lease = candidacy.name, "renewal timed out"),
        }
        if renewed.elapsed() > patience {
            break;
        }
    }
    lost.cancel();
}

/// Whether the lease is still ours, renewed.
async fn prolong(api: &Api<Lease>, candidacy: &Candidacy) -> Result<bool, kube::Error> {
    let Some(mut lease) = api.get_opt(&candidacy.name).await? else { return Ok(false) };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
    if holder != Some(&candidacy.identity) {
        return Ok(false);
    }
    claim(&mut lease, candidacy);
    api.replace(&candidacy.name, &PostParams::default(), &lease).await.map(|_| true)
}
