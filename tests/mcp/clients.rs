//! The surface on a real socket: connection caps, and a server for real clients.

use std::sync::Arc;

use rackhand::http::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bed::{Bed, lines, modern, refs};

#[tokio::test]
async fn connections_beyond_the_caps_are_turned_away_with_a_word() {
    for (limits, status) in [
        (
            Limits {
                connections: 1,
                ..Limits::default()
            },
            "503",
        ),
        (
            Limits {
                per_address: 1,
                ..Limits::default()
            },
            "429",
        ),
    ] {
        let bed = Bed::with(limits, 50);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&bed.front).serve(listener, bed.stop.clone()));
        let mut first = TcpStream::connect(address).await.unwrap();
        first
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 12];
        first.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"HTTP/1.1 200");
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.contains(status) && answer.contains("Retry-After"),
            "{answer}"
        );
        bed.stop.cancel();
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), "http");
    }
}

#[tokio::test]
async fn a_panic_in_a_tool_reaches_the_supervisor() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&bed.front).serve(listener, bed.stop.clone()));
    let (headers, body) = modern("tools/call", json!({"name": "fixture_panic"}));
    let (body, key) = (body.to_string(), bed.key("admin"));
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{body}",
        lines(refs(&headers)),
        body.len()
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
}

#[tokio::test]
#[ignore = "a server to try real clients against: it prints URL and KEY and runs for ten minutes"]
async fn serves_the_fixture_for_real_clients() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!(
        "URL=http://{}/mcp KEY={}",
        listener.local_addr().unwrap(),
        bed.key("operator")
    );
    let served = Arc::clone(&bed.front).serve(listener, bed.stop.clone());
    let _ = tokio::time::timeout(std::time::Duration::from_mins(10), served).await;
}
