//! What the verbs share: the request taken apart, its body read, its answer put together.

use super::options::{Validation, WriteOptions};
use super::{Served, object};
use crate::audit::Annotations;
use crate::authn::UserInfo;
use crate::body::{self, Body, BoxError};
use crate::negotiate::{Form, Media, View, unsupported};
use crate::pipeline::failure;
use crate::query::Query;
use crate::render;
use crate::request_info::RequestInfo;
use crate::server::Inner;
use crate::{admission, negotiate};
use api_core::{ApiError, GroupResource, Reason};
use api_schema::row::{Row, WriteContext};
use api_schema::{codec, normalize};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// A request for a resource that is stored.
pub(crate) struct Call {
    pub(crate) server: Arc<Inner>,
    pub(crate) served: Arc<Served>,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) user: UserInfo,
    pub(crate) form: Form,
    /// When it came: microseconds since the epoch.
    pub(crate) now_unix_us: i64,
    /// What the audit log says beside.
    pub(crate) annotations: Annotations,
    /// What the client is told beside the answer.
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

impl Call {
    pub(crate) fn row(&self) -> &Row {
        &self.served.row
    }

    pub(crate) fn group_resource(&self) -> GroupResource {
        self.row().gvr.group_resource()
    }

    /// All of the request's body.
    pub(crate) async fn read_body(&self, body: Body) -> Result<Bytes, ApiError> {
        let bytes = read_body(body, self.server.config.limits.request_body_bytes_max).await?;
        self.server.metrics.traffic.body(&self.row().gvr.resource, &self.info.verb, bytes.len());
        Ok(mended(&self.headers, bytes))
    }

    pub(crate) fn not_found(&self) -> ApiError {
        // What could not be a name was not looked for.
        let wrong = api_core::names::is_path_segment(&self.info.name);
        if !wrong.is_empty() {
            let why = format!("Name parameter invalid: {:?}: {}", self.info.name, wrong.join(";"));
            return ApiError::bad_request(why);
        }
        ApiError::not_found(&self.group_resource(), &self.info.name)
    }

    /// Key of an object of this resource, in this request's namespace.
    pub(crate) fn key(&self, name: &str) -> String {
        self.served.key(&self.info.namespace, name)
    }

    /// When it came: seconds since the epoch.
    pub(crate) fn now_unix_s(&self) -> i64 {
        self.now_unix_us.div_euclid(1_000_000)
    }

    /// What hooks are told.
    pub(crate) fn context(&self) -> WriteContext<'_> {
        WriteContext {
            now_unix_s: self.now_unix_s(),
            subresource: &self.info.subresource,
            user: &self.user.name,
            uid: &self.user.uid,
            groups: &self.user.groups,
            extra: Some(&self.user.extra),
        }
    }

    /// The present time as the API writes it.
    pub(crate) fn now(&self) -> String {
        api_core::time::format_unix_s(self.now_unix_s())
    }

    /// Name of the manager of fields that this request sets.
    pub(crate) fn manager(&self, options: &WriteOptions) -> String {
        if !options.field_manager.is_empty() {
            return options.field_manager.clone();
        }
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let name = agent.split('/').next().unwrap_or("");
        let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
        if name.is_empty() { "unknown".into() } else { name }
    }

    /// What admission is told.
    pub(crate) fn admission<'a>(
        &'a self,
        operation: admission::Operation,
        name: &'a str,
        old: Option<&'a Value>,
        dry_run: bool,
    ) -> admission::Attributes<'a> {
        admission::Attributes {
            operation,
            user: &self.user,
            row: self.row(),
            resource: &self.row().gvr,
            subresource: &self.info.subresource,
            namespace: if self.row().namespaced { &self.info.namespace } else { "" },
            name,
            old,
            revision: 0,
            dry_run,
            request: Some(admission::Asked { info: &self.info, query: &self.query, annotations: &self.annotations }),
            delete_options: None,
        }
    }

    pub(crate) fn warn(&self, warnings: impl IntoIterator<Item = String>) {
        self.warnings.lock().extend(warnings);
    }

    /// Decodes a body of the row's own kind.
    pub(crate) fn decode(&self, bytes: &[u8], validation: Validation) -> Result<Value, ApiError> {
        let media = self.check_media()?;
        if let Some(custom) = &self.row().custom {
            return super::custom::decode::decode(self, custom, bytes, media, validation);
        }
        let decoded = codec::decode(self.row(), bytes, media, fields(validation))?;
        self.warn(decoded.warnings);
        Ok(decoded.value)
    }

    /// The language of the body, which custom resources take fewer of than others.
    pub(crate) fn check_media(&self) -> Result<codec::Media, ApiError> {
        let media = body_media(&self.headers)?;
        if self.row().custom.is_some() && media == codec::Media::Protobuf {
            return Err(unsupported(&["application/json", "application/yaml"]));
        }
        Ok(media)
    }

    /// Drops empty lists that read as absent once they are stored; who sets one owns the field all the same.
    pub(crate) fn drop_empty_lists(&self, value: &mut Value) {
        let row = self.row();
        if row.custom.is_none() && object::is_as_stored(row) && normalize::has_empty_list(value) {
            normalize::normalize(row.schema(), row.root(), value);
        }
    }

    /// Brings a decoded object into its stored version, with defaults.
    pub(crate) fn complete(&self, value: &mut Value) {
        if !object::is_as_stored(self.row()) && normalize::has_empty_list(value) {
            normalize::normalize(self.row().schema(), self.row().root(), value);
        }
        object::convert(self.row(), value, &self.row().storage_version);
        if let Some(default) = self.row().hooks.default {
            default(value);
        }
        if let Some(custom) = &self.row().custom {
            custom.default(value);
        }
    }

    /// An object as answer; `bytes` are served bytes of the stored version.
    pub(crate) async fn answer(&self, status: StatusCode, bytes: &Bytes) -> Result<Response<Body>, ApiError> {
        let bytes = super::custom::convert::present_one(&self.server, &self.served, bytes).await?;
        let bytes = object::to_version(self.row(), &bytes)?;
        let response = match (self.form.view, self.form.media) {
            (View::Object, Media::Json) => body::answer(status, "application/json", body::full(bytes)),
            _ => render::object(&self.served, self.form, status, &bytes, &self.query, self.now_unix_us)?,
        };
        Ok(self.finish(response))
    }

    /// Any other JSON answer.
    pub(crate) fn answer_value(&self, status: StatusCode, value: &Value) -> Result<Response<Body>, ApiError> {
        let bytes = object::encode(value);
        Ok(self.finish(render::bytes(self.form.media, status, bytes)?))
    }

    /// Adds what the client is told beside the answer.
    pub(crate) fn finish(&self, mut response: Response<Body>) -> Response<Body> {
        add_warnings(response.headers_mut(), &self.warnings.lock());
        response
    }
}

/// What was warned of before a failure is told with it.
pub(crate) fn with_warnings(
    answer: Result<Response<Body>, ApiError>,
    media: Media,
    warnings: &[String],
) -> Result<Response<Body>, ApiError> {
    answer.or_else(|error| {
        if warnings.is_empty() {
            return Err(error);
        }
        let mut response = failure(&error, media);
        add_warnings(response.headers_mut(), warnings);
        Ok(response)
    })
}

/// Characters of all warnings of an answer together. Beyond that each is cut at [`WARNING_CHARS_MAX`], as many as fit.
const WARNINGS_CHARS_MAX: usize = 4 << 10;
const WARNING_CHARS_MAX: usize = 256;

/// The warnings that are told, each once. What HTTP has no place for is not told, as upstream has it.
fn told(warnings: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let can_be_told = |text: &&String| !text.is_empty() && !text.contains(char::is_control);
    let all: Vec<&String> = warnings.iter().filter(can_be_told).filter(|text| seen.insert(text.as_str())).collect();
    if all.iter().map(|text| text.chars().count()).sum::<usize>() <= WARNINGS_CHARS_MAX {
        return all.into_iter().cloned().collect();
    }
    let mut written = 0;
    let cut = |text: &String| text.chars().take(WARNING_CHARS_MAX).collect::<String>();
    let fits = |text: &String| {
        let fits = written < WARNINGS_CHARS_MAX;
        written += text.chars().count();
        fits
    };
    all.into_iter().map(cut).take_while(fits).collect()
}

/// Writes `Warning` headers.
pub(crate) fn add_warnings(headers: &mut HeaderMap, warnings: &[String]) {
    for text in &told(warnings) {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(http::header::WARNING, value);
        }
    }
}

pub(crate) fn fields(validation: Validation) -> codec::FieldValidation {
    match validation {
        Validation::Ignore => codec::FieldValidation::Ignore,
        Validation::Warn => codec::FieldValidation::Warn,
        Validation::Strict => codec::FieldValidation::Strict,
    }
}

/// The language of a body by its `Content-Type`.
pub(crate) fn body_media(headers: &HeaderMap) -> Result<codec::Media, ApiError> {
    match negotiate::content_type(headers).as_str() {
        "" | "application/json" => Ok(codec::Media::Json),
        "application/yaml" => Ok(codec::Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(codec::Media::Protobuf),
        _ => Err(unsupported(&["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])),
    }
}

/// A body of JSON with what is no Unicode replaced, as upstream's decoder does it; any other as it is.
pub(crate) fn mended(headers: &HeaderMap, bytes: Bytes) -> Bytes {
    let content_type = negotiate::content_type(headers);
    let is_json = content_type.is_empty() || content_type.ends_with("json");
    is_json.then(|| api_core::unicode::mended(&bytes)).flatten().map_or(bytes, Bytes::from)
}

/// Reads a whole body, up to the limit.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    // Boxed: the compiler cannot see through `Limited` that the future is `Send`.
    let all: BoxFuture<'static, Result<Bytes, BoxError>> =
        Limited::new(body, bytes_max).collect().map_ok(http_body_util::Collected::to_bytes).boxed();
    match all.await {
        Ok(all) => Ok(all),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => {
            let message = format!("Request entity too large: limit is {bytes_max}");
            Err(ApiError::new(413, Reason::RequestEntityTooLarge, message))
        }
        Err(e) => Err(ApiError::bad_request(format!("reading the body failed: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(warnings: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        add_warnings(&mut headers, &warnings.into_iter().collect::<Vec<_>>());
        headers.get_all("warning").iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn warnings_are_told_once_in_any_language_and_not_for_ever() {
        let told = headers(["a", "", "b\nc", "a", "d \"e\" \u{e9}"].map(str::to_owned));
        assert_eq!(told, ["299 - \"a\"", "299 - \"d \\\"e\\\" \u{e9}\""]);
        // As many as a body can cause: each is not compared with each.
        let many = headers((0..300_000).map(|i| format!("spec.containers[0].env[{i}]: hides previous definition")));
        let chars: usize = many.iter().map(|text| text.chars().count() - "299 - \"\"".len()).sum();
        assert!((WARNINGS_CHARS_MAX..WARNINGS_CHARS_MAX + WARNING_CHARS_MAX).contains(&chars), "{chars}");
        assert_eq!(headers(["x".repeat(WARNINGS_CHARS_MAX + 1)]), [format!("299 - \"{}\"", "x".repeat(256))]);
    }
}
