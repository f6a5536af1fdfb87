//! Both ends of an upgraded connection: what echoes behind the server, and a client of the server.

use super::cluster::admin;
use apiserver::{Body, Server, body};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;

/// What the client says.
const WORD: &[u8; 5] = b"hello";

/// Speaks another protocol: says back what it hears.
pub fn echo(mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.expect("upgrade"));
        let mut bytes = [0; WORD.len()];
        io.read_exact(&mut bytes).await.expect("input");
        io.write_all(&bytes).await.expect("output");
        io.shutdown().await.expect("end");
    });
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, "SPDY/3.1".parse().expect("value"));
    response.headers_mut().insert(header::CONNECTION, "Upgrade".parse().expect("value"));
    response
}

/// Posts an upgrade to a path of the server as its administrator, and wants an [`echo`]. Gives the answer's headers.
pub async fn hears_itself(server: &Server, path: &str) -> http::HeaderMap {
    let (near, far) = tokio::io::duplex(4096);
    let service = server.service();
    tokio::spawn(async move {
        let handle = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(admin());
            let request: Request<Body> = request.map(|b| b.map_err(apiserver::BoxError::from).boxed_unsync());
            let mut service = service.clone();
            Box::pin(async move { service.call(request).await })
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), handle);
        // Ends when the test hangs up.
        drop(connection.with_upgrades().await);
    });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.expect("handshake");
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header("host", "api")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(body::empty())
        .expect("request");
    let response = sender.send_request(request).await.expect("answer");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers().clone();
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.expect("upgrade"));
    io.write_all(WORD).await.expect("input");
    let mut back = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), io.read_to_end(&mut back));
    read.await.expect("the echo, in time").expect("output");
    assert_eq!(back, WORD);
    headers
}
