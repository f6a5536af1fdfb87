//! The checks, in the order in which upstream reports them.

use super::{Level, Violation};
use serde_json::Value;
use std::collections::BTreeSet;

/// A rule of a level.
pub struct Check {
    /// The level that it belongs to.
    pub level: Level,
    /// Minor version that brought it.
    pub since: u32,
    /// Minor version from which on a check of the restricted level says the same and more.
    pub replaced_since: Option<u32>,
    /// What a pod violates, by the rules of a minor version.
    pub find: fn(&Value, u32) -> Option<Violation>,
}

const fn baseline(find: fn(&Value, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since: 0, replaced_since: None, find }
}

const fn replaced(since: u32, find: fn(&Value, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since: 0, replaced_since: Some(since), find }
}

const fn restricted(since: u32, find: fn(&Value, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Restricted, since, replaced_since: None, find }
}

/// All checks.
pub const ALL: &[Check] = &[
    restricted(8, privilege_escalation),
    baseline(app_armor),
    replaced(22, capabilities_baseline),
    restricted(22, capabilities_restricted),
    baseline(host_namespaces),
    replaced(0, host_path),
    baseline(host_ports),
    baseline(privileged),
    baseline(proc_mount),
    restricted(0, volume_types),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    baseline(selinux),
    replaced(19, seccomp_baseline),
    restricted(19, seccomp_restricted),
    baseline(sysctls),
    baseline(windows_host_process),
];

/// What annotations of AppArmor profiles start with.
pub const APPARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// From this version on, what means nothing to Windows is not asked of its pods.
const WINDOWS_SINCE: u32 = 25;

fn violation(reason: &str, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason: reason.into(), detail: detail.into() })
}

fn items<'a>(parent: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    parent.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = &pod["spec"];
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| items(spec, list))
}

fn name(v: &Value) -> String {
    v["name"].as_str().unwrap_or("").to_owned()
}

fn security(container: &Value) -> &Value {
    &container["securityContext"]
}

fn pod_security(pod: &Value) -> &Value {
    &pod["spec"]["securityContext"]
}

/// `"a", "b"`.
fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|n| format!("\"{}\"", n.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, n: usize) -> &'a str {
    if n == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn named(containers: &[String]) -> String {
    format!("{} {}", plural("container", "containers", containers.len()), quoted(containers))
}

/// `pod and containers "a", "b"`: who set something; empty if nobody did.
fn setters(pod: bool, containers: &[String]) -> String {
    let mut who = Vec::new();
    if pod {
        who.push("pod".to_owned());
    }
    if !containers.is_empty() {
        who.push(named(containers));
    }
    who.join(" and ")
}

fn names_where(pod: &Value, mut wanted: impl FnMut(&Value) -> bool) -> Vec<String> {
    containers(pod).filter(|c| wanted(c)).map(name).collect()
}

fn is_windows(pod: &Value, version: u32) -> bool {
    version >= WINDOWS_SINCE && pod["spec"]["os"]["name"] == "windows"
}

fn privilege_escalation(pod: &Value, version: u32) -> Option<Violation> {
    let bad = names_where(pod, |c| security(c)["allowPrivilegeEscalation"] != false);
    if bad.is_empty() || is_windows(pod, version) {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    violation("allowPrivilegeEscalation != false", detail)
}

fn app_armor(pod: &Value, _: u32) -> Option<Violation> {
    fn forbidden(profile: &Value) -> Option<&str> {
        profile["type"].as_str().filter(|t| !matches!(*t, "RuntimeDefault" | "Localhost"))
    }
    let mut who = Vec::new();
    let mut values = BTreeSet::new();
    if let Some(kind) = forbidden(&pod_security(pod)["appArmorProfile"]) {
        who.push("pod".to_owned());
        values.insert(kind.to_owned());
    }
    let bad = names_where(pod, |c| {
        let kind = forbidden(&security(c)["appArmorProfile"]);
        values.extend(kind.map(str::to_owned));
        kind.is_some()
    });
    if !bad.is_empty() {
        who.push(named(&bad));
    }
    let mut annotations = 0;
    for (key, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or("");
        let allowed = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with(APPARMOR_PREFIX) && !allowed {
            annotations += 1;
            values.insert(format!("{key}={value:?}"));
        }
    }
    if annotations > 0 {
        who.push(plural("annotation", "annotations", annotations).to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    violation(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add other capabilities than `allowed`, and those capabilities.
fn added(pod: &Value, allowed: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let mut found = BTreeSet::new();
    let names = names_where(pod, |c| {
        let add = items(&security(c)["capabilities"], "add").filter_map(Value::as_str);
        let bad: Vec<String> = add.filter(|c| !allowed.contains(c)).map(str::to_owned).collect();
        let any = !bad.is_empty();
        found.extend(bad);
        any
    });
    (names, found)
}

fn capabilities_baseline(pod: &Value, _: u32) -> Option<Violation> {
    let (names, found) = added(pod, &DEFAULT_CAPABILITIES);
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not include {} in securityContext.capabilities.add", named(&names), quoted(&found));
    violation("non-default capabilities", detail)
}

fn capabilities_restricted(pod: &Value, version: u32) -> Option<Violation> {
    if is_windows(pod, version) {
        return None;
    }
    let keeps = names_where(pod, |c| !items(&security(c)["capabilities"], "drop").any(|d| d == "ALL"));
    let (adds, found) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
    }
    if !adds.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&adds),
            quoted(&found)
        ));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Value, _: u32) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod["spec"][*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

fn host_path(pod: &Value, _: u32) -> Option<Violation> {
    let names: Vec<String> = items(&pod["spec"], "volumes").filter(|v| v.get("hostPath").is_some()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)))
}

fn host_ports(pod: &Value, _: u32) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = names_where(pod, |c| {
        let used: Vec<String> = items(c, "ports")
            .filter_map(|p| p["hostPort"].as_i64())
            .filter(|p| *p != 0)
            .map(|p| p.to_string())
            .collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if names.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", names.len());
    let noun = plural("hostPort", "hostPorts", ports.len());
    let list: Vec<String> = ports.into_iter().collect();
    violation("hostPort", format!("{} {uses} {noun} {}", named(&names), list.join(", ")))
}

fn privileged(pod: &Value, _: u32) -> Option<Violation> {
    let bad = names_where(pod, |c| security(c)["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

fn proc_mount(pod: &Value, _: u32) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let bad = names_where(pod, |c| {
        let kind = security(c)["procMount"].as_str().filter(|k| *k != "Default");
        kinds.extend(kind.map(str::to_owned));
        kind.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", named(&bad), quoted(&kinds));
    violation("procMount", detail)
}

const VOLUME_TYPES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn volume_types(pod: &Value, _: u32) -> Option<Violation> {
    let mut names = Vec::new();
    let mut types = BTreeSet::new();
    for volume in items(&pod["spec"], "volumes") {
        let kinds: Vec<&String> =
            volume.as_object().map(|v| v.keys().filter(|k| *k != "name").collect()).unwrap_or_default();
        if kinds.iter().any(|k| VOLUME_TYPES.contains(&k.as_str())) {
            continue;
        }
        names.push(name(volume));
        types.insert(kinds.first().map_or("unknown".to_owned(), |k| (*k).clone()));
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} restricted volume {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("type", "types", types.len()),
        quoted(&types)
    );
    violation("restricted volume types", detail)
}

fn run_as_non_root(pod: &Value, _: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let of_pod = &pod_security(pod)["runAsNonRoot"];
    let explicit = names_where(pod, |c| security(c)["runAsNonRoot"] == false);
    let who = setters(*of_pod == false, &explicit);
    if !who.is_empty() {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = names_where(pod, |c| *of_pod != true && security(c)["runAsNonRoot"].is_null());
    if implicit.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit)))
}

fn run_as_user(pod: &Value, _: u32) -> Option<Violation> {
    let bad = names_where(pod, |c| security(c)["runAsUser"] == 0);
    let who = setters(pod_security(pod)["runAsUser"] == 0, &bad);
    if who.is_empty() { None } else { violation("runAsUser=0", format!("{who} must not set runAsUser=0")) }
}

fn selinux(pod: &Value, _: u32) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let mut is_bad = |options: &Value| {
        let text = |field: &str| options[field].as_str().unwrap_or("");
        let bad_type = !matches!(text("type"), "" | "container_t" | "container_init_t" | "container_kvm_t");
        if bad_type {
            types.insert(text("type").to_owned());
        }
        user |= !text("user").is_empty();
        role |= !text("role").is_empty();
        bad_type || !text("user").is_empty() || !text("role").is_empty()
    };
    let of_pod = is_bad(&pod_security(pod)["seLinuxOptions"]);
    let bad = names_where(pod, |c| is_bad(&security(c)["seLinuxOptions"]));
    let who = setters(of_pod, &bad);
    if who.is_empty() {
        return None;
    }
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")))
}

/// Who set a seccomp profile that is not allowed.
fn bad_seccomp(pod: &Value) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let mut is_bad = |context: &Value| {
        let kind = context["seccompProfile"]["type"].as_str().filter(|t| !matches!(*t, "RuntimeDefault" | "Localhost"));
        kinds.extend(kind.map(str::to_owned));
        kind.is_some()
    };
    let of_pod = is_bad(pod_security(pod));
    let bad = names_where(pod, |c| is_bad(security(c)));
    let who = setters(of_pod, &bad);
    if who.is_empty() {
        return None;
    }
    violation("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&kinds)))
}

fn seccomp_baseline(pod: &Value, version: u32) -> Option<Violation> {
    if version >= 19 {
        return bad_seccomp(pod);
    }
    let own: Vec<String> =
        containers(pod).map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", name(c))).collect();
    let mut bad = BTreeSet::new();
    for (key, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or("");
        let allowed = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
        if !allowed && (key == "seccomp.security.alpha.kubernetes.io/pod" || own.contains(key)) {
            bad.insert(format!("{key}={value:?}"));
        }
    }
    if bad.is_empty() {
        return None;
    }
    let noun = plural("annotation", "annotations", bad.len());
    violation("seccompProfile", format!("forbidden {noun} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn seccomp_restricted(pod: &Value, version: u32) -> Option<Violation> {
    if is_windows(pod, version) {
        return None;
    }
    if let Some(bad) = bad_seccomp(pod) {
        return Some(bad);
    }
    let of_pod = !pod_security(pod)["seccompProfile"].is_null();
    let without = names_where(pod, |c| !of_pod && security(c)["seccompProfile"].is_null());
    if without.is_empty() {
        return None;
    }
    let wanted = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    violation("seccompProfile", format!("pod or {} {wanted}", named(&without)))
}

/// Sysctls that touch only the pod itself, and the minor version from which on they may be set.
const SAFE_SYSCTLS: [(&str, u32); 10] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
];

fn sysctls(pod: &Value, version: u32) -> Option<Violation> {
    let safe = |name: &String| SAFE_SYSCTLS.iter().any(|(s, since)| s == name && *since <= version);
    let bad: Vec<String> = items(pod_security(pod), "sysctls").map(name).filter(|n| !safe(n)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Value, _: u32) -> Option<Violation> {
    let set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let bad = names_where(pod, |c| set(security(c)));
    let who = setters(set(pod_security(pod)), &bad);
    if who.is_empty() {
        return None;
    }
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
