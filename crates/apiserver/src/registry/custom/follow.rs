//! Brings definitions, rows and status together, one definition at a time: what a change costs depends on what has changed, not
//! on how many definitions there are.
//!
//! Of each definition little is kept ([`Known`]); the rest is read from the cache when it changes. A definition is read whole
//! only when its schemas have changed.

use super::{RETRY, end, now, path, text};
use crate::authn::UserInfo;
use crate::registry::Registry;
use crate::server::{BuildError, Inner};
use api_core::ApiError;
use api_core::meta::Meta;
use api_kinds::custom::{self, Schemas, ServedKey};
use api_schema::row::Row;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use watch_cache::{Cache, Interest, Object, Snapshot};

/// Statuses that are written at a time.
const WRITES_MAX: usize = 8;

/// All definitions, as far as they matter to each other.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    known: HashMap<String, Known>,
    /// Names of definitions by group.
    groups: HashMap<String, BTreeSet<String>>,
    /// Those that are to be looked at.
    todo: BTreeSet<String>,
}

/// What is kept of a definition.
#[derive(Debug)]
struct Known {
    uid: String,
    /// What it was last looked at for.
    revision: i64,
    generation: i64,
    group: String,
    /// Its name and the names that it was given, as a definition has them.
    names: Value,
    /// Whether it waits for names that others have.
    waits: bool,
    /// How its objects are served; `None` if they are not.
    served: Option<ServedKey>,
    /// Whether its objects are being deleted.
    ending: bool,
}

impl Known {
    fn new(object: &Object, outline: &Value) -> Self {
        Self {
            uid: outline.uid().to_owned(),
            revision: object.revision,
            generation: custom::generation(outline),
            group: text(&outline["spec"]["group"]).to_owned(),
            names: names(outline),
            waits: custom::waits(outline),
            served: None,
            ending: false,
        }
    }
}

fn names(outline: &Value) -> Value {
    json!({"metadata": {"name": outline.name()}, "status": {"acceptedNames": outline["status"]["acceptedNames"]}})
}

/// A definition in the cache.
struct Found {
    object: Arc<Object>,
    outline: Value,
}

impl Found {
    fn read(object: &Arc<Object>) -> Option<Self> {
        let outline = custom::outline(&object.bytes);
        let outline =
            outline.inspect_err(|error| tracing::error!(%error, name = %object.name, "a definition is unreadable"));
        Some(Self { object: object.clone(), outline: outline.ok()? })
    }

    fn get(cache: &Cache, snapshot: &Snapshot, name: &str) -> Option<Self> {
        Self::read(snapshot.get(&[cache.prefix(), name.as_bytes()].concat())?)
    }

    fn whole(&self) -> Result<Value, ApiError> {
        crate::registry::object::decode(&self.object.bytes)
    }

    fn rows(&self, outline: &Value) -> Vec<Arc<Row>> {
        custom::rows_of(outline, self.object.bytes.clone())
    }
}

/// What is to be done for a definition.
struct Decided {
    found: Found,
    /// The outline with the status that it should have; `None` if it has it.
    next: Option<Value>,
    /// Whether its objects are to be served in another way, or not at all.
    changed: bool,
}

impl Decided {
    fn outline(&self) -> &Value {
        self.next.as_ref().unwrap_or(&self.found.outline)
    }
}

impl Definitions {
    fn keep(&mut self, name: &str, known: Known) {
        self.groups.entry(known.group.clone()).or_default().insert(name.to_owned());
        self.known.insert(name.to_owned(), known);
    }

    /// Forgets a definition; gives its group.
    fn forget(&mut self, name: &str) -> Option<String> {
        let known = self.known.remove(name)?;
        if let Some(group) = self.groups.get_mut(&known.group) {
            group.remove(name);
            if group.is_empty() {
                self.groups.remove(&known.group);
            }
        }
        Some(known.group)
    }

    /// Definitions of these groups that wait for names.
    fn waiting(&self, groups: &HashSet<String>) -> BTreeSet<String> {
        let names = groups.iter().filter_map(|group| self.groups.get(group)).flatten();
        names.filter(|name| self.known.get(*name).is_some_and(|known| known.waits)).cloned().collect()
    }

    fn others(&self, group: &str) -> Vec<&Value> {
        let names = self.groups.get(group).into_iter().flatten();
        names.filter_map(|name| self.known.get(name)).map(|known| &known.names).collect()
    }

    /// What should become of a definition. Names that it is given here are taken for the next one.
    fn decide(&mut self, found: Found) -> Result<Decided, ApiError> {
        let outline = &found.outline;
        let name = outline.name().to_owned();
        let mut known = Known::new(&found.object, outline);
        let before = self.known.get(&name).filter(|before| before.uid == known.uid);
        let same = before.is_some_and(|before| before.generation == known.generation);
        let is_known = same && !custom::doubts_schemas(outline);
        let schemas = if is_known { Schemas::Same } else { Schemas::of(&found.whole()?) };
        let next = if outline.is_deleting() {
            None
        } else {
            custom::next(outline, &self.others(&known.group), &schemas, &now())
        };
        let wanted = next.as_ref().unwrap_or(outline);
        known.names = names(wanted);
        known.waits = custom::waits(wanted);
        known.served = ServedKey::of(wanted);
        known.ending = before.is_some_and(|before| before.ending);
        let changed = known.served.as_ref() != before.and_then(|before| before.served.as_ref());
        self.keep(&name, known);
        Ok(Decided { found, next, changed })
    }
}

fn cache(registry: &Registry) -> Option<Arc<Cache>> {
    let gvr = custom::definitions();
    registry.cache_of(&gvr.group, &gvr.resource)
}

/// Serves what is defined already; before the first request. Gives what is known then.
pub(crate) async fn load(registry: &Registry) -> Result<Definitions, BuildError> {
    let mut definitions = Definitions::default();
    let Some(cache) = cache(registry) else { return Ok(definitions) };
    let snapshot = cache.snapshot();
    let found: Vec<Found> = snapshot.prefix(cache.prefix()).filter_map(Found::read).collect();
    for Found { object, outline } in &found {
        definitions.keep(&object.name, Known::new(object, outline));
    }
    let mut changes = Vec::new();
    for found in &found {
        let (name, outline) = (found.outline.name(), &found.outline);
        if let Some(key) = ServedKey::of(outline) {
            changes.push((name.to_owned(), found.rows(outline)));
            definitions.known.entry(name.to_owned()).and_modify(|known| known.served = Some(key));
        }
        // What is served has been checked; what its status says of it stays true.
        let others = definitions.others(text(&outline["spec"]["group"]));
        let is_settled = custom::is_served(outline) && custom::next(outline, &others, &Schemas::Same, &now()).is_none();
        if !is_settled || outline.is_deleting() || custom::doubts_schemas(outline) {
            definitions.todo.insert(name.to_owned());
        }
    }
    registry.replace(&changes).await?;
    Ok(definitions)
}

/// Follows the definitions until the server drains.
pub(crate) async fn run(server: Arc<Inner>, definitions: Definitions) {
    tokio::select! {
        () = follow(&server, definitions) => {}
        () = server.drain.cancelled() => {}
    }
}

async fn follow(server: &Arc<Inner>, mut definitions: Definitions) {
    let Some(cache) = cache(&server.registry) else { return };
    loop {
        let watched = cache.snapshot_and_watch(Interest::prefix(cache.prefix().clone()));
        let Ok((snapshot, mut watch)) = watched else { return };
        let is_new =
            |o: &&Arc<Object>| definitions.known.get(&*o.name).is_none_or(|known| known.revision != o.revision);
        let new: BTreeSet<String> =
            snapshot.prefix(cache.prefix()).filter(is_new).map(|object| object.name.to_string()).collect();
        let is_gone = |name: &&String| snapshot.get(&[cache.prefix(), name.as_bytes()].concat()).is_none();
        let gone: BTreeSet<String> = definitions.known.keys().filter(is_gone).cloned().collect();
        definitions.todo.extend(new.into_iter().chain(gone));
        loop {
            look(server, &cache, &mut definitions).await;
            if !definitions.todo.is_empty() {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let Ok(events) = watch.next().await else { break };
            definitions.todo.extend(events.iter().map(|event| event.object.name.to_string()));
        }
    }
}

/// Looks at what is to be looked at; what could not be done is left for later.
async fn look(server: &Arc<Inner>, cache: &Cache, definitions: &mut Definitions) {
    let mut todo = std::mem::take(&mut definitions.todo);
    let snapshot = cache.snapshot();
    let (mut changes, mut groups) = (Vec::new(), HashSet::new());
    for name in &todo {
        let found = Found::get(cache, &snapshot, name);
        let group = match &found {
            Some(found) => Some(text(&found.outline["spec"]["group"]).to_owned()),
            None => {
                changes.push((name.clone(), Vec::new()));
                definitions.forget(name)
            }
        };
        groups.extend(group);
    }
    // Names that others give up may be given to those that wait for them.
    todo.extend(definitions.waiting(&groups));
    let mut found: Vec<Found> = todo.iter().filter_map(|name| Found::get(cache, &snapshot, name)).collect();
    found.sort_by_cached_key(|f| (f.outline.meta_str("creationTimestamp").to_owned(), f.object.name.clone()));
    let mut writes = Vec::new();
    for found in found {
        let name = found.object.name.to_string();
        match definitions.decide(found) {
            Ok(decided) => writes.extend(prepare(server, definitions, &name, decided, &mut changes)),
            Err(error) => tracing::error!(%error, name, "a definition cannot be looked at"),
        }
    }
    if let Err(error) = server.registry.replace(&changes).await {
        tracing::error!(%error, "custom resources cannot be served");
        for (name, _) in changes {
            definitions.known.entry(name.clone()).and_modify(|known| known.served = None);
            definitions.todo.insert(name);
        }
        return;
    }
    let writes = futures::stream::iter(writes.into_iter().map(|(name, decided)| write(server, name, decided)));
    let failed: Vec<String> = writes.buffer_unordered(WRITES_MAX).filter_map(std::future::ready).collect().await;
    definitions.todo.extend(failed);
}

/// What of a decision changes the table goes to `changes`; gives it back if its status is to be written.
fn prepare(
    server: &Arc<Inner>,
    definitions: &mut Definitions,
    name: &str,
    decided: Decided,
    changes: &mut Vec<(String, Vec<Arc<Row>>)>,
) -> Option<(String, Decided)> {
    let known = definitions.known.get_mut(name)?;
    if decided.found.outline.is_deleting() && !known.ending {
        known.ending = true;
        server.tasks.spawn(end(server.clone(), name.to_owned(), known.uid.clone()));
    }
    if decided.changed {
        let rows = known.served.as_ref().map(|_| decided.found.rows(decided.outline()));
        changes.push((name.to_owned(), rows.unwrap_or_default()));
    } else if let Some(served) = server.registry.table().of_definition(name).first()
        && let Some(custom) = &served.row.custom
    {
        custom.family.schemas.renew(decided.found.object.bytes.clone());
    }
    decided.next.is_some().then(|| (name.to_owned(), decided))
}

/// Writes the status of a definition; gives its name if that has to be tried again.
async fn write(server: &Arc<Inner>, name: String, decided: Decided) -> Option<String> {
    let work = async {
        let mut whole = decided.found.whole()?;
        whole["status"] = decided.outline()["status"].clone();
        let path = format!("{}/status", path(&name));
        server.call(&UserInfo::apiserver(), Method::PUT, &path, Some(&whole)).await.map(drop)
    };
    match work.await {
        Ok(()) => None,
        // Somebody else wrote it; its event is on its way.
        Err(e) if e.code == 409 || e.code == 404 => None,
        Err(error) => {
            tracing::warn!(%error, name, "the status of a definition could not be written");
            Some(name)
        }
    }
}
