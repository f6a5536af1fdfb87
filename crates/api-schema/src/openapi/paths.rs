//! The paths of a group version: what can be done with its resources, derived from their rows.

use super::operations::{Answer, Operation};
use super::{Parameter, SCHEMAS};
use crate::row::{Row, Subresource};
use api_core::Gvk;
use serde_json::{Map, Value, json};

/// What paths need to know beside the rows.
#[derive(Debug, Default)]
pub struct Api {
    /// Shared parameters.
    pub parameters: Vec<Parameter>,
    /// Reference of the `fieldManager` parameter of a patch, and of other writes.
    pub field_manager: (String, String),
    /// Options of a subresource by `API-VERSION/PLURAL/SUB`, as references.
    pub options: Vec<(String, Vec<String>)>,
    /// Whether its kinds speak protobuf and take strategic merge patches: built-in ones do.
    pub built_in: bool,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const LIST: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// Those of [`LIST`] that only a watch has.
const WATCH: [&str; 2] = ["allowWatchBookmarks", "watch"];
const DELETE: [&str; 4] = ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH_MEDIA: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const PATCH_MEDIA_CUSTOM: [&str; 3] = [PATCH_MEDIA[0], PATCH_MEDIA[1], PATCH_MEDIA[3]];

/// Paths of the rows of one group version, as v3 path items.
pub fn paths<'a>(rows: impl IntoIterator<Item = &'a Row>, api: &Api) -> Map<String, Value> {
    let mut out = Map::new();
    for row in rows {
        let names = Names::of(row);
        if api.built_in {
            out.entry(names.base.clone() + "/").or_insert_with(|| resource_list(&names));
        }
        Builder { row, api, names, out: &mut out }.all();
    }
    out
}

fn resource_list(names: &Names) -> Value {
    let operation = Operation {
        tag: &names.tag,
        id: format!("get{}APIResources", names.camel),
        action: "",
        kind: Value::Null,
        body: None,
        answer: Answer::Type(&format!("{META}APIResourceList")),
        codes: &[200],
        protobuf: true,
    };
    json!({"get": operation.render()})
}

/// Names made from group and version.
struct Names {
    /// `/api/v1` or `/apis/apps/v1`.
    base: String,
    /// `core_v1`.
    tag: String,
    /// `CoreV1`.
    camel: String,
}

impl Names {
    fn of(row: &Row) -> Self {
        let (group, version) = (row.gvr.group.as_str(), row.gvr.version.as_str());
        let base = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let (tag, camel) = group_names(group);
        Self { base, tag: format!("{tag}_{version}"), camel: camel + &upper(version) }
    }
}

/// `flowcontrolApiserver` and `FlowcontrolApiserver` for `flowcontrol.apiserver.k8s.io`.
pub fn group_names(group: &str) -> (String, String) {
    let short = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let camel: String = short.split('.').map(upper).collect();
    let mut chars = camel.chars();
    let tag = chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect();
    (tag, camel)
}

fn upper(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

struct Builder<'a> {
    row: &'a Row,
    api: &'a Api,
    names: Names,
    out: &'a mut Map<String, Value>,
}

type Operations = Vec<(&'static str, Map<String, Value>, Vec<&'static str>)>;

impl Builder<'_> {
    fn has(&self, verb: &str) -> bool {
        self.row.verbs.iter().any(|v| v == verb)
    }

    fn all(&mut self) {
        let (base, plural) = (self.names.base.clone(), self.row.gvr.resource.clone());
        let namespaced = self.row.namespaced;
        let holder = if namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
        let collection = format!("{holder}/{plural}");
        self.collection(&collection);
        self.item(&format!("{collection}/{{name}}"));
        for sub in &self.row.subresources.clone() {
            self.subresource(&format!("{collection}/{{name}}/{}", sub.name), sub);
        }
        if namespaced && self.has("list") {
            let list = self.stream("list", format!("list{}{}ForAllNamespaces", self.names.camel, self.row.kind.kind));
            self.add(format!("{base}/{plural}"), vec![("get", list, LIST.to_vec())], &["pretty"], &[]);
        }
        if self.has("watch") && self.api.built_in {
            self.watches(&base, &plural);
        }
    }

    fn watches(&mut self, base: &str, plural: &str) {
        let (camel, kind) = (self.names.camel.clone(), self.row.kind.kind.clone());
        let (scope, word, holder): (&[&str], _, _) = match self.row.namespaced {
            true => (&["namespace", "pretty"], "Namespaced", format!("{base}/watch/namespaces/{{namespace}}/{plural}")),
            false => (&["pretty"], "", format!("{base}/watch/{plural}")),
        };
        let list = self.stream("watchlist", format!("watch{camel}{word}{kind}List"));
        self.add(holder.clone(), vec![("get", list, LIST.to_vec())], scope, &[]);
        let one = self.stream("watch", format!("watch{camel}{word}{kind}"));
        let with_name: Vec<&str> = scope.iter().copied().chain(["name"]).collect();
        self.add(format!("{holder}/{{name}}"), vec![("get", one, LIST.to_vec())], &with_name, &[]);
        if self.row.namespaced {
            let all = self.stream("watchlist", format!("watch{camel}{kind}ListForAllNamespaces"));
            self.add(format!("{base}/watch/{plural}"), vec![("get", all, LIST.to_vec())], &["pretty"], &[]);
        }
    }

    fn scope(&self) -> Vec<&'static str> {
        if self.row.namespaced { vec!["namespace", "pretty"] } else { vec!["pretty"] }
    }

    fn word(&self) -> &'static str {
        if self.row.namespaced { "Namespaced" } else { "" }
    }

    fn id(&self, verb: &str, suffix: &str) -> String {
        self.named(verb, "", suffix)
    }

    /// `deleteCoreV1CollectionNamespacedPod`.
    fn named(&self, verb: &str, middle: &str, suffix: &str) -> String {
        format!("{verb}{}{middle}{}{}{suffix}", self.names.camel, self.word(), self.row.kind.kind)
    }

    fn collection(&mut self, path: &str) {
        let own = type_name(self.row, &self.row.kind);
        let mut operations = Operations::new();
        if self.has("list") {
            operations.push(("get", self.stream("list", self.id("list", "")), LIST.to_vec()));
        }
        if self.has("create") {
            let id = self.id("create", "");
            operations.push(("post", self.write("post", id, &self.row.kind, &own, &[200, 201, 202]), WRITE.to_vec()));
        }
        if self.has("deletecollection") {
            let id = self.named("delete", "Collection", "");
            let status = format!("{META}Status");
            let options = LIST.into_iter().filter(|p| !WATCH.contains(p)).chain(DELETE).collect();
            operations.push(("delete", self.delete("deletecollection", id, &status, &[200]), options));
        }
        let scope = self.scope();
        self.add(path.to_owned(), operations, &scope, &[]);
    }

    fn item(&mut self, path: &str) {
        let own = type_name(self.row, &self.row.kind);
        let kind = &self.row.kind;
        let mut operations = Operations::new();
        if self.has("get") {
            operations.push(("get", self.read(self.id("read", ""), kind, Answer::Type(&own)), vec![]));
        }
        if self.has("update") {
            operations.push((
                "put",
                self.write("put", self.id("replace", ""), kind, &own, &[200, 201]),
                WRITE.to_vec(),
            ));
        }
        if self.has("delete") {
            let status = format!("{META}Status");
            let answer = if self.row.hooks.returns_deleted { &own } else { &status };
            operations.push((
                "delete",
                self.delete("delete", self.id("delete", ""), answer, &[200, 202]),
                DELETE.to_vec(),
            ));
        }
        if self.has("patch") {
            operations.push(("patch", self.patch(self.id("patch", ""), kind, &own), patch_parameters()));
        }
        let mut scope = self.scope();
        scope.push("name");
        self.add(path.to_owned(), operations, &scope, &[]);
    }

    fn subresource(&mut self, path: &str, sub: &Subresource) {
        let row = self.row;
        let suffix = upper(&sub.name);
        let key = format!("{}/{}/{}", row.gvr.api_version(), row.gvr.resource, sub.name);
        let options = self.api.options.iter().find(|(k, _)| *k == key).map(|(_, refs)| refs.as_slice());
        let mut scope = self.scope();
        scope.push("name");
        let Some(options) = options else {
            let operations = self.object_subresource(sub, &suffix);
            return self.add(path.to_owned(), operations, &scope, &[]);
        };
        if sub.name == "log" {
            let read = self.read(self.id("read", &suffix), &sub.kind, Answer::Text);
            return self.add(path.to_owned(), vec![("get", read, vec![])], &scope, options);
        }
        scope.retain(|p| *p != "pretty");
        let operations = self.connect(sub, &suffix);
        self.add(path.to_owned(), operations, &scope, options);
        if sub.verbs.iter().any(|v| v == "delete") {
            let operations = self.connect(sub, &(suffix + "WithPath"));
            scope.push("path");
            self.add(format!("{path}/{{path}}"), operations, &scope, options);
        }
    }

    fn object_subresource(&self, sub: &Subresource, suffix: &str) -> Operations {
        let own = type_name(self.row, &sub.kind);
        let has = |verb: &str| sub.verbs.iter().any(|v| v == verb);
        let mut operations = Operations::new();
        if has("get") {
            operations.push(("get", self.read(self.id("read", suffix), &sub.kind, Answer::Type(&own)), vec![]));
        }
        if has("create") {
            let id = self.id("create", suffix);
            operations.push(("post", self.write("post", id, &sub.kind, &own, &[200, 201, 202]), WRITE.to_vec()));
        }
        if has("update") {
            let id = self.id("replace", suffix);
            operations.push(("put", self.write("put", id, &sub.kind, &own, &[200, 201]), WRITE.to_vec()));
        }
        if has("patch") {
            operations.push(("patch", self.patch(self.id("patch", suffix), &sub.kind, &own), patch_parameters()));
        }
        operations
    }

    fn connect(&self, sub: &Subresource, suffix: &str) -> Operations {
        let methods: &[(&'static str, &str)] = match sub.verbs.iter().any(|v| v == "delete") {
            true => &[
                ("get", "Get"),
                ("put", "Put"),
                ("post", "Post"),
                ("delete", "Delete"),
                ("options", "Options"),
                ("head", "Head"),
                ("patch", "Patch"),
            ],
            false => &[("get", "Get"), ("post", "Post")],
        };
        let one = |(method, word): &(&'static str, &str)| {
            let id = self.named("connect", word, suffix);
            let operation = self.operation("connect", id, &sub.kind, Answer::Anything, &[200]);
            (*method, operation.render(), vec![])
        };
        methods.iter().map(one).collect()
    }

    fn operation<'o>(
        &'o self,
        action: &'static str,
        id: String,
        kind: &Gvk,
        answer: Answer<'o>,
        codes: &'static [u16],
    ) -> Operation<'o> {
        let kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        Operation { tag: &self.names.tag, id, action, kind, body: None, answer, codes, protobuf: self.api.built_in }
    }

    fn stream(&self, action: &'static str, id: String) -> Map<String, Value> {
        let list = Gvk { kind: self.row.list_kind.clone(), ..self.row.kind.clone() };
        let watched = type_name(self.row, &list);
        let events = format!("{META}WatchEvent");
        let answer = if action == "list" { &watched } else { &events };
        let answer = if self.api.built_in { Answer::Stream(answer) } else { Answer::Type(answer) };
        self.operation(action, id, &self.row.kind, answer, &[200]).render()
    }

    fn read(&self, id: String, kind: &Gvk, answer: Answer<'_>) -> Map<String, Value> {
        self.operation("get", id, kind, answer, &[200]).render()
    }

    fn write(
        &self,
        action: &'static str,
        id: String,
        kind: &Gvk,
        own: &str,
        codes: &'static [u16],
    ) -> Map<String, Value> {
        let body = Some((own, self.body_media(), true));
        Operation { body, ..self.operation(action, id, kind, Answer::Type(own), codes) }.render()
    }

    fn delete(&self, action: &'static str, id: String, answer: &str, codes: &'static [u16]) -> Map<String, Value> {
        let options = format!("{META}DeleteOptions");
        let body = Some((options.as_str(), self.body_media(), false));
        Operation { body, ..self.operation(action, id, &self.row.kind, Answer::Type(answer), codes) }.render()
    }

    /// Media types of a body.
    fn body_media(&self) -> &'static [&'static str] {
        if self.api.built_in { &["*/*"] } else { &["application/json", "application/yaml"] }
    }

    fn patch(&self, id: String, kind: &Gvk, own: &str) -> Map<String, Value> {
        let patch = format!("{META}Patch");
        let media = if self.api.built_in { PATCH_MEDIA.as_slice() } else { PATCH_MEDIA_CUSTOM.as_slice() };
        let body = Some((patch.as_str(), media, true));
        let codes: &[u16] = if self.api.built_in { &[200, 201] } else { &[200] };
        Operation { body, ..self.operation("patch", id, kind, Answer::Type(own), codes) }.render()
    }

    /// Adds a path; parameters that all of its operations share are the path's.
    fn add(&mut self, path: String, operations: Operations, scope: &[&str], options: &[String]) {
        if operations.is_empty() {
            return;
        }
        let shared: Vec<&str> = match operations.as_slice() {
            [(_, _, only)] => only.clone(),
            _ => vec![],
        };
        let mut item = Map::new();
        for (method, mut operation, own) in operations {
            if !own.is_empty() && shared.is_empty() {
                operation.insert("parameters".into(), self.parameters(own, method, &[]));
            }
            item.insert(method.into(), Value::Object(operation));
        }
        let all: Vec<&str> = scope.iter().copied().chain(shared).collect();
        item.insert("parameters".into(), self.parameters(all, "", options));
        self.out.insert(path, Value::Object(item));
    }

    fn parameters(&self, names: Vec<&str>, method: &str, references: &[String]) -> Value {
        let known = |reference: &str| self.api.parameters.iter().find(|p| p.reference == reference);
        let manager = if method == "patch" { &self.api.field_manager.0 } else { &self.api.field_manager.1 };
        let mut found: Vec<Parameter> = references.iter().filter_map(|r| known(r)).cloned().collect();
        for name in names {
            let place = if matches!(name, "name" | "namespace" | "path") { "path" } else { "query" };
            let shared = match name {
                "fieldManager" => known(manager),
                _ => self.api.parameters.iter().find(|p| p.name() == name && p.place == place),
            };
            let mut parameter = shared.cloned().unwrap_or_else(|| Parameter::query(name));
            if place == "path" {
                (parameter.place, parameter.required) = ("path".into(), true);
            }
            found.push(parameter);
        }
        found.sort_by(|a, b| (a.name(), &a.place).cmp(&(b.name(), &b.place)));
        found.iter().map(tagged).collect()
    }
}

/// The v3 form, with the name it has in the v2 document.
fn tagged(parameter: &Parameter) -> Value {
    let mut out = parameter.v3();
    if parameter.reference != parameter.name() {
        out[super::v2::REFERENCE] = parameter.reference.as_str().into();
    }
    out
}

fn patch_parameters() -> Vec<&'static str> {
    let mut all = WRITE.to_vec();
    all.push("force");
    all
}

/// The definition's name of a kind.
fn type_name(row: &Row, kind: &Gvk) -> String {
    let built_in = row.types.as_ref().and_then(|(schema, _)| Some((schema, *schema.kinds.get(kind)?)));
    match built_in {
        Some((schema, id)) => schema.get(id).name.clone(),
        None => {
            // A group without a domain is one of Kubernetes' own.
            if !kind.group.contains('.') {
                return format!("io.k8s.api.{}.{}.{}", kind.group, kind.version, kind.kind);
            }
            let mut parts: Vec<&str> = kind.group.split('.').filter(|p| !p.is_empty()).rev().collect();
            parts.extend([kind.version.as_str(), kind.kind.as_str()]);
            parts.join(".")
        }
    }
}

/// A `$ref` to a type.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}
