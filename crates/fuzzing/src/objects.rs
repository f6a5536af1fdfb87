//! Objects of built-in kinds, made up from a source along their types. Knows shapes only; which kinds there are is
//! `api-kinds`' business.

use crate::source::Source;
use api_kinds::{rows, schema};
use api_schema::row::Row;
use api_schema::schema::{Schema, Shape, StructId};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Structs in each other that are filled.
const DEPTH_MAX: usize = 8;

/// The first row of each kind, by API version and name.
static BY_KIND: LazyLock<HashMap<(String, String), &'static Row>> = LazyLock::new(|| {
    let named = |row: &'static Arc<Row>| ((row.kind.api_version(), row.kind.kind.clone()), &**row);
    rows().iter().rev().map(named).collect()
});

/// A row and an object that is more or less of its kind. Text that is an object with `kind` and `apiVersion` stands for
/// itself; anything else is a choice of the row and then of the fields.
pub fn object(data: &[u8]) -> (&'static Row, Value) {
    if let Ok(value) = serde_json::from_slice::<Value>(data)
        && let Some(row) = row_of(&value)
    {
        return (row, value);
    }
    let mut source = Source::new(data);
    let row = &rows()[source.below(rows().len())];
    let mut value = self::value(row.schema(), &Shape::Struct(row.root()), &mut source, 0);
    if value.is_object() {
        value["kind"] = row.kind.kind.as_str().into();
        value["apiVersion"] = row.kind.api_version().into();
    }
    (row, value)
}

/// The row of what an object says it is.
pub fn row_of(value: &Value) -> Option<&'static Row> {
    let (kind, api_version) = (value.get("kind")?.as_str()?, value.get("apiVersion")?.as_str()?);
    BY_KIND.get(&(api_version.to_owned(), kind.to_owned())).copied()
}

/// A value of a shape; one in thirty-two is of none.
pub fn value(schema: &Schema, shape: &Shape, source: &mut Source<'_>, depth: usize) -> Value {
    if depth > 0 && source.below(32) == 31 {
        return source.json();
    }
    match shape {
        Shape::Any | Shape::Deduced => source.json(),
        Shape::FieldsV1 => json!({"f:metadata": {".": {}, "k:{\"x\":1}": {}}}),
        Shape::Bool => source.byte().is_multiple_of(2).into(),
        Shape::Int32 | Shape::Int64 => source.int().into(),
        Shape::Number => json!([0.0, 0.5, -7.0, 1e300][source.below(4)]),
        Shape::IntOrString if source.byte().is_multiple_of(2) => source.int().into(),
        Shape::String | Shape::Bytes | Shape::IntOrString => source.text().into(),
        Shape::Time => ["1970-01-01T00:00:00Z", "2026-11-20T13:11:00Z", "0001-01-01T00:00:00Z"][source.below(3)].into(),
        Shape::MicroTime => ["2026-11-20T13:11:00.000001Z", "1960-01-01T00:00:00.999999Z"][source.below(2)].into(),
        Shape::Quantity => ["0", "100m", "1Gi", "-3", "12e6", "9223372036854775807", "1n"][source.below(7)].into(),
        Shape::Struct(id) | Shape::StructOr(id) => structure(schema, *id, source, depth),
        Shape::Map(map) => {
            let entries: Map<_, _> =
                (0..source.below(3)).map(|_| (source.text(), value(schema, &map.value, source, depth + 1))).collect();
            Value::Object(entries)
        }
        Shape::List(list) => (0..source.below(4)).map(|_| value(schema, &list.item, source, depth + 1)).collect(),
    }
}

fn structure(schema: &Schema, id: StructId, source: &mut Source<'_>, depth: usize) -> Value {
    let fields = &schema.get(id).fields;
    let mut object = Map::new();
    if depth < DEPTH_MAX && !fields.is_empty() {
        for _ in 0..source.below(8) {
            let field = &fields[source.below(fields.len())];
            object.insert(field.name.clone(), value(schema, &field.shape, source, depth + 1));
        }
    }
    Value::Object(object)
}

/// The types of all built-in kinds.
pub fn all() -> &'static Schema {
    schema()
}
