//! Keeps the gate as the objects say, and the objects as they should be: a schema's `Dangling` condition, and the
//! default objects that nobody has taken over.

use super::Fairness;
use super::config::{self, Level, Stored};
use crate::authn::UserInfo;
use crate::bootstrap;
use crate::registry::storage;
use crate::server::{BuildError, Inner};
use api_core::ApiError;
use api_core::meta::Meta;
use flow::system::ADJUST_EVERY_NS;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use watch_cache::{Cache, CacheError, Interest, Watch};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// So long after a change the default objects are looked at, as often as upstream does.
const MAINTAIN_AFTER: Duration = Duration::from_secs(60);
/// Who applies conditions, by upstream's name.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// Pause after a status could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// So many conditions of one schema are written within [`WRITES_WITHIN`]; the next one waits.
const WRITES_MAX: usize = 5;
const WRITES_WITHIN: Duration = Duration::from_secs(60);
const ADJUST_EVERY: Duration = Duration::from_nanos(ADJUST_EVERY_NS);

/// When conditions were written of late, by the schema's name.
#[derive(Debug, Default)]
struct Writes(HashMap<String, Vec<tokio::time::Instant>>);

impl Writes {
    /// Whether a condition of this schema may be written now, which is noted. Schemas that servers disagree about would
    /// otherwise be written without end, as upstream found.
    fn may(&mut self, schema: &str, now: tokio::time::Instant) -> bool {
        self.0.retain(|_, times| {
            times.retain(|at| now.duration_since(*at) < WRITES_WITHIN);
            !times.is_empty()
        });
        let times = self.0.entry(schema.to_owned()).or_default();
        let may = times.len() < WRITES_MAX;
        if may {
            times.push(now);
        }
        may
    }
}

struct Feed {
    server: Arc<Inner>,
    schemas: Arc<Cache>,
    levels: Arc<Cache>,
}

/// Configures the gate, and starts to follow. When it returns, requests are classified by what is stored.
pub(crate) fn start(server: &Arc<Inner>) -> Result<(), BuildError> {
    let Some(feed) = Feed::of(server) else { return Ok(()) };
    let watches = feed.watch().map_err(|e| BuildError::Registry(e.to_string()))?;
    feed.load();
    let drain = server.drain.clone();
    server.tasks.spawn(async move {
        tokio::select! {
            () = feed.follow(watches) => {}
            () = drain.cancelled() => {}
        }
    });
    let (adjusted, drain) = (server.clone(), server.drain.clone());
    server.tasks.spawn(async move {
        tokio::select! {
            () = adjust(&adjusted.fairness) => {}
            () = drain.cancelled() => {}
        }
    });
    Ok(())
}

/// Classifies requests from now on by what is stored now, whether it has been heard of or not.
pub(crate) fn load(server: &Arc<Inner>) {
    if let Some(feed) = Feed::of(server) {
        feed.load();
    }
}

/// Divides the seats anew every ten seconds while there is demand; sleeps while there is none.
async fn adjust(fairness: &Fairness) {
    loop {
        fairness.wake_adjuster.notified().await;
        loop {
            tokio::time::sleep(ADJUST_EVERY).await;
            let now = fairness.now();
            let mut state = fairness.state.lock();
            let demanded = state.system.adjust(now);
            state.dispatch(now, None);
            if !demanded {
                break;
            }
        }
        fairness.adjusting.store(false, Ordering::Release);
    }
}

impl Feed {
    /// `None` where nothing is to be followed.
    fn of(server: &Arc<Inner>) -> Option<Self> {
        let cache = |resource: &str| server.registry.cache_of(GROUP, resource);
        let (schemas, levels) = (cache(SCHEMAS)?, cache(LEVELS)?);
        server.fairness.enabled.then(|| Self { server: server.clone(), schemas, levels })
    }

    fn watch(&self) -> Result<(Watch, Watch), CacheError> {
        let start = |cache: &Arc<Cache>| Ok(cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone()))?.1);
        Ok((start(&self.schemas)?, start(&self.levels)?))
    }

    async fn follow(&self, watches: (Watch, Watch)) {
        let (mut schemas, mut levels) = watches;
        let mut due = None;
        let mut writes = Writes::default();
        self.write_conditions(&mut writes).await;
        loop {
            let changed = tokio::select! {
                changed = schemas.next() => changed.map(|_| ()),
                changed = levels.next() => changed.map(|_| ()),
                () = until(due) => {
                    due = None;
                    self.maintain().await;
                    self.write_conditions(&mut writes).await;
                    continue;
                }
            };
            match changed {
                Ok(()) => {}
                // The cache was loaded anew.
                Err(CacheError::TooOld { .. }) => match self.watch() {
                    Ok(anew) => (schemas, levels) = anew,
                    Err(error) => return tracing::error!(%error, "priority and fairness is not kept up"),
                },
                Err(_) => return,
            }
            self.load();
            self.write_conditions(&mut writes).await;
            due = due.or_else(|| Some(tokio::time::Instant::now() + MAINTAIN_AFTER));
        }
    }

    fn values(cache: &Cache) -> Vec<Value> {
        let snapshot = cache.snapshot();
        let read = |object: &Arc<watch_cache::Object>| {
            storage::value(object).inspect_err(|error| tracing::error!(%error, "a cached object is unreadable")).ok()
        };
        snapshot.prefix(cache.prefix()).filter_map(read).collect()
    }

    fn stored_levels(&self) -> Vec<Level> {
        config::complete_levels(Self::values(&self.levels).iter().filter_map(Level::read).collect())
    }

    /// Puts in force what is stored.
    fn load(&self) {
        let fairness = &self.server.fairness;
        // What was read later is not to be overtaken by what was read before.
        let _turn = fairness.loading.lock();
        let levels = self.stored_levels();
        let configs: Vec<flow::LevelConfig> = levels.iter().map(|l| l.config.clone()).collect();
        let stored = Self::values(&self.schemas).iter().filter_map(Stored::read).collect();
        let now = fairness.now();
        let mut state = fairness.state.lock();
        state.system.configure(now, &configs);
        state.retry.retain(|name, _| configs.iter().any(|c| c.name == *name));
        let schemas =
            config::schemas(stored, &levels, &state.system, |level, schema| fairness.metrics.of(level, schema));
        fairness.schemas.store(Arc::new(schemas));
        state.dispatch(now, None);
    }

    /// Writes the conditions that schemas lack. A failure is tried again, since nothing else would come of it. A schema
    /// that changes all the time is left alone until the default objects are looked at again.
    async fn write_conditions(&self, writes: &mut Writes) {
        let levels = self.stored_levels();
        let now = api_core::time::format_unix_s(crate::authn::now());
        for schema in Self::values(&self.schemas) {
            let Some(condition) = config::missing_condition(&schema, &levels, &now) else { continue };
            if !writes.may(schema.name(), tokio::time::Instant::now()) {
                continue;
            }
            while let Err(error) = self.write_condition(&schema, &condition).await {
                tracing::warn!(%error, name = schema.name(), "cannot write a flow schema's condition yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn write_condition(&self, schema: &Value, condition: &Value) -> Result<(), ApiError> {
        let (name, kind) = (schema.name(), &schema["kind"]);
        let applied = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name, "uid": schema.uid()},
            "status": {"conditions": [condition]}});
        let path = format!("/apis/{GROUP}/v1/{SCHEMAS}/{name}/status");
        match self.server.apply(&UserInfo::apiserver(), MANAGER, &path, &applied).await {
            Err(e) if e.code >= 500 || e.code == 429 => Err(e),
            // It is gone, or another one by now: its own event comes.
            Err(e) => {
                tracing::debug!(error = %e, name = schema.name(), "a flow schema changed meanwhile");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Restores default objects that are missing or were changed, unless their annotation says that they are not ours.
    async fn maintain(&self) {
        if let Err(error) = bootstrap::keep_flow_control(&self.server).await {
            tracing::warn!(%error, "cannot restore the default flow schemas and priority levels");
        }
    }
}

/// Ends at that time; never without one.
async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_changes_all_the_time_is_left_alone_for_a_while() {
        let (mut writes, start) = (Writes::default(), tokio::time::Instant::now());
        let may: Vec<bool> = (0..7).map(|i| writes.may("a", start + Duration::from_secs(i))).collect();
        assert_eq!(may, [true, true, true, true, true, false, false]);
        assert!(writes.may("b", start + Duration::from_secs(7)));
        assert!(writes.may("a", start + WRITES_WITHIN));
    }
}
