//! The table of resources and what is kept of them: rows, caches, allocators; and the verbs.

pub(crate) mod routing;

use crate::config::Config;
use crate::server::BuildError;
use api_schema::row::Row;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use store::Store;

/// All resources that are served.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    table: ArcSwap<Table>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// Group → version → resource.
type Index = HashMap<String, HashMap<String, HashMap<String, Arc<Served>>>>;

/// The rows of one moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    index: Index,
}

/// A row and where its objects are.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) row: Arc<Row>,
}

impl Registry {
    /// Fills the caches from the store.
    pub(crate) async fn build(_config: &Config, store: Arc<dyn Store>) -> Result<Arc<Self>, BuildError> {
        Ok(Arc::new(Self { store, table: ArcSwap::from_pointee(Table::default()) }))
    }

    /// The resource of that group, version and name.
    pub(crate) fn lookup(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Served>> {
        self.table.load().index.get(group)?.get(version)?.get(resource).cloned()
    }

    /// Stops the caches.
    pub(crate) async fn close(&self) {}
}
