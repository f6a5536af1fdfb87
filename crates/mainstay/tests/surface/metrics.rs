//! Metrics have upstream's names, types and labels.

use super::*;
use tokio::io::AsyncReadExt as _;

/// Metrics of upstream's API server that this one serves too, each with its type and the labels that it has.
const METRICS: &str = include_str!("../data/metrics.txt");

/// `name type label,label` of each metric of upstream's that has a sample, sorted. A histogram's `le` is left out.
fn families(text: &str) -> Vec<String> {
    let label = regex::Regex::new("([a-z_]+)=\"").expect("a pattern");
    let mut found = std::collections::BTreeMap::new();
    let mut types = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).expect("a value");
            let full = &line[..end];
            let family = ["_bucket", "_count", "_sum"].iter().filter_map(|s| full.strip_suffix(s));
            let name = family.chain([full]).find(|n| types.contains_key(*n)).expect("a family").to_owned();
            let labels: Vec<String> =
                label.captures_iter(&line[end..]).map(|c| c[1].to_owned()).filter(|l| l != "le").collect();
            found.insert(name, labels.join(","));
        }
    }
    found
        .iter()
        .filter(|(n, _)| !n.starts_with("mainstay_"))
        .map(|(n, l)| format!("{n} {} {l}", types[n]).trim_end().to_owned())
        .collect()
}

#[test]
fn metrics_have_upstreams_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("audit.log").to_string_lossy().into_owned();
    with_server(&["--audit-log-path", &log], |server, client| async move {
        let stranger = Client::stranger(&server, &[]).await;
        let _server = server;
        assert_eq!(create(&client, MAPS, &map("counted")).await.code, 201);
        assert_eq!(get(&client, MAPS).await.code, 200);
        let anonymous = Request::get(MAPS).header("authorization", "Bearer nonsense").body(empty());
        assert_eq!(send(&client, anonymous.expect("a request")).await.code, 200, "the certificate counts first");
        use_a_token(&client, &stranger).await;
        assert_eq!(get(&client, &format!("{MAPS}?watch=1&timeoutSeconds=1")).await.code, 200);
        assert_eq!(get(&client, "/apis/flowcontrol.apiserver.k8s.io/v1beta3/flowschemas").await.code, 200);
        assert_eq!(get(&client, "/livez").await.code, 200);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert_eq!(create(&client, "/api/v1/namespaces/default/pods?dryRun=All", &pod).await.code, 201);
        // What is not there makes no labels.
        for nonsense in ["/api/v1/nonsense", "/apis/nonsense.io/v1/things", "/nonsense", "/api/v1/nodes/n/nonsense"] {
            assert_eq!(get(&client, nonsense).await.code, 404);
        }
        let broken = TcpStream::connect(&client.address).await.expect("a connection");
        broken.writable().await.expect("it is open");
        assert!(broken.try_write(b"GET / HTTP/1.1\r\n\r\n").is_ok_and(|n| n > 0));
        let mut rest = Vec::new();
        let mut broken = broken;
        broken.read_to_end(&mut rest).await.expect("it is closed");
        let metrics = get(&client, "/metrics").await;
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let found = families(&metrics.text);
        let missing: Vec<&str> = METRICS.lines().filter(|l| !found.iter().any(|f| f == l)).collect();
        assert!(missing.is_empty(), "{missing:#?} are not in {found:#?}");
        assert!(!metrics.text.contains("nonsense"), "{}", metrics.text);
        let broken = metrics.text.lines().find_map(|l| l.strip_prefix("apiserver_tls_handshake_errors_total "));
        assert!(broken.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0), "{broken:?}");
        for line in [
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} ",
            "etcd_requests_total{operation=\"create\",type=\"configmaps\"} ",
            "authentication_attempts{result=\"success\"} ",
            "authorization_attempts_total{result=\"allowed\"} ",
            "apiserver_storage_objects{resource=\"configmaps\"} ",
            "apiserver_request_total{code=\"200\",component=\"\",dry_run=\"\",group=\"\",resource=\"\",scope=\"\",subresource=\"/livez\",verb=\"GET\",version=\"\"} 1\n",
            "apiserver_requested_deprecated_apis{group=\"flowcontrol.apiserver.k8s.io\",removed_release=\"1.32\",resource=\"flowschemas\",subresource=\"\",version=\"v1beta3\"} 1\n",
            "apiserver_cache_list_total{index=\"\",resource_prefix=\"/configmaps\"} 2\n",
            "authentication_token_cache_request_total{status=\"hit\"} 1\n",
            "serviceaccount_valid_tokens_total 1\n",
            "pod_security_evaluations_total{decision=\"allow\",mode=\"enforce\",policy_level=\"privileged\",policy_version=\"latest\",request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1\n",
            "kube_apiserver_clusterip_allocator_allocated_ips{cidr=\"10.96.0.0/16\"} 1\n",
            "kube_apiserver_clusterip_allocator_available_ips{cidr=\"10.96.0.0/16\"} 65533\n",
            "kube_apiserver_nodeport_allocator_available_ports 2768\n",
        ] {
            assert!(metrics.text.contains(line), "{line}");
        }
    });
}

/// A service account's token, used twice.
async fn use_a_token(client: &Client, stranger: &Client) {
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    // The account is there when its controller runs; here it does not.
    let posted = json!({"metadata": {"name": "default"}});
    let made = create(client, "/api/v1/namespaces/default/serviceaccounts", &posted).await;
    assert!([201, 409].contains(&made.code), "{}", made.text);
    let token = create(client, &format!("{account}/token"), &json!({})).await.value()["status"]["token"].clone();
    for _ in 0..2 {
        let request =
            Request::get("/version").header("authorization", format!("Bearer {}", token.as_str().expect("a token")));
        assert_eq!(send(stranger, request.body(empty()).expect("a request")).await.code, 200);
    }
}
