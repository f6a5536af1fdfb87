//! An API failure, as fields; it becomes a `Status` object once, at the edge of the server.

use crate::field::Errors;
use crate::gvk::{GroupKind, GroupResource};
use serde_json::{Map, Value};
use std::fmt;

/// The machine-readable reason of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is documented by its name and by the API")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// As it stands in `Status.reason`; empty for [`Reason::Unknown`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The reason that is written so; [`Reason::Unknown`] if there is none.
    pub fn parse(text: &str) -> Self {
        const ALL: [Reason; 18] = [
            Reason::Unauthorized,
            Reason::Forbidden,
            Reason::NotFound,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Gone,
            Reason::Invalid,
            Reason::ServerTimeout,
            Reason::Timeout,
            Reason::TooManyRequests,
            Reason::BadRequest,
            Reason::MethodNotAllowed,
            Reason::NotAcceptable,
            Reason::RequestEntityTooLarge,
            Reason::UnsupportedMediaType,
            Reason::InternalError,
            Reason::Expired,
            Reason::ServiceUnavailable,
        ];
        ALL.into_iter().find(|r| r.as_str() == text).unwrap_or(Reason::Unknown)
    }
}

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Machine-readable.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field, if it is about one.
    pub field: String,
}

/// `Status.details`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind, or its resource where upstream gives that.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// Causes in order.
    pub causes: Vec<Cause>,
    /// When to try again; 0 is absent.
    pub retry_after_seconds: u32,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: where a list may go on all the same; usually empty.
    pub continue_token: String,
    /// The whole `Status`, if somebody else has worded it: a webhook, say.
    pub status: Option<Box<Value>>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ApiError {
    /// A failure without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: String::new(), status: None }
    }

    /// A failure that is shown as this `Status` object.
    pub fn with_status(mut self, status: Value) -> Self {
        self.status = Some(Box::new(status));
        self
    }

    /// A failure with details, possibly empty ones.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about(code: u16, reason: Reason, gr: &GroupResource, name: &str, message: String) -> Self {
        Self::new(code, reason, message).with_details(Details {
            name: name.into(),
            group: gr.group.clone(),
            kind: gr.resource.clone(),
            ..Details::default()
        })
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::about(404, Reason::NotFound, gr, name, format!("{gr} {name:?} not found"))
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::about(409, Reason::AlreadyExists, gr, name, format!("{gr} {name:?} already exists"))
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {gr} {name:?}: {why}");
        Self::about(409, Reason::Conflict, gr, name, message)
    }

    /// 403: `pods "x" is forbidden: why`; without a name, `pods is forbidden: why`.
    pub fn forbidden(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = match (gr.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{gr} is forbidden: {why}"),
            (false, false) => format!("{gr} {name:?} is forbidden: {why}"),
        };
        Self::about(403, Reason::Forbidden, gr, name, message)
    }

    /// 422 with a cause for each field error.
    pub fn invalid(gk: &GroupKind, name: &str, errors: &Errors) -> Self {
        let causes = errors.0.iter().map(|e| Cause {
            reason: e.kind.reason().into(),
            message: e.body.clone(),
            field: e.field.clone(),
        });
        let details = Details {
            name: name.into(),
            group: gk.group.clone(),
            kind: gk.kind.clone(),
            causes: causes.collect(),
            ..Details::default()
        };
        let message = format!("{gk} {name:?} is invalid: {}", aggregate(errors));
        Self::new(422, Reason::Invalid, message).with_details(details)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let cause = Cause { message: why.to_string(), ..Cause::default() };
        Self::new(500, Reason::InternalError, format!("Internal error occurred: {why}"))
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 410 with reason `Expired`: the revision asked for is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// The same failure with a token to go on with.
    pub fn with_continue(mut self, token: String) -> Self {
        self.continue_token = token;
        self
    }

    /// 405 as a resource answers a verb that it has not.
    pub fn method_not_allowed() -> Self {
        Self::new(405, Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
            .with_details(Details::default())
    }

    /// 405 as a custom resource answers a verb that it has not.
    pub fn verb_not_supported(gr: &GroupResource, verb: &str) -> Self {
        Self::not_supported(gr, &format!("{verb} is not supported on resources of kind {:?}", gr.to_string()))
    }

    /// 405 of a custom resource, with the reason in words.
    pub fn not_supported(gr: &GroupResource, why: &str) -> Self {
        Self::about(405, Reason::MethodNotAllowed, gr, "", why.to_owned())
    }

    /// 404 as an unknown path below `/api` or `/apis` is answered.
    pub fn no_such_resource() -> Self {
        Self::new(404, Reason::NotFound, "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        if let Some(status) = &self.status {
            return (**status).clone();
        }
        let mut status = Map::new();
        status.insert("kind".into(), "Status".into());
        status.insert("apiVersion".into(), "v1".into());
        let mut metadata = Map::new();
        put(&mut metadata, "continue", &self.continue_token);
        status.insert("metadata".into(), metadata.into());
        status.insert("status".into(), "Failure".into());
        put(&mut status, "message", &self.message);
        put(&mut status, "reason", self.reason.as_str());
        if let Some(d) = &self.details {
            status.insert("details".into(), d.to_value());
        }
        status.insert("code".into(), self.code.into());
        Value::Object(status)
    }
}

impl Details {
    /// As it stands in a `Status`; empty fields are left out.
    pub fn to_value(&self) -> Value {
        let mut d = Map::new();
        put(&mut d, "name", &self.name);
        put(&mut d, "group", &self.group);
        put(&mut d, "kind", &self.kind);
        put(&mut d, "uid", &self.uid);
        if !self.causes.is_empty() {
            d.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            d.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(d)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut c = Map::new();
        put(&mut c, "reason", &self.reason);
        put(&mut c, "message", &self.message);
        put(&mut c, "field", &self.field);
        Value::Object(c)
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: &str) {
    if !value.is_empty() {
        map.insert(key.into(), value.into());
    }
}

/// One error as it is, several in brackets, the same text only once (upstream's `Aggregate`).
pub(crate) fn aggregate(errors: &Errors) -> String {
    let mut texts: Vec<String> = Vec::new();
    for e in &errors.0 {
        let text = e.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;
    use serde_json::json;

    #[test]
    fn an_invalid_object_lists_its_causes() {
        let mut errors = Errors::new();
        errors.required(&Path::new("spec").child("a"), "");
        errors.invalid(&Path::new("spec").child("b"), "x", "no");
        let gk = GroupKind { group: "apps".into(), kind: "Deployment".into() };
        let e = ApiError::invalid(&gk, "web", &errors);
        assert_eq!(
            e.message,
            "Deployment.apps \"web\" is invalid: [spec.a: Required value, spec.b: Invalid value: \"x\": no]"
        );
        let status = e.to_status();
        assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueInvalid");
        assert_eq!(status["details"]["causes"][1]["field"], "spec.b");
        assert_eq!(status["code"], 422);
    }

    #[test]
    fn not_found_names_resource_and_group() {
        let gr = GroupResource { group: "apps".into(), resource: "deployments".into() };
        let s = ApiError::not_found(&gr, "x").to_status();
        assert_eq!(s["message"], "deployments.apps \"x\" not found");
        assert_eq!(s["details"], json!({"name": "x", "group": "apps", "kind": "deployments"}));
    }
}
