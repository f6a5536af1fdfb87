//! A structural schema as a [`Schema`], for merging, managed fields and server-side apply.

use super::structural::{Additional, Structural};
use crate::schema::{Field, ListKind, ListPatch, ListShape, MapShape, Schema, Shape, StructId, StructType};
use std::collections::HashMap;

/// A schema with its root.
pub type Compiled = (Schema, StructId);

/// Compiles the tree; `builtin` and `metadata` say where the type of `metadata` is, which is copied.
pub(super) fn compile_full(tree: &Structural, name: &str, builtin: &Schema, metadata: StructId) -> Compiled {
    let mut full = Copier::new(builtin);
    let metadata = full.copy(metadata);
    full.metadata = Some(metadata);
    let shape = Shape::Struct(metadata);
    let mut ty = full.struct_of(tree, name, false);
    add_header(&mut ty, shape);
    let root = full.push(ty);
    (full.schema, root)
}

/// The loose type for decoding: typed metadata, anything else as it is.
pub(super) fn compile_loose(name: &str, builtin: &Schema, metadata: StructId) -> Compiled {
    let mut loose = Copier::new(builtin);
    let shape = Shape::Struct(loose.copy(metadata));
    let mut ty = StructType { name: name.to_owned(), preserve_unknown: true, ..StructType::default() };
    add_header(&mut ty, shape);
    let root = loose.push(ty);
    (loose.schema, root)
}

fn field(name: &str, shape: Shape) -> Field {
    Field {
        name: name.to_owned(),
        shape,
        required: false,
        default: None,
        zero_is_absent: false,
        patch_replaces: false,
        number: 0,
    }
}

fn add_header(ty: &mut StructType, metadata: Shape) {
    let own = std::mem::take(&mut ty.fields).into_iter();
    let own = own.filter(|f| !matches!(f.name.as_str(), "apiVersion" | "kind" | "metadata"));
    let header = [("apiVersion", Shape::String), ("kind", Shape::String), ("metadata", metadata)];
    ty.fields = own.chain(header.map(|(name, shape)| field(name, shape))).collect();
}

struct Copier<'s> {
    from: &'s Schema,
    schema: Schema,
    copied: HashMap<StructId, StructId>,
    /// The type of metadata, which embedded resources have too.
    metadata: Option<StructId>,
}

impl<'s> Copier<'s> {
    fn new(from: &'s Schema) -> Self {
        Self { from, schema: Schema::default(), copied: HashMap::new(), metadata: None }
    }

    fn push(&mut self, ty: StructType) -> StructId {
        self.schema.structs.push(ty);
        StructId::try_from(self.schema.structs.len() - 1).unwrap_or(StructId::MAX)
    }

    /// Copies a built-in type with all that it is made of.
    fn copy(&mut self, id: StructId) -> StructId {
        if let Some(known) = self.copied.get(&id) {
            return *known;
        }
        let new = self.push(StructType::default());
        self.copied.insert(id, new);
        let old = self.from.get(id);
        let fields = old.fields.iter().map(|f| Field {
            name: f.name.clone(),
            shape: self.copy_shape(&f.shape),
            required: f.required,
            default: f.default.clone(),
            zero_is_absent: f.zero_is_absent,
            patch_replaces: f.patch_replaces,
            number: f.number,
        });
        let fields = fields.collect();
        let ty =
            StructType { name: old.name.clone(), fields, atomic: old.atomic, preserve_unknown: old.preserve_unknown };
        self.schema.structs[new as usize] = ty;
        new
    }

    fn copy_shape(&mut self, shape: &Shape) -> Shape {
        match shape {
            Shape::Struct(id) => Shape::Struct(self.copy(*id)),
            Shape::Map(map) => {
                Shape::Map(Box::new(MapShape { value: self.copy_shape(&map.value), atomic: map.atomic }))
            }
            Shape::List(list) => Shape::List(Box::new(ListShape {
                item: self.copy_shape(&list.item),
                kind: list.kind.clone(),
                patch: list.patch.clone(),
            })),
            other => other.clone(),
        }
    }

    /// `open` is whether unknown fields are kept around it; then so they are in all that is inside.
    fn struct_of(&mut self, tree: &Structural, name: &str, open: bool) -> StructType {
        let open = open || tree.preserve_unknown;
        let fields = tree.properties.iter().map(|(key, child)| Field {
            default: child.default.clone(),
            ..field(key, self.shape_of(child, &format!("{name}.{key}"), open))
        });
        let mut ty = StructType {
            name: name.to_owned(),
            fields: fields.collect(),
            atomic: tree.map_type == "atomic",
            preserve_unknown: open || !tree.embedded && tree.properties.is_empty(),
        };
        if let (true, Some(metadata)) = (tree.embedded, self.metadata) {
            add_header(&mut ty, Shape::Struct(metadata));
        }
        ty
    }

    fn shape_of(&mut self, tree: &Structural, name: &str, open: bool) -> Shape {
        if tree.int_or_string {
            // It is published without a type.
            return Shape::Any;
        }
        match tree.kind.as_str() {
            "boolean" => Shape::Bool,
            "integer" => Shape::Int64,
            "number" => Shape::Number,
            // With a format, any scalar.
            "string" if !matches!(tree.format.as_str(), "" | "byte") => Shape::IntOrString,
            "string" => Shape::String,
            "array" => {
                let item = tree.items.as_ref().map_or(Shape::Any, |items| self.shape_of(items, name, open));
                let kind = match tree.list_type.as_str() {
                    "set" => ListKind::Set,
                    "map" => ListKind::Map(tree.list_keys.clone()),
                    _ => ListKind::Atomic,
                };
                Shape::List(Box::new(ListShape { item, kind, patch: ListPatch::Replace }))
            }
            "object" => match &tree.additional {
                Some(Additional::Schema(value)) => {
                    let value = self.shape_of(value, name, open || tree.preserve_unknown);
                    Shape::Map(Box::new(MapShape { value, atomic: tree.map_type == "atomic" }))
                }
                _ => {
                    let ty = self.struct_of(tree, name, open);
                    Shape::Struct(self.push(ty))
                }
            },
            _ if open || tree.preserve_unknown => Shape::Deduced,
            _ => Shape::Any,
        }
    }
}
