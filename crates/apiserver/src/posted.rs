//! A POST whose body is an object that is never stored, and whose answer is that object completed: token requests and
//! reviews.

use crate::body::Body;
use crate::negotiate::{Form, Media, Offer};
use crate::query::Query;
use crate::registry::call::{add_warnings, body_media, fields, mended, read_body};
use crate::registry::options::WriteOptions;
use crate::render;
use crate::server::Inner;
use api_core::meta::Meta;
use api_core::{ApiError, Gvk};
use api_patch::managed;
use api_schema::codec;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use serde_json::Value;

/// The object, and what is needed to answer it.
#[derive(Debug)]
pub(crate) struct Posted {
    /// The object as decoded.
    pub(crate) value: Value,
    /// Whether nothing is to come of it.
    pub(crate) dry_run: bool,
    kind: Gvk,
    subresource: String,
    manager: String,
    media: Media,
    warnings: Vec<String>,
}

impl Posted {
    /// Reads the body as an object of `kind`.
    pub(crate) async fn read(
        server: &Inner,
        parts: &Parts,
        query: &Query,
        body: Body,
        kind: &Gvk,
        subresource: &str,
    ) -> Result<Self, ApiError> {
        let media = Form::negotiate(&parts.headers, Offer::Plain, false)?.media;
        let options = WriteOptions::read(query, "CreateOptions", false)?;
        let bytes = read_body(body, server.config.limits.request_body_bytes_max).await?;
        let bytes = mended(&parts.headers, bytes);
        let root = api_kinds::type_of(kind).ok_or_else(ApiError::no_such_resource)?;
        let language = body_media(&parts.headers)?;
        let decoded = codec::decode_as(api_kinds::schema(), root, kind, &bytes, language, fields(options.validation))?;
        let mut value = decoded.value;
        // What a client may not say of a new object is not heard.
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
                metadata.remove(field);
            }
            metadata.entry("creationTimestamp").and_modify(|time| *time = Value::Null);
        }
        Ok(Self {
            value,
            dry_run: options.dry_run,
            kind: kind.clone(),
            subresource: subresource.to_owned(),
            manager: manager(&options, &parts.headers),
            media,
            warnings: decoded.warnings,
        })
    }

    /// Notes who set which fields, as every write does.
    pub(crate) fn note_manager(&mut self, now_unix_s: i64) {
        let Some(root) = api_kinds::type_of(&self.kind) else { return };
        let (api_version, now) = (self.kind.api_version(), api_core::time::format_unix_s(now_unix_s));
        let manager = managed::Manager {
            name: &self.manager,
            api_version: &api_version,
            subresource: &self.subresource,
            now: &now,
            reset: managed::reset_fields(false, &self.subresource),
        };
        managed::update(api_kinds::schema(), root, None, &mut self.value, &manager);
    }

    /// What the body was warned of.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// 201 with the object.
    pub(crate) fn answer(mut self) -> Result<Response<Body>, ApiError> {
        if self.value["kind"] != "Status" {
            self.value.metadata_mut().entry("creationTimestamp").or_insert(Value::Null);
        }
        let mut response = render::bytes(self.media, StatusCode::CREATED, codec::encode(&self.value))?;
        add_warnings(response.headers_mut(), &self.warnings);
        Ok(response)
    }
}

fn manager(options: &WriteOptions, headers: &HeaderMap) -> String {
    if !options.field_manager.is_empty() {
        return options.field_manager.clone();
    }
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let name = managed::default_manager(agent);
    if name.is_empty() { "unknown".into() } else { name }
}
