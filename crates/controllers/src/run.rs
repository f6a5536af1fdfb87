//! The list of controllers, and running them all.

use std::sync::Arc;

use chrono::Utc;
use controller_kit::{Context, Informers, Observer, Recorder, Row};
use futures::future::BoxFuture;
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    account_tokens, certificates, cron_job, daemon_set, deployment, disruption, endpoint_slice, endpoints, garbage,
    job, namespace, node_ipam, node_lifecycle, pod_gc, policy_status, quota, replica_set, role_aggregation, root_ca,
    service_account, stateful_set, ttl, volume_protection,
};

/// What the controllers need to know beyond the API.
#[derive(Clone)]
pub struct Config {
    /// Range from which each node gets its pod range, per IP family; without one no node gets any.
    pub cluster_cidrs: Vec<IpNet>,
    /// PEM of the CA that every pod may trust the API server by (`kube-root-ca.crt`).
    pub root_ca_pem: String,
    /// PEM of the certificate and the key that sign approved certificate requests.
    pub signing_ca: Option<(String, String)>,
    /// PEM of the key that signs tokens of service accounts which live in secrets.
    pub service_account_key_pem: Option<String>,
    /// Makes the client with which the controller writes that has the service account of this name in kube-system.
    /// Without it all write through one client, which then must be allowed all that the accounts are.
    pub accounts: Option<Accounts>,
    /// Is told what reconciliations did.
    pub observer: Arc<dyn Observer>,
}

/// From the name of a service account in kube-system to a client that acts as it.
pub type Accounts = Arc<dyn Fn(&str) -> kube::Client + Send + Sync>;

/// Ends the controllers, all of them, because one can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the {controller} controller ended unexpectedly")]
pub struct RunError {
    controller: &'static str,
}

type Start = fn(Context, &Config) -> BoxFuture<'static, ()>;

static ALL: &[(&Row, Start)] = &[
    (&namespace::ROW, |context, _| Box::pin(namespace::start(context))),
    (&service_account::ROW, |context, _| Box::pin(service_account::start(context))),
    (&root_ca::ROW, |context, config| Box::pin(root_ca::start(context, config.root_ca_pem.clone()))),
    (&deployment::ROW, |context, _| Box::pin(deployment::start(context))),
    (&replica_set::REPLICA_SET, |context, _| Box::pin(replica_set::start::<ReplicaSet>(context))),
    (&replica_set::REPLICATION_CONTROLLER, |context, _| Box::pin(replica_set::start::<ReplicationController>(context))),
    (&endpoints::ROW, |context, _| Box::pin(endpoints::start(context))),
    (&endpoint_slice::ROW, |context, _| Box::pin(endpoint_slice::start(context))),
    (&endpoint_slice::mirror::ROW, |context, _| Box::pin(endpoint_slice::mirror::start(context))),
    (&node_ipam::ROW, |context, config| Box::pin(node_ipam::start(context, config.cluster_cidrs.clone()))),
    (&node_lifecycle::ROW, |context, _| Box::pin(node_lifecycle::start(context))),
    (&node_lifecycle::eviction::ROW, |context, _| Box::pin(node_lifecycle::eviction::start(context))),
    (&pod_gc::ROW, |context, _| Box::pin(pod_gc::start(context))),
    (&garbage::ROW, |context, _| Box::pin(garbage::start(context))),
    (&job::ROW, |context, _| Box::pin(job::start(context))),
    (&ttl::ROW, |context, _| Box::pin(ttl::start(context))),
    (&role_aggregation::ROW, |context, _| Box::pin(role_aggregation::start(context))),
    (&daemon_set::ROW, |context, _| Box::pin(daemon_set::start(context))),
    (&stateful_set::ROW, |context, _| Box::pin(stateful_set::start(context))),
    (&cron_job::ROW, |context, _| Box::pin(cron_job::start(context))),
    (&certificates::approve::ROW, |context, _| Box::pin(certificates::approve::start(context))),
    (&certificates::sign::ROW, |context, config| {
        Box::pin(certificates::sign::start(context, config.signing_ca.clone()))
    }),
    (&certificates::clean::ROW, |context, _| Box::pin(certificates::clean::start(context))),
    (&account_tokens::issue::ROW, |context, config| {
        let (key, ca) = (config.service_account_key_pem.clone(), config.root_ca_pem.clone());
        Box::pin(account_tokens::issue::start(context, key, ca))
    }),
    (&account_tokens::clean::ROW, |context, _| Box::pin(account_tokens::clean::start(context))),
    (&volume_protection::CLAIMS, |context, _| Box::pin(volume_protection::start_claims(context))),
    (&volume_protection::VOLUMES, |context, _| Box::pin(volume_protection::start_volumes(context))),
    (&quota::ROW, |context, _| Box::pin(quota::start(context))),
    (&disruption::ROW, |context, _| Box::pin(disruption::start(context))),
    (&policy_status::ROW, |context, _| Box::pin(policy_status::start(context))),
];

/// The controllers with their inputs and outputs, one line each.
pub fn graph() -> String {
    controller_kit::graph(ALL.iter().map(|(row, _)| *row))
}

/// Runs all controllers until `stop`; reconciliations under way are finished first.
///
/// Fails when a controller ends by itself, which is a bug; the others are stopped then.
pub async fn run(
    client: kube::Client,
    informers: Informers,
    config: Config,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let stop = stop.child_token();
    let events = Recorder::new(client.clone(), "controller-manager", "");
    let mut running = JoinSet::new();
    for (row, start) in ALL {
        let context = Context {
            row,
            client: match &config.accounts {
                Some(accounts) if !row.account.is_empty() => accounts(row.account),
                _ => client.clone(),
            },
            informers: informers.clone(),
            events: events.named(&format!("{}-controller", row.name)),
            clock: Utc::now,
            observer: config.observer.clone(),
            stop: stop.clone(),
        };
        let controller = start(context, &config);
        let name = row.name;
        running.spawn(async move {
            controller.await;
            name
        });
    }
    let mut failed = None;
    while let Some(ended) = running.join_next().await {
        if stop.is_cancelled() && failed.is_none() && ended.is_ok() {
            continue;
        }
        if failed.is_none() {
            failed = Some(ended.unwrap_or("panicked"));
            stop.cancel();
        }
    }
    failed.map_or(Ok(()), |controller| Err(RunError { controller }))
}
