//! `componentstatuses`: the health of what the server itself depends on, as clients of old ask for it. What is not measured
//! is not listed.

use crate::Body;
use crate::negotiate::{Form, View};
use crate::registry::call::add_warnings;
use crate::render::{self, Include};
use crate::server::{ApiRequest, Inner};
use api_core::ApiError;
use api_core::meta::Meta;
use api_schema::codec;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// The only component that the server measures: its store.
const STORE: &str = "etcd-0";

/// GET of one component, or of all.
pub(crate) async fn serve(server: &Inner, request: ApiRequest) -> Result<Response<Body>, ApiError> {
    let served = request.served()?;
    let form = Form::negotiate(&request.parts.headers, true)?;
    let now = crate::authn::now();
    let component = store(server).await;
    let bytes = codec::encode(&component);
    let mut response = if request.info.verb == "get" {
        if request.info.name != component.name() {
            return Err(ApiError::not_found(&served.row.gvr.group_resource(), &request.info.name));
        }
        render::object(served, form, StatusCode::OK, &bytes, &request.query, now)?
    } else {
        let list = match form.view {
            View::Table(version) => {
                let row = render::row(served, &bytes, Include::of(&request.query)?, version, now)?;
                render::table(served, version, "{}", true, &[row])
            }
            _ => json!({"kind": served.row.list_kind, "apiVersion": "v1", "metadata": {}, "items": [component]})
                .to_string(),
        };
        render::bytes(form.media, StatusCode::OK, list.into())?
    };
    let warnings: Vec<String> = api_kinds::deprecation(&served.row.gvr).map(str::to_owned).into_iter().collect();
    add_warnings(response.headers_mut(), &warnings);
    Ok(response)
}

/// Asks the store.
async fn store(server: &Inner) -> Value {
    let condition = match server.registry.store.revision().await {
        Ok(_) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(error) => json!({"type": "Healthy", "status": "False", "message": error.to_string()}),
    };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": STORE, "creationTimestamp": null},
        "conditions": [condition]})
}
