//! The table of the kubelet API: from path to answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::auth::{self, Caller};
use super::{Body, Kubelet, json as json_answer, logs, metrics, stats, stream, text, typed};
use crate::names;
use crate::pod::spec;

/// Parameters of a request; a name may come several times.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query string.
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|p| !p.is_empty());
        Self(pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect())
    }

    /// First value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether a flag is set.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| matches!(v, "1" | "true" | "t" | "T" | "TRUE" | "True"))
    }
}

/// Percent-decodes a part of a URL.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = text.get(i + 1..i + 3).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Answers one request.
pub async fn answer(kubelet: &Arc<Kubelet>, certificate: Option<Caller>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err((code, message)) = auth::check(&kubelet.agent, certificate, &parts).await {
        return text(code, message);
    }
    let request = Request::from_parts(parts, body);
    let path: Vec<String> = request.uri().path().split('/').filter(|p| !p.is_empty()).map(decode).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query = Query::parse(request.uri().query());
    let get = request.method() == Method::GET;
    match path.as_slice() {
        ["healthz"] | ["healthz", "ping" | "syncloop" | "log"] if get => text(StatusCode::OK, "ok"),
        ["pods"] if get => pods(kubelet),
        ["runningpods"] if get => running(kubelet).await,
        ["configz"] if get => config(kubelet),
        ["containerLogs", namespace, pod, container] if get => {
            logs::answer(kubelet, namespace, pod, container, &query).await
        }
        ["stats", "summary"] if get => stats::answer(kubelet, query.flag("only_cpu_and_memory")).await,
        ["metrics"] if get => typed(StatusCode::OK, metrics::CONTENT_TYPE, metrics::own(kubelet)),
        ["metrics", "resource"] if get => {
            typed(StatusCode::OK, metrics::CONTENT_TYPE, metrics::resource(kubelet).await)
        }
        ["metrics", "cadvisor"] if get => {
            typed(StatusCode::OK, metrics::CONTENT_TYPE, metrics::cadvisor(kubelet).await)
        }
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            let target = (*namespace, *pod, *container);
            stream::exec(kubelet, target, &query, request).await
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            let target = (*namespace, *pod, *container);
            stream::attach(kubelet, target, &query, request).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            let (namespace, pod) = (*namespace, *pod);
            stream::port_forward(kubelet, namespace, pod, &query, request).await
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn pods(kubelet: &Kubelet) -> Response<Body> {
    let items: Vec<serde_json::Value> =
        kubelet.manager.pods().iter().filter_map(|p| serde_json::to_value(&**p).ok()).collect();
    json_answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// What the runtime runs, by its labels, whether the API knows it or not.
async fn running(kubelet: &Kubelet) -> Response<Body> {
    let containers = match kubelet.agent.cri.list_containers(None).await {
        Ok(containers) => containers,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for c in containers.into_iter().filter(|c| c.state == k8s_cri::v1::ContainerState::ContainerRunning as i32) {
        let label = |name: &str| c.labels.get(name).cloned().unwrap_or_default();
        let uid = label(names::POD_UID);
        let pod = pods.entry(uid.clone()).or_insert_with(|| {
            json!({"metadata": {"name": label(names::POD_NAME), "namespace": label(names::POD_NAMESPACE), "uid": uid}, "spec": {"containers": []}, "status": {}})
        });
        if let Some(list) = pod["spec"]["containers"].as_array_mut() {
            list.push(json!({"name": label(names::CONTAINER_NAME), "image": c.image_ref, "resources": {}}));
        }
    }
    let items: Vec<_> = pods.into_values().collect();
    json_answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

fn config(kubelet: &Kubelet) -> Response<Body> {
    let c = &kubelet.agent.config;
    json_answer(&json!({"kubeletconfig": {
        "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": c.listen.ip(), "port": c.listen.port(),
        "authentication": {"x509": {}, "webhook": {"enabled": true}, "anonymous": {"enabled": false}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [c.cluster_dns], "clusterDomain": c.cluster_domain,
        "cgroupDriver": "cgroupfs", "maxPods": c.limits.max_pods,
        "containerLogMaxSize": format!("{}Mi", c.limits.log_file_bytes_max >> 20), "containerLogMaxFiles": c.limits.log_files_max,
        "imageGCHighThresholdPercent": c.limits.image_gc_high_percent, "imageGCLowThresholdPercent": c.limits.image_gc_low_percent,
        "evictionHard": c.limits.thresholds.entries().collect::<BTreeMap<_, _>>(),
        "nodeStatusUpdateFrequency": format!("{}s", c.limits.heartbeat_period.as_secs()),
        "nodeStatusReportFrequency": format!("{}s", c.limits.status_period.as_secs()),
        "nodeLeaseDurationSeconds": 40,
        "containerRuntimeEndpoint": format!("unix://{}", c.cri_socket.display()),
        "resolvConf": c.resolv_conf, "staticPodPath": c.static_pod_dir,
    }}))
}

/// A pod of this node by namespace and name, or the answer that it is not here.
pub fn find(kubelet: &Kubelet, namespace: &str, name: &str) -> Result<Arc<Pod>, Box<Response<Body>>> {
    let found = kubelet.manager.find(namespace, name);
    found.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist"))))
}

/// Like [`find`], and the pod has such a container.
pub fn find_container(
    kubelet: &Kubelet,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Arc<Pod>, Box<Response<Body>>> {
    let pod = find(kubelet, namespace, name)?;
    if spec::find_container(&pod, container).is_none() {
        let message = format!("container \"{container}\" not found in pod \"{name}\"");
        return Err(Box::new(text(StatusCode::NOT_FOUND, message)));
    }
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let q = Query::parse(Some("command=sh&command=-c&command=echo%20%26+x&tty=1&stdin=false"));
        assert_eq!(q.all("command"), ["sh", "-c", "echo & x"]);
        assert!(q.flag("tty") && !q.flag("stdin") && !q.flag("none"));
        assert_eq!(decode("a%zz%"), "a%zz%");
    }
}
