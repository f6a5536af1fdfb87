//! The store of a server: opened, or refused in one sentence.

use crate::config::{ServerConfig, StoreConfig};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use store::Store;
use store::embedded::{Activity, Embedded, Limits};
use store::etcd::{Etcd, EtcdConfig};

/// Opens the store that the configuration names.
///
/// # Errors
/// If the file is in use, damaged or newer than this version, or etcd cannot be reached.
pub async fn open(config: &ServerConfig, activity: Arc<Activity>) -> Result<Arc<dyn Store>> {
    match &config.store {
        StoreConfig::Embedded => {
            let path = config.at("var/lib/mainstay/store.redb");
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            }
            let limits = Limits::default();
            if let Some(dir) = path.parent().filter(|_| !path.exists()) {
                room_for_new(dir, limits.free_bytes_min)?;
            }
            let embedded = Embedded::open_beside(&path, limits, activity)
                .with_context(|| format!("cannot open the store {}", path.display()))?;
            Ok(Arc::new(embedded))
        }
        StoreConfig::Etcd { endpoints, ca, client } => {
            let config = EtcdConfig {
                endpoints: endpoints.clone(),
                ca: ca.as_deref().map(read).transpose()?,
                cert: client.as_ref().map(|(cert, _)| read(cert)).transpose()?,
                key: client.as_ref().map(|(_, key)| read(key)).transpose()?,
                ..EtcdConfig::default()
            };
            let etcd = Etcd::connect(config)
                .await
                .with_context(|| format!("cannot reach etcd at {}", endpoints.join(", ")))?;
            Ok(Arc::new(etcd))
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Refuses to begin a store where it could not take its first objects.
fn room_for_new(dir: &Path, free_bytes_min: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("cannot look at the disk of {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < free_bytes_min {
        bail!(
            "no space left for a store in {}: {} MB are free, and it needs at least {} MB",
            dir.display(),
            free / 1_000_000,
            free_bytes_min.div_ceil(1_000_000)
        );
    }
    Ok(())
}
