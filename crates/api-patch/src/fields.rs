//! Sets of fields: who owns what in an object, as `managedFields` states it.
//!
//! A set is a tree along the object's paths; each entry says whether its own path is in the set. The algebra, order and
//! JSON form (`FieldsV1`) are those of upstream's structured-merge-diff, since other servers and clients read them.
//! Must never know a schema: [`crate::typed`] makes sets from objects.

mod element;
mod json;
mod written;

pub use element::Element;
pub(crate) use json::{MEMBER, print, print_field, print_key, print_value, subtract};
pub(crate) use written::Fields;

use std::cmp::Ordering;
use std::fmt;

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    /// Sorted by element; none is both no member and without children.
    entries: Vec<Entry>,
}

/// What a set says of one element and what lies below.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The step.
    pub element: Element,
    /// Whether the path up to here is in the set itself.
    pub member: bool,
    /// Paths that go on.
    pub children: Set,
}

impl Set {
    /// The empty set.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Whether it holds no path.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many paths it holds.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|e| usize::from(e.member) + e.children.len()).sum()
    }

    /// Its entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.entries.binary_search_by(|e| e.element.cmp(element))
    }

    /// The entry of `element`.
    pub fn get(&self, element: &Element) -> Option<&Entry> {
        self.find(element).ok().map(|i| &self.entries[i])
    }

    /// The entry of a field.
    pub fn field(&self, name: &str) -> Option<&Entry> {
        let order = |e: &Entry| match &e.element {
            Element::Field(f) => f.as_str().cmp(name),
            _ => Ordering::Greater,
        };
        self.entries.binary_search_by(order).ok().map(|i| &self.entries[i])
    }

    /// Whether the path is in the set.
    pub fn contains(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|e| e.member),
            [first, rest @ ..] => self.get(first).is_some_and(|e| e.children.contains(rest)),
        }
    }

    /// Adds what is said of an element to what is there already. An entry without content is not added.
    pub fn add(&mut self, element: Element, member: bool, children: Set) {
        if !member && children.is_empty() {
            return;
        }
        // Walkers mostly add in order.
        if self.entries.last().is_none_or(|last| last.element < element) {
            self.entries.push(Entry { element, member, children });
            return;
        }
        match self.find(&element) {
            Ok(i) => {
                let entry = &mut self.entries[i];
                entry.member |= member;
                entry.children = std::mem::take(&mut entry.children).union(children);
            }
            Err(i) => self.entries.insert(i, Entry { element, member, children }),
        }
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let mut children = Set::new();
        children.insert(rest);
        self.add(first.clone(), rest.is_empty(), children);
    }

    /// A set of field paths, such as `&[&["metadata", "name"]]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: Vec<Element> = path.iter().map(|p| Element::Field((*p).to_owned())).collect();
            set.insert(&path);
        }
        set
    }

    /// Paths in either.
    pub fn union(self, other: Set) -> Set {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let mut entries = Vec::with_capacity(self.entries.len().max(other.entries.len()));
        let mut left = self.entries.into_iter().peekable();
        let mut right = other.entries.into_iter().peekable();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match a.element.cmp(&b.element) {
                Ordering::Less => entries.extend(left.next()),
                Ordering::Greater => entries.extend(right.next()),
                Ordering::Equal => {
                    if let (Some(a), Some(b)) = (left.next(), right.next()) {
                        let (member, children) = (a.member || b.member, a.children.union(b.children));
                        entries.push(Entry { element: a.element, member, children });
                    }
                }
            }
        }
        entries.extend(left);
        entries.extend(right);
        Set { entries }
    }

    /// Paths in both.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::new();
        for (a, b) in self.pairs(other) {
            let Some(b) = b else { continue };
            let children = a.children.intersection(&b.children);
            let member = a.member && b.member;
            if member || !children.is_empty() {
                out.entries.push(Entry { element: a.element.clone(), member, children });
            }
        }
        out
    }

    /// Paths that are not in `other`. A path below one in `other` stays.
    pub fn difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        let mut out = Set::new();
        for (a, b) in self.pairs(other) {
            let Some(b) = b else {
                out.entries.push(a.clone());
                continue;
            };
            let member = a.member && !b.member;
            let children = a.children.difference(&b.children);
            if member || !children.is_empty() {
                out.entries.push(Entry { element: a.element.clone(), member, children });
            }
        }
        out
    }

    /// Takes the paths in `other` out; with `below`, what lies below them too.
    pub fn subtract(&mut self, other: &Set, below: bool) {
        for theirs in &other.entries {
            let Ok(at) = self.find(&theirs.element) else { continue };
            let ours = &mut self.entries[at];
            ours.member &= !theirs.member;
            if below && theirs.member {
                ours.children = Set::new();
            }
            ours.children.subtract(&theirs.children, below);
            if !ours.member && ours.children.is_empty() {
                self.entries.remove(at);
            }
        }
    }

    /// Whether both have a path in common.
    pub fn intersects(&self, other: &Set) -> bool {
        self.pairs(other).any(|(a, b)| b.is_some_and(|b| (a.member && b.member) || a.children.intersects(&b.children)))
    }

    /// Each entry with that of `other` for the same element.
    fn pairs<'a>(&'a self, other: &'a Set) -> impl Iterator<Item = (&'a Entry, Option<&'a Entry>)> {
        let mut rest = other.entries.as_slice();
        self.entries.iter().map(move |a| {
            while let Some((b, after)) = rest.split_first() {
                match b.element.cmp(&a.element) {
                    Ordering::Less => rest = after,
                    Ordering::Equal => return (a, Some(b)),
                    Ordering::Greater => break,
                }
            }
            (a, None)
        })
    }

    /// Calls `visit` for each path: those of one level first, then those below, as upstream does.
    pub fn for_each<'a>(&'a self, visit: &mut impl FnMut(&[&'a Element])) {
        self.visit(&mut Vec::new(), visit);
    }

    fn visit<'a>(&'a self, path: &mut Vec<&'a Element>, visit: &mut impl FnMut(&[&'a Element])) {
        for entry in self.entries.iter().filter(|e| e.member) {
            path.push(&entry.element);
            visit(path);
            path.pop();
        }
        for entry in &self.entries {
            path.push(&entry.element);
            entry.children.visit(path, visit);
            path.pop();
        }
    }
}

/// One path per line.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        self.for_each(&mut |path| lines.push(print_path(path.iter().copied())));
        f.write_str(&lines.join("\n"))
    }
}

/// A path as errors print it: `.spec.containers[name="a"].image`.
pub fn print_path<'a>(path: impl IntoIterator<Item = &'a Element>) -> String {
    path.into_iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(v: serde_json::Value) -> Set {
        Set::from_json(&v).unwrap()
    }

    #[test]
    fn algebra() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let b = set(json!({"f:a": {"f:b": {}}, "f:d": {"f:x": {}}}));
        assert_eq!(a.intersection(&b).to_json(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(a.difference(&b).to_json(), json!({"f:a": {".": {}, "f:c": {}}, "f:d": {}}));
        let top = set(json!({"f:a": {}}));
        assert_eq!(a.difference(&top).to_json(), json!({"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}));
        let mut rest = a.clone();
        rest.subtract(&top, true);
        assert_eq!(rest.to_json(), json!({"f:d": {}}));
        let both = json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {".": {}, "f:x": {}}});
        assert_eq!(a.clone().union(b.clone()).to_json(), both);
        assert!(a.intersects(&b) && !b.intersects(&set(json!({"f:d": {}}))));
    }

    #[test]
    fn paths_print_as_conflicts_show_them() {
        let s = set(
            json!({"f:spec": {"f:list": {"k:{\"name\":\"a\",\"port\":80}": {"f:image": {}}}, "f:set": {"v:\"x\"": {}}}}),
        );
        assert_eq!(s.to_string(), ".spec.list[name=\"a\",port=80].image\n.spec.set[=\"x\"]");
        assert_eq!(s.len(), 2);
    }

    fn element() -> impl Strategy<Value = Element> {
        prop_oneof![
            "[a-c\\.\"]{0,2}".prop_map(Element::Field),
            (0i64..3).prop_map(|n| Element::key(vec![("port".into(), json!(n))])),
            prop_oneof![Just(json!(1)), Just(json!(1.5)), Just(json!("a")), Just(json!(true)), Just(json!(null))]
                .prop_map(Element::Value),
            (0i64..3).prop_map(Element::Index),
        ]
    }

    pub(super) fn paths() -> impl Strategy<Value = Set> {
        proptest::collection::vec(proptest::collection::vec(element(), 1..4), 0..12).prop_map(|paths| {
            let mut set = Set::new();
            paths.iter().for_each(|p| set.insert(p));
            set
        })
    }

    proptest! {
        #[test]
        fn json_round_trip(a in paths()) {
            prop_assert_eq!(&Set::from_json(&a.to_json()).unwrap(), &a);
        }

        #[test]
        fn laws(a in paths(), b in paths()) {
            let union = a.clone().union(b.clone());
            prop_assert_eq!(&union, &b.clone().union(a.clone()));
            prop_assert_eq!(&a.difference(&b).union(a.intersection(&b)), &a);
            prop_assert!(!a.difference(&b).intersects(&b));
            let mut less = a.clone();
            less.subtract(&b, false);
            prop_assert_eq!(&less, &a.difference(&b));
            prop_assert_eq!(a.intersects(&b), !a.intersection(&b).is_empty());
            prop_assert_eq!(union.len(), a.len() + b.difference(&a).len());
            less.subtract(&b, true);
            prop_assert_eq!(&less.difference(&b), &less);
            for below in [false, true] {
                let mut set = a.clone();
                set.subtract(&b, below);
                let json = a.to_json();
                let mut json = json.as_object().unwrap().clone();
                subtract(&mut json, &b, below);
                prop_assert_eq!(serde_json::Value::Object(json), set.to_json());
            }
        }
    }
}
