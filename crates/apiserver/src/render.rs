//! Other views of objects: Table, metadata alone, YAML.

use crate::body::{self, Body};
use crate::negotiate::{self, Form, Media, View};
use crate::protobuf;
use crate::query::Query;
use crate::registry::Served;
use crate::registry::object;
use crate::yaml;
use api_core::meta::Meta;
use api_core::{ApiError, Reason};
use api_kinds::columns::outline;
use api_schema::row::Row;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// One object in another form than its own JSON. `bytes` are of the row's version.
pub(crate) fn object(
    served: &Served,
    form: Form,
    status: StatusCode,
    bytes: &Bytes,
    query: &Query,
    now_unix_us: i64,
) -> Result<Response<Body>, ApiError> {
    if form.as_list == Some(true) {
        return Err(list_or_object(&served.row, true));
    }
    let json = match form.view {
        View::Object => bytes.clone(),
        View::Metadata(version) => object::metadata_only(&served.row, bytes, version)?.into(),
        View::Table(version) => {
            let revision = object::decode(bytes)?.resource_version().to_owned();
            let as_row = AsRow { include: Include::of(query)?, version, now_unix_us, keeps: false };
            let rows = [row(served, bytes, as_row)?];
            let meta = if revision.is_empty() { json!({}) } else { json!({"resourceVersion": revision}) };
            table(served, version, &meta.to_string(), true, &rows).into()
        }
    };
    self::bytes(form.media, status, json)
}

/// What a client is told who asks for the metadata of a list where there is one object (`list`), or the other way round.
pub(crate) fn list_or_object(row: &Row, list: bool) -> ApiError {
    let kind = if list { &row.kind.kind } else { &row.list_kind };
    let (asked, is) =
        if list { ("PartialObjectMetadataList", "not a list") } else { ("PartialObjectMetadata", "a list") };
    let of = match &row.custom {
        Some(_) if list => return ApiError::new(500, Reason::Unknown, "content is not a list"),
        Some(_) => "unstructured.UnstructuredList".to_owned(),
        None => format!("{}.{kind}", row.storage_version.internal_package()),
    };
    negotiate::unacceptable(&format!("you requested {asked}, but the requested object is {is} (*{of})"))
}

/// JSON bytes in the media type that was asked for.
pub(crate) fn bytes(media: Media, status: StatusCode, json: Bytes) -> Result<Response<Body>, ApiError> {
    let bytes = match media {
        Media::Json => json,
        Media::Yaml => yaml::write(&json)?.into(),
        Media::Protobuf => protobuf::of_json(&json)?,
    };
    Ok(body::answer(status, media.content_type(), body::full(bytes)))
}

/// What a row of a Table carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// By the `includeObject` parameter.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject") {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        }
    }
}

/// How an object is shown in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsRow<'v> {
    pub(crate) include: Include,
    /// Of the API group `meta.k8s.io`.
    pub(crate) version: &'v str,
    pub(crate) now_unix_us: i64,
    /// Whether others will want the same, as they do not of an object that has changed when they come.
    pub(crate) keeps: bool,
}

/// A row of a Table as JSON, of an object with these bytes, which are of the row's version.
pub(crate) fn row(served: &Served, bytes: &Bytes, as_row: AsRow<'_>) -> Result<Vec<u8>, ApiError> {
    write_row(served, &outline(served, bytes)?, bytes, bytes, as_row)
}

/// About how many bytes an outline takes.
const OUTLINE_BYTES: usize = 256;
/// About how many bytes a row has beside what it shows and the metadata.
const ROW_BYTES: usize = 128;
/// Bytes at the start of an outline that say where the object's metadata stand in its bytes: from and to.
const RANGE_BYTES: usize = 2 * size_of::<u64>();

/// What a row shows of an object with these bytes, whenever it is sent: where its metadata stand, and then JSON up to the
/// object, with gaps for ages ([`api_kinds::columns::outline`]).
pub(crate) fn outline(served: &Served, bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let (mut value, metadata) = match &served.table {
        Some(fields) => fields.pick_and_find(bytes, "metadata").map_err(ApiError::internal)?,
        None if served.row.custom.as_ref().is_some_and(|custom| custom.shows_managers()) => {
            (object::decode(bytes)?, None)
        }
        None => (object::decode_brief(bytes)?, None),
    };
    let metadata = metadata.map_or_else(|| object::metadata_range(bytes), Ok)?;
    object::convert(&served.row, &mut value, &served.row.storage_version);
    let cells = match (served.row.hooks.table_cells, &served.row.custom) {
        (Some(cells), _) => cells(&value),
        (None, Some(custom)) => custom.cells(&value),
        (None, None) => vec![value.name().into(), value.meta_str("creationTimestamp").into()],
    };
    let mut out = Vec::with_capacity(OUTLINE_BYTES);
    for at in [metadata.start, metadata.end] {
        out.extend_from_slice(&(at as u64).to_le_bytes());
    }
    out.extend_from_slice(b"{\"cells\":");
    outline::write(&cells, &mut out).map_err(ApiError::internal)?;
    if let Some(found) = served.row.hooks.table_conditions.map(|of| of(&value)).filter(|found| !found.is_empty()) {
        out.extend_from_slice(format!(",\"conditions\":{}", Value::Array(found)).as_bytes());
    }
    out.extend_from_slice(b",\"object\":");
    Ok(out)
}

/// A row by the outline of an object with these bytes; `whole` is the object in the row's version, if all of it is shown.
pub(crate) fn write_row(
    served: &Served,
    outline: &[u8],
    bytes: &Bytes,
    whole: &Bytes,
    as_row: AsRow<'_>,
) -> Result<Vec<u8>, ApiError> {
    let (range, json) = outline.split_at_checked(RANGE_BYTES).ok_or_else(|| ApiError::internal("no outline"))?;
    let (words, _) = range.as_chunks();
    let [start, end] = [words[0], words[1]].map(|word| u64::from_le_bytes(word) as usize);
    let metadata = bytes.get(start..end).ok_or_else(|| ApiError::internal("an outline of another object"))?;
    let mut out = Vec::with_capacity(json.len() + metadata.len() + ROW_BYTES);
    outline::fill(json, as_row.now_unix_us, &mut out);
    match as_row.include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Object => out.extend_from_slice(whole),
        Include::Metadata => object::write_metadata_only(&served.row, metadata, as_row.version, &mut out)?,
    }
    out.push(b'}');
    Ok(out)
}

/// A Table as JSON; `metadata` and `rows` are JSON already.
pub(crate) fn table(served: &Served, version: &str, metadata: &str, headers: bool, rows: &[Vec<u8>]) -> Vec<u8> {
    let (head, tail) = table_frame(served, version, metadata, headers);
    [head.as_bytes(), &rows.join(&b','), tail.as_bytes()].concat()
}

/// What comes before and after the rows.
pub(crate) fn table_frame(served: &Served, version: &str, metadata: &str, headers: bool) -> (String, &'static str) {
    let columns = if headers { columns(served).to_string() } else { "null".into() };
    let head = format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata},\
         \"columnDefinitions\":{columns},\"rows\":["
    );
    (head, "]}")
}

fn columns(served: &Served) -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: i32| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    if served.row.hooks.table_cells.is_none() && served.row.custom.is_none() && served.row.columns.len() != 2 {
        let when = "CreationTimestamp is a timestamp representing the server time when this object was created.";
        return json!([column("Name", "string", "name", "Name", 0), column("Created At", "date", "", when, 0)]);
    }
    let columns = served.row.columns.iter();
    columns.map(|c| column(&c.name, &c.kind, &c.format, &c.description, c.priority)).collect()
}
