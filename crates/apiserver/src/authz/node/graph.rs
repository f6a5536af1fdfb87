//! Which nodes may see which objects: node → pod → secret, config map, service account, claim → volume → secret.

use api_core::meta::Meta;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a node can be related to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A secret.
    Secret,
    /// A config map.
    ConfigMap,
    /// A service account.
    ServiceAccount,
    /// A persistent volume claim.
    Claim,
    /// A persistent volume.
    Volume,
    /// A volume attachment.
    Attachment,
}

/// An object: kind, namespace, name.
type Key = (Kind, Box<str>, Box<str>);
/// A pod: namespace, name.
type PodKey = (Box<str>, Box<str>);

/// Who may see what. Kept up to date from the events of pods, volumes and attachments.
#[derive(Debug, Default)]
pub struct Graph {
    /// Of each pod, by namespace and name: its node, and what it refers to.
    pods: HashMap<PodKey, (Arc<str>, Vec<Arc<Key>>)>,
    /// Of each object that pods refer to: how many pods of each node do.
    users: HashMap<Arc<Key>, HashMap<Arc<str>, usize>>,
    /// Of each bound volume: its claim, and the secrets that it needs.
    volumes: HashMap<Box<str>, (Key, Vec<Key>)>,
    /// Of each secret that volumes need: the volumes.
    secret_volumes: HashMap<Key, HashSet<Box<str>>>,
    /// Of each attachment: its node.
    attachments: HashMap<Box<str>, Box<str>>,
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    (kind, namespace.into(), name.into())
}

impl Graph {
    /// Takes in a pod, or a new state of it.
    pub fn put_pod(&mut self, pod: &Value) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or("");
        let id: PodKey = (pod.namespace().into(), pod.name().into());
        // What a pod refers to does not change once it is bound.
        if self.pods.get(&id).is_some_and(|(known, _)| &**known == node) {
            return;
        }
        self.remove_pod(&id.0, &id.1);
        // A mirror pod is a node's own claim: it must not open other objects to that node.
        if node.is_empty() || pod.annotation("kubernetes.io/config.mirror").is_some() {
            return;
        }
        let node: Arc<str> = node.into();
        let mut found = HashSet::new();
        references(pod, &mut |kind, name| {
            found.insert(key(kind, pod.namespace(), name));
        });
        let mut keys = Vec::with_capacity(found.len());
        for key in found {
            let key = self.users.get_key_value(&key).map_or_else(|| Arc::new(key), |(known, _)| known.clone());
            *self.users.entry(key.clone()).or_default().entry(node.clone()).or_default() += 1;
            keys.push(key);
        }
        self.pods.insert(id, (node, keys));
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some((node, keys)) = self.pods.remove(&(namespace.into(), name.into())) else { return };
        for key in keys {
            let Some(nodes) = self.users.get_mut(&key) else { continue };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.users.remove(&key);
            }
        }
    }

    /// Takes in a persistent volume, or a new state of it.
    pub fn put_volume(&mut self, volume: &Value) {
        self.remove_volume(volume.name());
        let claim = &volume["spec"]["claimRef"];
        let (Some(namespace), Some(name)) = (claim["namespace"].as_str(), claim["name"].as_str()) else { return };
        let mut secrets = Vec::new();
        volume_secrets(&volume["spec"], namespace, &mut |namespace, name| {
            secrets.push(key(Kind::Secret, namespace, name))
        });
        for secret in &secrets {
            self.secret_volumes.entry(secret.clone()).or_default().insert(volume.name().into());
        }
        self.volumes.insert(volume.name().into(), (key(Kind::Claim, namespace, name), secrets));
    }

    /// Forgets a persistent volume.
    pub fn remove_volume(&mut self, name: &str) {
        let Some((_, secrets)) = self.volumes.remove(name) else { return };
        for secret in secrets {
            if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.secret_volumes.remove(&secret);
                }
            }
        }
    }

    /// Takes in a volume attachment.
    pub fn put_attachment(&mut self, attachment: &Value) {
        let node = attachment["spec"]["nodeName"].as_str().unwrap_or("");
        self.attachments.insert(attachment.name().into(), node.into());
    }

    /// Forgets a volume attachment.
    pub fn remove_attachment(&mut self, name: &str) {
        self.attachments.remove(name);
    }

    /// Whether something of `node` refers to the object.
    pub fn reaches(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        match kind {
            Kind::Attachment => self.attachments.get(name).is_some_and(|n| !n.is_empty() && &**n == node),
            Kind::Volume => self.volume_reaches(node, name),
            Kind::Secret => {
                let key = key(kind, namespace, name);
                let through_volume = || self.secret_volumes.get(&key)?.iter().find(|v| self.volume_reaches(node, v));
                self.used_on(node, &key) || through_volume().is_some()
            }
            _ => self.used_on(node, &key(kind, namespace, name)),
        }
    }

    fn used_on(&self, node: &str, key: &Key) -> bool {
        self.users.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_reaches(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|(claim, _)| self.used_on(node, claim))
    }
}

fn items<'a>(parent: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    parent.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Tells of all that a pod refers to in its namespace.
fn references(pod: &Value, see: &mut dyn FnMut(Kind, &str)) {
    let spec = &pod["spec"];
    let mut tell = |kind: Kind, name: &Value| {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            see(kind, name);
        }
    };
    tell(Kind::ServiceAccount, &spec["serviceAccountName"]);
    for secret in items(spec, "imagePullSecrets") {
        tell(Kind::Secret, &secret["name"]);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            for source in items(container, "envFrom") {
                tell(Kind::ConfigMap, &source["configMapRef"]["name"]);
                tell(Kind::Secret, &source["secretRef"]["name"]);
            }
            for env in items(container, "env") {
                tell(Kind::ConfigMap, &env["valueFrom"]["configMapKeyRef"]["name"]);
                tell(Kind::Secret, &env["valueFrom"]["secretKeyRef"]["name"]);
            }
        }
    }
    for volume in items(spec, "volumes") {
        tell(Kind::ConfigMap, &volume["configMap"]["name"]);
        tell(Kind::Secret, &volume["secret"]["secretName"]);
        tell(Kind::Claim, &volume["persistentVolumeClaim"]["claimName"]);
        if volume.get("ephemeral").is_some() {
            let claim = format!("{}-{}", pod.name(), volume["name"].as_str().unwrap_or(""));
            tell(Kind::Claim, &claim.into());
        }
        for source in items(&volume["projected"], "sources") {
            tell(Kind::ConfigMap, &source["configMap"]["name"]);
            tell(Kind::Secret, &source["secret"]["name"]);
        }
        volume_secrets(volume, "", &mut |_, name| tell(Kind::Secret, &name.into()));
    }
}

/// Tells of the secrets that a volume's driver needs, in a pod or in a persistent volume.
fn volume_secrets(source: &Value, claim_namespace: &str, see: &mut dyn FnMut(&str, &str)) {
    let own = ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];
    let csi = [
        "controllerPublishSecretRef",
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "controllerExpandSecretRef",
        "nodeExpandSecretRef",
    ];
    let mut tell = |reference: &Value| {
        if let Some(name) = reference["name"].as_str().filter(|n| !n.is_empty()) {
            see(reference["namespace"].as_str().unwrap_or(claim_namespace), name);
        }
    };
    for driver in own {
        tell(&source[driver]["secretRef"]);
    }
    for field in csi {
        tell(&source["csi"][field]);
    }
    if let Some(name) = source["azureFile"]["secretName"].as_str().filter(|n| !n.is_empty()) {
        see(source["azureFile"]["secretNamespace"].as_str().unwrap_or(claim_namespace), name);
    }
}
