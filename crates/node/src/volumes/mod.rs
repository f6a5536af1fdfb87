//! A pod's volumes on this node: made before its sandbox, refreshed while it runs, released after it ended.

pub mod atomic;
pub mod host_path;
pub mod payload;
pub mod sources;
pub mod sub_path;
pub mod token;

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, ProjectedVolumeSource, Volume,
};
use kube::api::Api;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::Adaptations;
use crate::pod::env::Lookup;
use crate::pod::{resources, spec};
use crate::quantity;
use atomic::Payload;
use payload::DEFAULT_MODE;
use sources::References;

/// A volume that could not be set up; the message is what the event shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {cause}")]
pub struct VolumeError {
    /// Name in the pod's spec.
    pub volume: String,
    /// Why.
    pub cause: String,
}

/// What volumes need from the agent.
pub struct Context<'a> {
    /// For tokens and claims.
    pub client: &'a kube::Client,
    /// The node's address.
    pub host_ip: &'a str,
    /// Node facts for the downward API.
    pub lookup: &'a dyn Lookup,
    /// Where departures from the normal way of working are written down.
    pub adaptations: &'a Adaptations,
    /// The cluster's root certificate is a ConfigMap; nothing else is special.
    pub pod_dir: &'a Path,
}

/// The volumes of one pod.
#[derive(Default)]
pub struct Volumes {
    paths: HashMap<String, PathBuf>,
    tokens: token::Tokens,
}

impl Volumes {
    /// Makes all volumes, or brings them up to date; idempotent.
    pub async fn set_up(&mut self, cx: &Context<'_>, pod: &Pod, refs: &References) -> Result<(), VolumeError> {
        for volume in spec::spec(pod).volumes.iter().flatten() {
            let result = self.set_up_one(cx, pod, volume, refs).await;
            let path = result.map_err(|cause| VolumeError { volume: volume.name.clone(), cause })?;
            self.paths.insert(volume.name.clone(), path);
        }
        Ok(())
    }

    /// Host path of a volume that was set up.
    pub fn path(&self, volume: &str) -> Option<&Path> {
        self.paths.get(volume).map(PathBuf::as_path)
    }

    /// When [`Volumes::set_up`] is due again, for tokens.
    pub fn refresh_at(&self) -> Option<DateTime<Utc>> {
        self.tokens.refresh_at()
    }

    async fn set_up_one(
        &mut self,
        cx: &Context<'_>,
        pod: &Pod,
        v: &Volume,
        refs: &References,
    ) -> Result<PathBuf, String> {
        let dir = |plugin: &str| cx.pod_dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(&v.name);
        if let Some(host) = &v.host_path {
            let path = PathBuf::from(&host.path);
            host_path::check(&path, host.type_.as_deref().unwrap_or_default())?;
            return Ok(path);
        }
        if let Some(empty) = &v.empty_dir {
            let dir = dir("empty-dir");
            return empty_dir(cx, pod, empty, &dir).map(|()| dir);
        }
        if let Some(claim) = &v.persistent_volume_claim {
            return claimed(cx.client, spec::namespace(pod), &claim.claim_name).await;
        }
        let group = fs_group(pod);
        let (plugin, payload) = self.payload(cx, pod, v, refs).await?;
        let dir = dir(plugin);
        let payload_in_memory = plugin != "configmap" && plugin != "downward-api";
        make(&dir, 0o755).map_err(|e| e.to_string())?;
        if payload_in_memory {
            mount_tmpfs(&dir, "mode=0755", cx.adaptations)?;
        }
        atomic::write(&dir, &payload, group).map_err(|e| e.to_string())?;
        Ok(dir)
    }

    /// Files of the volumes that are made of files, and the name of their plugin's directory.
    async fn payload(
        &mut self,
        cx: &Context<'_>,
        pod: &Pod,
        v: &Volume,
        refs: &References,
    ) -> Result<(&'static str, Payload), String> {
        if let Some(c) = &v.config_map {
            let optional = c.optional == Some(true);
            let map = payload::required(refs.config_map(&c.name).await?, optional, "configmap", &c.name)?;
            let mode = c.default_mode.unwrap_or(DEFAULT_MODE);
            let files = map.map(|m| payload::config_map(&m, c.items.as_ref(), mode, optional)).transpose()?;
            return Ok(("configmap", files.unwrap_or_default()));
        }
        if let Some(s) = &v.secret {
            let (name, optional) = (s.secret_name.as_deref().unwrap_or_default(), s.optional == Some(true));
            let secret = payload::required(refs.secret(name).await?, optional, "secret", name)?;
            let mode = s.default_mode.unwrap_or(DEFAULT_MODE);
            let files = secret.map(|m| payload::secret(&m, s.items.as_ref(), mode, optional)).transpose()?;
            return Ok(("secret", files.unwrap_or_default()));
        }
        if let Some(d) = &v.downward_api {
            let mode = d.default_mode.unwrap_or(DEFAULT_MODE);
            let files =
                payload::downward(pod, d.items.as_deref().unwrap_or_default(), mode, &[], cx.host_ip, cx.lookup)?;
            return Ok(("downward-api", files));
        }
        match &v.projected {
            Some(p) => Ok(("projected", self.projected(cx, pod, p, refs).await?)),
            None => Err("no volume plugin matched".into()),
        }
    }

    async fn projected(
        &mut self,
        cx: &Context<'_>,
        pod: &Pod,
        p: &ProjectedVolumeSource,
        refs: &References,
    ) -> Result<Payload, String> {
        let mode = p.default_mode.unwrap_or(DEFAULT_MODE);
        let mut files = Payload::new();
        for source in p.sources.iter().flatten() {
            if let Some(c) = &source.config_map {
                let optional = c.optional == Some(true);
                if let Some(map) = payload::required(refs.config_map(&c.name).await?, optional, "configmap", &c.name)? {
                    files.extend(payload::config_map(&map, c.items.as_ref(), mode, optional)?);
                }
            }
            if let Some(s) = &source.secret {
                let optional = s.optional == Some(true);
                if let Some(secret) = payload::required(refs.secret(&s.name).await?, optional, "secret", &s.name)? {
                    files.extend(payload::secret(&secret, s.items.as_ref(), mode, optional)?);
                }
            }
            if let Some(d) = &source.downward_api {
                files.extend(payload::downward(
                    pod,
                    d.items.as_deref().unwrap_or_default(),
                    mode,
                    &[],
                    cx.host_ip,
                    cx.lookup,
                )?);
            }
            if let Some(t) = &source.service_account_token {
                let token = self.tokens.get(cx.client, pod, t).await?;
                let owner = if fs_group(pod).is_none() { only_user(pod) } else { None };
                let mode = if owner.is_some() || fs_group(pod).is_some() {
                    0o600
                } else {
                    u32::try_from(mode).unwrap_or(0o644) & 0o777
                };
                files.insert(t.path.clone(), atomic::File { data: token.into_bytes(), mode, owner });
            }
        }
        Ok(files)
    }
}

/// `fsGroup` of a pod.
fn fs_group(pod: &Pod) -> Option<u32> {
    spec::spec(pod).security_context.as_ref()?.fs_group.and_then(|g| u32::try_from(g).ok())
}

/// The user that all containers run as, if it is one and the same: a token can then be its alone.
fn only_user(pod: &Pod) -> Option<u32> {
    let pod_user = spec::spec(pod).security_context.as_ref().and_then(|c| c.run_as_user);
    let all = spec::all_containers(pod);
    let mut users = all.iter().map(|(_, c)| c.security_context.as_ref().and_then(|s| s.run_as_user).or(pod_user));
    let first = users.next()??;
    users.all(|u| u == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

fn empty_dir(cx: &Context<'_>, pod: &Pod, source: &EmptyDirVolumeSource, dir: &Path) -> Result<(), String> {
    let fresh = !dir.exists();
    make(dir, 0o777).map_err(|e| e.to_string())?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let limit = source.size_limit.as_ref().and_then(quantity::value).filter(|l| *l > 0);
            let limit = limit.or_else(|| resources::pod_limits(pod).memory_bytes);
            let options = limit.map_or_else(|| "mode=0777".to_owned(), |l| format!("mode=0777,size={l}"));
            mount_tmpfs(dir, &options, cx.adaptations)?;
        }
        other => return Err(format!("unknown storage medium {other:?}")),
    }
    match fs_group(pod).filter(|_| fresh) {
        Some(group) => own(dir, group, false).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

/// The host path behind a claim whose volume is a directory of this node.
async fn claimed(client: &kube::Client, namespace: &str, name: &str) -> Result<PathBuf, String> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let claim =
        claims.get(name).await.map_err(|e| format!("failed to get PVC {namespace}/{name}: {}", api_error(e)))?;
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty());
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let Some(volume) = volume.filter(|_| bound) else { return Err(format!("PVC {namespace}/{name} is not bound")) };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volume = volumes.get(&volume).await.map_err(api_error)?;
    let s = volume.spec.unwrap_or_default();
    if let Some(host) = s.host_path {
        let path = PathBuf::from(host.path);
        host_path::check(&path, host.type_.as_deref().unwrap_or_default())?;
        return Ok(path);
    }
    match s.local {
        Some(local) if Path::new(&local.path).exists() => Ok(local.path.into()),
        Some(local) => Err(format!("path \"{}\" does not exist", local.path)),
        None => Err("no volume plugin matched".into()),
    }
}

/// What the API server said, without the client's own words around it.
pub(crate) fn api_error(error: kube::Error) -> String {
    match error {
        kube::Error::Api(response) => response.message,
        other => other.to_string(),
    }
}

fn make(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(mode))
}

/// Gives everything below `dir` to a group, as `fsGroup` asks; links are not followed.
pub(crate) fn own(dir: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = dir.symlink_metadata()?;
    std::os::unix::fs::lchown(dir, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let (files, dirs) = if read_only { (0o440, 0o2550) } else { (0o660, 0o2770) };
    let add = if meta.is_dir() { dirs } else { files };
    std::fs::set_permissions(dir, PermissionsExt::from_mode(meta.mode() | add))?;
    if meta.is_dir() {
        for entry in std::fs::read_dir(dir)? {
            own(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}

/// Mounts a tmpfs unless there is one; where that is not permitted the directory serves as it is.
fn mount_tmpfs(dir: &Path, options: &str, adaptations: &Adaptations) -> Result<(), String> {
    if is_mount_point(dir) {
        return Ok(());
    }
    let data = CString::new(options).map_err(|e| e.to_string())?;
    match rustix::mount::mount("tmpfs", dir, "tmpfs", MountFlags::empty(), data.as_c_str()) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            adaptations.add("no_tmpfs", "mounting is not permitted: secrets and memory volumes are on disk");
            Ok(())
        }
        Err(error) => Err(format!("mount tmpfs on {}: {error}", dir.display())),
    }
}

fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|m| m.dev()).ok();
    dir.parent().is_some_and(|parent| device(dir) != device(parent))
}

/// Unmounts everything mounted below a pod's directory, innermost first.
pub fn unmount_below(dir: &Path) -> io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> =
        mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape).filter(|p| p.starts_with(dir)).collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.as_os_str().len()));
    for point in points {
        match rustix::mount::unmount(&point, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Checks a path in a volume; for `crate::fuzz`.
pub fn read_path(path: &str) {
    if atomic::check(path).is_ok() {
        let inside = Path::new(path)
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
        assert!(inside, "{path:?} leads out of the volume");
    }
    drop(unescape(path));
}

/// mountinfo writes blanks, tabs and backslashes as octal.
fn unescape(path: &str) -> PathBuf {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into()
}

/// Releases what a pod's volumes hold and removes its directory.
pub fn tear_down(pod_dir: &Path) -> io::Result<()> {
    unmount_below(pod_dir)?;
    match std::fs::remove_dir_all(pod_dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_private_if_one_user_reads_it() {
        let pod = |a: Option<i64>, b: Option<i64>, whole: Option<i64>| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": {"securityContext": {"runAsUser": whole}, "containers": [
                {"name": "a", "securityContext": {"runAsUser": a}}, {"name": "b", "securityContext": {"runAsUser": b}}]}})).unwrap()
        };
        assert_eq!(only_user(&pod(Some(5), Some(5), None)), Some(5));
        assert_eq!(only_user(&pod(None, Some(5), Some(5))), Some(5));
        assert_eq!(only_user(&pod(Some(1), Some(5), None)), None);
        assert_eq!(only_user(&pod(None, None, None)), None);
    }
}
