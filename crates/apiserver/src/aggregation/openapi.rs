//! OpenAPI documents of extension servers: read when an API service changes, and from time to time. A v3 document stays
//! where it is, and requests for it are passed on; for a server that has none, one is made of its v2 document. While a
//! server does not answer, what it said before holds.

use super::Remote;
use super::remote::{Answer, Question};
use super::said::Said;
use crate::authn::UserInfo;
use crate::server::Inner;
use api_schema::openapi::{Document, Part};
use http::header;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two questions when nothing happens.
const REFRESH: Duration = Duration::from_secs(60);
/// A server that takes longer does not answer. A document is long to make.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A longer document is not read.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Who asks.
const ME: &str = "system:aggregator";

/// Where a v3 document is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum V3 {
    /// At the extension server.
    There {
        /// As its index names it.
        url: String,
    },
    /// Here, made of its v2 document.
    Here(Made),
}

/// A document that was made here.
#[derive(Debug, Clone)]
pub(crate) struct Made(Document);

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl V3 {
    /// The document, if it is here.
    pub(crate) fn document(&self) -> Option<Document> {
        match self {
            Self::There { .. } => None,
            Self::Here(made) => Some(made.0.clone()),
        }
    }
}

/// What one API service contributes.
#[derive(Debug, Clone, PartialEq)]
struct Documents {
    /// Of group and version; the higher comes first.
    priority: (i64, i64),
    /// The group version's name in the index of v3 documents.
    own: String,
    v2: Option<Arc<Part>>,
    v3: BTreeMap<String, V3>,
}

/// What all of them contribute, by the names of API services.
#[derive(Debug, Default, Clone)]
pub(crate) struct Remotes(BTreeMap<String, Arc<Documents>>);

impl Remotes {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parts of v2 documents, the one with the highest priority first.
    pub(crate) fn v2(&self) -> impl Iterator<Item = &Part> {
        let mut all: Vec<(&String, &Arc<Documents>)> = self.0.iter().collect();
        all.sort_by_key(|(name, documents)| (Reverse(documents.priority), *name));
        all.into_iter().filter_map(|(_, documents)| documents.v2.as_deref())
    }

    /// All v3 documents by their names in the index, and whether each is of the group version of its API service.
    pub(crate) fn all_v3(&self) -> impl Iterator<Item = (&str, &V3, bool)> {
        self.0.values().flat_map(|documents| {
            documents.v3.iter().map(move |(name, v3)| (name.as_str(), v3, *name == documents.own))
        })
    }

    /// The v3 document of that name.
    pub(crate) fn v3(&self, name: &str) -> Option<&V3> {
        self.0.values().find_map(|documents| documents.v3.get(name))
    }

    /// Whether the server of an API service has the v3 document of that name.
    pub(super) fn is_there(&self, service: &str, name: &str) -> bool {
        let v3 = self.0.get(service).and_then(|documents| documents.v3.get(name));
        matches!(v3, Some(V3::There { .. }))
    }

    /// The first API service whose server has the v3 document of that name.
    pub(super) fn holder(&self, name: &str) -> Option<&String> {
        self.0.keys().find(|service| self.is_there(service, name))
    }
}

/// Keeps the documents of one API service, until it is told to stop.
pub(super) async fn keep(server: Arc<Inner>, mut told: watch::Receiver<Arc<Remote>>) {
    let mut last = Last::default();
    loop {
        let remote = told.borrow_and_update().clone();
        // What becomes of it is written down, which is a reason to look again.
        if remote.service.available {
            match read(&server, &remote, &mut last).await {
                Ok(documents) => publish(&server.aggregation.openapi, &told, &remote.service.name, documents),
                Err(error) => {
                    tracing::debug!(error, name = remote.service.name, "an extension server does not describe itself");
                }
            }
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

fn publish(said: &Said<Remotes>, told: &watch::Receiver<Arc<Remote>>, name: &str, documents: Documents) {
    if said.load().0.get(name).is_none_or(|known| **known != documents) {
        said.publish(told, |all| drop(all.0.insert(name.to_owned(), Arc::new(documents))));
    }
}

/// Drops the documents of all but these.
pub(super) fn forget_others(said: &Said<Remotes>, names: &HashMap<&str, &Arc<Remote>>) {
    said.forget(
        |all| all.0.keys().all(|name| names.contains_key(name.as_str())),
        |all| {
            all.0.retain(|name, _| names.contains_key(name.as_str()));
        },
    );
}

/// The v2 document of late: its tag, and the part that counts; `None` for a server that has none.
#[derive(Default)]
struct Last {
    tag: String,
    part: Option<Arc<Part>>,
}

async fn read(server: &Inner, remote: &Remote, last: &mut Last) -> Result<Documents, String> {
    let service = &remote.service;
    let v2 = read_v2(server, remote, last).await?;
    let mut v3 = BTreeMap::new();
    let index = get(server, remote, "/openapi/v3", "").await?;
    let own = remote.path().trim_start_matches('/').to_owned();
    match index.status.as_u16() {
        200 => {
            let index: Value = serde_json::from_slice(&index.bytes).map_err(|e| e.to_string())?;
            for (name, place) in index["paths"].as_object().into_iter().flatten() {
                if let Some(url) = place["serverRelativeURL"].as_str() {
                    v3.insert(name.clone(), V3::There { url: url.to_owned() });
                }
            }
        }
        404 => {
            if let Some(part) = &v2 {
                let made = Made(Document::new(&part.to_v3(&service.version)));
                v3.insert(own.clone(), V3::Here(made));
            }
        }
        code => return Err(format!("/openapi/v3 is answered {code}")),
    }
    Ok(Documents { priority: (service.group_priority, service.version_priority), own, v2, v3 })
}

async fn read_v2(server: &Inner, remote: &Remote, last: &mut Last) -> Result<Option<Arc<Part>>, String> {
    let answer = get(server, remote, "/openapi/v2", &last.tag).await?;
    match answer.status.as_u16() {
        304 if !last.tag.is_empty() => {}
        200 => {
            let document: Value = serde_json::from_slice(&answer.bytes).map_err(|e| e.to_string())?;
            let part = Part::below(&document, &format!("{}/", remote.path()));
            let unchanged = last.part.as_deref() == Some(&part);
            if !unchanged {
                last.part = Some(Arc::new(part));
            }
            last.tag = answer.header(header::ETAG).to_owned();
        }
        404 => *last = Last::default(),
        code => return Err(format!("/openapi/v2 is answered {code}")),
    }
    Ok(last.part.clone())
}

async fn get(server: &Inner, remote: &Remote, path: &str, known: &str) -> Result<Answer, String> {
    let question = Question {
        trust: &remote.trust,
        uri: remote.uri(server, path)?,
        user: &UserInfo::new(ME, &[]),
        accept: "application/json",
        known,
        answer_bytes_max: Some(ANSWER_BYTES_MAX),
        timeout: TIMEOUT,
    };
    server.aggregation.ask(question).await
}
