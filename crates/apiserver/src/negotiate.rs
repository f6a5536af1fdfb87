//! Which form of an answer a client takes, by upstream's rules for `Accept`.

use api_core::status::Details;
use api_core::{ApiError, Reason};
use http::{HeaderMap, header};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
}

impl Media {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
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

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) media: Media,
    pub(crate) view: View,
}

impl Form {
    pub(crate) const JSON: Form = Form { media: Media::Json, view: View::Object };

    /// Reads `Accept`; `views` says whether Table and metadata may be asked for.
    pub(crate) fn negotiate(headers: &HeaderMap, views: bool) -> Result<Self, ApiError> {
        let mut ranges: Vec<(f32, &str)> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .map(|range| (quality(range), range.trim()))
            .filter(|(_, range)| !range.is_empty())
            .collect();
        if ranges.is_empty() {
            return Ok(Self::JSON);
        }
        ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranges.into_iter().find_map(|(_, range)| Self::of_range(range, views)).ok_or_else(not_acceptable)
    }

    fn of_range(range: &str, views: bool) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let media = match parts.next()? {
            "application/json" | "*/*" | "application/*" => Media::Json,
            "application/yaml" => Media::Yaml,
            _ => return None,
        };
        let (mut kind, mut group, mut version) = ("", "", "");
        for part in parts {
            match part.split_once('=')? {
                ("as", v) => kind = v,
                ("g", v) => group = v,
                ("v", v) => version = v,
                _ => {}
            }
        }
        if kind.is_empty() {
            return Some(Self { media, view: View::Object });
        }
        let version = match version {
            "v1" => "v1",
            "v1beta1" => "v1beta1",
            _ => return None,
        };
        if group != "meta.k8s.io" || !views {
            return None;
        }
        match kind {
            "Table" => Some(Self { media, view: View::Table(version) }),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => {
                Some(Self { media, view: View::Metadata(version) })
            }
            _ => None,
        }
    }
}

fn quality(range: &str) -> f32 {
    range.split(';').find_map(|p| p.trim().strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0)
}

/// 406 in upstream's words.
pub(crate) fn not_acceptable() -> ApiError {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
        application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    ApiError::new(406, Reason::NotAcceptable, message).with_details(Details::default())
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

/// The media type of the body without parameters, in lower case; empty if the client does not say.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_read_as_upstream_reads_it() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let cases = [
            ("", Some((Media::Json, View::Object))),
            ("*/*", Some((Media::Json, View::Object))),
            (table, Some((Media::Json, View::Table("v1")))),
            ("application/yaml", Some((Media::Yaml, View::Object))),
            ("application/vnd.kubernetes.protobuf, */*", Some((Media::Json, View::Object))),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/csv", None),
            ("application/yaml;q=0.5,application/json", Some((Media::Json, View::Object))),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                Some((Media::Json, View::Metadata("v1"))),
            ),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("header"));
            let got = Form::negotiate(&headers, true).ok().map(|f| (f.media, f.view));
            assert_eq!(got, expected, "{accept}");
        }
    }
}
