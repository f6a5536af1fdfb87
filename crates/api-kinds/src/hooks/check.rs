//! Reading an object for validation, so that the rules of a kind read like a table.
//!
//! A [`Node`] is a value and the path to it; what is absent is a node too, with the value null. Go's zero values and
//! absence are the same to upstream's rules, and so to [`Node::is_empty`].

use api_core::field::{Errors, Path};
use api_core::names;
use api_core::quantity::Quantity;
use serde_json::Value;

static NULL: Value = Value::Null;

/// What upstream says of a negative number.
pub(super) const NON_NEGATIVE: &str = "must be greater than or equal to 0";
/// What upstream says of a number that may not be zero either.
pub(super) const POSITIVE: &str = "must be greater than 0";
/// What upstream says of a field that an update may not change.
pub(super) const IMMUTABLE: &str = "field is immutable";

/// A value and the path to it.
#[derive(Clone, Copy)]
pub(super) struct Node<'v, 'p> {
    pub value: &'v Value,
    pub path: Path<'p>,
}

/// A check of text, such as [`names::is_dns1123_label`].
pub(super) type TextCheck = fn(&str) -> Vec<String>;

impl<'v, 'p> Node<'v, 'p> {
    pub fn root(value: &'v Value) -> Node<'v, 'static> {
        Node { value, path: Path::ROOT }
    }

    pub fn new(value: &'v Value, path: Path<'p>) -> Self {
        Node { value, path }
    }

    /// The field `name`.
    pub fn at<'b>(&'b self, name: &'b str) -> Node<'v, 'b> {
        Node { value: self.get(name), path: self.path.child(name) }
    }

    /// The value of the field `name`, reported under this node's own path.
    pub fn get(&self, name: &str) -> &'v Value {
        self.value.get(name).unwrap_or(&NULL)
    }

    /// The map entry `key`.
    pub fn key<'b>(&'b self, key: &'b str) -> Node<'v, 'b> {
        Node { value: self.get(key), path: self.path.key(key) }
    }

    /// The list item at `i`.
    pub fn index(&self, i: usize) -> Node<'v, '_> {
        Node { value: self.value.get(i).unwrap_or(&NULL), path: self.path.index(i) }
    }

    pub fn items(&self) -> impl Iterator<Item = Node<'v, '_>> {
        (0..self.len()).map(|i| self.index(i))
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'v str, Node<'v, '_>)> {
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.as_str(), Node { value, path: self.path.key(key) }))
    }

    /// How many items or entries.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    pub fn present(&self) -> bool {
        !self.value.is_null()
    }

    /// Absent, or empty text, list or map.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::Array(_) | Value::Object(_) => self.len() == 0,
            Value::Bool(_) | Value::Number(_) => false,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_null()
    }

    pub fn str(&self) -> &'v str {
        self.value.as_str().unwrap_or("")
    }

    pub fn text(&self, name: &str) -> &'v str {
        self.get(name).as_str().unwrap_or("")
    }

    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub fn int_or_zero(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    pub fn is_true(&self) -> bool {
        *self.value == Value::Bool(true)
    }

    pub fn quantity(&self) -> Option<Quantity> {
        self.str().trim().parse().ok()
    }

    // What follows reports what is wrong with this node.

    pub fn required(&self, e: &mut Errors) -> bool {
        self.required_because("", e)
    }

    pub fn required_because(&self, why: &str, e: &mut Errors) -> bool {
        if self.is_empty() {
            e.required(&self.path, why);
        }
        !self.is_empty()
    }

    /// Something is required here, whatever is here.
    pub fn path_required(&self, why: &str, e: &mut Errors) {
        e.required(&self.path, why);
    }

    pub fn invalid(&self, why: &str, e: &mut Errors) {
        e.invalid(&self.path, self.value, why);
    }

    pub fn forbidden(&self, why: &str, e: &mut Errors) {
        e.forbidden(&self.path, why);
    }

    pub fn duplicate(&self, e: &mut Errors) {
        e.duplicate(&self.path, self.value);
    }

    pub fn not_supported(&self, supported: &[&str], e: &mut Errors) {
        e.not_supported(&self.path, self.value, supported);
    }

    pub fn too_long(&self, max: usize, e: &mut Errors) {
        e.too_long(&self.path, max);
    }

    /// Each complaint of `check` about the text here.
    pub fn text_is(&self, check: TextCheck, e: &mut Errors) {
        for why in check(self.str()) {
            e.invalid(&self.path, self.str(), &why);
        }
    }

    /// The same, if there is text.
    pub fn text_if_any(&self, check: TextCheck, e: &mut Errors) {
        if !self.is_empty() {
            self.text_is(check, e);
        }
    }

    /// The same; absence is reported as such.
    pub fn required_text(&self, check: TextCheck, e: &mut Errors) {
        if self.required(e) {
            self.text_is(check, e);
        }
    }

    /// One of `supported`; the zero value is none of them.
    pub fn one_of(&self, supported: &[&str], e: &mut Errors) {
        if !supported.contains(&self.str()) {
            e.not_supported(&self.path, self.str(), supported);
        }
    }

    /// One of `supported`, or absent.
    pub fn one_of_if_any(&self, supported: &[&str], e: &mut Errors) {
        if self.present() {
            self.one_of(supported, e);
        }
    }

    /// One of `supported`; absence is reported as such.
    pub fn required_one_of(&self, supported: &[&str], e: &mut Errors) {
        if self.required(e) {
            self.one_of(supported, e);
        }
    }

    pub fn non_negative(&self, e: &mut Errors) {
        self.non_negative_because(NON_NEGATIVE, e);
    }

    pub fn non_negative_because(&self, why: &str, e: &mut Errors) {
        if self.int_or_zero() < 0 {
            self.invalid(why, e);
        }
    }

    pub fn in_range(&self, min: i64, max: i64, e: &mut Errors) {
        for why in names::is_in_range(self.int_or_zero(), min, max) {
            e.invalid(&self.path, self.int_or_zero(), &why);
        }
    }

    pub fn port_number(&self, e: &mut Errors) {
        self.in_range(1, 65535, e);
    }

    /// A port given by number or by name.
    pub fn port(&self, e: &mut Errors) {
        if self.value.is_string() { self.text_is(names::is_port_name, e) } else { self.port_number(e) }
    }

    /// Something here changed that may not. What is gone prints as upstream prints a nil pointer.
    pub fn changed(&self, why: &str, e: &mut Errors) {
        if self.present() {
            self.invalid(why, e);
        } else {
            e.invalid(&self.path, "null", why);
        }
    }

    /// The same as `old`.
    pub fn immutable(&self, old: &Node<'_, '_>, e: &mut Errors) {
        if self.value != old.value {
            self.changed(IMMUTABLE, e);
        }
    }
}
