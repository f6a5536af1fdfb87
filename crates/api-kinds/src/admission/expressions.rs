//! What expressions of policies and of match conditions may name: the write, its request, parameters, the namespace, who
//! asks. Values are made here too, as far as they are parts of objects.

use super::text;
use api_cel::{Decl, Env, Type, Value as Cel, from_json};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What may be named beside the write itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names {
    /// `params`.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
}

fn of(ty: Type) -> Arc<Decl> {
    Arc::new(Decl::of(ty))
}

fn request() -> Arc<Decl> {
    let string = || of(Type::String);
    let typed =
        |name: &str, last: &str| Decl::object(name, [("group", string()), ("version", string()), (last, string())]);
    let (kind, resource) =
        (typed("kubernetes.GroupVersionKind", "kind"), typed("kubernetes.GroupVersionResource", "resource"));
    let strings = Decl::list(string());
    let user = Decl::object(
        "kubernetes.UserInfo",
        [("username", string()), ("uid", string()), ("groups", strings.clone()), ("extra", Decl::map(strings))],
    );
    Decl::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", string()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", string()),
            ("name", string()),
            ("namespace", string()),
            ("operation", string()),
            ("userInfo", user),
            ("dryRun", of(Type::Bool)),
            ("options", Decl::any()),
        ],
    )
}

fn namespace() -> Arc<Decl> {
    let string = || of(Type::String);
    let strings = || Decl::list(string());
    let metadata = Decl::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", string()),
            ("generateName", string()),
            ("namespace", string()),
            ("labels", Decl::map(string())),
            ("annotations", Decl::map(string())),
            ("UID", string()),
            ("creationTimestamp", of(Type::Timestamp)),
            ("deletionGracePeriodSeconds", of(Type::Int)),
            ("deletionTimestamp", of(Type::Timestamp)),
            ("generation", of(Type::Int)),
            ("resourceVersion", string()),
            ("finalizers", strings()),
        ],
    );
    let spec = Decl::object("kubernetes.NamespaceSpec", [("finalizers", strings())]);
    let status = Decl::object("kubernetes.NamespaceStatus", [("phase", string())]);
    Decl::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// What may be named, where nothing is known of the objects.
pub fn env(names: Names) -> Env {
    typed_env(names, &Decl::any(), &Decl::any())
}

/// What may be named, where objects and parameters are declared so.
pub fn typed_env(names: Names, object: &Arc<Decl>, params: &Arc<Decl>) -> Env {
    let mut env = Env::new()
        .with("object", object.clone())
        .with("oldObject", object.clone())
        .with("request", request())
        .with("namespaceObject", namespace());
    if names.params {
        env = env.with("params", params.clone());
    }
    if names.authorizer {
        env = env
            .with("authorizer", of(Type::Opaque("kubernetes.authorization.Authorizer")))
            .with("authorizer.requestResource", of(Type::Opaque("kubernetes.authorization.ResourceCheck")));
    }
    env
}

/// `env` with `variables` of those names and types.
pub fn with_variables(env: Env, variables: &[(String, Type)]) -> Env {
    let fields = variables.iter().map(|(name, ty)| (name.as_str(), of(ty.clone())));
    env.with("variables", Decl::object("kubernetes.variables", fields))
}

/// `namespaceObject` of a namespace.
pub fn namespace_value(namespace: &Value) -> Cel {
    let mut shown = Map::new();
    for field in ["metadata", "spec", "status"] {
        if let Some(part) = namespace.get(field) {
            shown.insert(field.into(), part.clone());
        }
    }
    if let Some(metadata) = shown.get_mut("metadata") {
        metadata["UID"] = text(metadata, "uid").into();
    }
    api_cel::to_typed(&Value::Object(shown), &self::namespace())
}

/// An object, or null where there is none.
pub fn object_value(object: Option<&Value>) -> Cel {
    object.map_or(Cel::Null, from_json)
}
