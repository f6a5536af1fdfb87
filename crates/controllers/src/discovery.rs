//! Every resource that the server has, for the controllers that act on all of them: namespace deletion and garbage
//! collection.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::core::{ApiResource, GroupVersion};

/// One resource, in the version that its group prefers.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub resource: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Found {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|have| have == verb)
    }

    /// `configmaps` or `deployments.apps`.
    pub fn name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }
}

/// A group version that could not be read: most often that of an extension server that does not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Unread {
    pub group_version: String,
    pub why: String,
}

impl Unread {
    fn new(group_version: String, error: &kube::Error) -> Self {
        let why = match error {
            kube::Error::Api(status) if status.code == 503 => {
                "the server is currently unable to handle the request".into()
            }
            kube::Error::Api(status) if status.code == 404 => "the server could not find the requested resource".into(),
            error => error.to_string(),
        };
        Self { group_version, why }
    }

    /// Whether it is of that group.
    pub fn is_of(&self, group: &str) -> bool {
        self.group_version.split_once('/').is_some_and(|(own, _)| own == group)
    }
}

/// All resources without subresources, and the group versions that could not be read.
pub async fn resources(client: &kube::Client) -> Result<(Vec<Found>, Vec<Unread>), kube::Error> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let core = client.list_core_api_resources("v1").await?;
    found.extend(core.resources.into_iter().filter_map(|resource| keep(resource, "v1")));
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(version) = preferred.map(|version| version.group_version.clone()) else { continue };
        match client.list_api_group_resources(&version).await {
            Ok(list) => found.extend(list.resources.into_iter().filter_map(|resource| keep(resource, &version))),
            Err(error) => failed.push(Unread::new(version, &error)),
        }
    }
    Ok((found, failed))
}

fn keep(resource: APIResource, group_version: &str) -> Option<Found> {
    if resource.name.contains('/') {
        return None;
    }
    let GroupVersion { group, version } = group_version.parse().ok()?;
    let group = resource.group.filter(|group| !group.is_empty()).unwrap_or(group);
    let version = resource.version.filter(|version| !version.is_empty()).unwrap_or(version);
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let resource_of = ApiResource { group, version, api_version, kind: resource.kind, plural: resource.name };
    Some(Found { resource: resource_of, namespaced: resource.namespaced, verbs: resource.verbs })
}
