//! Rules of the volume sources that pods and persistent volumes share, as a table by field.

use super::pod::no_backsteps;
use crate::hooks::check::Node;
use api_core::field::Errors;
use api_core::names;
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

type Rule = fn(&Node<'_, '_>, &mut Errors);

/// A source of a volume, by its field.
pub(super) struct Source {
    pub field: &'static str,
    /// Its rules, given the source.
    pub check: Rule,
    /// The name under which upstream reports what is wrong with it; mostly its own.
    pub inside: &'static str,
    /// The name under which it is reported when there is another one; none if upstream takes it beside any other.
    pub another: Option<&'static str>,
}

/// A source that is reported under its own name.
pub(super) const fn source(field: &'static str, check: Rule) -> Source {
    Source { field, check, inside: field, another: Some(field) }
}

/// A source that pods and persistent volumes have with the same rules, by its field.
pub(super) const fn shared(field: &'static str) -> Source {
    let mut i = 0;
    while i < SHARED.len() {
        if same(SHARED[i].field, field) {
            return Source { field, check: SHARED[i].check, inside: SHARED[i].inside, another: SHARED[i].another };
        }
        i += 1;
    }
    panic!("no such source")
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

const SHARED: &[Source] = &[
    source("hostPath", host_path),
    Source { inside: "persistentDisk", ..source("gcePersistentDisk", |s, e| disk(s, "pdName", e)) },
    source("awsElasticBlockStore", |s, e| disk(s, "volumeID", e)),
    source("nfs", nfs),
    source("flocker", flocker),
    source("rbd", |s, e| all_required(s, &["monitors", "image"], e)),
    Source { another: Some("cephFS"), ..source("cephfs", |s, e| all_required(s, &["monitors"], e)) },
    source("quobyte", quobyte),
    source("fc", fibre_channel),
    source("flexVolume", flex_volume),
    source("vsphereVolume", |s, e| all_required(s, &["volumePath"], e)),
    source("azureDisk", azure_disk),
    source("photonPersistentDisk", |s, e| all_required(s, &["pdID"], e)),
    source("portworxVolume", |s, e| all_required(s, &["volumeID"], e)),
    source("scaleIO", |s, e| all_required(s, &["gateway", "system", "volumeName"], e)),
];

/// Checks that `volume` has one of `sources`, and that by its rules. The order is that in which upstream looks for them:
/// the first one counts.
pub(super) fn exactly_one(volume: &Node<'_, '_>, sources: &[&[Source]], e: &mut Errors) {
    let mut found = 0;
    for source in sources.iter().copied().flatten().filter(|s| volume.has(s.field)) {
        match source.another {
            Some(name) if found > 0 => {
                e.forbidden(&volume.path.child(name), "may not specify more than 1 volume type");
            }
            _ => {
                found += 1;
                (source.check)(&Node::new(volume.get(source.field), volume.path.child(source.inside)), e);
            }
        }
    }
    if found == 0 {
        volume.path_required("must specify a volume type", e);
    }
}

/// Name of the volume and portal of the target together, in bytes.
const ISCSI_BYTES_MAX: usize = 64;
const BYTE_RANGE: &str = "must be between 0 and 255, inclusive";

pub(super) fn all_required(source: &Node<'_, '_>, fields: &[&str], e: &mut Errors) {
    for field in fields {
        source.at(field).required(e);
    }
}

/// A reference to a secret, if it is there, has these fields.
pub(super) fn secret_with(source: &Node<'_, '_>, fields: &[&str], e: &mut Errors) {
    let secret = source.at("secretRef");
    if secret.present() {
        all_required(&secret, fields, e);
    }
}

fn byte(node: &Node<'_, '_>, e: &mut Errors) {
    if !(0..=255).contains(&node.int_or_zero()) {
        node.invalid(BYTE_RANGE, e);
    }
}

fn disk(source: &Node<'_, '_>, id: &str, e: &mut Errors) {
    source.at(id).required(e);
    byte(&source.at("partition"), e);
}

fn host_path(source: &Node<'_, '_>, e: &mut Errors) {
    let path = source.at("path");
    if !path.required(e) {
        return;
    }
    no_backsteps(&path, e);
    let types = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    source.at("type").one_of_if_any(&types, e);
}

fn nfs(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("server").required(e);
    let path = source.at("path");
    path.required(e);
    if !path.str().starts_with('/') {
        e.invalid(&path.path, path.str(), "must be an absolute path");
    }
}

/// What pods and persistent volumes say of an iSCSI disk alike.
pub(super) fn iscsi(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("targetPortal").required(e);
    let iqn = source.at("iqn");
    if iqn.required(e) {
        iscsi_name(&iqn, e);
    }
    byte(&source.at("lun"), e);
    let chap = source.at("chapAuthDiscovery").is_true() || source.at("chapAuthSession").is_true();
    let secret = source.at("secretRef");
    if chap && !secret.present() {
        secret.path_required("", e);
    }
    let initiator = Node::new(source.get("initiatorName"), source.path.child("initiatorname"));
    if initiator.present() {
        iscsi_name(&initiator, e);
    }
}

/// The name of a target or of an initiator.
fn iscsi_name(name: &Node<'_, '_>, e: &mut Errors) {
    static FORMATS: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
        [
            ("iqn", r"iqn\.\d{4}-\d{2}\.[[:alnum:].-]+:[^,;*&$|\s]+$"),
            ("eui", r"^eui.[[:alnum:]]{16}$"),
            ("naa", r"^naa.[[:alnum:]]{32}$"),
        ]
        .map(|(start, format)| (start, Regex::new(format).expect("a pattern")))
    });
    match FORMATS.iter().find(|(start, _)| name.str().starts_with(start)) {
        None => name.invalid("must be valid format starting with iqn, eui, or naa", e),
        Some((_, format)) if !format.is_match(name.str()) => name.invalid("must be valid format", e),
        Some(_) => {}
    }
}

/// Whether upstream takes a volume's name and an iSCSI portal as too long together, for a source that names its initiator.
pub(super) fn is_iscsi_too_long(source: &Value, volume_name: &str) -> bool {
    let portal = source["targetPortal"].as_str().unwrap_or("");
    !source["initiatorName"].is_null() && volume_name.len() + 1 + portal.len() > ISCSI_BYTES_MAX
}

fn flocker(source: &Node<'_, '_>, e: &mut Errors) {
    let (name, uuid) = (source.at("datasetName"), source.at("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        source.path_required("one of datasetName and datasetUUID is required", e);
    }
    if !name.is_empty() && !uuid.is_empty() {
        e.invalid(&source.path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.str().contains('/') {
        name.invalid("must not contain '/'", e);
    }
}

fn quobyte(source: &Node<'_, '_>, e: &mut Errors) {
    let registry = source.at("registry");
    if registry.is_empty() {
        registry.path_required("must be a host:port pair or multiple pairs separated by commas", e);
    } else if source.text("tenant").len() >= 65 {
        source.at("tenant").path_required("must be a UUID and may not exceed a length of 64 characters", e);
    } else {
        for _ in registry.str().split(',').filter(|pair| !is_host_port(pair)) {
            registry.invalid("must be a host:port pair or multiple pairs separated by commas", e);
        }
    }
    source.at("volume").required(e);
}

/// `host:port` or `[v6]:port`; either may be empty.
fn is_host_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => {
            rest.split_once("]:").is_some_and(|(host, port)| !host.contains(['[', ']']) && !port.contains(':'))
        }
        None => pair.split_once(':').is_some_and(|(host, port)| !port.contains(':') && !host.contains([']', '['])),
    }
}

fn fibre_channel(source: &Node<'_, '_>, e: &mut Errors) {
    let (targets, wide) = (source.at("targetWWNs"), source.at("wwids"));
    match (targets.is_empty(), wide.is_empty()) {
        (true, true) => targets.path_required("must specify either targetWWNs or wwids, but not both", e),
        (false, false) => targets.invalid("targetWWNs and wwids can not be specified simultaneously", e),
        _ => {}
    }
    let lun = source.at("lun");
    match (targets.is_empty(), lun.present()) {
        (true, _) => {}
        (false, true) => byte(&lun, e),
        (false, false) => lun.path_required("lun is required if targetWWNs is specified", e),
    }
}

fn flex_volume(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("driver").required(e);
    for (key, at) in source.at("options").entries() {
        let domain = key.split('/').next().unwrap_or(key).to_lowercase();
        let reserved = ["kubernetes.io", "k8s.io"].iter().any(|r| domain == *r || domain.ends_with(&format!(".{r}")));
        if reserved {
            e.invalid(&at.path, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(source: &Node<'_, '_>, e: &mut Errors) {
    all_required(source, &["diskName", "diskURI"], e);
    source.at("cachingMode").one_of_if_any(&["None", "ReadOnly", "ReadWrite"], e);
    source.at("kind").one_of_if_any(&["Dedicated", "Managed", "Shared"], e);
    let (kind, uri) = (source.text("kind"), source.at("diskURI"));
    if kind == "Managed" && !uri.str().starts_with("/subscriptions/") {
        uri.not_supported(
            &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"],
            e,
        );
    }
    if !kind.is_empty() && kind != "Managed" && !uri.str().starts_with("https://") {
        uri.not_supported(&["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"], e);
    }
}

pub(super) fn storage_os(source: &Node<'_, '_>, e: &mut Errors) {
    source.at("volumeName").required_text(names::is_dns1123_label, e);
    source.at("volumeNamespace").text_if_any(names::is_dns1123_label, e);
}

/// The name of a CSI driver.
pub(in crate::hooks) fn csi_driver_name(name: &Node<'_, '_>, e: &mut Errors) {
    name.required(e);
    if name.str().len() > 63 {
        name.too_long(63, e);
    }
    for why in names::is_dns1123_subdomain(&name.str().to_lowercase()) {
        e.invalid(&name.path, name.str(), &why);
    }
}
