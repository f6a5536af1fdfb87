//! Reads the generated tables. Their language is described at the head of each file in `data/`.
//!
//! The tables are part of this crate and checked by its tests; a line that cannot be read is a bug, so it panics.

use api_core::Gvk;
use api_core::gvk::split_api_version;
use api_schema::protobuf::Wire;
use api_schema::schema::{
    Field, ListKind, ListPatch, ListShape, MapShape, Schema, SchemeOf, Shape, StructId, StructType,
};
use serde_json::Value;
use std::collections::HashMap;

/// The generated table of types.
pub const TYPES: &str = include_str!("../data/types.txt");
/// Types that only protobuf and stored values know.
const WIRE_TYPES: &str = include_str!("../data/wire-types.txt");
/// The generated table of resources.
pub const RESOURCES: &str = include_str!("../data/resources.txt");

/// Short beginnings of type names and what they stand for; all else lies below `io.k8s.api.`.
const PREFIXES: [(&str, &str); 7] = [
    ("meta.", "io.k8s.apimachinery.pkg.apis.meta."),
    ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."),
    ("apiregistration.", "io.k8s.kube-aggregator.pkg.apis.apiregistration."),
    ("resource.", "io.k8s.apimachinery.pkg.api.resource."),
    ("runtime.", "io.k8s.apimachinery.pkg.runtime."),
    ("intstr.", "io.k8s.apimachinery.pkg.util.intstr."),
    ("version.", "io.k8s.apimachinery.pkg.version."),
];

/// The full name of a type.
pub fn long_name(short: &str) -> String {
    for (start, full) in PREFIXES {
        if let Some(rest) = short.strip_prefix(start) {
            return format!("{full}{rest}");
        }
    }
    format!("io.k8s.api.{short}")
}

/// What upstream's refusals call the scheme in which the kinds of a group are registered: that of one of its three servers.
fn scheme_of(group: &str) -> &'static str {
    match group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:54",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30",
    }
}

/// Lines that say something.
pub fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// All types of the table, and the index of each by its short name.
pub fn schema() -> (Schema, HashMap<&'static str, StructId>) {
    let (shapes, by_name) = declare();
    let mut schema = Schema { scheme_of: SchemeOf(scheme_of), ..Schema::default() };
    let mut fields: Vec<Vec<Field>> = Vec::new();
    for line in lines(TYPES).chain(lines(WIRE_TYPES)) {
        if let Some(rest) = line.strip_prefix("type ") {
            let mut words = rest.split(' ');
            let name = words.next().expect("a type has a name");
            let id = StructId::try_from(schema.structs.len()).expect("few types");
            let mut ty = StructType { name: long_name(name), ..StructType::default() };
            for word in words {
                if word == "atomic" {
                    ty.atomic = true;
                } else if let Some(kinds) = word.strip_prefix("gvk=") {
                    schema.kinds.extend(kinds.split(',').map(|kind| (gvk(kind), id)));
                } else if let Some(kinds) = word.strip_prefix("wire=") {
                    schema.wire_kinds.extend(kinds.split(',').map(|kind| (gvk(kind), id)));
                }
            }
            schema.structs.push(ty);
            fields.push(Vec::new());
        } else if let Some(rest) = line.strip_prefix("same ") {
            let (kind, name) = rest.split_once(' ').expect("a kind and a type");
            schema.wire_kinds.insert(gvk(kind), by_name[name]);
        } else if let Some(rest) = line.strip_prefix(' ') {
            let id = schema.structs.len().checked_sub(1).expect("a field belongs to a type");
            let fields = &mut fields[id];
            // Fields come sorted by name, so this is the place that it keeps.
            if let Some(name) = rest.split(' ').find_map(|word| word.strip_prefix("go=")) {
                schema.go_types.insert((StructId::try_from(id).expect("few types"), fields.len()), name.into());
            }
            if let Some(wire) = rest.split(' ').find_map(wire) {
                schema.wires.insert((StructId::try_from(id).expect("few types"), fields.len()), wire);
            }
            fields.push(field(&shapes, rest));
        }
    }
    debug_assert!(fields.iter().all(|fields| fields.is_sorted_by(|a, b| a.name < b.name)));
    for (ty, fields) in schema.structs.iter_mut().zip(fields) {
        ty.fields = fields.into();
    }
    granular(&mut schema);
    (schema, by_name)
}

/// A field with `map=granular` has its own variant of a type that is atomic elsewhere (`claimRef`).
fn granular(schema: &mut Schema) {
    let mut owner = None;
    for line in lines(TYPES) {
        if line.starts_with("type ") {
            owner = Some(owner.map_or(0, |at: usize| at + 1));
        } else if let (Some(owner), Some(rest)) = (owner, line.strip_prefix(' '))
            && rest.split(' ').any(|word| word == "map=granular")
            && let Some(name) = rest.split(' ').next()
            && let Some(at) = schema.structs[owner].fields.iter().position(|f| f.name == name)
            && let Shape::Struct(id) = schema.structs[owner].fields[at].shape
        {
            let variant = StructType { atomic: false, ..schema.get(id).clone() };
            let id = StructId::try_from(schema.structs.len()).expect("few types");
            schema.structs.push(variant);
            schema.structs[owner].fields.set_shape(at, Shape::Struct(id));
        }
    }
}

/// `GROUP/VERSION/KIND`.
fn gvk(text: &str) -> Gvk {
    let mut parts = text.split('/');
    let mut next = || parts.next().expect("three parts");
    Gvk::new(next(), next(), next())
}

/// `API-VERSION/KIND`.
pub fn kind(text: &str) -> Gvk {
    let (api_version, kind) = text.rsplit_once('/').expect("a kind with its version");
    let (group, version) = split_api_version(api_version);
    Gvk::new(group, version, kind)
}

type Shapes = HashMap<&'static str, Shape>;

/// What each name stands for: types may refer to later ones.
fn declare() -> (Shapes, HashMap<&'static str, StructId>) {
    let mut shapes = Shapes::new();
    let mut by_name = HashMap::new();
    let mut scalars = Vec::new();
    let mut next: StructId = 0;
    for line in lines(TYPES).chain(lines(WIRE_TYPES)) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("type"), Some(name), _) => {
                shapes.insert(name, Shape::Struct(next));
                by_name.insert(name, next);
                next += 1;
            }
            (Some("scalar"), Some(name), Some(shape)) => scalars.push((name, shape)),
            _ => {}
        }
    }
    for (name, text) in scalars {
        let shape = match text.strip_suffix('?') {
            Some(name) => Shape::StructOr(by_name[name]),
            None => parse_shape(&shapes, text),
        };
        shapes.insert(name, shape);
    }
    (shapes, by_name)
}

fn parse_shape(shapes: &Shapes, text: &str) -> Shape {
    if let Some(inner) = text.strip_prefix('[') {
        let item = parse_shape(shapes, inner.strip_suffix(']').expect("a closing bracket"));
        return Shape::List(Box::new(ListShape { item, kind: ListKind::Atomic, patch: ListPatch::Replace }));
    }
    if let Some(inner) = text.strip_prefix('{') {
        let value = parse_shape(shapes, inner.strip_suffix('}').expect("a closing brace"));
        return Shape::Map(Box::new(MapShape { value, atomic: false }));
    }
    match text {
        "any" => Shape::Any,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "number" => Shape::Number,
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "quantity" => Shape::Quantity,
        "intorstring" => Shape::IntOrString,
        "fieldsv1" => Shape::FieldsV1,
        name => shapes.get(name).unwrap_or_else(|| panic!("type {name} is declared")).clone(),
    }
}

fn field(shapes: &Shapes, line: &'static str) -> Field {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("name, shape and number of a field");
    let (name, shape, number) = (next(), parse_shape(shapes, next()), number(next()));
    let mut field = Field {
        name: name.into(),
        shape,
        required: false,
        default: None,
        zero_is_absent: false,
        patch_replaces: false,
        number,
    };
    for word in words {
        match word.split_once('=') {
            None if word == "z" => field.zero_is_absent = true,
            None if word.starts_with('r') => field.required = true,
            None if word.starts_with('~') => field.default = Some(json(&word[1..])),
            Some(("", default)) => field.default = Some(json(default)),
            Some(("list", kind)) => list_kind(&mut field.shape, kind),
            Some(("map", kind)) => map_kind(&mut field.shape, kind),
            Some(("patch", strategy)) => patch(&mut field, strategy),
            Some(("enum", _)) => break,
            _ => {}
        }
    }
    field
}

/// `4`, or `2.7` for a field of an embedded message: a byte for each.
fn number(text: &str) -> u32 {
    text.split('.').fold(0, |outer, part| (outer << 8) + u32::from(part.parse::<u8>().expect("a small number")))
}

/// What a field's message is beside what its shape says.
fn wire(word: &str) -> Option<Wire> {
    match word {
        "wrapped" => Some(Wire::Wrapped),
        "or=bool" => Some(Wire::OrBool),
        "or=array" => Some(Wire::OrArray),
        "or=strings" => Some(Wire::OrStrings),
        _ => None,
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON in a table")
}

fn list_kind(shape: &mut Shape, text: &str) {
    // Upstream marks some base64 fields, which are lists to Go.
    let Shape::List(list) = shape else { return };
    list.kind = match text.split_once(':') {
        Some(("map", keys)) => ListKind::Map(keys.split(',').map(str::to_owned).collect()),
        _ if text == "set" => ListKind::Set,
        _ => ListKind::Atomic,
    };
}

fn map_kind(shape: &mut Shape, text: &str) {
    if let Shape::Map(map) = shape {
        map.atomic = text == "atomic";
    }
}

fn patch(field: &mut Field, text: &str) {
    let (strategies, key) = text.split_once(':').unwrap_or((text, ""));
    field.patch_replaces = strategies == "replace";
    if let Shape::List(list) = &mut field.shape
        && strategies.split(',').any(|s| s == "merge")
    {
        list.patch = ListPatch::Merge(key.into());
    }
}
