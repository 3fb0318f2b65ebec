//! HTTP/2 as clients use it: many requests on one connection, streams among them.

use bytes::Bytes;
use h2::RecvStream;
use hyper::StatusCode;
use rackhand::http::Limits;
use serde_json::Value;
use tokio::time::timeout;

use crate::bed::{Bed, PATIENCE, body};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;

/// The next piece of a stream.
async fn piece(stream: &mut RecvStream) -> Option<String> {
    let piece = timeout(PATIENCE, stream.data()).await.unwrap()?.unwrap();
    stream.flow_control().release_capacity(piece.len()).unwrap();
    Some(String::from_utf8(piece.to_vec()).unwrap())
}

/// Everything until `mark` was heard.
async fn until(stream: &mut RecvStream, mark: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(mark) {
        heard += &piece(stream).await.expect("the stream goes on");
    }
    heard
}

#[tokio::test]
async fn requests_and_streams_share_one_connection() {
    let mut bed = Bed::new().await;
    let mut client = bed.http2().await;
    let open = bed.request("GET", "/sse").body(()).unwrap();
    let (response, _) = client.send_request(open, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    let said = until(&mut events, "\n\n").await;
    let path = said.split_once("data: ").unwrap().1.trim().to_owned();
    for id in 1..20 {
        let post = bed.request("POST", &path).body(()).unwrap();
        let (response, mut sending) = client.send_request(post, false).unwrap();
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        sending.send_data(Bytes::from(ping), true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::ACCEPTED);
        until(&mut events, &format!("\"id\":{id}")).await;
    }
    bed.stop.cancel();
    while piece(&mut events).await.is_some() {}
}

#[tokio::test]
async fn a_session_and_its_stream_work() {
    let mut bed = Bed::new().await;
    let mut client = bed.http2().await;
    let post = bed.request("POST", "/mcp").body(()).unwrap();
    let (response, mut sending) = client.send_request(post, false).unwrap();
    sending
        .send_data(Bytes::from_static(INITIALIZE.as_bytes()), true)
        .unwrap();
    let response = response.await.unwrap();
    let session = response.headers()["mcp-session-id"].clone();
    let answer: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    let open = bed
        .request("GET", "/mcp")
        .header("mcp-session-id", session)
        .body(())
        .unwrap();
    let (response, _) = client.send_request(open, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.into_body();
    assert!(piece(&mut events).await.is_some());
    bed.stop.cancel();
    while piece(&mut events).await.is_some() {}
}

#[tokio::test]
async fn head_has_no_body_and_a_length() {
    let mut bed = Bed::new().await;
    let mut client = bed.http2().await;
    let request = bed.request("HEAD", "/livez").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    let length = response.headers()["content-length"].clone();
    assert_eq!(body(response).await, "");
    let request = bed.request("GET", "/livez").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let whole = body(response.await.unwrap()).await;
    assert_eq!(length, whole.len().to_string());
}

#[tokio::test]
async fn the_guard_and_the_rules_for_hosts_hold_as_everywhere() {
    let mut bed = Bed::new().await;
    let mut client = bed.http2().await;
    for (target, key, more, status) in [
        ("https://rack.local/mcp", "", None, 401),
        ("https://evil.example/livez", "", None, 403),
        (
            "https://rack.local/livez",
            "",
            Some(("host", "evil.example")),
            403,
        ),
        (
            "https://rack.local/livez",
            "",
            Some(("origin", "https://evil.example")),
            403,
        ),
        (
            "https://rack.local/livez",
            "",
            Some(("origin", "https://rack.local")),
            200,
        ),
        ("https://rack.local/mcp/ws", "right", None, 426),
        ("https://rack.local/%6dcp", "", None, 404),
    ] {
        let mut request = hyper::Request::builder().uri(target);
        if key == "right" {
            request = request.header("x-api-key", &bed.key);
        }
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let (response, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{target} {more:?}");
    }
}

#[tokio::test]
async fn heads_and_bodies_have_the_same_bounds() {
    let mut bed = Bed::with(Limits {
        body_timeout: std::time::Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut client = bed.http2().await;
    let mut many = bed.request("GET", "/livez");
    for index in 0..65 {
        many = many.header(format!("x-{index}"), "1");
    }
    let (response, _) = client.send_request(many.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status().as_u16(), 431);
    let long = bed
        .request("GET", "/livez")
        .header("x-long", "a".repeat(20_000));
    let (response, _) = client.send_request(long.body(()).unwrap(), true).unwrap();
    let refused = response.await;
    assert!(refused.is_err() || refused.unwrap().status().as_u16() == 431);
    let mut client = bed.http2().await;
    let slow = bed.request("POST", "/mcp").body(()).unwrap();
    let (response, _sending) = client.send_request(slow, false).unwrap();
    assert_eq!(response.await.unwrap().status().as_u16(), 408);
    let mut bed = Bed::new().await;
    let mut client = bed.http2().await;
    let large = bed.request("POST", "/mcp").body(()).unwrap();
    let (response, mut sending) = client.send_request(large, false).unwrap();
    sending.reserve_capacity(2 << 20);
    sending
        .send_data(Bytes::from(vec![b' '; 2 << 20]), true)
        .unwrap();
    assert_eq!(response.await.unwrap().status().as_u16(), 413);
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let post = bed.request("POST", "/mcp").body(()).unwrap();
    let (response, mut sending) = client.send_request(post, false).unwrap();
    sending.send_data(Bytes::from(deep), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
    let answer: Value = serde_json::from_str(&body(response).await).unwrap();
    assert!(answer["error"]["message"].is_string(), "{answer}");
}
