//! Keeps an API service for each group version of custom resources. What is to be done is decided in
//! `api_kinds::aggregation::registration`; here it is carried out, after every change of a definition or of an
//! object, for those that it concerns.

use super::{RETRY, objects};
use crate::authn::UserInfo;
use crate::server::Inner;
use crate::view::View;
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::aggregation::registration::{Step, Wanted, steps_at_start};
use api_kinds::aggregation::{GROUP, api_services};
use api_kinds::custom;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use watch_cache::{Cache, Event, Interest, Snapshot, Watch};

/// Keeps them until the server drains.
pub(super) async fn run(server: Arc<Inner>) {
    if !server.config.bootstrap {
        return;
    }
    let mut bootstrapped = server.bootstrapped.subscribe();
    let work = async {
        // The sender lives in `server`, so this only ends with `true`.
        if bootstrapped.wait_for(|done| *done).await.is_ok() {
            carry_out(&server, steps_at_start(&objects(&server.registry))).await;
            follow(&server).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = server.drain.cancelled() => {}
    }
}

async fn follow(server: &Arc<Inner>) {
    let (definitions, services) = (custom::definitions(), api_services());
    let cache = |group: &str, resource: &str| server.registry.cache_of(group, resource);
    let Some(definitions) = cache(&definitions.group, &definitions.resource) else { return };
    let Some(services) = cache(&services.group, &services.resource) else { return };
    let mut wanted = Wanted::default();
    loop {
        let (Some((all, mut defined)), Some((found, mut served))) = (watch(&definitions), watch(&services)) else {
            return;
        };
        let mut changed: BTreeSet<String> = wanted.definitions().cloned().chain(names(&definitions, &all)).collect();
        let mut touched: BTreeSet<String> = names(&services, &found).collect();
        loop {
            for name in std::mem::take(&mut changed) {
                touched.extend(wanted.set(&name, versions(&definitions, &name).as_ref()));
            }
            let found = |name: &str| server.registry.get(GROUP, &api_services().resource, "", name);
            let steps = touched.iter().filter_map(|name| wanted.step(name, found(name).as_ref()));
            let steps: Vec<Step> = steps.collect();
            if !carry_out(server, steps).await {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            touched.clear();
            server.aggregation.registered.send_replace(true);
            let again = tokio::select! {
                events = defined.next() => events.map(|events| changed.extend(named(&events))),
                events = served.next() => events.map(|events| touched.extend(named(&events))),
            };
            if again.is_err() {
                break;
            }
        }
    }
}

fn watch(cache: &Arc<Cache>) -> Option<(Arc<Snapshot>, Watch)> {
    cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone())).ok()
}

fn names(cache: &Cache, snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.prefix(cache.prefix()).map(|object| object.name.to_string())
}

fn named(events: &[Arc<Event>]) -> impl Iterator<Item = String> {
    events.iter().map(|event| event.object.name.to_string())
}

/// Group and versions of a definition as it is now.
fn versions(definitions: &Cache, name: &str) -> Option<Value> {
    let object = definitions.get(&[definitions.prefix(), name.as_bytes()].concat())?;
    let outline = custom::outline(&object.bytes);
    outline.inspect_err(|error| tracing::error!(%error, name, "a definition is unreadable")).ok()
}

/// Whether nothing is left to do.
async fn carry_out(server: &Arc<Inner>, steps: Vec<Step>) -> bool {
    let mut all_well = true;
    for step in steps {
        match one(server, step).await {
            // Somebody else was quicker; what follows from that comes as an event.
            Err(e) if e.code == 409 || e.code == 404 => {}
            Err(error) => {
                tracing::warn!(%error, "an API service of custom resources could not be written");
                all_well = false;
            }
            Ok(()) => {}
        }
    }
    all_well
}

async fn one(server: &Arc<Inner>, step: Step) -> Result<(), ApiError> {
    let (me, gvr) = (UserInfo::apiserver(), api_services());
    let collection = format!("/apis/{}/{}", gvr.api_version(), gvr.resource);
    match step {
        Step::Create(object) => server.call(&me, Method::POST, &collection, Some(&object)).await.map(drop),
        Step::Update(object) => {
            let path = format!("{collection}/{}", object.name());
            let mut live = server.call(&me, Method::GET, &path, None).await?;
            if live.uid() != object.uid() {
                return Ok(());
            }
            live["spec"] = object["spec"].clone();
            server.call(&me, Method::PUT, &path, Some(&live)).await.map(drop)
        }
        Step::Delete { name, uid } => {
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
            server.call(&me, Method::DELETE, &format!("{collection}/{name}"), Some(&options)).await.map(drop)
        }
    }
}
