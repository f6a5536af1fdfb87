//! The files of configMap, secret, downwardAPI and projected volumes. Pure, once what they refer to was fetched.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::atomic::{File, Payload};
use crate::pod::env::{self, Lookup};

/// Mode of files that say nothing else.
pub const DEFAULT_MODE: i32 = 0o644;

fn mode(own: Option<i32>, default: i32) -> u32 {
    u32::try_from(own.unwrap_or(default)).unwrap_or(0o644) & 0o777
}

/// Picks `items` of all keys, or all; a missing key is an error unless optional.
fn select(
    all: impl Iterator<Item = (String, Vec<u8>)>,
    items: Option<&Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
    missing: impl Fn() -> String,
) -> Result<Payload, String> {
    let all: std::collections::BTreeMap<String, Vec<u8>> = all.collect();
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return Ok(all
            .into_iter()
            .map(|(k, data)| (k, File { data, mode: mode(None, default_mode), owner: None }))
            .collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match all.get(&item.key) {
            Some(data) => {
                payload.insert(
                    item.path.clone(),
                    File { data: data.clone(), mode: mode(item.mode, default_mode), owner: None },
                );
            }
            None if optional => {}
            None => return Err(missing()),
        }
    }
    Ok(payload)
}

/// Files of a ConfigMap.
pub fn config_map(
    map: &ConfigMap,
    items: Option<&Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    select(text.chain(binary), items, default_mode, optional, || {
        "configmap references non-existent config key: ".to_owned()
            + &wanted(items, |k| {
                map.data.as_ref().is_some_and(|d| d.contains_key(k))
                    || map.binary_data.as_ref().is_some_and(|d| d.contains_key(k))
            })
    })
}

/// Files of a Secret.
pub fn secret(
    secret: &Secret,
    items: Option<&Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let all = secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    select(all, items, default_mode, optional, || {
        "references non-existent secret key: ".to_owned()
            + &wanted(items, |k| secret.data.as_ref().is_some_and(|d| d.contains_key(k)))
    })
}

fn wanted(items: Option<&Vec<KeyToPath>>, has: impl Fn(&str) -> bool) -> String {
    items.into_iter().flatten().map(|i| i.key.as_str()).find(|k| !has(k)).unwrap_or_default().to_owned()
}

/// Files of the downward API.
pub fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
    ips: &[String],
    host_ip: &str,
    lookup: &dyn Lookup,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => env::field_value(pod, &field.field_path, ips, host_ip)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?,
            (_, Some(resource)) => {
                env::resource_value(pod, &k8s_openapi::api::core::v1::Container::default(), resource, lookup)
                    .map_err(|e| e.0)?
            }
            _ => String::new(),
        };
        payload.insert(
            item.path.clone(),
            File { data: text.into_bytes(), mode: mode(item.mode, default_mode), owner: None },
        );
    }
    Ok(payload)
}

/// What an object that may be missing gives: nothing if that is allowed.
pub fn required<K>(object: Option<Arc<K>>, optional: bool, what: &str, name: &str) -> Result<Option<Arc<K>>, String> {
    match object {
        None if !optional => Err(format!("{what} \"{name}\" not found")),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_pick_and_rename() {
        let map: ConfigMap =
            serde_json::from_value(serde_json::json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}}))
                .unwrap();
        let all = config_map(&map, None, DEFAULT_MODE, false).unwrap();
        assert_eq!((all.len(), all["c"].data.as_slice(), all["a"].mode), (3, &[0_u8, 1][..], 0o644));
        let item = |key: &str| vec![KeyToPath { key: key.into(), path: "x/y".into(), mode: Some(0o400) }];
        let picked = config_map(&map, Some(&item("b")), DEFAULT_MODE, false).unwrap();
        assert_eq!((picked["x/y"].data.as_slice(), picked["x/y"].mode), (&b"2"[..], 0o400));
        assert_eq!(
            config_map(&map, Some(&item("z")), DEFAULT_MODE, false).unwrap_err(),
            "configmap references non-existent config key: z"
        );
        assert!(config_map(&map, Some(&item("z")), DEFAULT_MODE, true).unwrap().is_empty());
    }
}
