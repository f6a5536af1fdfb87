//! Rules of a pod's spec as a whole.

use super::{affinity, containers, scheduling, security, volumes};
use crate::hooks::check::Node;
use crate::hooks::core::resources;
use crate::hooks::labels;
use api_core::field::Errors;
use api_core::names;
use serde_json::Value;

/// What several rules of a pod's spec need to know of the rest of it.
pub(super) struct PodContext<'v> {
    /// Names of the volumes that are well formed, with their sources.
    pub volumes: Vec<(&'v str, &'v Value)>,
    pub grace_period_s: i64,
    pub restart_policy: &'v str,
}

/// A pod that is created.
pub(in crate::hooks) fn validate_pod(pod: &Value, e: &mut Errors) {
    let root = Node::root(pod);
    validate_pod_parts(pod, e);
    let spec = root.at("spec");
    if !spec.at("ephemeralContainers").is_empty() {
        spec.at("ephemeralContainers").forbidden("cannot be set on create", e);
    }
    if !spec.at("nodeName").is_empty() && !spec.at("schedulingGates").is_empty() {
        spec.at("nodeName").forbidden("cannot be set until all schedulingGates have been cleared", e);
    }
    security::annotations_match_fields(root.at("metadata").get("annotations"), &spec, e);
}

/// What holds for a pod whenever it is written.
pub(in crate::hooks) fn validate_pod_parts(pod: &Value, e: &mut Errors) {
    let root = Node::root(pod);
    security::pod_annotations(&root.at("metadata"), &root.at("spec"), e);
    let spec = root.at("spec");
    let name = root.at("metadata").text("name");
    validate_spec(&spec, name, e);
    if spec.at("serviceAccountName").is_empty() {
        token_without_account(&spec, e);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.at(list).items() {
            let image = container.at("image");
            if image.str() != image.str().trim() {
                image.invalid("must not have leading or trailing whitespace", e);
            }
        }
    }
}

fn token_without_account(spec: &Node<'_, '_>, e: &mut Errors) {
    for volume in spec.at("volumes").items() {
        for source in volume.at("projected").at("sources").items() {
            let token = source.at("serviceAccountToken");
            if token.present() {
                token.forbidden("must not be specified when serviceAccountName is not set", e);
            }
        }
    }
}

/// A pod template: `{metadata, spec}`.
pub(in crate::hooks) fn validate_template(template: &Node<'_, '_>, e: &mut Errors) {
    let metadata = template.at("metadata");
    // Upstream names these fields as if they stood in the template itself.
    let unnested = Node::new(metadata.value, template.path);
    labels::labels(&unnested.at("labels"), e);
    labels::annotations(&unnested.at("annotations"), e);
    let spec = template.at("spec");
    security::pod_annotations(&unnested, &spec, e);
    validate_spec(&spec, "", e);
    security::annotations_match_fields(metadata.get("annotations"), &spec, e);
    if !spec.at("ephemeralContainers").is_empty() {
        spec.at("ephemeralContainers").forbidden("ephemeral containers not allowed in pod template", e);
    }
}

/// A pod's spec; `pod_name` is empty for a template.
pub(in crate::hooks) fn validate_spec(spec: &Node<'_, '_>, pod_name: &str, e: &mut Errors) {
    let volumes = spec.at("volumes");
    let context = PodContext {
        volumes: volumes::validate(&volumes, pod_name, e),
        grace_period_s: spec.at("terminationGracePeriodSeconds").int_or_zero(),
        restart_policy: spec.text("restartPolicy"),
    };
    containers::regular(&spec.at("containers"), &context, e);
    containers::init(&spec.at("initContainers"), &spec.at("containers"), &context, e);
    containers::ephemeral(&spec.at("ephemeralContainers"), spec, &context, e);
    spec.at("restartPolicy").required_one_of(&["Always", "OnFailure", "Never"], e);
    spec.at("dnsPolicy").required_one_of(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], e);
    labels::labels(&spec.at("nodeSelector"), e);
    security::pod_context(spec, !pod_name.is_empty(), e);
    affinity::validate(&spec.at("affinity"), e);
    dns_config(spec, e);
    scheduling::gates(spec, e);
    scheduling::topology_spread(&spec.at("topologySpreadConstraints"), e);
    security::windows_host_process(spec, e);
    spec.at("serviceAccountName").text_if_any(names::is_dns1123_subdomain, e);
    spec.at("nodeName").text_if_any(names::is_dns1123_subdomain, e);
    if spec.has("activeDeadlineSeconds") {
        spec.at("activeDeadlineSeconds").in_range(1, i32::MAX.into(), e);
    }
    spec.at("hostname").text_if_any(names::is_dns1123_label, e);
    spec.at("subdomain").text_if_any(names::is_dns1123_label, e);
    tolerations_and_aliases(spec, e);
    spec.at("priorityClassName").text_if_any(names::is_dns1123_subdomain, e);
    if spec.has("runtimeClassName") {
        spec.at("runtimeClassName").text_is(names::is_dns1123_subdomain, e);
    }
    if spec.has("preemptionPolicy") {
        spec.at("preemptionPolicy").required_one_of(&["PreemptLowerPriority", "Never"], e);
    }
    overhead(&spec.at("overhead"), e);
    operating_system(spec, e);
}

fn tolerations_and_aliases(spec: &Node<'_, '_>, e: &mut Errors) {
    scheduling::tolerations(&spec.at("tolerations"), e);
    for alias in spec.at("hostAliases").items() {
        alias.at("ip").text_is(names::is_ip, e);
        for hostname in alias.at("hostnames").items() {
            hostname.text_is(names::is_dns1123_subdomain, e);
        }
    }
}

/// Overhead is checked as limits are, and reported under that name.
fn overhead(overhead: &Node<'_, '_>, e: &mut Errors) {
    let limits = Node::new(overhead.value, overhead.path.child("limits"));
    for (resource, at) in limits.entries() {
        resources::container_name(resource, &at.path, e);
        resources::amount(resource, &at, e);
    }
}

fn dns_config(spec: &Node<'_, '_>, e: &mut Errors) {
    let config = spec.at("dnsConfig");
    let servers = config.at("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if !config.present() {
            config.path_required("must provide `dnsConfig` when `dnsPolicy` is None", e);
            return;
        }
        servers.required_because("must provide at least one DNS nameserver when `dnsPolicy` is None", e);
    }
    if servers.len() > 3 {
        servers.invalid("must not have more than 3 nameservers", e);
    }
    for server in servers.items() {
        server.text_is(names::is_ip, e);
    }
    let searches = config.at("searches");
    if searches.len() > 32 {
        searches.invalid("must not have more than 32 search paths", e);
    }
    let joined = searches.items().map(|s| s.str().len() + 1).sum::<usize>().saturating_sub(1);
    if joined > 2048 {
        searches.invalid("must not have more than 2048 characters (including spaces) in the search list", e);
    }
    for search in searches.items() {
        let domain = search.str().strip_suffix('.').unwrap_or(search.str());
        for why in names::is_dns1123_subdomain(domain) {
            search.invalid(&why, e);
        }
    }
    for option in config.at("options").items() {
        if option.at("name").is_empty() {
            option.path_required("must not be empty", e);
        }
    }
}

fn operating_system(spec: &Node<'_, '_>, e: &mut Errors) {
    let os = spec.at("os");
    if !os.present() {
        return;
    }
    let name = os.at("name");
    if name.is_empty() {
        name.path_required("cannot be empty", e);
    } else if !["linux", "windows"].contains(&name.str()) {
        e.not_supported(&os.path, name.str(), &["linux", "windows"]);
    } else if name.str() == "linux" {
        security::nothing_of_windows(spec, e);
    } else {
        security::nothing_of_linux(spec, e);
    }
}
