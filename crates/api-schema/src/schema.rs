//! The shape of objects: an arena of struct types, so that recursive types need no cycles of pointers.

pub use crate::fields::Fields;
use crate::protobuf::{Messages, Wire};
use api_core::Gvk;
use serde_json::Value;
use std::collections::BTreeMap;

/// Index of a [`StructType`] in its [`Schema`].
pub type StructId = u32;

/// All types that one kind, or all built-in kinds, are made of.
#[derive(Debug, Default)]
pub struct Schema {
    /// The arena that [`Shape::Struct`] points into.
    pub structs: Vec<StructType>,
    /// Kinds that have a type here; a body of another kind is refused as unknown. Empty: nothing is known of others.
    pub kinds: BTreeMap<Gvk, StructId>,
    /// What Go calls the type of a field (by its place in its struct) where the shape does not tell. For errors.
    pub go_types: BTreeMap<(StructId, usize), String>,
    /// Fields (by their place in their struct) whose message does not follow from their shape.
    pub wires: BTreeMap<(StructId, usize), Wire>,
    /// Kinds that only protobuf and stored values know: other views, and versions that are no longer served.
    pub wire_kinds: BTreeMap<Gvk, StructId>,
    /// The types as messages.
    pub messages: Messages,
    /// What refusals call the scheme in which the kinds of a group are registered.
    pub scheme_of: SchemeOf,
}

/// A group → the name of the scheme of its kinds.
#[derive(Debug, Clone, Copy)]
pub struct SchemeOf(pub fn(&str) -> &'static str);

impl Default for SchemeOf {
    fn default() -> Self {
        Self(|_| "")
    }
}

impl Schema {
    /// The struct type at `id`.
    pub fn get(&self, id: StructId) -> &StructType {
        &self.structs[id as usize]
    }
}

/// An object with named fields.
#[derive(Debug, Clone, Default)]
pub struct StructType {
    /// Its name in the OpenAPI document, such as `io.k8s.api.core.v1.PodSpec`.
    pub name: String,
    /// Its fields.
    pub fields: Fields,
    /// `x-kubernetes-map-type: atomic`: it has one owner as a whole.
    pub atomic: bool,
    /// `x-kubernetes-preserve-unknown-fields`: fields not listed are kept.
    pub preserve_unknown: bool,
}

impl StructType {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.place(name).map(|place| &self.fields[place])
    }
}

/// A field of a struct.
#[derive(Debug, Clone)]
pub struct Field {
    /// JSON name.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// Whether the OpenAPI document requires it.
    pub required: bool,
    /// What is written where the field is absent: the default of the OpenAPI document (`{}` on a struct: upstream
    /// always writes it), or `null` for lists and times that upstream writes even when they are nil.
    pub default: Option<Value>,
    /// Whether a zero value (`""`, `0`, `false`) reads as absent, as a Go field that is no pointer and has `omitempty`.
    pub zero_is_absent: bool,
    /// `x-kubernetes-patch-strategy: replace` of an object: a strategic merge patch replaces the whole. Of lists,
    /// [`ListPatch`] says it.
    pub patch_replaces: bool,
    /// Field number in protobuf; 0 if it has none. A field of an embedded message has the outer number in the byte
    /// above its own, and so on.
    pub number: u32,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Anything: raw extensions, JSON.
    Any,
    /// Anything, of which every field has an owner of its own: what its schema has no type for and keeps.
    Deduced,
    /// `true` or `false`.
    Bool,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// A double.
    Number,
    /// Text.
    String,
    /// Base64 text.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// A quantity, such as `100m` or `1Gi`; a number is taken too and becomes text.
    Quantity,
    /// A 32-bit number or text.
    IntOrString,
    /// `FieldsV1` of managed fields: an object kept as it is.
    FieldsV1,
    /// An object with named fields.
    Struct(StructId),
    /// An object of this type, or anything else, which is kept as it is (`JSONSchemaPropsOrBool` and the like).
    /// Unknown fields inside go unmentioned. Patches see it as [`Shape::Any`].
    StructOr(StructId),
    /// An object with free keys.
    Map(Box<MapShape>),
    /// A list.
    List(Box<ListShape>),
}

/// An object with free keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapShape {
    /// What each entry holds.
    pub value: Shape,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListShape {
    /// What each item holds.
    pub item: Shape,
    /// How server-side apply sees it.
    pub kind: ListKind,
    /// How a strategic merge patch sees it.
    pub patch: ListPatch,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListKind {
    /// One owner as a whole; the default.
    #[default]
    Atomic,
    /// Scalars, each there once.
    Set,
    /// Objects, each known by the values of these fields.
    Map(Vec<String>),
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key` of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListPatch {
    /// The patch's list replaces the whole; the default.
    #[default]
    Replace,
    /// Items are merged: objects by this key, scalars (empty key) by value.
    Merge(String),
}
