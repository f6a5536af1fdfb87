//! What webhooks are asked about a connection: its options, read from the URL as upstream reads them.

use crate::admission::{Asked, Attributes, Operation};
use crate::authn::UserInfo;
use crate::query::Query;
use crate::registry::Served;
use crate::server::Inner;
use api_core::ApiError;
use serde_json::{Map, Value};

/// Options that are lists of texts, that are true or false, that are numbers, and that are text.
const LISTS: [&str; 1] = ["command"];
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];
const NUMBERS: [&str; 1] = ["ports"];
const TEXTS: [&str; 1] = ["container"];

/// Asks webhooks whether the connection may be made. Reading a log is none.
pub(super) async fn connection(
    server: &Inner,
    served: &Served,
    user: &UserInfo,
    asked: Asked<'_>,
) -> Result<(), ApiError> {
    let info = asked.info;
    let Some(sub) = served.row.subresource(&info.subresource).filter(|_| info.subresource != "log") else {
        return Ok(());
    };
    let mut options = Map::new();
    options.insert("kind".into(), sub.kind.kind.as_str().into());
    options.insert("apiVersion".into(), sub.kind.api_version().into());
    if info.subresource == "proxy" {
        let path = info.parts.get(3..).unwrap_or_default().join("/");
        if !path.is_empty() {
            options.insert("path".into(), path.into());
        }
    } else {
        read(asked.query, &mut options);
    }
    let attributes = Attributes {
        operation: Operation::Connect,
        user,
        row: &served.row,
        resource: &served.row.gvr,
        subresource: &info.subresource,
        namespace: if served.row.namespaced { &info.namespace } else { "" },
        name: &info.name,
        old: None,
        revision: 0,
        dry_run: false,
        request: Some(asked),
        delete_options: None,
    };
    let mut warnings = Vec::new();
    server.admission.review(&attributes, Value::Object(options), &mut warnings).await.map(drop)
}

fn read(query: &Query, options: &mut Map<String, Value>) {
    for field in FLAGS.into_iter().filter(|f| query.flag(f)) {
        options.insert(field.into(), true.into());
    }
    for field in TEXTS.into_iter().filter(|f| !query.get(f).is_empty()) {
        options.insert(field.into(), query.get(field).into());
    }
    for field in LISTS.into_iter().filter(|f| query.has(f)) {
        options.insert(field.into(), query.all(field).map(Value::from).collect());
    }
    for field in NUMBERS.into_iter().filter(|f| query.has(f)) {
        let numbers = query.all(field).flat_map(|v| v.split(',')).filter_map(|n| n.trim().parse::<i32>().ok());
        options.insert(field.into(), numbers.map(Value::from).collect());
    }
}
