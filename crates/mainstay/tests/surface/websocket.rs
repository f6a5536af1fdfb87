//! A watch over WebSocket.

use super::*;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads a frame of a server: its kind and payload.
async fn frame(socket: &mut (impl AsyncRead + Unpin)) -> (u8, String) {
    let kind = socket.read_u8().await.expect("a frame");
    let length = match socket.read_u8().await.expect("a length") {
        126 => u64::from(socket.read_u16().await.expect("a length")),
        127 => socket.read_u64().await.expect("a length"),
        length => length.into(),
    };
    let mut payload = vec![0; usize::try_from(length).expect("a length")];
    socket.read_exact(&mut payload).await.expect("a payload");
    (kind, String::from_utf8_lossy(&payload).into_owned())
}

#[test]
fn a_browser_watches_over_websocket() {
    with_server(&[], |server, client| async move {
        let _server = server;
        let upgrade = |version: &str| {
            let request = Request::get(format!("{MAPS}?watch=1&labelSelector=x&timeoutSeconds=4"))
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("origin", "https://example.com")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .header("sec-websocket-version", version);
            request.body(empty()).expect("a request")
        };
        assert_eq!(send(&client, upgrade("8")).await.code, 400);
        let response = client.send(upgrade("13")).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut socket = TokioIo::new(hyper::upgrade::on(response).await.expect("a socket"));
        let mut wanted = map("seen");
        wanted["metadata"]["labels"] = json!({"x": "y"});
        assert_eq!(create(&client, MAPS, &wanted).await.code, 201);
        let path = format!("{MAPS}/seen");
        assert_eq!(send(&client, Request::delete(path).body(empty()).expect("a request")).await.code, 200);
        for change in ["ADDED", "DELETED"] {
            let (kind, text) = frame(&mut socket).await;
            let event: Value = serde_json::from_str(&text).expect("an event");
            assert_eq!(
                (kind, &event["type"], &event["object"]["metadata"]["name"]),
                (0x81, &json!(change), &json!("seen"))
            );
        }
        let (kind, status) = frame(&mut socket).await;
        assert_eq!((kind, status.as_bytes()[0]), (0x88, 3), "it ends in good order when its time is over");
    });
}
