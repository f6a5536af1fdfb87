//! Writes of a controller: each is checked against what its row declares, and each error says what was tried.

use std::fmt::Debug;

use client::Key;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Row;
use crate::error::Error;

/// An object that can be written.
pub trait Object: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned> Object for K {}

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct Remove {
    /// Only this object, not a later one of the same name.
    pub uid: Option<String>,
    /// Only this version.
    pub resource_version: Option<String>,
    /// Seconds of grace; `None` leaves it to the object.
    pub grace_seconds: Option<u32>,
    /// What becomes of what it owns; `None` leaves it to the kind.
    pub propagation: Option<PropagationPolicy>,
}

impl Remove {
    /// Only `object` itself, not a later one of the same name.
    pub fn this<K: Resource>(object: &K) -> Self {
        Remove { uid: object.meta().uid.clone(), ..Remove::default() }
    }
}

/// Writes as one controller.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    row: &'static Row,
}

impl Writer {
    /// Writes through `client`, for the controller of `row`.
    pub fn new(client: kube::Client, row: &'static Row) -> Self {
        Writer { client, row }
    }

    /// Creates `object`; returns it as stored.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.check::<K>("");
        let call = Call::new::<K>("create", Key::of(object));
        let body = call.encode(object)?;
        call.send(&self.client, call.path::<K>().create(&PostParams::default(), body)).await
    }

    /// Replaces `object`, which must carry the version it was read with; returns it as stored.
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.check::<K>("");
        let call = Call::new::<K>("update", Key::of(object));
        let body = call.encode(object)?;
        call.send(&self.client, call.path::<K>().replace(&call.key.name, &PostParams::default(), body)).await
    }

    /// Replaces `subresource` of `object`, which must carry the version it was read with.
    pub async fn replace_subresource<K: Object>(&self, subresource: &'static str, object: &K) -> Result<K, Error> {
        self.check::<K>(subresource);
        let call = Call::new::<K>("update a subresource of", Key::of(object));
        let body = call.encode(object)?;
        let request = call.path::<K>().replace_subresource(subresource, &call.key.name, &PostParams::default(), body);
        call.send(&self.client, request).await
    }

    /// Replaces the status of `object`, which must carry the version it was read with.
    pub async fn replace_status<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.replace_subresource("status", object).await
    }

    /// Posts `body` to `subresource` of `key`, for example a binding.
    pub async fn create_subresource<K: Object, B: Serialize>(
        &self,
        subresource: &'static str,
        key: &Key,
        body: &B,
    ) -> Result<serde_json::Value, Error> {
        self.check::<K>(subresource);
        let call = Call::new::<K>("create a subresource of", key.clone());
        let body = call.encode(body)?;
        let request = call.path::<K>().create_subresource(subresource, &key.name, &PostParams::default(), body);
        call.send(&self.client, request).await
    }

    /// Applies a JSON merge patch to `key`; returns the object as stored.
    pub async fn patch<K: Object>(&self, key: &Key, patch: &serde_json::Value) -> Result<K, Error> {
        self.check::<K>("");
        let call = Call::new::<K>("patch", key.clone());
        let request = call.path::<K>().patch(&key.name, &PatchParams::default(), &Patch::Merge(patch));
        call.send(&self.client, request).await
    }

    /// Applies a JSON merge patch to `subresource` of `key`; returns the object as stored.
    pub async fn patch_subresource<K: Object>(
        &self,
        subresource: &'static str,
        key: &Key,
        patch: &serde_json::Value,
    ) -> Result<K, Error> {
        self.check::<K>(subresource);
        let call = Call::new::<K>("patch a subresource of", key.clone());
        let request =
            call.path::<K>().patch_subresource(subresource, &key.name, &PatchParams::default(), &Patch::Merge(patch));
        call.send(&self.client, request).await
    }

    /// Applies a strategic merge patch to `subresource` of `key`; returns the object as stored.
    pub async fn strategic_patch_subresource<K: Object>(
        &self,
        subresource: &'static str,
        key: &Key,
        patch: &serde_json::Value,
    ) -> Result<K, Error> {
        self.check::<K>(subresource);
        let call = Call::new::<K>("patch a subresource of", key.clone());
        let request = call.path::<K>().patch_subresource(
            subresource,
            &key.name,
            &PatchParams::default(),
            &Patch::Strategic(patch),
        );
        call.send(&self.client, request).await
    }

    /// Deletes `key`. Whether it was there: one that is gone already, or replaced by a later one, gives `false`.
    pub async fn delete<K: Object>(&self, key: &Key, remove: &Remove) -> Result<bool, Error> {
        self.check::<K>("");
        let call = Call::new::<K>("delete", key.clone());
        let preconditions = (remove.uid.is_some() || remove.resource_version.is_some())
            .then(|| Preconditions { uid: remove.uid.clone(), resource_version: remove.resource_version.clone() });
        let params = DeleteParams {
            grace_period_seconds: remove.grace_seconds,
            propagation_policy: remove.propagation.clone(),
            preconditions,
            ..DeleteParams::default()
        };
        let answer: Result<serde_json::Value, Error> =
            call.send(&self.client, call.path::<K>().delete(&key.name, &params)).await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) if error.is_conflict() && remove.resource_version.is_none() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads `key` past the cache.
    pub async fn read<K: Object>(&self, key: &Key) -> Result<Option<K>, Error> {
        let call = Call::new::<K>("get", key.clone());
        let request = call.path::<K>().get(&key.name, &kube::api::GetParams::default());
        match call.send(&self.client, request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check<K: Object>(&self, subresource: &str) {
        let kind = K::kind(&());
        let declared = self.row.outputs.iter().any(|output| match output.split_once('/') {
            Some((of, sub)) => of == kind && sub == subresource,
            None => *output == kind && subresource.is_empty(),
        });
        debug_assert!(declared, "{} does not declare the output {kind}/{subresource}", self.row.name);
    }
}

struct Call {
    verb: &'static str,
    kind: String,
    key: Key,
}

impl Call {
    fn new<K: Object>(verb: &'static str, key: Key) -> Self {
        Call { verb, kind: K::kind(&()).into_owned(), key }
    }

    fn path<K: Object>(&self) -> Request {
        let namespace = (!self.key.namespace.is_empty()).then_some(&*self.key.namespace);
        Request::new(K::url_path(&(), namespace))
    }

    fn encode<T: Serialize>(&self, body: &T) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(body).map_err(|source| self.request_error(source.into()))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        client: &kube::Client,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Error> {
        let request = request.map_err(|source| self.request_error(source.into()))?;
        client.request(request).await.map_err(|source| Error::Api {
            verb: self.verb,
            kind: self.kind.clone(),
            key: self.key.clone(),
            source: Box::new(source),
        })
    }

    fn request_error(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Request { verb: self.verb, kind: self.kind.clone(), key: self.key.clone(), source }
    }
}
