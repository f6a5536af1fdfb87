//! Starting a pod's sandbox and containers: gathers what the pure configuration needs, and makes the calls.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use chrono::Utc;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;

use super::container::{self, ImageUser};
use super::plan::{Start, Waiting};
use super::view::PodView;
use super::{dns, env, hook, probe, resources, sandbox, spec};
use crate::agent::{Agent, PodLookup};
use crate::volumes::sources::References;
use crate::volumes::{Volumes, api_error, sub_path};

/// What of a pod was prepared before its containers start.
pub struct Prepared<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// The pod.
    pub pod: &'a Pod,
    /// Its volumes.
    pub volumes: &'a Volumes,
    /// What it refers to.
    pub refs: &'a References,
}

fn waiting(reason: &str, message: impl Into<String>) -> Waiting {
    Waiting { reason: reason.into(), message: message.into() }
}

/// The pod's cgroup.
pub fn cgroup_parent(agent: &Agent, pod: &Pod) -> String {
    agent.cgroups.pod_parent(resources::qos(pod), spec::uid(pod))
}

/// Configuration of the pod's sandbox number `attempt`.
pub fn sandbox_config(agent: &Agent, pod: &Pod, attempt: u32) -> cri::PodSandboxConfig {
    let config = &agent.config;
    let inputs = sandbox::Inputs {
        log_directory: config
            .pod_log_dir(spec::namespace(pod), spec::name(pod), spec::uid(pod))
            .to_string_lossy()
            .into_owned(),
        dns: dns::config(pod, &agent.node_dns(), config.cluster_dns, &config.cluster_domain),
        domain: config.cluster_domain.clone(),
        cgroup_parent: cgroup_parent(agent, pod),
        seen: Utc::now().to_rfc3339(),
    };
    sandbox::config(pod, attempt, &inputs)
}

/// Makes the directories and cgroup of a pod.
pub fn directories(agent: &Agent, pod: &Pod) -> std::io::Result<()> {
    let config = &agent.config;
    let uid = spec::uid(pod);
    let dir = config.pod_dir(uid);
    std::fs::create_dir_all(dir.join("volumes"))?;
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o750))?;
    std::fs::create_dir_all(config.pod_log_dir(spec::namespace(pod), spec::name(pod), uid))?;
    std::fs::create_dir_all(config.container_links_dir())?;
    if let Err(error) = agent.cgroups.set_up_pod(&cgroup_parent(agent, pod), &resources::pod_limits(pod)) {
        config.adaptations.add("no_pod_cgroups", format!("cannot limit pods as a whole: {error}"));
    }
    Ok(())
}

/// The runtime's name for a RuntimeClass.
async fn runtime_handler(agent: &Agent, class: &str) -> Result<String, String> {
    let api: kube::Api<RuntimeClass> = kube::Api::all(agent.client.clone());
    let found =
        api.get(class).await.map_err(|e| format!("failed to get RuntimeClass \"{class}\": {}", api_error(e)))?;
    Ok(found.handler)
}

/// Starts the sandbox; the error is what the event shows.
pub async fn sandbox(agent: &Agent, pod: &Pod, attempt: u32) -> Result<(), String> {
    let config = sandbox_config(agent, pod, attempt);
    let handler = match &spec::spec(pod).runtime_class_name {
        Some(class) => runtime_handler(agent, class).await?,
        None => String::new(),
    };
    agent.cri.run_pod_sandbox(config, handler).await.map(drop).map_err(|e| e.to_string())
}

impl Prepared<'_> {
    /// Makes and starts one container whose image is present, up to and including its postStart hook.
    pub async fn container(
        &self,
        view: &PodView,
        start: &Start,
        c: &Container,
        image: crate::images::Present,
    ) -> Result<(), Waiting> {
        let Some(sandbox) = view.sandbox() else {
            return Err(waiting("CreateContainerError", "the pod has no sandbox"));
        };
        let about = Some((start.kind, start.name.as_str()));
        let events = &self.agent.events;
        let config = self.config(view, start, c, image.reference, image.user).map_err(|error| {
            events.warning(self.pod, about, "Failed", format!("Error: {error}"));
            waiting("CreateContainerConfigError", error)
        })?;
        let sandbox_config = sandbox_config(self.agent, self.pod, sandbox.attempt);
        let created = self.agent.cri.create_container(&sandbox.id, config, sandbox_config).await;
        let id = created.map_err(|error| {
            events.warning(self.pod, about, "Failed", format!("Error: {error}"));
            waiting("CreateContainerError", error.message)
        })?;
        events.normal(self.pod, about, "Created", format!("Created container {}", c.name));
        self.agent.cri.start_container(&id).await.map_err(|error| {
            events.warning(self.pod, about, "Failed", format!("Error: {error}"));
            waiting("RunContainerError", error.message)
        })?;
        events.normal(self.pod, about, "Started", format!("Started container {}", c.name));
        if let Err(error) = self.link_log(c, start.attempt, &id) {
            tracing::debug!(%error, "no link to the container's log");
        }
        self.post_start(view, start, c, &id).await
    }

    async fn post_start(&self, view: &PodView, start: &Start, c: &Container, id: &str) -> Result<(), Waiting> {
        let Some(handler) = c.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
        let ips = view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let pod_ip = probe::pod_address(self.pod, &ips, &self.agent.host_ip());
        let Err(error) = hook::run(&self.agent.cri, handler, c, id, &pod_ip).await else { return Ok(()) };
        let about = Some((start.kind, start.name.as_str()));
        let events = &self.agent.events;
        events.warning(self.pod, about, "FailedPostStartHook", format!("PostStartHook failed: {error}"));
        events.normal(self.pod, about, "Killing", "FailedPostStartHook");
        if let Err(error) = self.agent.cri.stop_container(id, spec::grace_seconds(self.pod)).await {
            tracing::warn!(%error, container = %c.name, "cannot stop a container whose postStart hook failed");
        }
        Err(waiting("PostStartHookError", error))
    }

    fn config(
        &self,
        view: &PodView,
        start: &Start,
        c: &Container,
        image_ref: String,
        image_user: ImageUser,
    ) -> Result<cri::ContainerConfig, String> {
        let agent = self.agent;
        let own_ips = view.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let ips = if spec::host_network(self.pod) { vec![agent.host_ip()] } else { own_ips };
        let lookup = PodLookup { agent, refs: self.refs };
        let services = agent.services.read().clone();
        let env = env::build(self.pod, c, &ips, &agent.host_ip(), &services, &lookup).map_err(|e| e.0)?;
        let mounts = self.mounts(c, &ips, &env)?;
        let target = spec::ephemeral_containers(self.pod)
            .iter()
            .find(|e| e.name == c.name)
            .and_then(|e| e.target_container_name.as_deref());
        let inputs = container::Inputs {
            attempt: start.attempt,
            image_ref,
            image_user,
            env,
            mounts,
            devices: Vec::new(),
            machine_memory_bytes: agent.capacity.memory_bytes,
            seccomp_dir: agent.config.seccomp_dir().to_string_lossy().into_owned(),
            target_id: target.and_then(|name| view.newest(name)).map(|c| c.id.clone()),
        };
        let log_dir = agent
            .config
            .pod_log_dir(spec::namespace(self.pod), spec::name(self.pod), spec::uid(self.pod))
            .join(&c.name);
        std::fs::create_dir_all(&log_dir)
            .map_err(|e| format!("create container log directory {}: {e}", log_dir.display()))?;
        container::config(self.pod, c, &inputs).map_err(|e| e.0)
    }

    fn mounts(&self, c: &Container, ips: &[String], vars: &[(String, String)]) -> Result<Vec<cri::Mount>, String> {
        let pod_dir = self.agent.config.pod_dir(spec::uid(self.pod));
        let mut mounts = Vec::new();
        for (index, mount) in c.volume_mounts.iter().flatten().enumerate() {
            let Some(path) = self.volumes.path(&mount.name) else {
                return Err(format!("cannot find volume \"{}\" to mount into container \"{}\"", mount.name, c.name));
            };
            let sub = match (&mount.sub_path, &mount.sub_path_expr) {
                (Some(sub), _) if !sub.is_empty() => Some(sub.clone()),
                (_, Some(expr)) if !expr.is_empty() => Some(expand_sub_path(expr, vars)?),
                _ => None,
            };
            let host_path = match sub {
                Some(sub) => {
                    let target =
                        pod_dir.join("volume-subpaths").join(&mount.name).join(&c.name).join(index.to_string());
                    sub_path::bind(path, &sub, &target, &self.agent.config.adaptations)?
                }
                None => path.to_path_buf(),
            };
            let absolute = if mount.mount_path.starts_with('/') {
                mount.mount_path.clone()
            } else {
                format!("/{}", mount.mount_path)
            };
            let propagation = match mount.mount_propagation.as_deref() {
                Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
                Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
                _ => cri::MountPropagation::PropagationPrivate,
            };
            mounts.push(cri::Mount {
                container_path: absolute,
                host_path: host_path.to_string_lossy().into_owned(),
                readonly: mount.read_only == Some(true) || self.read_only(&mount.name),
                propagation: propagation as i32,
                ..cri::Mount::default()
            });
        }
        if !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
            mounts.push(self.hosts_file(&pod_dir, ips)?);
        }
        mounts.extend(self.termination_log(&pod_dir, c)?);
        Ok(mounts)
    }

    /// Volumes made of files are read-only to containers: what they would write is lost at the next update.
    fn read_only(&self, volume: &str) -> bool {
        let volumes = spec::spec(self.pod).volumes.as_deref().unwrap_or_default();
        volumes.iter().find(|v| v.name == volume).is_some_and(|v| {
            v.config_map.is_some()
                || v.secret.is_some()
                || v.downward_api.is_some()
                || v.projected.is_some()
                || v.persistent_volume_claim.as_ref().is_some_and(|c| c.read_only == Some(true))
        })
    }

    fn hosts_file(&self, pod_dir: &Path, ips: &[String]) -> Result<cri::Mount, String> {
        let path = pod_dir.join("etc-hosts");
        let node_hosts = if spec::host_network(self.pod) {
            std::fs::read_to_string("/etc/hosts").unwrap_or_default()
        } else {
            String::new()
        };
        let text = dns::hosts_file(self.pod, ips, &self.agent.config.cluster_domain, &node_hosts);
        let written = std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)));
        written.map_err(|e| format!("write {}: {e}", path.display()))?;
        Ok(cri::Mount {
            container_path: "/etc/hosts".into(),
            host_path: path.to_string_lossy().into_owned(),
            ..cri::Mount::default()
        })
    }

    /// A fresh file for the container's last words.
    fn termination_log(&self, pod_dir: &Path, c: &Container) -> Result<Option<cri::Mount>, String> {
        let Some(container_path) = c.termination_message_path.clone().filter(|p| !p.is_empty()) else {
            return Ok(None);
        };
        let dir = pod_dir.join("containers").join(&c.name);
        let path = dir.join(&uuid::Uuid::new_v4().simple().to_string()[..8]);
        let made = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::File::create(&path))
            .and_then(|_| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)));
        made.map_err(|e| format!("create {}: {e}", path.display()))?;
        Ok(Some(cri::Mount { container_path, host_path: path.to_string_lossy().into_owned(), ..cri::Mount::default() }))
    }

    fn link_log(&self, c: &Container, attempt: u32, id: &str) -> std::io::Result<()> {
        let config = &self.agent.config;
        let (namespace, name) = (spec::namespace(self.pod), spec::name(self.pod));
        let log = config.pod_log_dir(namespace, name, spec::uid(self.pod)).join(&c.name).join(format!("{attempt}.log"));
        symlink(log, log_link(&config.container_links_dir(), namespace, name, &c.name, id))
    }
}

/// A subPathExpr with all its variables, which must be known.
fn expand_sub_path(expr: &str, vars: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let expanded = env::expand(expr, |name| {
        let value = vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        if value.is_none() {
            missing.replace(Some(name.to_owned()));
        }
        value
    });
    match missing.into_inner() {
        Some(name) => Err(format!("missing value for \"{name}\"")),
        None => Ok(expanded),
    }
}

/// Path of the link to a container's log.
pub fn log_link(dir: &Path, namespace: &str, pod: &str, container: &str, id: &str) -> PathBuf {
    dir.join(format!("{pod}_{namespace}_{container}-{id}.log"))
}
