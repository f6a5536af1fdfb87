//! The entries of `managedFields`: reading, finding, capping, ordering, writing.

use super::Manager;
use crate::fields::{Fields, Set, subtract};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Updates beyond so many managers are merged, oldest first, into one entry of [`ANCIENT`].
const UPDATE_MANAGERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// What nobody ever owns.
static NEVER_OWNED: LazyLock<Set> = LazyLock::new(|| {
    let mut set = Set::of_fields(&[&["apiVersion"], &["kind"], &["metadata"]]);
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set = set.union(Set::of_fields(&[&["metadata", name]]));
    }
    set
});

/// `set` without what nobody ever owns.
pub(super) fn ownable(mut set: Set) -> Set {
    set.subtract(&NEVER_OWNED, false);
    set
}

/// The same of a set that is written as `fieldsV1`.
pub(super) fn ownable_fields(fields: &mut Map<String, Value>) {
    subtract(fields, &NEVER_OWNED, false);
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) applied: bool,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) fields: Fields,
}

impl Entry {
    /// An entry of `manager` that owns nothing yet.
    pub(super) fn new(manager: &Manager<'_>, applied: bool) -> Self {
        Self {
            manager: manager.name.to_owned(),
            applied,
            api_version: manager.api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
            time: None,
            fields: Fields::default(),
        }
    }

    /// Whether both are the same manager's: appliers have one entry whatever the version.
    pub(super) fn same_manager(&self, other: &Entry) -> bool {
        self.applied == other.applied
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    fn unix_s(&self) -> i64 {
        self.time.as_deref().and_then(api_core::time::parse_unix_s).unwrap_or(0)
    }

    fn read(index: usize, mut value: Value) -> Result<Self, String> {
        let fields = value.get_mut("fieldsV1").map(Value::take).unwrap_or_default();
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let applied = match text("operation").as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
        }
        let fields = Fields::read(fields).map_err(|e| format!("error decoding versioned set: {e}"))?;
        Ok(Self {
            manager: text("manager"),
            applied,
            api_version,
            subresource: text("subresource"),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            fields,
        })
    }

    /// As an entry of `managedFields`.
    fn write(mut self) -> Value {
        let fields = std::mem::take(&mut self.fields).into_json();
        self.write_with(fields)
    }

    /// The same with other fields.
    pub(super) fn write_with(&self, fields: Value) -> Value {
        let mut map = Map::new();
        let mut put = |field: &str, value: &str| {
            if !value.is_empty() {
                map.insert(field.to_owned(), value.into());
            }
        };
        put("manager", &self.manager);
        put("operation", if self.applied { "Apply" } else { "Update" });
        put("apiVersion", &self.api_version);
        put("time", self.time.as_deref().unwrap_or_default());
        put("fieldsType", "FieldsV1");
        put("subresource", &self.subresource);
        map.insert("fieldsV1".to_owned(), fields);
        Value::Object(map)
    }
}

/// All entries of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entries(pub(super) Vec<Entry>);

impl Entries {
    /// Reads `managedFields`. Of entries of one manager the last one counts.
    pub(super) fn read(list: Option<&Value>) -> Result<Self, String> {
        Self::take(list.cloned())
    }

    /// The same, without a copy.
    pub(super) fn take(list: Option<Value>) -> Result<Self, String> {
        let mut entries = Self::default();
        let Some(Value::Array(list)) = list else { return Ok(entries) };
        for (i, value) in list.into_iter().enumerate() {
            let entry = Entry::read(i, value)?;
            match entries.position(&entry) {
                Some(at) => entries.0[at] = entry,
                None => entries.0.push(entry),
            }
        }
        Ok(entries)
    }

    /// Where the entry of that manager is.
    pub(super) fn position(&self, like: &Entry) -> Option<usize> {
        self.0.iter().position(|e| e.same_manager(like))
    }

    /// Gives `set` to the manager of `like` in addition to what it has.
    pub(super) fn grant(&mut self, like: Entry, set: Set, now: &str) {
        let at = self.position(&like).unwrap_or_else(|| {
            self.0.push(like);
            self.0.len() - 1
        });
        let entry = &mut self.0[at];
        entry.fields.add(set);
        entry.time = (!now.is_empty()).then(|| now.to_owned());
    }

    /// Merges the oldest updates of each version until there are few enough.
    pub(super) fn cap(&mut self) {
        let mut count = self.0.iter().filter(|e| !e.applied).count();
        if count <= UPDATE_MANAGERS_MAX {
            return;
        }
        let (mut updates, mut kept): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.0).into_iter().partition(|e| !e.applied);
        updates.sort_by(|a, b| {
            let key = |e: &Entry| (e.unix_s(), e.manager.clone(), e.api_version.clone(), e.subresource.clone());
            key(a).cmp(&key(b))
        });
        let mut buckets: BTreeMap<String, Entry> = BTreeMap::new();
        let mut merged: BTreeMap<String, bool> = BTreeMap::new();
        for entry in updates {
            if count <= UPDATE_MANAGERS_MAX {
                kept.push(entry);
                continue;
            }
            match buckets.get_mut(&entry.api_version) {
                // The first of a version stays what it is unless another one joins it.
                None => {
                    buckets.insert(entry.api_version.clone(), entry);
                }
                Some(bucket) => {
                    bucket.fields.add(entry.fields.into_set());
                    bucket.time = entry.time;
                    merged.insert(entry.api_version, true);
                    count -= 1;
                }
            }
        }
        for (version, mut bucket) in buckets {
            if merged.contains_key(&version) {
                bucket.manager = ANCIENT.to_owned();
                bucket.subresource = String::new();
            }
            match kept.iter_mut().find(|e| e.same_manager(&bucket)) {
                Some(same) => same.fields.add(bucket.fields.into_set()),
                None => kept.push(bucket),
            }
        }
        self.0 = kept;
    }

    /// As `managedFields`, in upstream's order: applies first, then by time, manager, version and subresource.
    pub(super) fn write(mut self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by(|a, b| {
            b.applied
                .cmp(&a.applied)
                .then_with(|| a.unix_s().cmp(&b.unix_s()))
                .then_with(|| a.manager.cmp(&b.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        Some(self.0.into_iter().map(Entry::write).collect())
    }
}
