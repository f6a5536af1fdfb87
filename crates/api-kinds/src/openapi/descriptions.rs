//! What is said of types and their fields. The texts are taken from the `k8s-openapi` crate when this one is built, and
//! are compressed until a document is made: nobody needs them in between.

use flate2::read::ZlibDecoder;
use std::collections::HashMap;
use std::io::Read as _;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zz"));
/// Every object's type and version are described alike; a list's are not there, so they are taken from here.
const ANY: &str = "io.k8s.api.core.v1.Pod";

/// All texts.
pub(super) struct Descriptions {
    text: String,
    /// Where a text is, by type and field joined by a tab.
    places: HashMap<String, (usize, usize)>,
}

impl Descriptions {
    /// Unpacks them.
    pub(super) fn load() -> Self {
        let mut text = String::new();
        ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("what was packed at build time");
        let mut places = HashMap::new();
        let mut start = 0;
        for record in text.split_terminator('\0') {
            let end = start + record.len();
            if let Some((field_end, _)) = record.match_indices('\t').nth(1) {
                places.insert(record[..field_end].to_owned(), (start + field_end + 1, end));
            }
            start = end + 1;
        }
        Self { text, places }
    }

    /// What is said of a type by its full name, or of one of its fields.
    pub(super) fn of(&self, type_name: &str, field: Option<&str>) -> Option<&str> {
        let found = self.places.get(&format!("{type_name}\t{}", field.unwrap_or("")));
        let found = found.or_else(|| {
            let alike = type_name.ends_with("List") && matches!(field, Some("apiVersion" | "kind"));
            alike.then(|| self.places.get(&format!("{ANY}\t{}", field?)))?
        });
        found.map(|&(start, end)| &self.text[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let all = Descriptions::load();
        assert!(all.of(ANY, None).unwrap().starts_with("Pod is "));
        assert!(all.of("io.k8s.api.core.v1.PodSpec", Some("nodeName")).unwrap().contains("node"));
        assert!(all.of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", Some("labels")).is_some());
        assert_eq!(all.of("io.k8s.api.core.v1.PodList", Some("kind")), all.of(ANY, Some("kind")));
        assert_eq!(all.of("io.k8s.api.core.v1.PodSpec", Some("nonsense")), None);
        assert_eq!(all.of("com.example.v1.Widget", None), None);
    }
}
