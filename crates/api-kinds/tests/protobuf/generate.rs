//! Objects of any type, made up from a number.

use api_kinds::schema;
use api_schema::normalize::normalize;
use api_schema::protobuf::Wire;
use api_schema::schema::{Shape, StructId};
use serde_json::{Map, Value, json};

/// Structs in each other that are filled; deeper ones stay empty.
const FILLED_DEPTH: usize = 6;

/// Makes values up; the same number makes the same ones.
pub struct Maker(pub u64);

impl Maker {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn text(&mut self) -> String {
        let texts = ["", "a", "some-name", "kubernetes.io/x", "ünï\"\\\n", "0", "a\u{0}b"];
        texts[self.below(texts.len() as u64) as usize].to_owned()
    }

    fn int(&mut self) -> i64 {
        let ints = [0, 1, -1, 127, 128, 8080, i64::from(i32::MAX), i64::from(i32::MIN)];
        ints[self.below(ints.len() as u64) as usize]
    }

    /// An object of a type, with some of its fields.
    pub fn object(&mut self, id: StructId, depth: usize) -> Value {
        let mut object = Map::new();
        for (place, field) in schema().get(id).fields.iter().enumerate() {
            if field.number == 0 || depth >= FILLED_DEPTH || self.below(3) == 0 {
                continue;
            }
            let wire = schema().wires.get(&(id, place)).copied().unwrap_or_default();
            let value = self.value(&field.shape, wire, depth + 1);
            // A message has no empty list that is not absent.
            let empty = value.as_array().is_some_and(Vec::is_empty);
            if empty && !field.zero_is_absent && field.default.is_none() {
                continue;
            }
            object.insert(field.name.clone(), value);
        }
        Value::Object(object)
    }

    fn value(&mut self, shape: &Shape, wire: Wire, depth: usize) -> Value {
        match shape {
            Shape::Any | Shape::Deduced => json!({"a": [1, "b", {"c": null}], "n": self.int()}),
            Shape::FieldsV1 => json!({"f:metadata": {".": {}, "k:{\"x\":1}": {}}}),
            Shape::Bool => (self.below(2) == 0).into(),
            Shape::Int32 => self.int().into(),
            Shape::Int64 => (self.int() << self.below(31)).into(),
            Shape::Number => [json!(0), json!(0.5), json!(-7), json!(1e300)][self.below(4) as usize].clone(),
            Shape::String => self.text().into(),
            Shape::Bytes => ["", "AA==", "aGVsbG8="][self.below(3) as usize].into(),
            Shape::Time => {
                ["1970-01-01T00:00:00Z", "2026-11-20T13:11:00Z", "1901-01-01T00:00:01Z"][self.below(3) as usize].into()
            }
            Shape::MicroTime => {
                ["2026-11-20T13:11:00.000001Z", "1960-01-01T00:00:00.999999Z"][self.below(2) as usize].into()
            }
            Shape::Quantity => ["0", "100m", "1Gi", "-3", "12e6"][self.below(5) as usize].into(),
            Shape::IntOrString if self.below(2) == 0 => self.int().into(),
            Shape::IntOrString => "25%".into(),
            Shape::Struct(id) => self.object(*id, depth),
            Shape::StructOr(id) => match (wire, self.below(2)) {
                (_, 0) => self.object(*id, depth),
                (Wire::OrBool, _) => true.into(),
                (Wire::OrStrings, _) => json!(["a", ""]),
                _ => {
                    // `normalize` does not look into such a list; what is read from a message is whole there too.
                    let mut item = self.object(*id, depth);
                    normalize(schema(), *id, &mut item);
                    json!([item])
                }
            },
            Shape::Map(map) => {
                let entry = |maker: &mut Self| (maker.text(), maker.value(&map.value, wire, depth));
                Value::Object((0..self.below(4)).map(|_| entry(self)).collect())
            }
            Shape::List(list) => (0..self.below(3)).map(|_| self.value(&list.item, Wire::Plain, depth)).collect(),
        }
    }
}
