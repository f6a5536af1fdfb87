//! `kill -9` under write load, again and again: what was acknowledged is there, revisions never go back, and a watch
//! from before the crash goes on without a gap; containers go on running, and a restart picks them up.

mod containers;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rand::Rng as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use testbed::{ApiServer, Etcd, ServerOptions};
use tokio::sync::mpsc;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
const WRITERS: usize = 4;
const KEYS_PER_WRITER: u32 = 5;
/// Most acknowledged writes between two crashes.
const WRITES_MAX: usize = 60;

/// Content and revision of an object; `None` if there is none.
type Value = Option<(String, u64)>;

/// An acknowledged write: object, content, revision.
type Write = (String, String, u64);

/// What a client knows of one object.
#[derive(Debug, Clone)]
enum Known {
    /// The last write was acknowledged.
    Exactly(Value),
    /// The server was killed before it answered: the write happened or not. The content that it would have made.
    Either(Value, Option<String>),
}

type Objects = BTreeMap<String, Known>;

/// What is killed and started again.
trait Victim {
    /// The administrator's kubeconfig.
    fn kubeconfig(&self) -> PathBuf;
    /// Kills the server without warning.
    fn kill(&mut self) -> Result<()>;
    /// Starts it again, and returns when the API is usable.
    fn restart(&mut self) -> Result<()>;
}

impl Victim for ApiServer {
    fn kubeconfig(&self) -> PathBuf {
        ApiServer::kubeconfig(self)
    }

    fn kill(&mut self) -> Result<()> {
        self.process().kill()
    }

    fn restart(&mut self) -> Result<()> {
        ApiServer::restart(self)
    }
}

async fn connect(kubeconfig: &Path) -> Result<Api<ConfigMap>> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Api::namespaced(Client::try_from(config)?, "default"))
}

fn config_map(name: &str, content: &str) -> ConfigMap {
    let data = Some([("content".to_owned(), content.to_owned())].into());
    ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.into()), ..Default::default() },
        data,
        ..Default::default()
    }
}

fn value(object: &ConfigMap) -> Result<(String, u64)> {
    let content = object.data.as_ref().and_then(|data| data.get("content")).context("no content")?.clone();
    Ok((content, object.metadata.resource_version.as_deref().context("no revision")?.parse()?))
}

/// Writes until the server is gone; tells each acknowledged write, and returns what it knows of its objects.
async fn write(api: Api<ConfigMap>, mut objects: Objects, told: mpsc::Sender<Option<Write>>) -> Result<Objects> {
    let names: Vec<String> = objects.keys().cloned().collect();
    loop {
        let name = &names[rand::rng().random_range(0..names.len())];
        let Some(Known::Exactly(before)) = objects.get(name).cloned() else { bail!("{name} is not known") };
        let content = format!("{:032x}", rand::rng().random::<u128>());
        let object = config_map(name, &content);
        let (intended, answer) = match &before {
            None => (Some(content), api.create(&PostParams::default(), &object).await.map(Some)),
            Some(_) if rand::rng().random_ratio(1, 8) => {
                (None, api.delete(name, &DeleteParams::default()).await.map(|_| None))
            }
            Some(_) => (Some(content), api.replace(name, &PostParams::default(), &object).await.map(Some)),
        };
        let after = match answer {
            Ok(object) => object.as_ref().map(value).transpose()?,
            Err(kube::Error::Api(status)) => bail!("{name}: the server refused: {status}"),
            Err(_) => {
                objects.insert(name.clone(), Known::Either(before, intended));
                return Ok(objects);
            }
        };
        if let (Some((_, old)), Some((_, new))) = (&before, &after) {
            ensure!(new > old, "{name}: revision {new} after {old}");
        }
        told.send(after.clone().map(|(content, revision)| (name.clone(), content, revision))).await?;
        objects.insert(name.clone(), Known::Exactly(after));
    }
}

/// Compares what is there with what is known; returns it, and the revision of the list.
async fn verify(api: &Api<ConfigMap>, known: &Objects) -> Result<(Objects, u64)> {
    let list = api.list(&ListParams::default()).await?;
    let revision: u64 = list.metadata.resource_version.as_deref().context("no revision")?.parse()?;
    let mut found = BTreeMap::new();
    for object in list.items.iter().filter(|o| o.metadata.name.as_ref().is_some_and(|name| known.contains_key(name))) {
        found.insert(object.metadata.name.clone().unwrap_or_default(), value(object)?);
    }
    let mut objects = Objects::new();
    for (name, known) in known {
        let now = found.get(name).cloned();
        let right = match known {
            Known::Exactly(value) => now == *value,
            Known::Either(before, intended) => now == *before || now.as_ref().map(|(c, _)| c) == intended.as_ref(),
        };
        ensure!(right, "{name} is {now:?}, but must be {known:?}");
        objects.insert(name.clone(), Known::Exactly(now));
    }
    Ok((objects, revision))
}

/// Watches from `since` and returns once a new object has been seen: every write of `writes` after `since` must have
/// come, in the order of revisions, unless the server says that the revision is too old.
async fn watch(api: &Api<ConfigMap>, since: u64, writes: &[Write]) -> Result<()> {
    let marker = format!("marker-{:016x}", rand::rng().random::<u64>());
    api.create(&PostParams::default(), &config_map(&marker, "")).await?;
    let mut missing: BTreeMap<u64, (&str, &str)> = writes
        .iter()
        .filter(|w| w.2 > since)
        .map(|(name, content, revision)| (*revision, (&**name, &**content)))
        .collect();
    let mut events = pin!(api.watch(&WatchParams::default(), &since.to_string()).await?.boxed());
    let mut last = since;
    while let Some(event) = events.try_next().await? {
        let object = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => object,
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) if status.code == 410 => return Ok(()),
            WatchEvent::Error(status) => bail!("the watch from {since}: {status}"),
        };
        if object.metadata.name.as_ref() == Some(&marker) {
            ensure!(missing.is_empty(), "the watch from {since} left out {missing:?}");
            api.delete(&marker, &DeleteParams::default()).await?;
            return Ok(());
        }
        let Ok((content, revision)) = value(&object) else { continue };
        ensure!(revision > last, "the watch from {since} goes back from {last} to {revision}");
        last = revision;
        if let Some((name, wanted)) = missing.remove(&revision) {
            ensure!(
                object.metadata.name.as_deref() == Some(name) && content == wanted,
                "{name} at {revision}: {content}"
            );
        }
    }
    bail!("the watch from {since} ended")
}

/// Writes from all clients until a random number of writes is acknowledged, then kills the server in the midst.
async fn crash(server: &mut impl Victim, objects: Objects, writes: &mut Vec<Write>) -> Result<Objects> {
    let (tell, mut told) = mpsc::channel(WRITES_MAX * 4);
    let mut writers = Vec::new();
    let mut shares = vec![Objects::new(); WRITERS];
    for (i, (name, known)) in objects.into_iter().enumerate() {
        shares[i % WRITERS].insert(name, known);
    }
    for share in shares {
        writers.push(tokio::spawn(write(connect(&server.kubeconfig()).await?, share, tell.clone())));
    }
    drop(tell);
    let wanted = rand::rng().random_range(1..=WRITES_MAX);
    for _ in 0..wanted {
        let Some(write) = told.recv().await else { break };
        writes.extend(write);
    }
    // Anywhere within the time of a write.
    tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..5000))).await;
    server.kill()?;
    while let Some(write) = told.recv().await {
        writes.extend(write);
    }
    let mut objects = Objects::new();
    for writer in writers {
        objects.extend(writer.await??);
    }
    Ok(objects)
}

async fn crash_often(server: &mut impl Victim, rounds: usize) -> Result<()> {
    let names = (0..WRITERS as u32 * KEYS_PER_WRITER).map(|i| format!("object-{i}"));
    let mut objects: Objects = names.map(|name| (name, Known::Exactly(None))).collect();
    // The revision to watch from and the writes of the last two rounds.
    let (mut since, mut writes): (u64, Vec<Write>) = (0, Vec::new());
    let mut total = 0;
    for round in 0..rounds {
        if round > 0 {
            server.restart()?;
        }
        let api = connect(&server.kubeconfig()).await?;
        let (now, revision) = verify(&api, &objects).await.with_context(|| format!("after crash {round}"))?;
        let newest = writes.iter().map(|write| write.2).max().unwrap_or(0);
        ensure!(revision >= newest, "crash {round}: the revision went back from {newest} to {revision}");
        if since > 0 {
            let watched = tokio::time::timeout(Duration::from_secs(20), watch(&api, since, &writes)).await;
            watched
                .context("the watch brings nothing")
                .and_then(|w| w)
                .with_context(|| format!("after crash {round}"))?;
        }
        (since, writes) = (revision, Vec::new());
        objects = crash(server, now, &mut writes).await?;
        total += writes.len();
    }
    ensure!(total > rounds, "only {total} writes in {rounds} rounds");
    Ok(())
}

fn run(flags: &[&str], rounds: usize) -> Result<()> {
    use_crypto();
    let options = ServerOptions { flags: flags.iter().map(ToString::to_string).collect(), ..ServerOptions::default() };
    let mut server = ApiServer::start(BINARY, options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(crash_often(&mut server, rounds))
}

fn use_crypto() {
    // Another test of this process may have been first.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(Arc::new));
}

#[test]
fn no_acknowledged_write_is_lost_in_fifty_crashes() -> Result<()> {
    run(&["--log", "warn"], 50)
}

#[test]
fn no_acknowledged_write_is_lost_on_etcd() -> Result<()> {
    let etcd = Etcd::start()?;
    run(&["--log", "warn", "--store", "etcd", "--etcd-servers", &etcd.url], 6)
}

/// Also before its keys, its store and its first objects are complete.
#[test]
fn a_start_may_be_killed_at_any_moment() -> Result<()> {
    use_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for round in 0..12 {
        let options = ServerOptions { flags: vec!["--log".into(), "warn".into()], ..ServerOptions::default() };
        let mut server = ApiServer::prepare(BINARY, options)?;
        for _ in 0..4 {
            server.start_and_kill(Duration::from_millis(rand::rng().random_range(0..500)))?;
        }
        server.restart().with_context(|| format!("round {round}"))?;
        runtime.block_on(async {
            let api = connect(&server.kubeconfig()).await?;
            api.create(&PostParams::default(), &config_map("works", "")).await.context("after the last start")
        })?;
    }
    Ok(())
}
