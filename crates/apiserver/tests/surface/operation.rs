//! One operation of the API: a verb of a resource or subresource, as discovery lists it.

use serde_json::Value;
use std::fmt;

/// What is checked of each operation.
#[derive(Debug, Clone, Copy)]
pub enum Case {
    Authorization,
    NotFound,
    DryRun,
}

/// A verb of a resource or subresource.
#[derive(Debug, Clone)]
pub struct Operation {
    pub group: String,
    pub version: String,
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    pub namespaced: bool,
    pub verb: String,
}

impl Operation {
    /// All of an aggregated discovery document.
    pub fn of_discovery(document: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for group in list(&document["items"]) {
            let name = group["metadata"]["name"].as_str().unwrap_or("");
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    let make = |sub: &Value, verb: &Value| Self {
                        group: name.into(),
                        version: text(&version["version"]),
                        resource: text(&resource["resource"]),
                        subresource: text(sub),
                        namespaced: resource["scope"] == "Namespaced",
                        verb: text(verb),
                    };
                    all.extend(list(&resource["verbs"]).map(|verb| make(&Value::Null, verb)));
                    for sub in list(&resource["subresources"]) {
                        all.extend(list(&sub["verbs"]).map(|verb| make(&sub["subresource"], verb)));
                    }
                }
            }
        }
        all
    }

    /// `apps/v1/deployments/scale`.
    pub fn what(&self) -> String {
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{}{sub}", self.kind_key())
    }

    /// `apps/v1/deployments`.
    pub fn kind_key(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!("{}/", self.group) };
        format!("{group}{}/{}", self.version, self.resource)
    }

    /// `deployments.apps`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }

    pub fn method(&self) -> &'static str {
        match self.verb.as_str() {
            "create" => "POST",
            "update" => "PUT",
            "patch" => "PATCH",
            "delete" | "deletecollection" => "DELETE",
            _ => "GET",
        }
    }

    /// Whether it is about one object by name.
    pub fn is_named(&self) -> bool {
        !self.subresource.is_empty() || !matches!(self.verb.as_str(), "create" | "list" | "watch" | "deletecollection")
    }

    /// Whether it hands the connection on to a node, a pod or a service.
    pub fn connects(&self) -> bool {
        matches!(self.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
    }

    /// Whether what is posted is answered and kept nowhere.
    pub fn is_review(&self) -> bool {
        self.resource.ends_with("reviews")
    }

    /// Path of the collection.
    pub fn collection(&self, namespace: &str) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if self.namespaced {
            format!("{root}/namespaces/{namespace}/{}", self.resource)
        } else {
            format!("{root}/{}", self.resource)
        }
    }

    /// Path of an object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// Path of this operation.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let path = if self.is_named() { self.object(namespace, name) } else { self.collection(namespace) };
        match (self.subresource.as_str(), self.verb.as_str()) {
            ("", "watch") => format!("{path}?watch=true"),
            ("", _) => path,
            (sub, _) => format!("{path}/{sub}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.what())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}
