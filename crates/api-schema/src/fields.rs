//! The fields of a struct type, and which of them has a name. Every key of every document is looked up here.

use crate::schema::{Field, Shape};
use serde_json::Value;
use std::ops::Deref;

/// Fields sorted by name. One is found by numbers, whose list is short, and only the last look is at a text.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    all: Vec<Field>,
    /// What the name of each starts with.
    starts: Vec<u64>,
    /// The places of those with a default.
    defaults: Vec<usize>,
}

impl Fields {
    /// The place of the field of that name.
    pub fn place(&self, name: &str) -> Option<usize> {
        let start = start(name);
        let first = self.starts.partition_point(|other| *other < start);
        let alike = &self.starts[first..];
        let place = if alike.get(1) == Some(&start) {
            let alike = &self.all[first..][..alike.partition_point(|other| *other == start)];
            first + alike.binary_search_by(|field| field.name.as_str().cmp(name)).ok()?
        } else {
            first
        };
        self.all.get(place).filter(|field| field.name == name).map(|_| place)
    }

    /// Those with a default, and that.
    pub fn with_default(&self) -> impl Iterator<Item = (&Field, &Value)> {
        let fields = self.defaults.iter().map(|place| &self.all[*place]);
        fields.filter_map(|field| Some((field, field.default.as_ref()?)))
    }

    /// Changes what the field at `place` holds.
    ///
    /// # Panics
    /// If there is none.
    pub fn set_shape(&mut self, place: usize, shape: Shape) {
        self.all[place].shape = shape;
    }
}

/// Up to eight bytes of a name as a number, such that numbers are in the order of names as far as they differ.
fn start(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let taken = name.len().min(bytes.len());
    bytes[..taken].copy_from_slice(&name.as_bytes()[..taken]);
    u64::from_be_bytes(bytes)
}

impl From<Vec<Field>> for Fields {
    fn from(mut all: Vec<Field>) -> Self {
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let starts = all.iter().map(|field| start(&field.name)).collect();
        let has_default = |(place, field): (usize, &Field)| field.default.is_some().then_some(place);
        let defaults = all.iter().enumerate().filter_map(has_default).collect();
        Self { all, starts, defaults }
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        fields.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for Fields {
    type Target = [Field];
    fn deref(&self) -> &[Field] {
        &self.all
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

impl IntoIterator for Fields {
    type Item = Field;
    type IntoIter = std::vec::IntoIter<Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn field(name: &str) -> Field {
        let default = name.ends_with('!').then_some(Value::Null);
        Field {
            name: name.to_owned(),
            shape: Shape::String,
            required: false,
            default,
            zero_is_absent: false,
            patch_replaces: false,
            number: 0,
        }
    }

    proptest! {
        #[test]
        fn each_field_is_found_by_its_name_and_no_other(
            names in prop::collection::btree_set("(aaaaaaa)?[\\x00ab]{0,3}(\u{e9})?!?", 0..40),
            others in prop::collection::vec("(aaaaaaa)?[\\x00ab]{0,3}", 0..20),
        ) {
            let sorted: Vec<&String> = names.iter().collect();
            let fields: Fields = names.iter().rev().map(|name| field(name)).collect();
            for name in names.iter().chain(&others) {
                prop_assert_eq!(fields.place(name), sorted.iter().position(|n| *n == name), "{:?}", name);
            }
            let with_default: BTreeSet<&str> = fields.with_default().map(|(field, _)| field.name.as_str()).collect();
            prop_assert_eq!(with_default, names.iter().filter(|n| n.ends_with('!')).map(String::as_str).collect());
        }
    }
}
