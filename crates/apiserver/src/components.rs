//! `componentstatuses`: the health of the control plane's components, as clients of old ask for it. A component of this
//! process is asked through its handle, one elsewhere on this machine at its own port, as upstream does.

use crate::negotiate::{Form, Media, Offer, View};
use crate::proxy::{Destination, Trust};
use crate::query::Query;
use crate::registry::Served;
use crate::registry::call::{add_warnings, with_warnings};
use crate::registry::list::Selectors;
use crate::registry::options::ListOptions;
use crate::render::{self, AsRow, Include};
use crate::request_info::RequestInfo;
use crate::server::{ApiRequest, Inner};
use crate::{Body, body};
use api_core::meta::Meta;
use api_core::{ApiError, Reason};
use api_schema::codec;
use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The store, which the server asks itself.
const STORE: &str = "etcd-0";
/// Components that may run in another process of this machine, and the ports at which they tell their health.
const PORTS: &[(&str, u16)] = &[("controller-manager", 10257), ("scheduler", 10259)];

/// The components that run in this process.
#[derive(Debug, Clone, Default)]
pub struct InProcess(Arc<Mutex<BTreeMap<&'static str, Weak<()>>>>);

/// Held by a component as long as it runs.
#[derive(Debug)]
#[must_use = "the component is taken for ended when this is dropped"]
pub struct Alive(#[expect(dead_code, reason = "only whether it is still held matters")] Arc<()>);

impl InProcess {
    /// Says that a component (`controller-manager` or `scheduler`) runs in this process from now on.
    pub fn started(&self, name: &'static str) -> Alive {
        let token = Arc::new(());
        self.0.lock().insert(name, Arc::downgrade(&token));
        Alive(token)
    }

    /// Whether it runs; `None` if it was never started here.
    fn runs(&self, name: &str) -> Option<bool> {
        self.0.lock().get(name).map(|token| token.strong_count() > 0)
    }
}

/// GET of one component, or of all. Who asks is told that they are deprecated, also where there is none.
pub(crate) async fn serve(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let served = request.served()?.clone();
    let form = Form::negotiate(&request.parts.headers, Offer::Views, request.info.verb == "list")?;
    let warnings: Vec<String> = api_kinds::deprecation(&served.row.gvr).map(str::to_owned).into_iter().collect();
    let (headers, info, query) = (request.parts.headers, request.info, request.query);
    let answer = answer(server, &info, &query, &served, form).await.map(|mut response| {
        add_warnings(response.headers_mut(), &warnings);
        response
    });
    with_warnings(answer, Media::of_failure(&headers), &warnings)
}

async fn answer(
    server: &Inner,
    info: &RequestInfo,
    query: &Query,
    served: &Served,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let now_unix_us = jiff::Timestamp::now().as_microsecond();
    let rows = |components: &[Value], version| {
        let include = Include::of(query)?;
        let as_row = AsRow { include, version, now_unix_us, keeps: false };
        let row = |c: &Value| render::row(served, &codec::encode(c), as_row);
        components.iter().map(row).collect::<Result<Vec<_>, ApiError>>()
    };
    if info.verb == "get" {
        let Some(component) = one(server, &info.name).await else {
            let why = format!("Component not found: {}", info.name);
            return Err(ApiError::new(500, Reason::Unknown, why));
        };
        render::object(served, form, StatusCode::OK, &codec::encode(&component), query, now_unix_us)
    } else {
        let names = PORTS.iter().map(|(name, _)| *name).chain([STORE]);
        let mut components: Vec<Value> =
            join_all(names.map(|name| one(server, name))).await.into_iter().flatten().collect();
        let options = ListOptions::read(query, false)?;
        Selectors::new(served, &options)?;
        components.retain(|c| is_chosen(c, &options));
        let list: Bytes = match form.view {
            View::Table(version) => render::table(served, version, "{}", true, &rows(&components, version)?).into(),
            View::Metadata(_) if form.as_list == Some(false) => return Err(render::list_or_object(&served.row, false)),
            View::Metadata(version) => {
                let api_version = format!("meta.k8s.io/{version}");
                let item = |c: &Value| json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": c["metadata"]});
                let items: Vec<Value> = components.iter().map(item).collect();
                let items = if items.is_empty() { Value::Null } else { items.into() };
                json!({"kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": {}, "items": items})
                    .to_string()
                    .into()
            }
            View::Object => {
                for component in components.iter_mut().filter_map(Value::as_object_mut) {
                    component.remove("kind");
                    component.remove("apiVersion");
                }
                json!({"kind": served.row.list_kind, "apiVersion": "v1", "metadata": {}, "items": components})
                    .to_string()
                    .into()
            }
        };
        render::bytes(form.media, StatusCode::OK, list)
    }
}

fn is_chosen(component: &Value, options: &ListOptions) -> bool {
    let field = |name: &str| Some(if name == "metadata.name" { component.name() } else { "" });
    options.fields.matches(field) && options.labels.matches(&std::collections::BTreeMap::<String, String>::new())
}

/// A component with its health; `None` if there is none of that name.
async fn one(server: &Inner, name: &str) -> Option<Value> {
    let port = PORTS.iter().find(|(known, _)| *known == name).map(|(_, port)| *port);
    let (healthy, message, error) = match (port, server.config.components.runs(name)) {
        (Some(_), Some(true)) => (true, "ok".to_owned(), String::new()),
        (Some(_), Some(false)) => (false, "it has ended".to_owned(), String::new()),
        (Some(port), None) => match probe(server, port).await {
            Ok(()) => (true, "ok".to_owned(), String::new()),
            Err(why) => (false, why, String::new()),
        },
        (None, _) if name == STORE => match server.registry.store.revision().await {
            Ok(_) => (true, "ok".to_owned(), String::new()),
            Err(why) => (false, String::new(), why.to_string()),
        },
        (None, _) => return None,
    };
    let mut condition = json!({"type": "Healthy", "status": if healthy { "True" } else { "False" }});
    for (field, text) in [("message", message), ("error", error)] {
        if !text.is_empty() {
            condition[field] = text.into();
        }
    }
    Some(json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name, "creationTimestamp": null},
        "conditions": [condition]}))
}

/// Asks a component of another process of this machine.
async fn probe(server: &Inner, port: u16) -> Result<(), String> {
    let to = Destination { host: "127.0.0.1".into(), port, trust: Trust::Anyone };
    let answer = server.dialer.send(server, &to, "/healthz", Request::new(body::empty()), None).await?;
    match answer.status() {
        status if status.is_success() || status.is_redirection() => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
    }
}
