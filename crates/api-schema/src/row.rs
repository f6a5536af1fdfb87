//! A resource as a row: everything the server must know of it, built-in or custom.

use crate::custom::Custom;
use crate::schema::{Schema, StructId};
use api_core::field::Errors;
use api_core::{ApiError, Gvk, Gvr};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

/// Types of a row that has none.
static NO_TYPES: LazyLock<Schema> = LazyLock::new(Schema::default);

/// A resource that the server serves.
#[derive(Debug)]
pub struct Row {
    /// Group, version and plural name, as in its URL.
    pub gvr: Gvr,
    /// Kind of its objects.
    pub kind: Gvk,
    /// Kind of its lists, such as `PodList`.
    pub list_kind: String,
    /// Singular name, such as `pod`.
    pub singular: String,
    /// Short names, such as `po`.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// Verbs in discovery order; empty for a row that has only subresources.
    pub verbs: Vec<String>,
    /// Prefix of its keys in the store, without a trailing slash: `/registry/pods`. Empty if it is never stored.
    pub storage_prefix: String,
    /// The version its objects are stored in.
    pub storage_version: Gvk,
    /// `discovery.json`'s storage version hash; empty if it has none.
    pub storage_version_hash: String,
    /// The types that a built-in kind is made of, and its own among them; those of a custom resource are made when they are
    /// needed. See [`Row::schema`].
    pub types: Option<(Arc<Schema>, StructId)>,
    /// What lies below an object.
    pub subresources: Vec<Subresource>,
    /// Columns of its Table.
    pub columns: Vec<Column>,
    /// What is special about it.
    pub hooks: &'static Hooks,
    /// What a custom resource has beside; `None` for a built-in kind.
    pub custom: Option<Arc<Custom>>,
}

impl Row {
    /// The types it is made of.
    pub fn schema(&self) -> &Schema {
        match (&self.types, &self.custom) {
            (None, Some(custom)) => &custom.types().0,
            (types, _) => types.as_ref().map_or(&NO_TYPES, |(schema, _)| schema),
        }
    }

    /// Its own type in [`Row::schema`].
    pub fn root(&self) -> StructId {
        match (&self.types, &self.custom) {
            (None, Some(custom)) => custom.types().1,
            (types, _) => types.as_ref().map_or(0, |(_, root)| *root),
        }
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// What lies below an object, such as `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// The last part of its path.
    pub name: String,
    /// The kind it answers with.
    pub kind: Gvk,
    /// Verbs in discovery order.
    pub verbs: Vec<String>,
}

/// A column of a Table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `date`, ...
    pub kind: String,
    /// `name` for the first column, else empty.
    pub format: String,
    /// For people.
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 in wide output.
    pub priority: i32,
}

/// A cell of a row in a Table. What it shows does not depend on when it is looked at, but for how long ago something was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// As it is.
    Value(Value),
    /// Text with how long ago a time was in it.
    Since {
        /// The text before it.
        before: String,
        /// Microseconds since the epoch.
        then_unix_us: i64,
        /// The text after it.
        after: &'static str,
    },
}

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// What a write is about, beside the object.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteContext<'a> {
    /// Seconds since the epoch.
    pub now_unix_s: i64,
    /// Empty for the object itself, else the subresource being written.
    pub subresource: &'a str,
    /// Name of the user who writes.
    pub user: &'a str,
    /// The user's uid; may be empty.
    pub uid: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// What else is known of the user.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// What is special about a kind: pure functions, each optional. All of them see the object in its stored version.
///
/// Order on a write, as upstream: decode, prune → `default` → (update: subresource merge by the pipeline) → managed fields →
/// mutating admission → `warnings_as_asked` → `prepare_*` → `allocate` → `validate` (and `validate_update`) → `warnings` → validating admission →
/// store.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::type_complexity, reason = "each is one function pointer; names for them would only hide its shape")]
pub struct Hooks {
    /// Fills in defaults. Must be idempotent.
    pub default: Option<fn(&mut Value)>,
    /// Drops what a user may not set on create (status is dropped by the pipeline), sets what the server sets.
    pub prepare_create: Option<fn(&WriteContext<'_>, &mut Value)>,
    /// The same on update: `(context, new, old)`.
    pub prepare_update: Option<fn(&WriteContext<'_>, &mut Value, &Value)>,
    /// What `metadata.generation` counts.
    pub generation: Generation,
    /// Metadata that a write of the status leaves as it is.
    pub status_keeps: KeptMetadata,
    /// Checks an object that is created. Metadata's general rules are checked by the pipeline.
    pub validate: Option<fn(&Value, &mut Errors)>,
    /// Checks an update, all of it (call `validate` from it where upstream does): `(context, new, old, errors)`.
    /// Without it, `validate` is run on the new object.
    pub validate_update: Option<fn(&WriteContext<'_>, &Value, &Value, &mut Errors)>,
    /// Whether `metadata.name` is valid: upstream's name function of the kind; without it, a DNS subdomain.
    pub validate_name: Option<fn(&str, bool) -> Vec<String>>,
    /// Whether `validate` leaves metadata alone, as some of upstream's kinds do: then it is looked at only once nothing else
    /// of a new object is wrong, and as of any object.
    pub metadata_last: bool,
    /// Warnings about a new object as it was asked for, before `prepare_create`. They are told even if it is refused.
    pub warnings_as_asked: Option<fn(&Value) -> Vec<String>>,
    /// Warnings for a create or update: `(new, old)`.
    pub warnings: Option<fn(&Value, Option<&Value>) -> Vec<String>>,
    /// Fields that a field selector may name beside `metadata.name` and `metadata.namespace`, with their values.
    pub selectable_fields: Option<fn(&Value) -> Vec<(&'static str, String)>>,
    /// Name in the stored version of a field that is called otherwise in this one.
    pub stored_field: Option<fn(&str) -> Option<&'static str>>,
    /// Paths of all that `selectable_fields` reads; without any, it is given the whole object.
    pub selectable_paths: &'static [&'static str],
    /// Cells of its row in a Table, one for each column.
    pub table_cells: Option<fn(&Value) -> Vec<Cell>>,
    /// Conditions of an object's row in a Table.
    pub table_conditions: Option<fn(&Value) -> Vec<Value>>,
    /// Paths of all that `table_cells` and `table_conditions` read; without any, it is given the whole object but for its managed fields.
    pub table_paths: &'static [&'static str],
    /// Annotations that upstream holds in fields of their own, and so does not show with the metadata alone.
    pub hidden_annotations: &'static [&'static str],
    /// Converts between versions of the kind: `(object, to version)`; the object's `apiVersion` says from which.
    pub convert: Option<fn(&mut Value, &Gvk)>,
    /// Whether an object that has no creation time yet says so by a null.
    pub null_creation_time: bool,
    /// Whether an object may be other than its types say: those of a custom resource are written by hand, and may be others
    /// now than when the object was stored.
    pub may_misfit: bool,
    /// Whether who changes an object owns all that they asked for, even what the write leaves as it is.
    pub owns_what_is_asked: bool,
    /// What a client is told is missing when there is no object whose scale it reads.
    pub missing_scale: MissingScale,
    /// Whether an update without `metadata.resourceVersion` is allowed; most kinds allow it.
    pub unconditional_update: bool,
    /// Whether a new object has the status that it is posted with, although status is a subresource (Node).
    pub status_on_create: bool,
    /// Whether a PUT to a name that is not there creates the object (Lease, Endpoints, Event, ...).
    pub create_on_update: bool,
    /// Grace period of a DELETE that names none: `(object) -> seconds`. `None` means at once, whatever the DELETE says
    /// (a pod that is not scheduled, or has ended). A kind without this hook has no graceful deletion.
    pub default_grace_s: Option<fn(&Value) -> Option<i64>>,
    /// Whether a DELETE that does not say what becomes of dependents orphans them (Job, ReplicationController).
    pub orphan_by_default: bool,
    /// What is told to who deletes an object and does not say what shall become of its dependents; usually nothing.
    pub delete_warning: &'static str,
    /// Whether a DELETE answers with the object, not with a `Status`.
    pub returns_deleted: bool,
    /// Whether `spec.finalizers` holds back the deletion too, and a DELETE sets `status.phase` to `Terminating`.
    pub has_spec_finalizers: bool,
    /// What the first DELETE adds to an object beside its deletion time: `(object, now)`. It is held back by what this adds.
    pub mark_deleted: Option<fn(&mut Value, &str)>,
    /// Fields that a write through a subresource (empty: of the object itself) does not own: `(subresource)`. Without it,
    /// `status` through the object and `spec` through its status.
    pub reset_fields: Option<fn(&str) -> &'static [&'static [&'static str]]>,
    /// By what the rows of a Table are ordered before their names; without it, they come as in any list.
    pub table_order: Option<fn(&Value) -> i64>,
    /// Whether objects expire by the server's TTL (Event).
    pub expires: bool,
    /// Takes addresses and ports from the cluster's pools: `(new, old, pool, errors)`. `old` is `None` on create.
    pub allocate: Option<fn(&mut Value, Option<&Value>, &mut dyn Pool, &mut Errors)>,
    /// Addresses and ports that a stored object holds.
    pub allocated: Option<fn(&Value) -> Vec<Allocation>>,
    /// Carries out a POST to a subresource that changes the object (`binding`): `(context, object, body)`.
    pub post_subresource: Option<fn(&WriteContext<'_>, &mut Value, &Value) -> Result<(), ApiError>>,
}

/// What `metadata.generation` counts. A write of the status never counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Whether it is 1 when an object is made; else it is absent until the first change that counts.
    pub starts: bool,
    /// Whether it counts changes outside of `metadata` and `status`.
    pub spec: bool,
    /// Maps of the metadata whose changes count too.
    pub metadata: &'static [&'static str],
}

impl Generation {
    /// Nothing: the kind has no generation.
    pub const NONE: Self = Self { starts: false, spec: false, metadata: &[] };
    /// What it counts for most kinds.
    pub const SPEC: Self = Self { starts: true, spec: true, metadata: &[] };
}

/// Parts of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptMetadata {
    /// None of them.
    Nothing,
    /// These fields.
    Fields(&'static [&'static str]),
    /// All of them, but for who owns what.
    All,
}

impl KeptMetadata {
    /// What upstream mostly keeps where it keeps something.
    pub const USUAL: Self =
        Self::Fields(&["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp"]);
}

/// What upstream calls the scale of an object that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingScale {
    /// The object.
    Object,
    /// The object's scale.
    Scale,
    /// The object's scale, in that group.
    ScaleOf(&'static str),
}

/// Something that is there once in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// An address of the services' range.
    Ip(IpAddr),
    /// A node port, for all protocols.
    Port(u16),
}

/// Where a kind takes addresses and ports from. What is taken is given back if the write does not happen.
pub trait Pool {
    /// An address of the family: the one wanted, or any that is free. The error says why not, in upstream's words.
    fn ip(&mut self, v6: bool, wanted: Option<IpAddr>) -> Result<IpAddr, String>;
    /// A node port: the one wanted, or any that is free.
    fn port(&mut self, wanted: Option<u16>) -> Result<u16, String>;
    /// Families of the services' ranges, the first one first: whether each is IPv6.
    fn families(&self) -> &[bool];
}

impl Hooks {
    /// A bare row.
    pub const NONE: Hooks = Hooks {
        default: None,
        prepare_create: None,
        prepare_update: None,
        generation: Generation::NONE,
        status_keeps: KeptMetadata::Nothing,
        validate: None,
        validate_update: None,
        validate_name: None,
        metadata_last: false,
        warnings_as_asked: None,
        warnings: None,
        selectable_fields: None,
        stored_field: None,
        selectable_paths: &[],
        table_cells: None,
        table_conditions: None,
        table_paths: &[],
        hidden_annotations: &[],
        convert: None,
        null_creation_time: true,
        may_misfit: false,
        owns_what_is_asked: false,
        missing_scale: MissingScale::Scale,
        unconditional_update: true,
        status_on_create: false,
        create_on_update: false,
        default_grace_s: None,
        orphan_by_default: false,
        delete_warning: "",
        returns_deleted: false,
        has_spec_finalizers: false,
        mark_deleted: None,
        reset_fields: None,
        table_order: None,
        expires: false,
        allocate: None,
        allocated: None,
        post_subresource: None,
    };
}
