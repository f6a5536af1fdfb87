//! The end of a server: what is under way, what is new, what goes on.

use super::*;

#[test]
fn the_end_is_in_order() {
    with_server(&["--shutdown-delay-duration", "2s"], |mut server, client| async move {
        let (sender, slow) = slow_body();
        let under_way = tokio::spawn({
            let client = client.clone();
            async move { send(&client, post(MAPS, slow)).await.code }
        });
        let watch = Request::get(format!("{MAPS}?watch=1")).body(empty()).expect("a request");
        let watch = client.send(watch).await;
        assert_eq!(watch.status(), 200);
        let watching = tokio::spawn(async move { watch.into_body().collect().await.map(drop) });
        let kubeconfig = std::fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
        let ending = std::thread::spawn(move || server.process().terminate());
        let ready = loop {
            let answer = get(&client, "/readyz").await;
            if answer.code != 200 {
                break answer;
            }
        };
        assert_eq!(ready.code, 500);
        assert!(
            ready.text.contains("[-]shutdown failed: reason withheld\n")
                && ready.text.ends_with("readyz check failed\n"),
            "{}",
            ready.text
        );
        assert_eq!(get(&client, "/livez").await.code, 200, "it is served until the delay is over");
        assert!(!watching.is_finished());
        assert_eq!(create(&client, MAPS, &map("late")).await.code, 201);
        watching.await.expect("no panic").expect("the watch ends as one that has ended, not as one that broke");
        // What was under way when it began goes to its end.
        sender.unbounded_send(Ok(Frame::data(Bytes::from(map("slow").to_string())))).expect("it is read");
        drop(sender);
        assert_eq!(under_way.await.expect("no panic"), 201);
        assert_eq!(ending.join().expect("no panic").expect("it ends"), 0);
        let address = kubeconfig.lines().find_map(|l| l.trim().strip_prefix("server: https://")).expect("an address");
        assert!(std::net::TcpStream::connect(address.trim()).is_err(), "nobody listens any more");
    });
}

#[test]
fn new_requests_are_sent_elsewhere_at_the_end() {
    let flags = ["--shutdown-send-retry-after", "--shutdown-delay-duration", "1"];
    with_server(&flags, |mut server, client| async move {
        let (sender, slow) = slow_body();
        let under_way = tokio::spawn({
            let client = client.clone();
            async move { send(&client, post(MAPS, slow)).await.code }
        });
        let address = client.address.clone();
        let ending = std::thread::spawn(move || server.process().terminate());
        let refused = loop {
            let answer = create(&client, &format!("{MAPS}?dryRun=All"), &map("late")).await;
            if answer.code != 201 {
                break answer;
            }
        };
        assert_eq!((refused.code, refused.header("retry-after"), refused.header("connection")), (429, "5", "close"));
        assert_eq!(refused.text, "The apiserver is shutting down, please try again later.\n");
        assert_eq!(get(&client, "/readyz").await.code, 500);
        for path in ["/livez", "/healthz", "/metrics"] {
            assert_eq!(get(&client, path).await.code, 200, "{path}");
        }
        sender.unbounded_send(Ok(Frame::data(Bytes::from(map("slow").to_string())))).expect("it is read");
        drop(sender);
        assert_eq!(under_way.await.expect("no panic"), 201);
        assert_eq!(ending.join().expect("no panic").expect("it ends"), 0);
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}
