//! Many sessions: what clients abandon is bounded, and whoever lost a session finds the way to a new one.

use std::time::Duration;

use rackhand::guard::{Caller, Role};
use rackhand::limits::{SESSIONS_MAX, SESSIONS_PER_CALLER_MAX, WEBSOCKETS_MAX};
use rackhand::mcp::{Field, Post, Reply, Routing};
use serde_json::json;

use crate::bed::Bed;

/// Posts past HTTP, as a client of this name.
async fn post(bed: &Bed, name: &str, session: Option<&str>, method: &str) -> Reply {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
    .to_string();
    let caller = Caller::local(name, Role::Viewer);
    let routing = Routing {
        session: session.map_or(Field::Absent, Field::One),
        ..Routing::default()
    };
    let post = Post {
        body: body.as_bytes(),
        routing: Some(routing),
        caller: &caller,
        accepts_events: true,
        trace: None,
    };
    bed.server.post(post).await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_abandoned_sessions_stay_and_more_push_the_oldest_out() {
    let bed = Bed::new();
    let mut sessions = Vec::new();
    for number in 0..10_000 {
        let name = format!("client {}", number % 10);
        let reply = post(&bed, &name, None, "initialize").await;
        sessions.push((name, reply.session.unwrap().to_string()));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    for (name, session) in [&sessions[0], &sessions[5_000], &sessions[9_999]] {
        assert_eq!(post(&bed, name, Some(session), "ping").await.status, 200);
    }
    for _ in 10_000..=SESSIONS_MAX {
        assert_eq!(post(&bed, "late", None, "initialize").await.status, 200);
    }
    let (name, session) = &sessions[1];
    assert_eq!(post(&bed, name, Some(session), "ping").await.status, 404);
    let (name, session) = &sessions[0];
    assert_eq!(
        post(&bed, name, Some(session), "ping").await.status,
        200,
        "it was used meanwhile"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_pushed_out_ends_with_its_stream_and_opens_anew() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let mut stream = bed.sibling(&client);
    let events = ("accept", "text/event-stream");
    stream.send("GET", "/mcp", &[events], "").await;
    assert_eq!(stream.receive().await.status, 200);
    let mut idle = bed.client();
    idle.initialize("2025-11-25").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..SESSIONS_PER_CALLER_MAX - 1 {
        post(&bed, "operator", None, "initialize").await;
    }
    assert_eq!(idle.legacy("ping", json!({})).await.status, 404);
    assert_eq!(
        client.legacy("ping", json!({})).await.status,
        200,
        "a session with a stream is in use"
    );
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..SESSIONS_PER_CALLER_MAX {
        post(&bed, "operator", None, "initialize").await;
    }
    assert_eq!(client.legacy("ping", json!({})).await.status, 404);
    client.session = None;
    client.version = None;
    client.initialize("2025-11-25").await;
    assert_eq!(client.legacy("ping", json!({})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_session_is_pushed_out_ends() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-06-18").await;
    let mut stream = bed.sibling(&client);
    let events = ("accept", "text/event-stream");
    stream.send("GET", "/mcp", &[events], "").await;
    assert_eq!(stream.receive().await.status, 200);
    assert_eq!(client.request("DELETE", "/mcp", &[], "").await.status, 204);
    assert_eq!(stream.event().await, None);
}

#[tokio::test(start_paused = true)]
async fn websockets_are_bounded() {
    let mut bed = Bed::new();
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut open = Vec::new();
    for _ in 0..WEBSOCKETS_MAX {
        let mut client = bed.client();
        client.send("GET", "/mcp/ws", &upgrade, "").await;
        assert_eq!(client.receive().await.status, 101);
        open.push(client);
    }
    let refused = bed.client().request("GET", "/mcp/ws", &upgrade, "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    open.pop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut client = bed.client();
    client.send("GET", "/mcp/ws", &upgrade, "").await;
    assert_eq!(client.receive().await.status, 101);
}
