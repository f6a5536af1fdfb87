//! Options of a request, from its query (and a DELETE's body), checked in upstream's words.

use crate::query::Query;
use api_core::field::{BadValue, ErrorKind, Errors, Path};
use api_core::selector::{fields, labels};
use api_core::{ApiError, GroupKind, Reason};
use serde_json::Value;

/// How unknown and duplicate fields are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// Options of a create, update or patch.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: Validation,
    pub(crate) field_manager: String,
    pub(crate) force: bool,
}

impl WriteOptions {
    /// Reads `CreateOptions`, `UpdateOptions` or `PatchOptions` (`kind`); `apply` is server-side apply.
    pub(crate) fn read(query: &Query, kind: &str, apply: bool) -> Result<Self, ApiError> {
        let mut errors = Errors::new();
        let field_manager = query.get("fieldManager").to_owned();
        if kind == "PatchOptions" {
            if apply && field_manager.is_empty() {
                errors.required(&Path::new("fieldManager"), "is required for apply patch");
            } else if !apply && query.has("force") {
                errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
            }
        }
        check_field_manager(&field_manager, &mut errors);
        let dry_run = read_dry_run(query.all("dryRun"), &mut errors);
        let validation = match query.get("fieldValidation") {
            "Ignore" => Validation::Ignore,
            "" | "Warn" => Validation::Warn,
            "Strict" => Validation::Strict,
            other => {
                errors.not_supported(&Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"]);
                Validation::Warn
            }
        };
        finish(kind, &errors)?;
        Ok(Self { dry_run, validation, field_manager, force: query.flag("force") })
    }
}

fn check_field_manager(name: &str, errors: &mut Errors) {
    let path = Path::new("fieldManager");
    if name.chars().count() > 128 {
        errors.too_long(&path, 128);
    }
    if let Some((i, c)) = name.chars().enumerate().find(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {i})", c as u32);
        errors.invalid(&path, name, &detail);
    }
}

fn read_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Errors) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let shown: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
        let bad = BadValue(format!("[]string{{{}}}", shown.join(", ")));
        errors.push(ErrorKind::NotSupported, &Path::new("dryRun"), Some(bad), "supported values: \"All\"");
    }
    !values.is_empty()
}

fn finish(kind: &str, errors: &Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let gk = GroupKind { group: "meta.k8s.io".into(), kind: kind.into() };
    Err(ApiError::invalid(&gk, "", errors))
}

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Options of a DELETE.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_period_s: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    /// `orphanDependents`, which is older than `propagationPolicy`.
    pub(crate) orphan_dependents: Option<bool>,
    /// Whether webhooks have been asked already, as they are about an eviction.
    pub(crate) reviewed: bool,
}

impl DeleteOptions {
    /// As a document, without its kind.
    pub(crate) fn to_value(&self) -> Value {
        let mut v = serde_json::Map::new();
        let mut put = |field: &str, value: Option<Value>| value.map(|value| v.insert(field.to_owned(), value));
        put("gracePeriodSeconds", self.grace_period_s.map(Value::from));
        let policy = self.propagation.map(|p| match p {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        });
        put("propagationPolicy", policy.map(Value::from));
        put("orphanDependents", self.orphan_dependents.map(Value::from));
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        if self.uid.is_some() || self.resource_version.is_some() {
            let conditions = [("uid", &self.uid), ("resourceVersion", &self.resource_version)];
            let given = conditions.into_iter().filter(|(_, v)| v.is_some());
            put("preconditions", Some(given.map(|(k, v)| (k.to_owned(), text(v))).collect()));
        }
        Value::Object(v)
    }

    /// Reads the body, or the query if there is no body.
    pub(crate) fn read(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let mut errors = Errors::new();
        let from_query = body.is_none().then(|| query_as_options(query)).transpose()?;
        let Some(v) = body.or(from_query.as_ref()) else { return Ok(Self::default()) };
        let text = |v: &Value, field: &str| v.get(field).and_then(Value::as_str).map(str::to_owned);
        let dry_run = v.get("dryRun").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let preconditions = v.get("preconditions").unwrap_or(&Value::Null);
        let orphan_dependents = v.get("orphanDependents").and_then(Value::as_bool);
        let policy = text(v, "propagationPolicy");
        if orphan_dependents.is_some() && policy.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid(&Path::new("propagationPolicy"), policy.as_deref().unwrap_or(""), detail);
        }
        let propagation = match policy.as_deref() {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let bad = BadValue(format!("{other:?}"));
                let detail = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
                errors.push(ErrorKind::NotSupported, &Path::new("propagationPolicy"), Some(bad), detail);
                None
            }
        };
        let options = Self {
            dry_run: read_dry_run(dry_run.iter().filter_map(Value::as_str), &mut errors),
            grace_period_s: v.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(preconditions, "uid"),
            resource_version: text(preconditions, "resourceVersion"),
            propagation,
            orphan_dependents,
            reviewed: false,
        };
        finish("DeleteOptions", &errors)?;
        Ok(options)
    }

    /// Whether the dependents are to be orphaned, as far as the options say; else by what is set already.
    pub(crate) fn orphans(&self, has_finalizer: bool, default: bool) -> bool {
        match (self.orphan_dependents, self.propagation) {
            (Some(orphan), _) => orphan,
            (None, Some(p)) => p == Propagation::Orphan,
            (None, None) => has_finalizer || default,
        }
    }

    /// Whether the dependents are to be deleted first.
    pub(crate) fn is_foreground(&self, has_finalizer: bool) -> bool {
        match (self.orphan_dependents, self.propagation) {
            (Some(_), _) => false,
            (None, Some(p)) => p == Propagation::Foreground,
            (None, None) => has_finalizer,
        }
    }
}

fn query_as_options(query: &Query) -> Result<Value, ApiError> {
    let mut v = serde_json::Map::new();
    if query.has("gracePeriodSeconds") {
        v.insert("gracePeriodSeconds".into(), parse_int(query.get("gracePeriodSeconds"))?.into());
    }
    if query.has("orphanDependents") {
        v.insert("orphanDependents".into(), query.flag("orphanDependents").into());
    }
    if query.has("propagationPolicy") {
        v.insert("propagationPolicy".into(), query.get("propagationPolicy").into());
    }
    if query.has("dryRun") {
        v.insert("dryRun".into(), query.all("dryRun").map(Value::from).collect());
    }
    Ok(Value::Object(v))
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Unset,
    Exact,
    NotOlderThan,
}

/// Options of a list or watch.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    pub(crate) labels: labels::Selector,
    pub(crate) fields: fields::Selector,
    /// As the client wrote it; see [`ListOptions::revision`].
    pub(crate) resource_version: String,
    pub(crate) matching: Match,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_s: Option<u64>,
    pub(crate) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks; `watch` is the verb.
    pub(crate) fn read(query: &Query, watch: bool) -> Result<Self, ApiError> {
        // Upstream reads all numbers before it looks at the selectors.
        let timeout_s = read_int(query, "timeoutSeconds")?.and_then(|s| u64::try_from(s).ok());
        let limit = read_int(query, "limit")?.unwrap_or(0);
        let bad = |e: api_core::selector::SelectorError| ApiError::bad_request(e.to_string());
        let labels = labels::Selector::parse(query.get("labelSelector")).map_err(bad)?;
        let fields = fields::Selector::parse(query.get("fieldSelector")).map_err(bad)?;
        let options = Self {
            labels,
            fields,
            resource_version: query.get("resourceVersion").to_owned(),
            matching: match query.get("resourceVersionMatch") {
                "Exact" => Match::Exact,
                "NotOlderThan" => Match::NotOlderThan,
                _ => Match::Unset,
            },
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.get("continue").to_owned(),
            bookmarks: query.flag("allowWatchBookmarks"),
            timeout_s,
            send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
        };
        options.check(query, watch)?;
        Ok(options)
    }

    /// The revision that is asked for; `None` if the client did not say. It is looked at last, by whoever needs it.
    pub(crate) fn revision(&self) -> Result<Option<i64>, ApiError> {
        parse_revision(&self.resource_version)
    }

    /// The same of one object alone.
    pub(crate) fn of_one(mut self, name: &str) -> Result<Self, ApiError> {
        if self.fields.is_empty() {
            self.fields = fields::Selector::exact("metadata.name", name);
        } else if self.fields.required("metadata.name") != Some(name) {
            return Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        Ok(self)
    }

    fn check(&self, query: &Query, watch: bool) -> Result<(), ApiError> {
        let mut errors = Errors::new();
        let (path, asked) = (Path::new("resourceVersionMatch"), query.get("resourceVersionMatch"));
        let mut refuse = |why: &str| errors.forbidden(&path, why);
        match (watch, self.send_initial_events.is_some()) {
            (true, true) if self.matching != Match::NotOlderThan => {
                refuse("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            (true, false) if !asked.is_empty() => {
                refuse("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            _ => {}
        }
        if !asked.is_empty() {
            if !watch && query.get("resourceVersion").is_empty() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if watch && self.matching != Match::NotOlderThan {
                errors.not_supported(&path, asked, &["NotOlderThan"]);
            }
            if !self.continue_token.is_empty() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
            }
            if !watch && self.matching == Match::Unset {
                errors.not_supported(&path, asked, &["Exact", "NotOlderThan", ""]);
            }
            if !watch && self.matching == Match::Exact && query.get("resourceVersion") == "0" {
                errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        }
        if !watch && self.send_initial_events.is_some() {
            errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
        }
        finish("ListOptions", &errors)
    }
}

/// A resource version in a URL; `None` if empty. What is no number is answered 500, as upstream does.
pub(crate) fn parse_revision(text: &str) -> Result<Option<i64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse::<u64>().ok().and_then(|v| i64::try_from(v).ok()).map(Some).ok_or_else(|| {
        let what = if text.starts_with('-') { "invalid syntax" } else { not_parsed(text) };
        let why = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {what}");
        ApiError::new(500, Reason::Unknown, why)
    })
}

fn read_int(query: &Query, key: &str) -> Result<Option<i64>, ApiError> {
    if query.has(key) { parse_int(query.get(key)).map(Some) } else { Ok(None) }
}

fn parse_int(text: &str) -> Result<i64, ApiError> {
    let bad = || ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: {}", not_parsed(text)));
    text.parse().map_err(|_| bad())
}

/// Why a text is not read as a number.
fn not_parsed(text: &str) -> &'static str {
    let digits = text.trim_start_matches(['+', '-']);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    }
}

/// 400 if an object is asked for in the form that it would be exported in, which there is no more.
pub(crate) fn refuse_export(query: &Query) -> Result<(), ApiError> {
    if query.flag("export") {
        return Err(ApiError::bad_request("the export parameter, deprecated since v1.14, is no longer supported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<impl std::fmt::Debug, ApiError>) -> String {
        result.err().map(|e| format!("{} {}", e.code, e.message)).unwrap_or_default()
    }

    #[test]
    fn bad_options_are_refused_in_upstreams_words() {
        let q = |text: &str| Query::parse(Some(text));
        assert_eq!(
            message(WriteOptions::read(&q("dryRun=Some"), "CreateOptions", false)),
            "422 CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: []string{\"Some\"}: supported values: \"All\""
        );
        assert_eq!(
            message(ListOptions::read(&q("labelSelector=a,,b&limit=x"), false)),
            "400 strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            message(ListOptions::read(&q("resourceVersionMatch=Exact"), false)),
            "422 ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is \
             forbidden unless resourceVersion is provided"
        );
        for (query, watch, why) in [
            (
                "resourceVersionMatch=Exact&resourceVersion=1",
                true,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
            ),
            (
                "sendInitialEvents=true",
                true,
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            ("sendInitialEvents=true", false, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ] {
            let got = message(ListOptions::read(&q(query), watch));
            assert!(got.starts_with("422") && got.replace(['[', ']'], "").ends_with(why), "{query}: {got}");
        }
        assert_eq!(
            message(ListOptions::read(&q("resourceVersion=abc"), false).and_then(|options| options.revision())),
            "500 resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"
        );
        assert!(WriteOptions::read(&q("dryRun=All"), "CreateOptions", false).expect("valid").dry_run);
    }
}
