//! A container's configuration for the runtime, from the pod's spec and what was prepared for it. Pure.

use std::collections::HashMap;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, SecurityContext};

use super::{env, resources, sandbox, spec};
use crate::names;

/// Paths hidden from containers unless they ask for an unmasked `/proc`.
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that containers can only read.
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What was prepared for a container.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Restarts before it.
    pub attempt: u32,
    /// The image, as the runtime knows it.
    pub image_ref: String,
    /// User of the image, if it says.
    pub image_user: ImageUser,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// Volumes, hosts file, termination log.
    pub mounts: Vec<cri::Mount>,
    /// Block devices.
    pub devices: Vec<cri::Device>,
    /// Memory of the machine, for the OOM score.
    pub machine_memory_bytes: i64,
    /// Directory of localhost seccomp profiles.
    pub seccomp_dir: String,
    /// For ephemeral containers: the runtime's id of the container whose processes it shares.
    pub target_id: Option<String>,
}

/// The user that an image names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImageUser {
    /// It names none, so it is root.
    #[default]
    Unset,
    /// By number.
    Uid(i64),
    /// By name, which only the image can resolve.
    Name(String),
}

/// Why a container cannot be configured; the text is what its status shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Configuration of a container.
pub fn config(pod: &Pod, c: &Container, inputs: &Inputs) -> Result<cri::ContainerConfig, ConfigError> {
    let security = effective_security(pod, c);
    check_non_root(pod, c, &security, &inputs.image_user)?;
    let lookup: HashMap<&str, &str> = inputs.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|s| env::expand(s, |name| lookup.get(name).map(|v| (*v).to_owned()))).collect()
    };
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: c.name.clone(), attempt: inputs.attempt }),
        image: Some(cri::ImageSpec {
            image: inputs.image_ref.clone(),
            user_specified_image: c.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&c.command),
        args: expand(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs: inputs.env.iter().map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: inputs.mounts.clone(),
        devices: inputs.devices.clone(),
        labels: labels(pod, c),
        annotations: annotations(pod, c, inputs.attempt),
        log_path: format!("{}/{}.log", c.name, inputs.attempt),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources::linux(pod, c, inputs.machine_memory_bytes)),
            security_context: Some(linux_security(pod, &security, inputs)),
        }),
        windows: None,
        cdi_devices: Vec::new(),
    })
}

fn labels(pod: &Pod, c: &Container) -> HashMap<String, String> {
    HashMap::from([
        (names::POD_NAME.into(), spec::name(pod).into()),
        (names::POD_NAMESPACE.into(), spec::namespace(pod).into()),
        (names::POD_UID.into(), spec::uid(pod).into()),
        (names::CONTAINER_NAME.into(), c.name.clone()),
    ])
}

fn annotations(pod: &Pod, c: &Container, attempt: u32) -> HashMap<String, String> {
    let mut a = HashMap::from([
        (names::CONTAINER_HASH.into(), spec::container_hash(c)),
        (names::RESTART_COUNT.into(), attempt.to_string()),
        (names::TERMINATION_PATH.into(), c.termination_message_path.clone().unwrap_or_default()),
        (names::TERMINATION_POLICY.into(), c.termination_message_policy.clone().unwrap_or_default()),
    ]);
    if let Some(grace) = spec::spec(pod).termination_grace_period_seconds {
        a.insert(names::TERMINATION_GRACE.into(), grace.to_string());
    }
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        a.insert(names::DELETION_GRACE.into(), grace.to_string());
    }
    // A hook must run even if the pod object is gone by then.
    if let Some(hook) =
        c.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).and_then(|h| serde_json::to_string(h).ok())
    {
        a.insert(names::PRE_STOP.into(), hook);
    }
    if let Some(ports) = c.ports.as_ref().filter(|p| !p.is_empty()).and_then(|p| serde_json::to_string(p).ok()) {
        a.insert(names::PORTS.into(), ports);
    }
    a
}

/// The container's security context with what it leaves open taken from the pod's.
pub fn effective_security(pod: &Pod, c: &Container) -> SecurityContext {
    let pod_context = spec::spec(pod).security_context.clone().unwrap_or_default();
    let mut s = c.security_context.clone().unwrap_or_default();
    s.run_as_user = s.run_as_user.or(pod_context.run_as_user);
    s.run_as_group = s.run_as_group.or(pod_context.run_as_group);
    s.run_as_non_root = s.run_as_non_root.or(pod_context.run_as_non_root);
    s.seccomp_profile = s.seccomp_profile.or(pod_context.seccomp_profile);
    s.se_linux_options = s.se_linux_options.or(pod_context.se_linux_options);
    s
}

fn check_non_root(pod: &Pod, c: &Container, s: &SecurityContext, image: &ImageUser) -> Result<(), ConfigError> {
    if s.run_as_non_root != Some(true) {
        return Ok(());
    }
    let whose = format!("(pod: \"{}\", container: {})", spec::full_name(pod), c.name);
    match (s.run_as_user, image) {
        (Some(0), _) => Err(ConfigError(format!("container's runAsUser breaks non-root policy {whose}"))),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Unset | ImageUser::Uid(0)) => {
            Err(ConfigError(format!("container has runAsNonRoot and image will run as root {whose}")))
        }
        (None, ImageUser::Uid(_)) => Ok(()),
        (None, ImageUser::Name(name)) => Err(ConfigError(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {whose}"
        ))),
    }
}

fn linux_security(pod: &Pod, s: &SecurityContext, inputs: &Inputs) -> cri::LinuxContainerSecurityContext {
    let privileged = s.privileged == Some(true);
    let unmasked = privileged || s.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let (run_as_user, run_as_username) = match (s.run_as_user, &inputs.image_user) {
        (Some(value), _) => (Some(cri::Int64Value { value }), String::new()),
        (None, ImageUser::Uid(uid)) => (Some(cri::Int64Value { value: *uid }), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
        (None, ImageUser::Unset) => (None, String::new()),
    };
    let has_user = run_as_user.is_some() || !run_as_username.is_empty();
    let mut namespace_options = sandbox::namespaces(pod);
    if let Some(target) = &inputs.target_id {
        namespace_options.pid = cri::NamespaceMode::Target as i32;
        namespace_options.target_id.clone_from(target);
    }
    let capabilities = s.capabilities.as_ref().map(|c| cri::Capability {
        add_capabilities: c.add.clone().unwrap_or_default(),
        drop_capabilities: c.drop.clone().unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    });
    let seccomp = if privileged {
        sandbox::seccomp(None, "")
    } else {
        sandbox::seccomp(s.seccomp_profile.as_ref(), &inputs.seccomp_dir)
    };
    cri::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: s.se_linux_options.as_ref().map(|o| cri::SeLinuxOption {
            user: o.user.clone().unwrap_or_default(),
            role: o.role.clone().unwrap_or_default(),
            r#type: o.type_.clone().unwrap_or_default(),
            level: o.level.clone().unwrap_or_default(),
        }),
        run_as_user,
        // A group without a user is refused by runtimes; root is then meant.
        run_as_group: s
            .run_as_group
            .filter(|_| has_user || s.run_as_group.is_some())
            .map(|value| cri::Int64Value { value }),
        run_as_username,
        readonly_rootfs: s.read_only_root_filesystem == Some(true),
        supplemental_groups: sandbox::supplemental_groups(pod),
        no_new_privs: s.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READ_ONLY_PATHS),
        seccomp: Some(seccomp),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(context: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c", "args": ["$(A)", "$(B)"], "securityContext": context}]}}))
        .unwrap()
    }

    #[test]
    fn arguments_expand_and_names_are_labels() {
        let pod = pod(serde_json::json!({}));
        let inputs = Inputs { attempt: 3, env: vec![("A".into(), "1".into())], ..Inputs::default() };
        let config = config(&pod, &spec::containers(&pod)[0], &inputs).unwrap();
        assert_eq!(config.args, ["1", "$(B)"]);
        assert_eq!(config.log_path, "c/3.log");
        assert_eq!(config.annotations["io.kubernetes.container.restartCount"], "3");
    }

    #[test]
    fn non_root_is_checked_against_the_image() {
        for (context, image, ok) in [
            (serde_json::json!({"runAsNonRoot": true}), ImageUser::Unset, false),
            (serde_json::json!({"runAsNonRoot": true}), ImageUser::Uid(5), true),
            (serde_json::json!({"runAsNonRoot": true}), ImageUser::Name("x".into()), false),
            (serde_json::json!({"runAsNonRoot": true, "runAsUser": 0}), ImageUser::Uid(5), false),
            (serde_json::json!({"runAsNonRoot": true, "runAsUser": 7}), ImageUser::Unset, true),
            (serde_json::json!({}), ImageUser::Unset, true),
        ] {
            let pod = pod(context.clone());
            let inputs = Inputs { image_user: image, ..Inputs::default() };
            assert_eq!(config(&pod, &spec::containers(&pod)[0], &inputs).is_ok(), ok, "{context}");
        }
    }
}
