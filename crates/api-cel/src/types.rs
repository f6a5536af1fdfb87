//! Types of values, and declarations: types with what is known of sizes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone)]
pub enum Type {
    /// Anything.
    Dyn,
    /// Of what could not be checked.
    Error,
    /// `null`.
    Null,
    /// `true`.
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without.
    Uint,
    /// A float.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A span.
    Duration,
    /// A list.
    List(Arc<Type>),
    /// A map.
    Map(Arc<Type>, Arc<Type>),
    /// A value or none.
    Optional(Arc<Type>),
    /// A type as a value.
    Type(Arc<Type>),
    /// One of Kubernetes' own.
    Opaque(&'static str),
    /// An object with known fields.
    Object(Arc<Object>),
    /// A type yet to be found.
    Var(u32),
}

/// An object with known fields.
#[derive(Debug)]
pub struct Object {
    /// Name, for messages; equal names are equal types.
    pub name: String,
    /// Fields as CEL names them.
    pub fields: BTreeMap<String, Arc<Decl>>,
}

/// A type, and what is known of the sizes of its values.
#[derive(Debug, Clone)]
pub struct Decl {
    /// The type.
    pub ty: Type,
    /// Most characters, bytes, items or entries; `None` if there is no bound.
    pub max: Option<u64>,
    /// Of items of a list or values of a map.
    pub item: Option<Arc<Decl>>,
    /// Of keys of a map.
    pub key: Option<Arc<Decl>>,
    /// Fewest bytes of JSON.
    pub min_json: u64,
    /// Whether lists are sets or maps.
    pub list: crate::value::ListKind,
}

impl Decl {
    /// A type without bounds.
    pub fn of(ty: Type) -> Self {
        Self { ty, max: None, item: None, key: None, min_json: 1, list: crate::value::ListKind::Atomic }
    }

    /// Anything.
    pub fn any() -> Arc<Self> {
        Arc::new(Self::of(Type::Dyn))
    }

    /// An object of those fields.
    pub fn object<'a>(name: &str, fields: impl IntoIterator<Item = (&'a str, Arc<Decl>)>) -> Arc<Self> {
        let fields = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Arc::new(Self::of(Type::Object(Arc::new(Object { name: name.into(), fields }))))
    }

    /// A list of those items.
    pub fn list(item: Arc<Decl>) -> Arc<Self> {
        let ty = Type::List(Arc::new(item.ty.clone()));
        Arc::new(Self { item: Some(item), ..Self::of(ty) })
    }

    /// A map from text.
    pub fn map(item: Arc<Decl>) -> Arc<Self> {
        let key = Arc::new(Self::of(Type::String));
        let ty = Type::Map(Arc::new(Type::String), Arc::new(item.ty.clone()));
        Arc::new(Self { item: Some(item), key: Some(key), ..Self::of(ty) })
    }

    /// The declaration of a field.
    pub fn field(&self, name: &str) -> Option<&Arc<Decl>> {
        match &self.ty {
            Type::Object(object) => object.fields.get(name),
            _ => None,
        }
    }
}

impl Type {
    /// A list of it.
    pub fn list(self) -> Type {
        Type::List(Arc::new(self))
    }

    /// An optional one.
    pub fn optional(self) -> Type {
        Type::Optional(Arc::new(self))
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Map(ak, av), Self::Map(bk, bv)) => ak == bk && av == bv,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Var(a), Self::Var(b)) => a == b,
            (Self::Type(_), Self::Type(_)) => true,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && !matches!(self, Self::List(_) | Self::Optional(_) | Self::Map(..) | Self::Opaque(_))
                    && !matches!(self, Self::Object(_) | Self::Var(_))
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Var(_) => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional({inner})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Opaque(name) => f.write_str(name),
            Self::Object(object) => f.write_str(&object.name),
        }
    }
}
