//! Which form of an answer a client takes, by upstream's rules for `Accept`.

use api_core::status::Details;
use api_core::{ApiError, Reason};
use http::{HeaderMap, header};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// In the order of preference where the client has none.
const ALL: [Media; 3] = [Media::Json, Media::Yaml, Media::Protobuf];

impl Media {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Of an answer that says what is wrong: JSON where nothing else was agreed on.
    pub(crate) fn of_failure(headers: &HeaderMap) -> Self {
        Form::find(headers, Offer::Plain).map_or(Self::Json, |form| form.media)
    }
}

/// What an answer shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    /// The version that was asked for, `v1` or `v1beta1`.
    Table(&'static str),
    Metadata(&'static str),
}

/// What there is to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The object itself.
    Plain,
    /// The object, a Table, its metadata.
    Views,
    /// The same of a custom resource, which has no protobuf of its own.
    Custom,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) media: Media,
    pub(crate) view: View,
    /// Whether the view was asked for by its name as a list (`PartialObjectMetadataList`); `None` if no view was.
    pub(crate) as_list: Option<bool>,
}

/// A range of `Accept`, taken apart.
struct Range<'a> {
    quality: f32,
    kind: &'a str,
    subtype: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = match parts.next()?.split_once('/') {
            Some((kind, subtype)) => (kind.trim(), subtype.trim()),
            None if text.trim_start().starts_with('*') => ("*", "*"),
            None => return None,
        };
        let pairs = parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim()));
        let (quality, parameters): (Vec<_>, Vec<_>) = pairs.partition(|(key, _)| *key == "q");
        let quality = quality.first().and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        Some(Self { quality, kind, subtype, parameters })
    }

    /// Better ones come first: wanted more, then without a star.
    fn rank(&self) -> (bool, bool) {
        (self.kind == "*", self.subtype == "*")
    }

    fn covers(&self, media: Media) -> bool {
        let (kind, subtype) = media.content_type().split_once('/').unwrap_or_default();
        (self.kind == "*" && self.subtype == "*")
            || (self.kind == kind && (self.subtype == "*" || self.subtype == subtype))
    }

    /// What the range asks of this media type; `None` if that is not offered.
    fn form(&self, media: Media, offer: Offer) -> Option<Form> {
        let (mut kind, mut group, mut version, mut converts) = ("", "", "", false);
        for (key, value) in &self.parameters {
            match *key {
                "as" => (kind, converts) = (value, true),
                "g" => (group, converts) = (value, true),
                "v" => (version, converts) = (value, true),
                "stream" if !value.is_empty() && (*value != "watch" || media == Media::Yaml) => return None,
                // Another version of the server's own kinds, which there is not.
                "sv" if !value.is_empty() => return None,
                _ => {}
            }
        }
        if !converts {
            let offered = offer != Offer::Custom || media != Media::Protobuf;
            return offered.then_some(Form { media, view: View::Object, as_list: None });
        }
        let version = match (offer, group, version) {
            (Offer::Views | Offer::Custom, "meta.k8s.io", "v1") => "v1",
            (Offer::Views | Offer::Custom, "meta.k8s.io", "v1beta1") => "v1beta1",
            _ => return None,
        };
        let view = match kind {
            "Table" if media != Media::Protobuf => View::Table(version),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => View::Metadata(version),
            _ => return None,
        };
        Some(Form { media, view, as_list: Some(kind == "PartialObjectMetadataList") })
    }
}

/// The ranges of `Accept`, the most wanted first. As upstream does it, only the first header counts.
fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let text = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut ranges: Vec<_> = text.split(',').filter_map(Range::read).collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| a.rank().cmp(&b.rank())));
    ranges
}

impl Form {
    pub(crate) const JSON: Form = Form { media: Media::Json, view: View::Object, as_list: None };

    /// Reads `Accept`; `is_collection` says whether watches are answered at this path too.
    pub(crate) fn negotiate(headers: &HeaderMap, offer: Offer, is_collection: bool) -> Result<Self, ApiError> {
        // Upstream looks at the names of the media types before it looks at anything else, where it has routes.
        if offer != Offer::Custom && !is_silent(headers) && !names_any(headers) {
            return Err(not_produced(is_collection));
        }
        Self::of_any(headers, offer)
    }

    /// The same of a path that is answered without a route.
    pub(crate) fn of_any(headers: &HeaderMap, offer: Offer) -> Result<Self, ApiError> {
        Self::find(headers, offer).ok_or_else(|| not_accepted(&ALL))
    }

    fn find(headers: &HeaderMap, offer: Offer) -> Option<Self> {
        if is_silent(headers) {
            return Some(Self::JSON);
        }
        ranges(headers).iter().find_map(|range| {
            let covered = ALL.into_iter().filter(|media| range.covers(*media));
            covered.into_iter().find_map(|media| range.form(media, offer))
        })
    }
}

/// Whether the client says nothing of what it takes.
fn is_silent(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_none_or(|v| v.as_bytes().trim_ascii().is_empty())
}

/// Whether `Accept` names a media type that there is.
fn names_any(headers: &HeaderMap) -> bool {
    let named = |range: &Range<'_>| ALL.iter().any(|m| range.covers(*m) && (range.subtype != "*" || range.kind == "*"));
    ranges(headers).iter().any(named)
}

/// 406 of a path that does not produce what is asked for.
pub(crate) fn not_produced(is_collection: bool) -> ApiError {
    let mut types: Vec<String> = ALL.iter().map(|m| m.content_type().to_owned()).collect();
    if is_collection {
        types.extend([Media::Json, Media::Protobuf].map(|m| format!("{};stream=watch", m.content_type())));
    }
    not_acceptable(&format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", ")))
}

/// 406 of an object that cannot be shown in the form that is asked for.
fn not_accepted(media: &[Media]) -> ApiError {
    let types: Vec<&str> = media.iter().map(|m| m.content_type()).collect();
    unacceptable(&format!("only the following media types are accepted: {}", types.join(", ")))
}

/// 406 of a watch in a media type that has no streams.
pub(crate) fn no_stream() -> ApiError {
    let types = [Media::Json, Media::Protobuf].map(|m| format!("{};stream=watch", m.content_type()));
    unacceptable(&format!("only the following media types are accepted: {}", types.join(", ")))
}

/// 406 of a path, which has details that say nothing.
fn not_acceptable(message: &str) -> ApiError {
    unacceptable(message).with_details(Details::default())
}

/// 406.
pub(crate) fn unacceptable(message: &str) -> ApiError {
    ApiError::new(406, Reason::NotAcceptable, message)
}

fn quality(range: &str) -> f32 {
    range.split(';').find_map(|p| p.trim().strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0)
}

/// Whether the client takes gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|v| matches!(v.split(';').next().map(str::trim), Some("gzip" | "*")) && quality(v) > 0.0)
}

/// 415 for a body of a type that is not taken.
pub(crate) fn unsupported(taken: &[&str]) -> ApiError {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        taken.join(", ")
    );
    ApiError::new(415, Reason::UnsupportedMediaType, message)
}

/// 415 for a patch of a built-in kind by a type that is not one of patches.
pub(crate) fn unsupported_patch() -> ApiError {
    ApiError::new(415, Reason::UnsupportedMediaType, "415: Unsupported Media Type").with_details(Details::default())
}

/// The media type of the body without parameters, in lower case; empty if the client does not say.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut parts = value.split(';');
    let media = parts.next().unwrap_or("").trim().to_ascii_lowercase();
    // A parameter without a value makes the whole unreadable.
    let is_readable = parts.all(|part| part.trim().is_empty() || part.contains('='));
    if is_readable { media } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str, offer: Offer) -> Result<(Media, View), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("header"));
        Form::negotiate(&headers, offer, true).map(|f| (f.media, f.view)).map_err(|e| e.message)
    }

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

    #[test]
    fn accept_is_read_as_upstream_reads_it() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let cases = [
            ("", Some((Media::Json, View::Object))),
            ("*/*", Some((Media::Json, View::Object))),
            ("application/*", None),
            (table, Some((Media::Json, View::Table("v1")))),
            ("application/yaml", Some((Media::Yaml, View::Object))),
            ("application/vnd.kubernetes.protobuf, */*", Some((Media::Protobuf, View::Object))),
            (PROTOBUF, Some((Media::Protobuf, View::Object))),
            ("application/vnd.kubernetes.protobuf;stream=watch", Some((Media::Protobuf, View::Object))),
            ("*/*, application/vnd.kubernetes.protobuf", Some((Media::Protobuf, View::Object))),
            ("application/json;q=0.9, application/vnd.kubernetes.protobuf", Some((Media::Protobuf, View::Object))),
            ("application/json, application/vnd.kubernetes.protobuf;q=0.9", Some((Media::Json, View::Object))),
            ("application/vnd.kubernetes.protobuf;stream=other,application/json", Some((Media::Json, View::Object))),
            ("text/csv", None),
            ("application/yaml;q=0.5,application/json", Some((Media::Json, View::Object))),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                Some((Media::Json, View::Metadata("v1"))),
            ),
            (metadata, Some((Media::Protobuf, View::Metadata("v1")))),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", None),
            (
                "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1",
                Some((Media::Json, View::Table("v1"))),
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept, Offer::Views).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_in_upstreams_words() {
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        let produced = format!("406: Not Acceptable\n\nAvailable representations: {all}, {streams}");
        assert_eq!(form("text/csv", Offer::Views), Err(produced));
        let accepted = format!("only the following media types are accepted: {all}");
        assert_eq!(form("application/json;as=Other;g=meta.k8s.io;v=v1", Offer::Views), Err(accepted.clone()));
        assert_eq!(form(PROTOBUF, Offer::Custom), Err(accepted));
        assert_eq!(form("application/*", Offer::Custom), Ok((Media::Json, View::Object)));
        let fallback = form("application/vnd.kubernetes.protobuf,application/json", Offer::Custom);
        assert_eq!(fallback, Ok((Media::Json, View::Object)));
        let metadata =
            form("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Offer::Custom);
        assert_eq!(metadata, Ok((Media::Protobuf, View::Metadata("v1"))));
    }
}
