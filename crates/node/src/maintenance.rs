//! Housekeeping on the node: rotates container logs, removes images that nobody uses when the disk fills up. Deciding is
//! pure; nothing announces a full disk or a long file, so both are looked at now and then.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_cri::v1 as cri;

use crate::agent::Agent;
use crate::machine;

/// How often logs are measured; as upstream.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// How often the image filesystem is measured; as upstream.
const IMAGE_PERIOD: Duration = Duration::from_secs(300);
/// An image is kept at least this long after it was first seen; as upstream.
const IMAGE_AGE_MIN: Duration = Duration::from_secs(120);

/// Runs until the future is dropped.
pub async fn run(agent: Arc<Agent>) {
    let mut logs = tokio::time::interval(LOG_PERIOD);
    let mut images = tokio::time::interval(IMAGE_PERIOD);
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            _ = logs.tick() => rotate_logs(&agent).await,
            _ = images.tick() => {
                if let Err(error) = collect_images(&agent, &mut seen).await {
                    tracing::warn!(%error, "images not collected");
                    agent.events.node(true, "ImageGCFailed", error);
                }
            }
        }
    }
}

// ---- Logs ----

async fn rotate_logs(agent: &Agent) {
    // Finding the long files needs no runtime: they are ours.
    let dir = agent.config.pod_logs_dir();
    let max = agent.config.limits.log_file_bytes_max;
    let long = match tokio::task::spawn_blocking(move || long_logs(&dir, max)).await {
        Ok(long) if long.is_empty() => return,
        Ok(long) => long,
        Err(error) => return tracing::warn!(%error, "logs not measured"),
    };
    let containers = agent.cri.list_containers(None).await.unwrap_or_default();
    for c in containers.into_iter().filter(|c| c.state == cri::ContainerState::ContainerRunning as i32) {
        let Ok(status) = agent.cri.container_status(&c.id).await else { continue };
        let path = PathBuf::from(&status.log_path);
        if !long.contains(&path) {
            continue;
        }
        if let Err(error) = rotate(agent, &c.id, &path).await {
            tracing::warn!(%error, path = %path.display(), "log not rotated");
        }
    }
}

/// Live log files (`POD/CONTAINER/N.log`) beyond `max` bytes.
fn long_logs(dir: &Path, max: u64) -> HashSet<PathBuf> {
    let entries =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let files = entries(dir).into_iter().flat_map(|pod| entries(&pod)).flat_map(|container| entries(&container));
    let long =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "log") && path.metadata().is_ok_and(|m| m.len() > max);
    files.filter(long).collect()
}

async fn rotate(agent: &Agent, id: &str, path: &Path) -> io::Result<()> {
    let aside = PathBuf::from(format!("{}.{}", path.display(), Utc::now().format("%Y%m%d-%H%M%S")));
    let (files_max, live) = (agent.config.limits.log_files_max, path.to_path_buf());
    tokio::task::spawn_blocking(move || tidy_rotated(&live, files_max)).await.map_err(io::Error::other)??;
    std::fs::rename(path, &aside)?;
    if let Err(error) = agent.cri.reopen_container_log(id).await {
        // The runtime still writes to the old file: give it its name back.
        std::fs::rename(&aside, path)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Compresses rotated files and removes the oldest, so that with the live one and the next at most `files_max` remain.
fn tidy_rotated(live: &Path, files_max: usize) -> io::Result<()> {
    let (Some(dir), Some(name)) = (live.parent(), live.file_name().and_then(|n| n.to_str())) else { return Ok(()) };
    let prefix = format!("{name}.");
    let mut rotated: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)))
        .collect();
    rotated.sort();
    let keep = files_max.saturating_sub(2);
    let surplus = rotated.len().saturating_sub(keep);
    for path in rotated.drain(..surplus) {
        std::fs::remove_file(path)?;
    }
    for path in rotated.into_iter().filter(|p| p.extension().is_none_or(|e| e != "gz")) {
        let target = PathBuf::from(format!("{}.gz", path.display()));
        let mut encoder = GzEncoder::new(std::fs::File::create(&target)?, Compression::default());
        io::copy(&mut std::fs::File::open(&path)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::remove_file(path)?;
    }
    Ok(())
}

// ---- Images ----

#[derive(Default)]
struct Seen(HashMap<String, Times>);

#[derive(Clone, Copy)]
struct Times {
    first: DateTime<Utc>,
    used: DateTime<Utc>,
}

impl Seen {
    /// Takes in which images there are and which are in use.
    fn update(&mut self, images: &[cri::Image], used: &HashSet<String>, now: DateTime<Utc>) {
        self.0.retain(|id, _| images.iter().any(|i| &i.id == id));
        for image in images {
            let times = self.0.entry(image.id.clone()).or_insert(Times { first: now, used: DateTime::UNIX_EPOCH });
            if is_used(image, used) {
                times.used = now;
            }
        }
    }
}

fn is_used(image: &cri::Image, used: &HashSet<String>) -> bool {
    let names = std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests);
    image.pinned || names.into_iter().any(|n| used.contains(n))
}

/// Images to remove until `bytes` are free: unused, old enough, the least recently used first.
fn choose(images: &[cri::Image], used: &HashSet<String>, seen: &Seen, bytes: u64, now: DateTime<Utc>) -> Vec<String> {
    let old_enough = |i: &&cri::Image| {
        seen.0.get(&i.id).is_some_and(|t| (now - t.first).to_std().is_ok_and(|age| age >= IMAGE_AGE_MIN))
    };
    let mut candidates: Vec<&cri::Image> = images.iter().filter(|i| !is_used(i, used)).filter(old_enough).collect();
    candidates.sort_by_key(|i| seen.0.get(&i.id).map(|t| (t.used, t.first)));
    let mut freed = 0;
    let enough = candidates.into_iter().take_while(|i| {
        let wanted = freed < bytes;
        freed += i.size;
        wanted
    });
    enough.map(|i| i.id.clone()).collect()
}

async fn collect_images(agent: &Agent, seen: &mut Seen) -> Result<(), String> {
    let images = agent.cri.list_images().await.map_err(|e| e.to_string())?;
    let containers = agent.cri.list_containers(None).await.map_err(|e| e.to_string())?;
    let mut used: HashSet<String> = containers.iter().map(|c| c.image_ref.clone()).collect();
    used.extend(containers.into_iter().filter_map(|c| c.image).map(|i| i.image));
    // The sandbox image is needed by every pod to come.
    used.extend(images.iter().flat_map(|i| &i.repo_tags).filter(|t| t.contains("/pause:")).cloned());
    let now = Utc::now();
    seen.update(&images, &used, now);
    let info = agent.cri.image_fs_info().await.map_err(|e| e.to_string())?;
    let mount = info.image_filesystems.first().and_then(|f| f.fs_id.clone()).map(|f| f.mountpoint).unwrap_or_default();
    let disk = machine::disk(Path::new(&mount)).map_err(|e| format!("measure {mount}: {e}"))?;
    let limits = &agent.config.limits;
    let used_bytes = disk.total_bytes.saturating_sub(disk.free_bytes);
    if used_bytes * 100 < limits.image_gc_high_percent * disk.total_bytes {
        return Ok(());
    }
    let target = disk.total_bytes / 100 * limits.image_gc_low_percent;
    let bytes = used_bytes.saturating_sub(target);
    let chosen = choose(&images, &used, seen, bytes, now);
    let freed: u64 = images.iter().filter(|i| chosen.contains(&i.id)).map(|i| i.size).sum();
    for id in chosen {
        agent.cri.remove_image(&id).await.map_err(|e| e.to_string())?;
    }
    if freed < bytes {
        let message = format!(
            "Failed to garbage collect required amount of images. Attempted to free {bytes} bytes, but only found {freed} bytes eligible to free."
        );
        agent.events.node(true, "FreeDiskSpaceFailed", message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_images_go_least_recently_used_first() {
        let image = |id: &str, size| cri::Image { id: id.into(), size, ..cri::Image::default() };
        let images = [image("a", 10), image("b", 10), image("c", 10), image("new", 10)];
        let at = |s| DateTime::from_timestamp(s, 0).unwrap();
        let used: HashSet<String> = ["c".to_owned()].into();
        let mut seen = Seen::default();
        seen.update(&images[..3], &["a".to_owned()].into(), at(50));
        seen.update(&images, &used, at(200));
        assert_eq!(choose(&images, &used, &seen, 5, at(210)), ["b"]);
        assert_eq!(choose(&images, &used, &seen, 100, at(210)), ["b", "a"]);
    }

    #[test]
    fn rotated_logs_are_compressed_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("0.log");
        for name in [
            "0.log",
            "0.log.20260101-000001.gz",
            "0.log.20260101-000002.gz",
            "0.log.20260101-000003.gz",
            "0.log.20260101-000004",
            "1.log",
        ] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        tidy_rotated(&live, 4).unwrap();
        let mut names: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["0.log", "0.log.20260101-000003.gz", "0.log.20260101-000004.gz", "1.log"]);
    }
}
