//! Metrics have upstream's names, types and labels.

use super::*;

/// Metrics of upstream's API server that this one serves too, each with its type and the labels that it has.
const METRICS: &str = include_str!("../data/metrics.txt");

/// `name type label,label` of each metric of upstream's that has a sample, sorted. A histogram's `le` is left out.
fn families(text: &str) -> Vec<String> {
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
            let labels = regex::Regex::new("([a-z_]+)=\"").expect("a pattern");
            let labels: Vec<String> =
                labels.captures_iter(&line[end..]).map(|c| c[1].to_owned()).filter(|l| l != "le").collect();
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
        let _server = server;
        assert_eq!(create(&client, MAPS, &map("counted")).await.code, 201);
        assert_eq!(get(&client, MAPS).await.code, 200);
        let anonymous = Request::get(MAPS).header("authorization", "Bearer nonsense").body(empty());
        assert_eq!(send(&client, anonymous.expect("a request")).await.code, 200, "the certificate counts first");
        let metrics = get(&client, "/metrics").await;
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let found = families(&metrics.text);
        let missing: Vec<&str> = METRICS.lines().filter(|l| !found.iter().any(|f| f == l)).collect();
        assert!(missing.is_empty(), "{missing:#?} are not in {found:#?}");
        for line in [
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} ",
            "etcd_requests_total{operation=\"create\",type=\"configmaps\"} ",
            "authentication_attempts{result=\"success\"} ",
            "authorization_attempts_total{result=\"allowed\"} ",
            "apiserver_storage_objects{resource=\"configmaps\"} ",
        ] {
            assert!(metrics.text.contains(line), "{line}");
        }
    });
}
