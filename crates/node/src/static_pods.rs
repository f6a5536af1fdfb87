//! Static pods: manifests in a directory, watched by notifications; each runs without the API, which shows a mirror of
//! it. Making a pod out of a manifest is pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Node, Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use sha2::{Digest, Sha256};

use crate::agent::Agent;
use crate::names;
use crate::pod::manager::Manager;
use crate::pod::spec;
use crate::watchfile::FileWatch;

/// A larger manifest is refused.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Nodes that all aliases of a manifest may stand for together; more is refused.
const ALIASED_NODES_MAX: usize = 100_000;

/// A manifest that is no pod.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
struct ManifestError {
    path: PathBuf,
    cause: String,
}

/// Follows the directory until the future is dropped.
pub async fn follow(agent: Arc<Agent>, manager: Arc<Manager>) {
    let Some(dir) = agent.config.static_pod_dir.clone() else { return std::future::pending().await };
    let watch = std::fs::create_dir_all(&dir).map_err(notify::Error::io).and_then(|()| FileWatch::new(&dir));
    let mut files = match watch {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, dir = %dir.display(), "static pods are not watched");
            return std::future::pending().await;
        }
    };
    let mut known: HashMap<String, Arc<Pod>> = HashMap::new();
    loop {
        let (found, errors) = read(&dir, &agent.config.node_name);
        for error in errors {
            tracing::warn!(%error, "manifest of a static pod left out");
        }
        let gone: Vec<String> = known.keys().filter(|uid| !found.contains_key(*uid)).cloned().collect();
        for pod in gone.iter().filter_map(|uid| known.remove(uid)) {
            manager.remove(pod.clone());
            delete_mirror(&agent, &pod).await;
        }
        for (uid, pod) in found {
            if let std::collections::hash_map::Entry::Vacant(slot) = known.entry(uid) {
                manager.apply(pod.clone());
                create_mirror(&agent, &pod).await;
                slot.insert(pod);
            }
        }
        files.changed().await;
    }
}

/// The pods of all manifests by UID, and what is wrong with the others.
fn read(dir: &Path, node: &str) -> (HashMap<String, Arc<Pod>>, Vec<ManifestError>) {
    let (mut pods, mut errors) = (HashMap::new(), Vec::new());
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
        let hidden = path.file_name().and_then(|n| n.to_str()).is_none_or(|n| n.starts_with('.'));
        if hidden || !path.is_file() {
            continue;
        }
        let text = match path.metadata() {
            Ok(m) if m.len() > MANIFEST_BYTES_MAX => Err("too large".to_owned()),
            _ => std::fs::read_to_string(&path).map_err(|e| e.to_string()),
        };
        match text.and_then(|text| parse(&text, node)) {
            Ok(pod) => {
                pods.insert(spec::uid(&pod).to_owned(), Arc::new(pod));
            }
            Err(cause) => errors.push(ManifestError { path, cause }),
        }
    }
    (pods, errors)
}

/// A pod from a manifest in YAML or JSON: named after the node, with a UID that follows from its content.
fn parse(text: &str, node: &str) -> Result<Pod, String> {
    let mut options = serde_saphyr::Options::default();
    options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
    let value: serde_json::Value = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err("not a Pod of v1".into());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("it has no name")?;
    let hash = crate::image::hex(&Sha256::digest(format!("{node}\0{text}").as_bytes())[..16]);
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.uid = Some(hash.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(names::CONFIG_HASH.into(), hash);
    annotations.insert(names::CONFIG_SOURCE.into(), "file".into());
    annotations.insert(names::CONFIG_SEEN.into(), chrono::Utc::now().to_rfc3339());
    let s = pod.spec.as_mut().ok_or("it has no spec")?;
    s.node_name = Some(node.into());
    // Nothing evicts what the node must run; as upstream.
    s.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    });
    s.restart_policy.get_or_insert_with(|| "Always".into());
    s.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    s.termination_grace_period_seconds.get_or_insert(30);
    s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten()).for_each(default_container);
    Ok(pod)
}

/// Reads a manifest; for `crate::fuzz`.
pub fn read_manifest(text: &str) {
    let Ok(pod) = parse(text, "node") else { return };
    assert!(spec::is_static(&pod) && spec::name(&pod).ends_with("-node"));
}

/// The defaults that the API would have set and the agent relies on.
fn default_container(c: &mut Container) {
    c.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    c.termination_message_policy.get_or_insert_with(|| "File".into());
    for port in c.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
    }
}

/// Shows a static pod in the API.
async fn create_mirror(agent: &Agent, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(agent.client.clone(), spec::namespace(pod));
    let mirror = mirror(pod, &agent.node.read());
    let name = spec::name(pod);
    let result = match api.create(&PostParams::default(), &mirror).await {
        Err(kube::Error::Api(e)) if e.code == 409 => {
            // One of an older manifest is replaced.
            delete_mirror(agent, pod).await;
            api.create(&PostParams::default(), &mirror).await
        }
        other => other,
    };
    match result {
        Ok(_) => {}
        Err(error) => tracing::warn!(pod = name, %error, "static pod not shown in the API"),
    }
}

fn mirror(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    let hash = spec::uid(pod).to_owned();
    mirror.metadata.uid = None;
    mirror.metadata.resource_version = None;
    mirror.metadata.annotations.get_or_insert_default().insert(names::CONFIG_MIRROR.into(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror.status = None;
    mirror
}

async fn delete_mirror(agent: &Agent, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(agent.client.clone(), spec::namespace(pod));
    let existing = match api.get_opt(spec::name(pod)).await {
        Ok(existing) => existing.filter(spec::is_mirror),
        Err(error) => return tracing::warn!(%error, "mirror of a static pod not read"),
    };
    let Some(existing) = existing else { return };
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: existing.metadata.uid, resource_version: None }),
        ..DeleteParams::default().grace_period(0)
    };
    match api.delete(spec::name(pod), &params).await {
        Err(error) if !matches!(&error, kube::Error::Api(e) if e.code == 404) => {
            tracing::warn!(%error, "mirror of a static pod not deleted")
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: c\n    image: i\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = parse(MANIFEST, "n1").unwrap();
        assert_eq!((spec::name(&pod), spec::namespace(&pod), spec::source(&pod)), ("web-n1", "default", "file"));
        assert!(spec::is_static(&pod) && spec::is_critical(&pod));
        assert_eq!(spec::uid(&pod), spec::uid(&parse(MANIFEST, "n1").unwrap()), "the same content is the same pod");
        assert_ne!(spec::uid(&pod), spec::uid(&parse(&MANIFEST.replace("image: i", "image: j"), "n1").unwrap()));
        assert!(parse("kind: Service\napiVersion: v1\n", "n1").is_err());
        let mirror = mirror(&pod, &Node::default());
        assert!(spec::is_mirror(&mirror) && mirror.metadata.uid.is_none());
    }
}
