//! Objects of storage, and what may be changed of configuration.

use crate::kit::{JSON_PATCH, STRATEGIC, name, pod, with};
use http::Method;
use serde_json::json;

async fn immutable(api: &crate::kit::Api, plural: &str, field: &str, value: &str, other: &str) {
    let path = api.core(&format!("{plural}/x"));
    api.post(&api.core(plural), json!({"metadata": {"name": "x"}, field: {"k": value}})).await;
    api.update(&path, |o| o[field]["k"] = other.into()).await;
    api.update(&path, |o| o["immutable"] = true.into()).await;
    let whole = api.get(&path).await;
    let mut changed = whole.clone();
    changed[field]["k"] = value.into();
    let said =
        api.send(Method::PUT, &path, Some(&changed)).await.refused(422, "field is immutable when `immutable` is set");
    assert_eq!(said["details"]["causes"][0]["field"], field);
    let mut loosened = whole.clone();
    loosened["immutable"] = false.into();
    api.send(Method::PUT, &path, Some(&loosened)).await.refused(422, "field is immutable when `immutable` is set");
    let labelled = api.merge(&path, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["labels"]["a"], "b");
    api.delete(&path).await;
    api.absent(&path).await;
}

/// [sig-storage] ConfigMap should be immutable if `immutable` field is set
#[test]
fn a_config_map_becomes_immutable() {
    with(async |api| immutable(&api, "configmaps", "data", "v", "w").await);
}

/// [sig-storage] Secrets should be immutable if `immutable` field is set
#[test]
fn a_secret_becomes_immutable() {
    with(async |api| immutable(&api, "secrets", "data", "dg==", "dw==").await);
}

/// [sig-node] ConfigMap should fail to create ConfigMap with empty key
#[test]
fn a_config_map_has_no_empty_key() {
    with(async |api| {
        let map = json!({"metadata": {"name": "x"}, "data": {"": "v"}});
        api.try_post(&api.core("configmaps"), map).await.refused(422, "a valid config key must consist of");
    });
}

/// [sig-node] Secrets should fail to create secret due to empty secret key
#[test]
fn a_secret_has_no_empty_key() {
    with(async |api| {
        let secret = json!({"metadata": {"name": "x"}, "data": {"": "dg=="}});
        api.try_post(&api.core("secrets"), secret).await.refused(422, "a valid config key must consist of");
    });
}

/// [sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC
#[test]
fn a_volume_and_its_claim_live() {
    with(async |api| {
        let (volumes, claims) = ("/api/v1/persistentvolumes", api.core("persistentvolumeclaims"));
        let (class, selector) = (format!("none-{}", api.ns), format!("pv={}", api.ns));
        let capacity = json!({"storage": "2Gi"});
        let volume = json!({"metadata": {"generateName": "pv-", "labels": {"pv": api.ns}}, "spec": {"capacity": capacity,
            "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain", "storageClassName": class,
            "csi": {"driver": "e2e-driver", "volumeHandle": "e2e"}}});
        let claim = json!({"metadata": {"generateName": "pvc-", "labels": {"pv": api.ns}}, "spec": {"storageClassName": class,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"}});
        for round in 0..2 {
            let made = api.post(volumes, volume.clone()).await;
            let made_claim = api.post(&claims, claim.clone()).await;
            let own = format!("{volumes}/{}", name(&made));
            let own_claim = format!("{claims}/{}", name(&made_claim));
            assert_eq!(api.items(volumes, &selector).await.len(), 1);
            assert_eq!(api.items(&claims, &selector).await.len(), 1);
            for path in [&own, &own_claim] {
                let patched = api.patch(path, STRATEGIC, json!({"metadata": {"labels": {"patched": "true"}}})).await;
                assert_eq!(patched["metadata"]["labels"]["patched"], "true");
                assert_eq!(api.get(path).await["metadata"]["uid"], patched["metadata"]["uid"]);
                let updated = api.update(path, |o| o["metadata"]["labels"]["updated"] = "true".into()).await;
                assert_eq!(updated["metadata"]["labels"]["updated"], "true");
            }
            assert_eq!(api.items("/api/v1/persistentvolumeclaims", &selector).await.len(), 1);
            match round {
                0 => {
                    api.delete(&own_claim).await;
                    api.gone(&own_claim).await;
                    api.delete(&own).await;
                }
                _ => {
                    api.delete(&format!("{claims}?labelSelector={selector},updated=true")).await;
                    api.gone(&own_claim).await;
                    api.delete(&format!("{volumes}?labelSelector={selector},updated=true")).await;
                }
            }
            api.gone(&own).await;
        }
    });
}

/// [sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment
#[test]
fn an_attachment_lives() {
    with(async |api| {
        let path = "/apis/storage.k8s.io/v1/volumeattachments";
        let make = |n: usize| {
            json!({"metadata": {"name": format!("va-{n}-{}", api.ns), "labels": {"va": api.ns}}, "spec": {"attacher": "e2e.example.com",
                "nodeName": "node-0", "source": {"persistentVolumeName": format!("pv-{n}")}}})
        };
        let first = api.post(path, make(0)).await;
        let own = format!("{path}/{}", name(&first));
        let change = json!([{"op": "add", "path": "/metadata/labels/patched", "value": "true"}]);
        let patched = api.patch(&own, JSON_PATCH, change).await;
        assert_eq!(patched["metadata"]["labels"]["patched"], "true");
        assert_eq!(api.get(&own).await["spec"], first["spec"]);
        api.delete(&own).await;
        api.gone(&own).await;
        let second = api.post(path, make(1)).await;
        let own = format!("{path}/{}", name(&second));
        let updated = api.update(&own, |o| o["metadata"]["labels"]["updated"] = "true".into()).await;
        assert_eq!(updated["metadata"]["labels"]["updated"], "true");
        let selector = format!("va={}", api.ns);
        assert_eq!(api.items(path, &selector).await.len(), 1);
        api.delete(&format!("{path}?labelSelector={selector},updated=true")).await;
        api.gone(&own).await;
        assert!(api.items(path, &selector).await.is_empty());
    });
}

/// [sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API
#[test]
fn a_pod_has_a_volume_of_a_driver() {
    with(async |api| {
        let driver = json!({"metadata": {"name": format!("inline-{}", api.ns)}, "spec": {"volumeLifecycleModes": ["Ephemeral"]}});
        api.post("/apis/storage.k8s.io/v1/csidrivers", driver).await;
        let volume = json!({"name": "inline", "csi": {"driver": format!("inline-{}", api.ns), "volumeAttributes": {"foo": "bar"}}});
        let spec = json!({"volumes": [volume], "containers": [{"name": "c", "image": "i", "command": ["never"],
            "volumeMounts": [{"name": "inline", "mountPath": "/mnt/inline"}]}]});
        let path = api.core("pods");
        api.post(&path, pod("p", json!({"inline": "yes"}), spec)).await;
        let listed = api.items("/api/v1/pods", "inline=yes").await;
        let volumes = listed[0]["spec"]["volumes"].as_array().unwrap();
        let ours = volumes.iter().find(|v| v["name"] == "inline").unwrap();
        assert_eq!(ours["csi"]["volumeAttributes"], json!({"foo": "bar"}));
        let patched =
            api.patch(&format!("{path}/p"), STRATEGIC, json!({"metadata": {"labels": {"patched": "yes"}}})).await;
        assert_eq!(patched["metadata"]["labels"]["patched"], "yes");
        api.delete(&format!("{path}?labelSelector=inline=yes")).await;
        api.gone(&format!("{path}/p")).await;
    });
}
