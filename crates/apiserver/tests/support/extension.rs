//! An extension server of a test's own: flunders of wardle.example.com/v1alpha1, kept in memory.
//!
//! It believes in `X-Remote-*` headers because only holders of a front proxy's certificate can connect, and remembers
//! who asked what.

use super::{Answer, Backend, upgraded};
use apiserver::{Body, body};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Path of the group version.
pub const ROOT: &str = "/apis/wardle.example.com/v1alpha1";
const API_VERSION: &str = "wardle.example.com/v1alpha1";
/// What a client that takes the aggregated form names.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    /// Its headers.
    pub headers: HeaderMap,
}

/// What the server knows, and how it behaves.
pub struct State {
    flunders: Mutex<BTreeMap<(String, String), Value>>,
    /// Each with its revision, from the first on.
    changes: watch::Sender<Vec<Value>>,
    /// All requests that were not this server's own checks.
    pub seen: Mutex<Vec<Seen>>,
    /// Whether discovery has the aggregated form.
    pub aggregated: bool,
    /// Answers everything with this, if it is not 0.
    pub broken: Mutex<u16>,
    /// What the group version's path answers; `null` for a list of its resources.
    pub listed: Mutex<Value>,
    /// OpenAPI v2 document; `null` for none.
    pub v2: Mutex<Value>,
    /// OpenAPI v3 document of the group version; `null` for none.
    pub v3: Mutex<Value>,
}

/// The server; ends with the value.
pub struct Extension {
    /// What it knows.
    pub state: Arc<State>,
    /// How it is reached.
    pub backend: Backend,
}

impl Extension {
    /// Starts it with a certificate for `name`; clients must have one of `clients`.
    pub async fn start(ca: &pki::Pair, name: &str, clients: &pki::Pair, aggregated: bool) -> Self {
        let state = Arc::new(State {
            flunders: Mutex::default(),
            changes: watch::Sender::default(),
            seen: Mutex::default(),
            aggregated,
            broken: Mutex::new(0),
            listed: Mutex::new(Value::Null),
            v2: Mutex::new(Value::Null),
            v3: Mutex::new(Value::Null),
        });
        let served = state.clone();
        let handle = move |request: Request<Incoming>| {
            let state = served.clone();
            async move { Answer::Response(Box::new(state.answer(request).await)) }
        };
        Self { backend: Backend::serve(ca, name, Some(clients), handle).await, state }
    }

    /// The last request whose line contains `text`.
    pub fn last(&self, text: &str) -> Option<Seen> {
        self.state.seen.lock().iter().rev().find(|s| s.line.contains(text)).cloned()
    }
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    body::json(StatusCode::from_u16(code).expect("code"), value)
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    json_answer(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code}),
    )
}

fn resource() -> Value {
    json!({"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], "shortNames": ["fl"]})
}

fn aggregated_document() -> Value {
    let kind = json!({"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"});
    let resource = json!({"resource": "flunders", "responseKind": kind, "scope": "Namespaced",
        "singularResource": "flunder", "verbs": resource()["verbs"], "shortNames": ["fl"],
        "subresources": [{"subresource": "status", "verbs": ["get", "patch", "update"]}]});
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2beta1", "metadata": {}, "items": [{
        "metadata": {"name": "wardle.example.com", "creationTimestamp": null},
        "versions": [{"version": "v1alpha1", "resources": [resource], "freshness": "Current"}]}]})
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let line = format!("{} {}", request.method(), request.uri());
        let user = request.headers().get("x-remote-user").map(|u| u.to_str().expect("text").to_owned());
        let own = user.as_deref().is_some_and(|u| u == "system:kube-aggregator" || u == "system:aggregator");
        if !own {
            self.seen.lock().push(Seen { line, headers: request.headers().clone() });
        }
        let broken = *self.broken.lock();
        if broken != 0 {
            return body::text(StatusCode::from_u16(broken).expect("code"), "broken");
        }
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/openapi/v2" => return document(&self.v2.lock()),
            "/openapi/v3" if !self.v3.lock().is_null() => {
                let url = format!("/openapi/v3{ROOT}?hash=ABC");
                let paths = json!({&ROOT[1..]: {"serverRelativeURL": url}, "version": {"serverRelativeURL": "/x"},
                    "apis/wardle.example.com": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com?hash=G"}});
                return json_answer(200, &json!({"paths": paths}));
            }
            "/apis" if self.aggregated => {
                let mut answer = json_answer(200, &aggregated_document());
                answer.headers_mut().insert(header::CONTENT_TYPE, AGGREGATED.parse().expect("value"));
                answer.headers_mut().insert(header::ETAG, "\"one\"".parse().expect("value"));
                return answer;
            }
            ROOT if !self.listed.lock().is_null() => return json_answer(200, &self.listed.lock()),
            ROOT => {
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": [
                    resource(), {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder",
                        "verbs": ["get", "patch", "update"]}]});
                return json_answer(200, &list);
            }
            _ => {}
        }
        if path == "/openapi/v3/apis/wardle.example.com" {
            return json_answer(200, &json!({"its": "group"}));
        }
        if path.strip_prefix("/openapi/v3") == Some(ROOT) {
            return document(&self.v3.lock());
        }
        match path.strip_prefix(ROOT) {
            Some(below) => self.resource(below, request).await,
            None => body::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    async fn resource(&self, below: &str, request: Request<Incoming>) -> Response<Body> {
        let parts: Vec<&str> = below.trim_matches('/').split('/').collect();
        let query = request.uri().query().unwrap_or("").to_owned();
        match parts.as_slice() {
            ["flunders"] => self.collection("", &query, request).await,
            ["namespaces", namespace, "flunders"] => self.collection(namespace, &query, request).await,
            ["namespaces", _, "flunders", _, "elsewhere"] => {
                let mut answer = body::text(StatusCode::FOUND, "go");
                answer.headers_mut().insert(header::LOCATION, "https://127.0.0.1:1/".parse().expect("value"));
                answer
            }
            ["namespaces", _, "flunders", _, "talk"] => upgraded::echo(request),
            ["namespaces", namespace, "flunders", name, ..] => self.one(namespace, name, request).await,
            _ => status(404, "NotFound", "the server could not find the requested resource"),
        }
    }

    /// Revision of the last change; the empty list is at 1.
    fn revision(&self) -> usize {
        self.changes.borrow().len() + 1
    }

    /// Notes a change, and with it the object's revision.
    fn changed(&self, kind: &str, object: &mut Value) {
        self.changes.send_modify(|changes| {
            object["metadata"]["resourceVersion"] = (changes.len() + 2).to_string().into();
            changes.push(json!({"type": kind, "object": object}));
        });
    }

    fn put(&self, namespace: &str, name: &str, mut object: Value, kind: &str) -> Value {
        let mut all = self.flunders.lock();
        self.changed(kind, &mut object);
        all.insert((namespace.to_owned(), name.to_owned()), object.clone());
        object
    }

    /// The changes after a revision, as lines.
    fn changes_after(&self, revision: usize) -> Body {
        let from = (self.changes.subscribe(), revision.saturating_sub(1));
        body::stream(futures::stream::unfold(from, |(mut changes, told)| async move {
            let all = changes.wait_for(|all| all.len() > told).await.ok()?;
            let lines: String = all[told..].iter().map(|change| format!("{change}\n")).collect();
            let told = all.len();
            drop(all);
            Some((Ok(lines.into()), (changes, told)))
        }))
    }

    async fn collection(&self, namespace: &str, query: &str, request: Request<Incoming>) -> Response<Body> {
        match *request.method() {
            Method::GET if query.contains("watch=") => {
                let asked = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
                // Without a revision only what is new is told.
                let from = asked.and_then(|revision| revision.parse().ok()).unwrap_or_else(|| self.revision());
                body::answer(StatusCode::OK, "application/json", self.changes_after(from))
            }
            Method::GET => {
                let all = self.flunders.lock();
                let items = all.iter().filter(|((n, _), _)| namespace.is_empty() || n == namespace);
                let items: Vec<Value> = items.map(|(_, v)| v.clone()).collect();
                let revision = self.revision().to_string();
                let mut answer = json_answer(
                    200,
                    &json!({"kind": "FlunderList", "apiVersion": API_VERSION,
                    "metadata": {"resourceVersion": revision}, "items": items}),
                );
                let warning = "299 - \"flunders are old\"".parse().expect("value");
                answer.headers_mut().insert("warning", warning);
                answer.headers_mut().insert("x-extension", "yes".parse().expect("value"));
                answer.headers_mut().insert("audit-id", "its own".parse().expect("value"));
                answer.headers_mut().insert("cache-control", "max-age=60".parse().expect("value"));
                answer.headers_mut().insert("proxy-authenticate", "Basic".parse().expect("value"));
                answer.headers_mut().insert("access-control-allow-origin", "*".parse().expect("value"));
                answer
            }
            Method::POST => {
                let mut object = read(request).await;
                let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
                if self.flunders.lock().contains_key(&(namespace.to_owned(), name.clone())) {
                    return status(
                        409,
                        "AlreadyExists",
                        &format!("flunders.wardle.example.com {name:?} already exists"),
                    );
                }
                object["metadata"]["namespace"] = namespace.into();
                object["metadata"]["uid"] = format!("uid-{name}").into();
                object["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z".into();
                json_answer(201, &self.put(namespace, &name, object, "ADDED"))
            }
            Method::DELETE => {
                let mut all = self.flunders.lock();
                let keys: Vec<_> = all.keys().filter(|(n, _)| n == namespace).cloned().collect();
                keys.iter()
                    .filter_map(|key| all.remove(key))
                    .for_each(|mut object| self.changed("DELETED", &mut object));
                json_answer(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
        }
    }

    async fn one(&self, namespace: &str, name: &str, request: Request<Incoming>) -> Response<Body> {
        let found = self.flunders.lock().get(&(namespace.to_owned(), name.to_owned())).cloned();
        let Some(mut object) = found else {
            return status(404, "NotFound", &format!("flunders.wardle.example.com {name:?} not found"));
        };
        match *request.method() {
            Method::PUT => json_answer(200, &self.put(namespace, name, read(request).await, "MODIFIED")),
            Method::PATCH => {
                merge(&mut object, &read(request).await);
                json_answer(200, &self.put(namespace, name, object, "MODIFIED"))
            }
            Method::DELETE => {
                let mut all = self.flunders.lock();
                all.remove(&(namespace.to_owned(), name.to_owned()));
                self.changed("DELETED", &mut object);
                json_answer(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => json_answer(200, &object),
        }
    }
}

fn document(value: &Value) -> Response<Body> {
    if value.is_null() { body::text(StatusCode::NOT_FOUND, "404 page not found\n") } else { json_answer(200, value) }
}

async fn read(request: Request<Incoming>) -> Value {
    let bytes = request.into_body().collect().await.expect("body").to_bytes();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().map(|o| o.remove(name));
        } else {
            merge(&mut object[name], value);
        }
    }
}
