//! Values of expressions.

use crate::authz::Authz;
use crate::functions::url::Url;
use api_core::quantity::Quantity;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`.
    Null,
    /// `true`.
    Bool(bool),
    /// 64 bits with a sign.
    Int(i64),
    /// 64 bits without.
    Uint(u64),
    /// A float.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A moment, in nanoseconds since 1970.
    Timestamp(i128),
    /// A span in nanoseconds.
    Duration(i64),
    /// A list.
    List(Arc<List>),
    /// A map, or an object.
    Map(Arc<BTreeMap<Key, Value>>),
    /// A type, by its name.
    Type(&'static str),
    /// A value or none.
    Optional(Option<Arc<Value>>),
    /// `url()`.
    Url(Arc<Url>),
    /// `quantity()`.
    Quantity(Arc<Quantity>),
    /// `authorizer`, and what is asked of it.
    Authz(Arc<Authz>),
}

/// Keys of maps. Numbers that are equal are one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A bool.
    Bool(bool),
    /// An int, or a small uint.
    Int(i64),
    /// A large uint.
    Uint(u64),
    /// Text.
    String(Arc<str>),
}

/// How lists are compared and added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListKind {
    /// Item by item.
    #[default]
    Atomic,
    /// Items are unique, in any order.
    Set,
    /// Items are unique by these fields, in any order.
    Map(Arc<[String]>),
}

/// Items of a list.
#[derive(Debug, Clone)]
pub struct List {
    /// The items.
    pub items: Vec<Value>,
    /// What the schema says of them.
    pub kind: ListKind,
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::String(text.into())
    }

    /// A list.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    /// A map of text to values.
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self::Map(Arc::new(entries.into_iter().map(|(k, v)| (Key::String(k.into()), v)).collect()))
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Authz(authz) => authz.type_name(),
        }
    }

    /// It as a key.
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(b) => Key::Bool(*b),
            Self::Int(i) => Key::Int(*i),
            Self::Uint(u) => i64::try_from(*u).map_or(Key::Uint(*u), Key::Int),
            Self::String(s) => Key::String(s.clone()),
            #[allow(clippy::cast_possible_truncation)]
            Self::Double(d) if d.fract() == 0.0 && d.abs() < 9.0e15 => Key::Int(*d as i64),
            _ => return None,
        })
    }

    /// Characters, bytes, items or entries; 1 for what has none.
    pub fn size(&self) -> u64 {
        let size = match self {
            Self::String(s) => s.chars().count(),
            Self::Bytes(b) => b.len(),
            Self::List(l) => l.items.len(),
            Self::Map(m) => m.len(),
            Self::Optional(Some(v)) => return v.size(),
            _ => 1,
        };
        size as u64
    }

    /// Whether they are equal; numbers are compared across types.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => lists_equal(a, b),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| v.equals(w)))
            }
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (None, None) => true,
                _ => false,
            },
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Which comes first, if there is an order.
    pub fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Double(a), b) => order_double(*a, b),
            (a, Self::Double(b)) => order_double(*b, a).map(Ordering::reverse),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(i) => Some(i128::from(*i)),
            Self::Uint(u) => Some(i128::from(*u)),
            _ => None,
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn order_double(a: f64, b: &Value) -> Option<Ordering> {
    if let Value::Double(b) = b {
        return a.partial_cmp(b);
    }
    let b = b.whole()?;
    if a.is_nan() {
        return None;
    }
    let whole = a.trunc() as i128;
    Some(whole.cmp(&b).then(a.partial_cmp(&a.trunc())?))
}

fn lists_equal(a: &List, b: &List) -> bool {
    if a.items.len() != b.items.len() {
        return false;
    }
    let kind = if a.kind == ListKind::Atomic { &b.kind } else { &a.kind };
    match kind {
        ListKind::Atomic => a.items.iter().zip(&b.items).all(|(x, y)| x.equals(y)),
        ListKind::Set => a.items.iter().all(|x| b.items.iter().any(|y| x.equals(y))),
        ListKind::Map(keys) => {
            let same = |x: &Value, y: &Value| keys_of(x, keys) == keys_of(y, keys);
            a.items.iter().all(|x| b.items.iter().find(|y| same(x, y)).is_some_and(|y| x.equals(y)))
        }
    }
}

/// What an item of a list map is known by.
pub(crate) fn keys_of(item: &Value, keys: &[String]) -> Vec<Option<Key>> {
    let Value::Map(map) = item else { return Vec::new() };
    keys.iter()
        .map(|k| map.get(&Key::String(crate::schema::escape(k).unwrap_or_else(|| k.clone()).into()))?.key())
        .collect()
}

impl From<&Key> for Value {
    fn from(key: &Key) -> Self {
        match key {
            Key::Bool(b) => Self::Bool(*b),
            Key::Int(i) => Self::Int(*i),
            Key::Uint(u) => Self::Uint(*u),
            Key::String(s) => Self::String(s.clone()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}
