//! What documents say of one custom resource: made when somebody first asks, compressed, and kept with its row. So a change of a
//! definition costs what that definition says.

use super::published::Wanted;
use api_kinds::openapi::custom;
use api_schema::openapi::{Piece, protobuf};
use api_schema::row::Row;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use telemetry::metrics::IntCounter;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Said {
    origin: OnceLock<Vec<u8>>,
    v2: OnceLock<V2>,
    protobuf: OnceLock<Piece>,
    v3: OnceLock<V3>,
}

/// In the v2 document.
#[derive(Debug)]
pub(super) struct V2 {
    pub(super) paths: Piece,
    pub(super) definitions: Piece,
}

/// In the v3 document of its group version.
#[derive(Debug)]
pub(super) struct V3 {
    pub(super) paths: Piece,
    pub(super) schemas: Piece,
    /// Names of built-in types that it refers to.
    pub(super) shared: BTreeSet<String>,
}

impl Said {
    /// Whether what such a document says is made.
    pub(super) fn has(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::V2 => self.v2.get().is_some(),
            Wanted::V2Protobuf => self.protobuf.get().is_some(),
            Wanted::V3(_) => self.v3.get().is_some(),
            Wanted::Index => true,
        }
    }

    /// Hash of all that it is made of; for this no document needs to be made.
    pub(super) fn origin(&self, row: &Row) -> &[u8] {
        self.origin.get_or_init(|| {
            let mut hash = Sha512::new();
            custom::origin(row, &mut |bytes| {
                hash.update(bytes.len().to_le_bytes());
                hash.update(bytes);
            });
            hash.finalize().to_vec()
        })
    }

    pub(super) fn v2(&self, row: &Row, made: &IntCounter) -> &V2 {
        self.v2.get_or_init(|| {
            made.inc();
            let (paths, definitions) = custom::v2(row);
            V2 { paths: piece(&paths), definitions: piece(&definitions) }
        })
    }

    pub(super) fn protobuf(&self, row: &Row, made: &IntCounter) -> &Piece {
        self.protobuf.get_or_init(|| {
            made.inc();
            let (paths, definitions) = custom::v2(row);
            Piece::new(&protobuf(&json!({"paths": paths, "definitions": definitions})))
        })
    }

    pub(super) fn v3(&self, row: &Row, made: &IntCounter) -> &V3 {
        self.v3.get_or_init(|| {
            made.inc();
            let custom::V3 { paths, schemas, shared } = custom::v3(row);
            V3 { paths: piece(&paths), schemas: piece(&schemas), shared }
        })
    }
}

/// Entries of an object, with commas between them.
pub(super) fn piece(map: &Map<String, Value>) -> Piece {
    let object = json!(map).to_string();
    // Between the braces.
    Piece::new(&object.as_bytes()[1..object.len() - 1])
}
