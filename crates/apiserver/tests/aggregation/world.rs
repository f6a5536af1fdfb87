//! A cluster, and an extension server that it aggregates.

use crate::support::cluster::{Cluster, admin};
use crate::support::extension::Extension;
use crate::support::{authority, bundle};
use apiserver::{Body, Config};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;

/// The collection of API services.
pub const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// The one of the extension server.
pub const NAME: &str = "v1alpha1.wardle.example.com";
/// Flunders of the namespace `a`.
pub const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/a/flunders";
/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct World {
    /// The cluster; its service `w` in `hook` leads to the extension server.
    pub cluster: Cluster,
    /// The extension server.
    pub extension: Extension,
    /// Its authority as a `caBundle`.
    pub bundle: String,
}

/// What comes from `work` in time.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// What `look` finds at last; for what no watch tells of.
pub async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let work = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time("what is waited for", work).await
}

/// Lines of a watch, one at a time.
pub struct Lines {
    body: Body,
    text: String,
}

impl Lines {
    /// Of an answer's body.
    pub fn new(body: Body) -> Self {
        Self { body, text: String::new() }
    }

    /// The next line as JSON; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = serde_json::from_str(line).expect("json");
                self.text = rest.to_owned();
                return Some(line);
            }
            let frame = self.body.frame().await?.expect("frame");
            self.text.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("text"));
        }
    }
}

impl World {
    /// A cluster and a server that are not yet joined.
    pub async fn start() -> Self {
        Self::with(Config { bootstrap: false, ..Config::default() }, false).await
    }

    /// The same with a configuration; `aggregated` says which form of discovery the extension server has.
    pub async fn with(config: Config, aggregated: bool) -> Self {
        let (ca, front_proxies) = (authority(), authority());
        let spec = pki::LeafSpec {
            common_name: "front-proxy-client".into(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: pki::Usage::Client,
            valid_days: 1,
        };
        let client = pki::leaf(&front_proxies, &spec, jiff::Timestamp::now().as_second()).expect("leaf");
        let extension = Extension::start(&ca, "w.hook.svc", &front_proxies, aggregated).await;
        let config = Config { proxy_client_cert_pem: client.cert_pem, proxy_client_key_pem: client.key_pem, ..config };
        let cluster = Cluster::start(config, extension.backend.port).await;
        Self { cluster, extension, bundle: bundle(&ca) }
    }

    /// The same, joined and available.
    pub async fn joined() -> Self {
        let world = Self::start().await;
        world.join().await;
        world
    }

    /// Makes the API service, and waits until it is available.
    pub async fn join(&self) {
        self.cluster.made(API_SERVICES, self.api_service()).await;
        self.becomes("Passed").await;
    }

    /// The API service of the extension server.
    pub fn api_service(&self) -> Value {
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
            "spec": {"group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000,
                "versionPriority": 200, "caBundle": self.bundle, "service": {"namespace": "hook", "name": "w"}}})
    }

    /// Waits until the condition has that reason; gives the condition.
    pub async fn becomes(&self, reason: &str) -> Value {
        in_time(reason, self.condition(NAME, reason)).await
    }

    async fn condition(&self, name: &str, reason: &str) -> Value {
        let path = format!("{API_SERVICES}?watch=true&fieldSelector=metadata.name%3D{name}");
        let mut lines = Lines::new(self.cluster.raw(&admin(), "GET", &path, None).await.into_body());
        while let Some(event) = lines.next().await {
            let condition = &event["object"]["status"]["conditions"][0];
            if condition["reason"] == reason {
                return condition.clone();
            }
        }
        panic!("the watch has ended");
    }

    /// A request as administrator that must succeed.
    pub async fn must(&self, method: &str, path: &str, value: Option<Value>) -> Value {
        let answer = self.cluster.send(&admin(), method, path, value.as_ref()).await;
        assert!(answer.code < 300, "{method} {path}: {} {}", answer.code, answer.value);
        answer.value
    }

    /// A text of metrics.
    pub async fn metrics(&self) -> String {
        let answer = self.cluster.get("/metrics").await;
        answer.as_str().expect("text").to_owned()
    }
}

/// A flunder.
pub fn flunder(name: &str) -> Value {
    json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": name}, "spec": {"reference": "x"}})
}
