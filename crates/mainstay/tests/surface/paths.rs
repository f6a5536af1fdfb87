//! Paths that are no resources, methods, and what is said of both.

use super::*;

/// Lines of upstream's checks that mean something here, in upstream's order, as `/readyz?verbose` shows them.
const READY_CHECKS: &str = include_str!("../data/readyz.txt");

#[test]
fn health_is_told_as_upstream_tells_it() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let verbose = get(&client, "/readyz?verbose").await;
        assert_eq!((verbose.code, verbose.text.as_str()), (200, READY_CHECKS));
        assert_eq!(verbose.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(verbose.header("x-content-type-options"), "nosniff");
        let alive: String = READY_CHECKS
            .lines()
            .filter(|l| !["[+]etcd-readiness ok", "[+]informer-sync ok", "[+]shutdown ok"].contains(l))
            .map(|l| l.replace("readyz check", "livez check") + "\n")
            .collect();
        assert_eq!(get(&client, "/livez?verbose").await.text, alive);
        assert_eq!(get(&client, "/healthz?verbose").await.text, alive.replace("livez check", "healthz check"));
        for path in [
            "/livez",
            "/readyz",
            "/healthz",
            "/livez?exclude=etcd",
            "/readyz/etcd",
            "/readyz/shutdown",
            "/livez/poststarthook/rbac/bootstrap-roles",
        ] {
            let answer = get(&client, path).await;
            assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
        }
        let left_out = get(&client, "/livez?verbose&exclude=etcd&exclude=nothing").await.text;
        assert!(left_out.contains("[+]etcd excluded: ok\n"), "{left_out}");
        assert!(
            left_out.ends_with(
                "warn: some health checks cannot be excluded: no matches for \"nothing\"\nlivez check passed\n"
            ),
            "{left_out}"
        );
        let without = get(&client, "/livez?verbose&exclude=b&exclude=a&exclude=b").await.text;
        assert!(without.contains("no matches for \"a\",\"b\"\n"), "{without}");
    });
}

/// Paths that upstream lists, but for its logs, which are not served.
const PATHS: &str = include_str!("../data/paths.txt");

#[test]
fn the_index_is_upstreams() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let index = get(&client, "/").await;
        let value = index.value();
        let paths: Vec<&str> = value["paths"].as_array().expect("paths").iter().filter_map(Value::as_str).collect();
        assert_eq!(paths, PATHS.lines().collect::<Vec<_>>());
        assert!(index.text.starts_with("{\n  \"paths\": [\n    \"/.well-known"), "people read it: {}", index.text);
        assert_eq!(get(&client, "/index.html").await.text, index.text);
        for path in paths {
            // What is asked for must be acceptable to all of them.
            let answer = get(&client, path).await;
            // The path of the documents below it; it has none itself.
            let code = if path == "/openapi/v3/" { 404 } else { 200 };
            assert_eq!(answer.code, code, "{path}");
        }
        let version = get(&client, "/version").await;
        assert!(version.text.starts_with("{\n  \"major\": \"1\",\n  \"minor\": \"30\","), "{}", version.text);
    });
}

#[test]
fn paths_and_methods_are_told_apart() {
    const ROUTE: &str = "the server could not find the requested resource";
    const METHOD: &str = "the server does not allow this method on the requested resource";
    const NONE: &str = "404 page not found\n";
    let table: &[(&str, &str, u16, &str)] = &[
        ("GET", "/version/", 200, ""),
        ("POST", "/version", 405, METHOD),
        ("GET", "/version/x", 404, ROUTE),
        ("POST", "/openid/v1/jwks", 405, METHOD),
        ("POST", "/readyz", 200, "ok"),
        // Upstream's aggregator lists groups whatever the method.
        ("POST", "/apis", 200, ""),
        ("POST", "/api", 405, METHOD),
        ("GET", "/healthz/", 404, NONE),
        ("GET", "/livez/nothing", 404, NONE),
        ("GET", "/livez/shutdown", 404, NONE),
        ("GET", "/metrics/", 404, NONE),
        ("GET", "/logs", 404, NONE),
        ("GET", "/logs/", 404, NONE),
        ("GET", "/configz", 404, NONE),
        ("GET", "/debug/pprof/", 404, NONE),
        ("GET", "/nowhere", 404, NONE),
        ("GET", "/api/v2", 404, ROUTE),
        ("GET", "/api/v2/pods", 404, ROUTE),
        ("GET", "/apis/apps/v9", 404, ROUTE),
        ("GET", "/apis/apps/v9/deployments", 404, ROUTE),
        ("GET", "/apis/example.com", 404, NONE),
        ("GET", "/apis/example.com/v1/things", 404, NONE),
        ("GET", "/api/v1/nonsenses", 404, ROUTE),
        ("PUT", "/api/v1/nodes", 405, METHOD),
        ("OPTIONS", "/api/v1/nodes", 405, METHOD),
        ("GET", "/api/v1/namespaces/default/finalize", 405, METHOD),
        ("POST", "/api/v1/pods", 405, METHOD),
        ("PATCH", "/api/v1/namespaces/default", 415, "415: Unsupported Media Type"),
        ("PUT", "/api/v1/namespaces/default/pods/x/resize", 404, ROUTE),
        ("GET", "/healthz?timeout=soon", 400, "time: invalid duration \"soon\""),
    ];
    with_server(&[], |server, client| async move {
        let _server = server;
        for (method, path, code, text) in table {
            let request = Request::builder().method(*method).uri(*path).body(empty()).expect("a request");
            let answer = send(&client, request).await;
            let said = if answer.text.starts_with('{') && answer.code >= 400 {
                answer.value()["message"].as_str().expect("a message").to_owned()
            } else {
                answer.text
            };
            assert!(answer.code == *code && said.ends_with(text), "{method} {path}: {} {said}", answer.code);
        }
        for path in ["/api/v1/nodes", "/version"] {
            let head = send(&client, Request::head(path).body(empty()).expect("a request")).await;
            assert_eq!(head.code, 405, "{path}");
        }
        for path in ["/livez", "/apis"] {
            assert_eq!(send(&client, Request::head(path).body(empty()).expect("a request")).await.code, 200);
        }
    });
}

#[test]
fn what_checks_said_is_counted() {
    with_server(&[], |server, client| async move {
        let _server = server;
        assert_eq!(get(&client, "/livez?exclude=log").await.code, 200);
        let said = get(&client, "/metrics/slis").await;
        assert_eq!(said.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        for line in [
            "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1\n",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"livez\"} 1\n",
        ] {
            assert!(said.text.contains(line), "{}", said.text);
        }
        assert!(!said.text.contains("name=\"log\",type=\"livez\""), "what is left out says nothing: {}", said.text);
        assert!(!get(&client, "/metrics").await.text.contains("kubernetes_healthcheck"));
    });
}

/// Whoever shows no credentials gets one request out of an HTTP/2 connection.
#[test]
fn strangers_get_a_connection_for_one_request() {
    with_server(&[], |server, _| async move {
        for (stranger, wanted) in [(false, vec![200, 200, 200]), (true, vec![200])] {
            let client = if stranger {
                Client::stranger(&server, &[b"h2"]).await
            } else {
                Client::new(config(&server).await, &[b"h2"])
            };
            let io = TokioIo::new(client.connect().await);
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake::<_, _, Body>(executor, io).await.expect("HTTP/2");
            let connection = tokio::spawn(connection);
            let mut codes = Vec::new();
            while codes.len() < 3 {
                let url = format!("https://{}/version", client.address);
                let request = Request::get(url).body(empty()).expect("a request");
                let Ok(answer) = sender.send_request(request).await else { break };
                assert!(!answer.headers().contains_key("connection"), "there is no such header in HTTP/2");
                codes.push(answer.status().as_u16());
                answer.into_body().collect().await.expect("a body");
                if stranger {
                    // The server says that it takes no more, and closes.
                    sender = hyper_closed(sender).await;
                }
            }
            assert_eq!(codes, wanted);
            drop(sender);
            drop(connection.await.expect("no panic"));
        }
    });
}

type Sender = hyper::client::conn::http2::SendRequest<Body>;

/// The sender, once the other side has closed.
async fn hyper_closed(sender: Sender) -> Sender {
    while !sender.is_closed() {
        tokio::task::yield_now().await;
    }
    sender
}
