//! What is too large, too slow or too much, and how it is refused.

use super::*;

#[test]
fn what_is_too_large_is_refused() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let text = "x".repeat(3 << 20);
        let mut large = map("large");
        large["data"] = json!({"k": text});
        let answer = create(&client, MAPS, &large).await;
        assert_eq!((answer.code, &answer.value()["reason"]), (413, &json!("RequestEntityTooLarge")));
        assert_eq!(answer.value()["message"], "Request entity too large: limit is 3145728");

        let mut many = Request::get(MAPS).header("impersonate-user", "jane");
        for n in 0..500 {
            many = many.header("impersonate-group", format!("group-{n}"));
        }
        let answer = send(&client, many.body(empty()).expect("a request")).await;
        assert_eq!(answer.code, 403, "as jane, not as one with too many headers");
        let long = Request::get(MAPS).header("x-long", "x".repeat((1 << 20) + 1)).body(empty());
        let answer = send(&client, long.expect("a request")).await;
        assert_eq!(answer.code, 431);
    });
}

#[test]
fn a_request_ends_at_its_deadline() {
    with_server(&["--request-timeout", "2s"], |server, client| async move {
        let _server = server;
        let stuck = async |query: &str| {
            let (_sender, body) = slow_body();
            let started = Instant::now();
            let answer = send(&client, post(&format!("{MAPS}{query}"), body)).await;
            (answer, started.elapsed())
        };
        for (query, at_least, at_most) in [("?timeout=300ms", 0.3, 1.9), ("", 2.0, 10.0), ("?timeout=1h", 2.0, 10.0)] {
            let (answer, took) = stuck(query).await;
            assert!((at_least..at_most).contains(&took.as_secs_f64()), "{query} {took:?}");
            assert_eq!(
                (answer.code, answer.value()),
                (
                    504,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 504,
                    "reason": "Timeout", "details": {},
                    "message": "Timeout: request did not complete within the allotted timeout"})
                )
            );
        }
        let answer = get(&client, &format!("{MAPS}?timeout=5")).await;
        let why = "invalid timeout specified in the request URL - time: missing unit in duration \"5\"";
        assert_eq!((answer.code, &answer.value()["message"]), (400, &json!(why)));
        for none in ["0s", "-5s", ""] {
            assert_eq!(get(&client, &format!("{MAPS}?timeout={none}")).await.code, 200);
        }
        // A watch lasts as long as it says, not as long as a request may.
        let started = Instant::now();
        let watch = get(&client, &format!("{MAPS}?watch=1&timeoutSeconds=3")).await;
        assert!(watch.code == 200 && started.elapsed() >= Duration::from_secs(3));
    });
}

fn as_jane(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("impersonate-user", "jane".parse().expect("a value"));
    Request::from_parts(parts, body)
}

#[test]
fn without_fairness_there_are_so_many_at_once() {
    let flags =
        ["--enable-priority-and-fairness=false", "--max-requests-inflight=5", "--max-mutating-requests-inflight=1"];
    with_server(&flags, |server, client| async move {
        let _server = server;
        let binding = json!({"metadata": {"name": "jane"}, "subjects": [{"kind": "User", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        assert_eq!(create(&client, path, &binding).await.code, 201);
        let body = || whole(&map("m"));
        // The binding is in effect in a moment.
        while send(&client, as_jane(post(&format!("{MAPS}?dryRun=All"), body()))).await.code == 403 {
            tokio::task::yield_now().await;
        }
        let (sender, slow) = slow_body();
        let whole = map("slow").to_string();
        let (begin, end) = whole.split_at(10);
        sender.unbounded_send(Ok(Frame::data(Bytes::copy_from_slice(begin.as_bytes())))).expect("it is read");
        let holding = tokio::spawn({
            let client = client.clone();
            async move { send(&client, as_jane(post(MAPS, slow))).await.code }
        });
        // It has the only place as soon as it is counted.
        while !get(&client, "/metrics").await.text.contains("_inflight_requests{request_kind=\"mutating\"} 1\n") {
            tokio::task::yield_now().await;
        }
        let refused = send(&client, as_jane(post(&format!("{MAPS}?dryRun=All"), body()))).await;
        assert_eq!((refused.code, refused.header("retry-after")), (429, "1"));
        assert_eq!(refused.text, "Too many requests, please try again later.\n");
        // Watches do not count, however many there are.
        let mut watches = Vec::new();
        for _ in 0..7 {
            let watch = as_jane(Request::get(format!("{MAPS}?watch=1")).body(empty()).expect("a request"));
            watches.push(client.send(watch).await);
        }
        assert!(watches.iter().all(|watch| watch.status() == 200));
        // Reads have a limit of their own, and administrators none.
        let read = as_jane(Request::get(MAPS).body(empty()).expect("a request"));
        assert_eq!(send(&client, read).await.code, 200);
        assert_eq!(create(&client, MAPS, &map("admins")).await.code, 201);
        sender.unbounded_send(Ok(Frame::data(Bytes::copy_from_slice(end.as_bytes())))).expect("it is read");
        drop(sender);
        assert_eq!(holding.await.expect("no panic"), 201);
        let answer = send(&client, as_jane(post(MAPS, body()))).await;
        assert_eq!(answer.code, 201, "the place is free again");
    });
}
