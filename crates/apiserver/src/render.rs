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
    now_unix_s: i64,
) -> Result<Response<Body>, ApiError> {
    if form.as_list == Some(true) {
        return Err(list_or_object(&served.row, true));
    }
    let json = match form.view {
        View::Object => bytes.clone(),
        View::Metadata(version) => object::metadata_only(&served.row, bytes, version)?.into(),
        View::Table(version) => {
            let revision = object::decode(bytes)?.resource_version().to_owned();
            let rows = [row(served, bytes, Include::of(query)?, version, now_unix_s)?];
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

/// A row of a Table as JSON.
pub(crate) fn row(
    served: &Served,
    bytes: &Bytes,
    include: Include,
    version: &str,
    now_unix_s: i64,
) -> Result<String, ApiError> {
    let (mut value, metadata) = match &served.table {
        Some(fields) => fields.pick_and_find(bytes, "metadata").map_err(ApiError::internal)?,
        None => (object::decode_brief(bytes)?, None),
    };
    object::convert(&served.row, &mut value, &served.row.storage_version);
    let cells = match (served.row.hooks.table_cells, &served.row.custom) {
        (Some(cells), _) => Value::Array(cells(&value, now_unix_s)),
        (None, Some(custom)) => api_kinds::custom::cells(custom, &value, now_unix_s).into(),
        (None, None) => json!([value.name(), value.meta_str("creationTimestamp")]),
    };
    let cells = serde_json::to_string(&cells).map_err(ApiError::internal)?;
    let mut out = format!("{{\"cells\":{cells},");
    if let Some(found) = served.row.hooks.table_conditions.map(|of| of(&value)).filter(|found| !found.is_empty()) {
        out.push_str(&format!("\"conditions\":{},", Value::Array(found)));
    }
    out.push_str("\"object\":");
    match include {
        Include::None => out.push_str("null"),
        Include::Object => out.push_str(&String::from_utf8_lossy(bytes)),
        Include::Metadata => match metadata.and_then(|at| std::str::from_utf8(&bytes[at]).ok()) {
            Some(metadata) => object::write_metadata_only(&served.row, metadata, version, &mut out)?,
            None => out.push_str(&object::metadata_only(&served.row, bytes, version)?),
        },
    }
    out.push('}');
    Ok(out)
}

/// A Table as JSON; `metadata` and `rows` are JSON already.
pub(crate) fn table(served: &Served, version: &str, metadata: &str, headers: bool, rows: &[String]) -> String {
    let (head, tail) = table_frame(served, version, metadata, headers);
    format!("{head}{}{tail}", rows.join(","))
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
