//! Rules of security contexts, and of the annotations that were there before their fields.

use super::app_armor::ANNOTATION;
use super::mounts::local_descending;
use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;
use std::collections::HashSet;

/// What upstream says of a name that is none of a sysctl.
const SYSCTL: &str = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const ID_MAX: i64 = i32::MAX as i64;
/// Longest AppArmor profile name, in bytes.
const PROFILE_BYTES_MAX: usize = 4095;

/// `spec.securityContext`, with the fields of the spec that upstream counts to it.
pub(super) fn pod_context(spec: &Node<'_, '_>, is_pod: bool, e: &mut Errors) {
    let context = spec.at("securityContext");
    if spec.at("hostNetwork").is_true() {
        host_ports_match(spec, is_pod, e);
    }
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.at(field), e);
    }
    for group in context.at("supplementalGroups").items() {
        id(&group, e);
    }
    if spec.at("hostPID").is_true() && spec.at("shareProcessNamespace").is_true() {
        let shared = context.at("shareProcessNamespace");
        shared.invalid("ShareProcessNamespace and HostPID cannot both be enabled", e);
    }
    sysctls(spec, &context, e);
    context.at("fsGroupChangePolicy").one_of_if_any(&["OnRootMismatch", "Always"], e);
    seccomp(&context.at("seccompProfile"), e);
    windows(&context.at("windowsOptions"), e);
    app_armor_profile(&context.at("appArmorProfile"), e);
}

fn id(node: &Node<'_, '_>, e: &mut Errors) {
    if node.present() {
        node.in_range(0, ID_MAX, e);
    }
}

/// In a template, a port that names none on the host gets it when a pod is made.
fn host_ports_match(spec: &Node<'_, '_>, is_pod: bool, e: &mut Errors) {
    for container in spec.at("containers").items() {
        for port in container.at("ports").items() {
            let on_host = port.at("hostPort").int_or_zero();
            if (is_pod || on_host != 0) && on_host != port.at("containerPort").int_or_zero() {
                let path = port.at("hostPort").path;
                e.invalid(&path, on_host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn sysctls(spec: &Node<'_, '_>, context: &Node<'_, '_>, e: &mut Errors) {
    let mut seen = HashSet::new();
    for sysctl in context.at("sysctls").items() {
        let name = sysctl.at("name");
        if !name.required(e) {
            continue;
        }
        if !is_sysctl_name(name.str()) {
            name.invalid(SYSCTL, e);
        } else if !seen.insert(name.str()) {
            name.duplicate(e);
        }
        let dotted = name.str().replace('/', ".");
        if spec.at("hostNetwork").is_true() && dotted.starts_with("net.") {
            name.invalid("may not be specified when 'hostNetwork' is true", e);
        }
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
        if spec.at("hostIPC").is_true() && (ipc || dotted == "kernel.sem") {
            name.invalid("may not be specified when 'hostIPC' is true", e);
        }
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part_ok = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|b| edge(b) || b"-_".contains(b))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part_ok)
}

/// A container's `securityContext`.
pub(super) fn container_context(context: &Node<'_, '_>, e: &mut Errors) {
    if !context.present() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(&context.at(field), e);
    }
    context.at("procMount").one_of_if_any(&["Default", "Unmasked"], e);
    seccomp(&context.at("seccompProfile"), e);
    if context.get("allowPrivilegeEscalation") == false {
        if context.at("privileged").is_true() {
            context.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true", e);
        }
        if context.at("capabilities").at("add").items().any(|c| c.str() == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            context.invalid(why, e);
        }
    }
    windows(&context.at("windowsOptions"), e);
    app_armor_profile(&context.at("appArmorProfile"), e);
}

fn seccomp(profile: &Node<'_, '_>, e: &mut Errors) {
    if !profile.present() {
        return;
    }
    let kind = profile.at("type");
    if kind.required_because("type is required when seccompProfile is set", e) {
        kind.one_of(&["Localhost", "RuntimeDefault", "Unconfined"], e);
    }
    let local = profile.at("localhostProfile");
    if kind.str() == "Localhost" {
        if local.present() {
            local_descending(&local, e);
        } else {
            local.path_required("must be set when seccomp type is Localhost", e);
        }
    } else if local.present() {
        e.invalid(&local.path, profile.value, "can only be set when seccomp type is Localhost");
    }
}

fn app_armor_profile(profile: &Node<'_, '_>, e: &mut Errors) {
    if !profile.present() {
        return;
    }
    let (kind, local) = (profile.at("type"), profile.at("localhostProfile"));
    match kind.str() {
        "Localhost" if !local.present() => local.path_required("must be set when AppArmor type is Localhost", e),
        "Localhost" => {
            let trimmed = local.str().trim();
            if trimmed != local.str() {
                local.invalid("must not be padded with whitespace", e);
            } else if trimmed.is_empty() {
                local.path_required("must be set when AppArmor type is Localhost", e);
            }
            if local.str().len() > PROFILE_BYTES_MAX {
                local.too_long(PROFILE_BYTES_MAX, e);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.present() {
                local.invalid("can only be set when AppArmor type is Localhost", e);
            }
        }
        "" => kind.path_required("type is required when appArmorProfile is set", e),
        _ => kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"], e),
    }
}

fn windows(options: &Node<'_, '_>, e: &mut Errors) {
    if !options.present() {
        return;
    }
    let name = options.at("gmsaCredentialSpecName");
    if name.present() {
        name.text_is(names::is_dns1123_subdomain, e);
    }
    let spec = options.at("gmsaCredentialSpec");
    if spec.present() && spec.is_empty() {
        spec.invalid("gmsaCredentialSpec cannot be an empty string", e);
    }
    if spec.str().len() > 64 * 1024 {
        spec.invalid("gmsaCredentialSpec size must be under 64 KiB", e);
    }
    let user = options.at("runAsUserName");
    if user.present() {
        windows_user(&user, e);
    }
}

fn windows_user(user: &Node<'_, '_>, e: &mut Errors) {
    if user.is_empty() {
        user.invalid("runAsUserName cannot be an empty string", e);
        return;
    }
    let parts: Vec<&str> = user.str().split('\\').collect();
    let (domain, name) = match parts[..] {
        [name] => (None, name),
        [domain, name] => (Some(domain), name),
        _ => {
            user.invalid("runAsUserName cannot contain more than one backslash", e);
            return;
        }
    };
    if domain.is_some_and(|d| d.is_empty() || d.len() > 255) {
        user.invalid("runAsUserName's Domain doesn't match the NetBIOS nor the DNS format", e);
    }
    if name.is_empty() {
        user.invalid("runAsUserName's User cannot be empty", e);
    } else if name.len() > 104 {
        user.invalid("runAsUserName's User length must not be longer than 104 characters", e);
    }
    if name.contains(|c: char| c.is_control() || "\"/\\:;|=,+*?<>@[]".contains(c)) {
        user.invalid("runAsUserName's User cannot contain special characters", e);
    }
}

/// Containers that are processes of a Windows host: all of them or none, and on the host's network.
pub(super) fn windows_host_process(spec: &Node<'_, '_>, e: &mut Errors) {
    let of_pod = spec.at("securityContext").at("windowsOptions").get("hostProcess").as_bool();
    let mut all = Vec::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.at(list).items() {
            let own = container.at("securityContext").at("windowsOptions").get("hostProcess").as_bool();
            all.push(own.or(of_pod).unwrap_or(false));
            if own.is_some() && of_pod.is_some() && own != of_pod {
                container
                    .at("securityContext")
                    .at("windowsOptions")
                    .at("hostProcess")
                    .invalid("pod hostProcess value must be identical if both are specified", e);
            }
        }
    }
    if !all.contains(&true) {
        return;
    }
    if all.contains(&false) {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        e.invalid(&spec.path, "", why);
    }
    if !spec.at("hostNetwork").is_true() {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        e.invalid(&spec.at("hostNetwork").path, false, why);
    }
}

/// A pod for Linux names nothing of Windows.
pub(super) fn nothing_of_windows(spec: &Node<'_, '_>, e: &mut Errors) {
    let why = "windows options cannot be set for a linux pod";
    let options = spec.at("securityContext");
    if options.has("windowsOptions") {
        options.at("windowsOptions").forbidden(why, e);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.at(list).items() {
            let context = container.at("securityContext");
            if context.has("windowsOptions") {
                context.at("windowsOptions").forbidden(why, e);
            }
        }
    }
}

/// A pod for Windows names nothing of Linux.
pub(super) fn nothing_of_linux(spec: &Node<'_, '_>, e: &mut Errors) {
    const OF_CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    let why = "cannot be set for a windows pod";
    let mut none = |context: &Node<'_, '_>, fields: &[&str]| {
        for field in fields.iter().filter(|f| context.has(f)) {
            context.at(field).forbidden(why, e);
        }
    };
    let context = spec.at("securityContext");
    none(&context, &["appArmorProfile", "seLinuxOptions"]);
    none(spec, &["hostUsers"]);
    let shares: Vec<&str> = ["hostPID", "hostIPC"].into_iter().filter(|f| spec.at(f).is_true()).collect();
    none(spec, &shares);
    none(&context, &["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"]);
    none(spec, &["shareProcessNamespace"]);
    none(&context, &["runAsUser", "runAsGroup", "supplementalGroups"]);
    for list in LISTS {
        for container in spec.at(list).items() {
            none(&container.at("securityContext"), &OF_CONTAINER);
        }
    }
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";

/// The lists of containers, in the order in which upstream goes over them.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Annotations of a pod that have rules.
pub(super) fn pod_annotations(metadata: &Node<'_, '_>, spec: &Node<'_, '_>, e: &mut Errors) {
    let annotations = metadata.at("annotations");
    let old_tolerations = annotations.at(TOLERATIONS);
    if !old_tolerations.is_empty() && serde_json::from_str::<Vec<serde_json::Value>>(old_tolerations.str()).is_err() {
        e.invalid(&annotations.path.child(TOLERATIONS), old_tolerations.str(), "must be a list of tolerations");
    }
    let cost = annotations.key(DELETION_COST);
    if cost.present() && !is_deletion_cost(cost.str()) {
        cost.invalid("must be a 32bit integer", e);
    }
    // These two are named as if they were fields.
    let keys = || annotations.entries().map(|(key, _)| key);
    for key in keys().filter(|key| *key == SECCOMP_POD).chain(keys().filter(|key| key.starts_with(SECCOMP_CONTAINER))) {
        seccomp_annotation(&annotations.at(key), e);
    }
    for (key, at) in annotations.entries() {
        let Some(container) = key.strip_prefix(ANNOTATION) else { continue };
        if !LISTS.iter().any(|list| spec.at(list).items().any(|c| c.text("name") == container)) {
            e.invalid(&at.path, container, "container not found");
        }
        if !is_app_armor(at.str()) {
            at.invalid(&format!("invalid AppArmor profile name: {:?}", at.str()), e);
        }
    }
}

fn is_app_armor(profile: &str) -> bool {
    matches!(profile, "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/")
}

fn is_deletion_cost(cost: &str) -> bool {
    let plain = cost == "0" || !cost.trim_start_matches('-').starts_with('0');
    plain && !cost.starts_with('+') && cost.parse::<i32>().is_ok()
}

fn seccomp_annotation(at: &Node<'_, '_>, e: &mut Errors) {
    let known = ["runtime/default", "docker/default", "unconfined"].contains(&at.str());
    match at.str().strip_prefix("localhost/") {
        Some(path) if path.starts_with('/') => at.invalid("must be a relative path", e),
        Some(path) if path.split('/').any(|p| p == "..") => at.invalid("must not contain '..'", e),
        Some(_) => {}
        None if known => {}
        None => at.invalid("must be a valid seccomp profile", e),
    }
}

/// Reports a profile's field that says something else than its annotation.
fn matches(annotation: &str, profile: &Node<'_, '_>, of: &str, e: &mut Errors) {
    let local = annotation.strip_prefix("localhost/");
    let fits = match profile.text("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || (of == "seccomp" && annotation == "docker/default"),
        "Localhost" => local.is_some(),
        _ => true,
    };
    if !fits {
        profile.at("type").forbidden(&format!("{of} type in annotation and field must match"), e);
    } else if profile.text("type") == "Localhost" && local != Some(profile.text("localhostProfile")) {
        let why = format!("{of} profile in annotation and field must match");
        profile.at("localhostProfile").forbidden(&why, e);
    }
}

/// An old annotation and the field that replaced it must say the same, in a new pod and in every template.
pub(super) fn annotations_match_fields(annotations: &Value, spec: &Node<'_, '_>, e: &mut Errors) {
    let noted = |key: &str| annotations.get(key).and_then(Value::as_str);
    let of_pod = spec.at("securityContext");
    let profile = of_pod.at("seccompProfile");
    if let Some(annotation) = noted(SECCOMP_POD).filter(|_| profile.present()) {
        matches(annotation, &profile, "seccomp", e);
    }
    for list in LISTS {
        for container in spec.at(list).items() {
            let context = container.at("securityContext");
            let profile = context.at("seccompProfile");
            let annotation = noted(&format!("{SECCOMP_CONTAINER}{}", container.text("name")));
            if let Some(annotation) = annotation.filter(|_| profile.present()) {
                matches(annotation, &profile, "seccomp", e);
            }
        }
    }
    if spec.at("os").text("name") == "windows" {
        return;
    }
    for list in LISTS {
        for container in spec.at(list).items() {
            let context = container.at("securityContext");
            let profile = context.at("appArmorProfile");
            // What the pod says is the container's too, and is reported as its.
            let said = if profile.present() { profile.value } else { of_pod.get("appArmorProfile") };
            let annotation = noted(&format!("{ANNOTATION}{}", container.text("name")));
            if let Some(annotation) = annotation.filter(|_| !said.is_null()) {
                matches(annotation, &Node::new(said, profile.path), "apparmor", e);
            }
        }
    }
}
