//! The status of validating admission policies: whether their expressions fit the types of what they are for, as the
//! server publishes them. What it says changes nothing of what a policy does.
//!
//! The check is `api_kinds::admission::typecheck`; here types are looked up. A policy is checked once for each of its
//! generations, as upstream does: a definition that is made later is seen with the next change of the policy.

use std::collections::{BTreeMap, HashMap};

use api_core::{Gvk, Gvr};
use api_kinds::admission::typecheck::{self, TYPES_MAX, Typed};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) static ROW: Row = Row {
    name: "validatingadmissionpolicy-status",
    account: "validatingadmissionpolicy-status-controller",
    inputs: &["ValidatingAdmissionPolicy"],
    outputs: &["ValidatingAdmissionPolicy/status"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let policies = context.informer::<ValidatingAdmissionPolicy>();
    let runner = Runner::new(&context).primary(&policies);
    runner.run(Driver { writer: context.writer(), client: context.client.clone(), policies }).await;
}

struct Driver {
    writer: Writer,
    client: kube::Client,
    policies: Handle<ValidatingAdmissionPolicy>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(policy) = self.policies.store().get(key) else { return Ok(Next::Done) };
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        let generation = policy.metadata.generation.unwrap_or(0);
        if generation <= observed {
            return Ok(Next::Done);
        }
        let spec = serde_json::to_value(&policy.spec).map_err(|error| Error::Request {
            verb: "check",
            kind: "ValidatingAdmissionPolicy".into(),
            key: key.clone(),
            source: error.into(),
        })?;
        let mut published = Published { client: &self.client, documents: HashMap::new() };
        let (types, params) = published.types(&spec).await.map_err(|source| Error::Api {
            verb: "look up the types of",
            kind: "ValidatingAdmissionPolicy".into(),
            key: key.clone(),
            source: Box::new(source),
        })?;
        let warnings = typecheck::warnings(&spec, &types, params.as_ref().map(|typed| &typed.object));
        // An empty list is left out: that the check was made is said by what would hold it.
        let warnings = if warnings.is_empty() { Value::Null } else { Value::Array(warnings) };
        let status = json!({"status": {"observedGeneration": generation,
            "typeChecking": {"expressionWarnings": warnings}}});
        self.writer.patch_subresource::<ValidatingAdmissionPolicy>("status", key, &status).await?;
        Ok(Next::Done)
    }
}

/// What the server publishes about types, as far as it was read for one policy.
struct Published<'a> {
    client: &'a kube::Client,
    /// By group and version: kinds of the resources, and the document about them.
    documents: HashMap<(String, String), Document>,
}

#[derive(Default)]
struct Document {
    kinds: BTreeMap<String, String>,
    openapi: Value,
}

impl Published<'_> {
    /// Types that the policy is for, in their order, and that of its parameters. What is not there is left out.
    async fn types(&mut self, spec: &Value) -> Result<(Vec<Typed>, Option<Typed>), kube::Error> {
        let mut found: BTreeMap<(String, String, String), Typed> = BTreeMap::new();
        'rules: for rule in typecheck::resources(spec) {
            let mut count = 0;
            for resource in rule {
                let Some(kind) = self.kind(&resource).await? else { continue };
                if let Some(typed) = self.typed(&kind).await? {
                    found.insert((kind.group, kind.version, kind.kind), typed);
                }
                count += 1;
                if count == TYPES_MAX {
                    break 'rules;
                }
            }
        }
        let text = |field: &str| spec["paramKind"][field].as_str().unwrap_or("");
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let kind = Gvk { group: group.into(), version: version.into(), kind: text("kind").into() };
        let params = if kind.kind.is_empty() { None } else { self.typed(&kind).await? };
        Ok((found.into_values().collect(), params))
    }

    async fn kind(&mut self, resource: &Gvr) -> Result<Option<Gvk>, kube::Error> {
        let document = self.document(&resource.group, &resource.version).await?;
        let kind = document.kinds.get(&resource.resource).cloned();
        Ok(kind.map(|kind| Gvk { group: resource.group.clone(), version: resource.version.clone(), kind }))
    }

    async fn typed(&mut self, kind: &Gvk) -> Result<Option<Typed>, kube::Error> {
        let document = self.document(&kind.group, &kind.version).await?;
        let object = typecheck::declaration(&document.openapi, kind);
        Ok(object.map(|object| Typed { kind: kind.clone(), object }))
    }

    async fn document(&mut self, group: &str, version: &str) -> Result<&Document, kube::Error> {
        let key = (group.to_owned(), version.to_owned());
        if !self.documents.contains_key(&key) {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let resources: Option<APIResourceList> = get(self.client, &format!("/{path}")).await?;
            let document = match resources {
                Some(list) => Document {
                    kinds: list.resources.into_iter().map(|resource| (resource.name, resource.kind)).collect(),
                    openapi: get(self.client, &format!("/openapi/v3/{path}")).await?.unwrap_or_default(),
                },
                None => Document::default(),
            };
            self.documents.insert(key.clone(), document);
        }
        Ok(&self.documents[&key])
    }
}

/// The document at a path; `None` if there is none. A rule may name what can be no path.
async fn get<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<Option<T>, kube::Error> {
    let Ok(request) = http::Request::get(path).body(Vec::new()) else { return Ok(None) };
    match client.request::<T>(request).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
