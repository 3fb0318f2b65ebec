//! Streams that are taken up again where they broke (2025-11-25), and revisions that know no such thing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Client, modern, refs};

fn call(id: u32, tool: &str, arguments: &Value) -> String {
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// An event: its id and its data.
async fn event(client: &mut Client) -> Option<(String, String)> {
    loop {
        let chunk = client.chunk().await?;
        let field = |name: &str| {
            let line = chunk.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        if let Some(data) = field("data:") {
            return Some((field("id:").unwrap_or_default(), data));
        }
    }
}

/// Opens the session's stream, or takes another one up again.
async fn get(bed: &mut Bed, client: &Client, heard: Option<&str>) -> Client {
    let mut stream = bed.sibling(client);
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(heard.map(|heard| ("last-event-id", heard)));
    stream.send("GET", "/mcp", &headers, "").await;
    let opened = stream.receive().await;
    assert_eq!(
        (opened.status, opened.header("content-type")),
        (200, "text/event-stream")
    );
    stream
}

async fn session(bed: &mut Bed, revision: &'static str) -> Client {
    let mut client = bed.client();
    client.initialize(revision).await;
    client
}

#[tokio::test(start_paused = true)]
async fn what_was_said_after_the_connection_broke_is_heard_on_the_next() {
    let mut bed = Bed::new();
    let client = session(&mut bed, "2025-11-25").await;
    let mut broken = bed.sibling(&client);
    let speak = call(3, "fixture_speak", &json!({"then": "wait"}));
    broken.send("POST", "/mcp", &[], &speak).await;
    broken.receive().await;
    assert_eq!(
        event(&mut broken).await,
        Some(("1-0".to_owned(), String::new()))
    );
    let (first, data) = event(&mut broken).await.unwrap();
    assert!(first == "1-1" && data.contains("\"progress\":0"), "{data}");
    drop(broken);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 0);
    let mut again = get(&mut bed, &client, Some(&first)).await;
    assert_eq!(
        event(&mut again).await,
        Some(("1-1".to_owned(), String::new()))
    );
    for number in 2..=5 {
        let (id, data) = event(&mut again).await.unwrap();
        assert_eq!(id, format!("1-{number}"));
        assert!(data.contains("notifications/"), "{data}");
    }
    bed.knobs.release.notify_one();
    let (last, data) = event(&mut again).await.unwrap();
    assert!(last == "1-6" && data.contains("\"said\""), "{last} {data}");
    assert_eq!(event(&mut again).await, None);
    let mut whole = get(&mut bed, &client, Some("1-0")).await;
    for number in 0..=6 {
        assert_eq!(event(&mut whole).await.unwrap().0, format!("1-{number}"));
    }
    assert_eq!(event(&mut whole).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_came_while_nobody_was_there_is_kept() {
    let mut bed = Bed::new();
    let client = session(&mut bed, "2025-11-25").await;
    let mut broken = bed.sibling(&client);
    let wait = call(1, "fixture_wait", &json!({}));
    broken.send("POST", "/mcp", &[], &wait).await;
    broken.receive().await;
    let (opening, _) = event(&mut broken).await.unwrap();
    drop(broken);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.knobs.release.notify_one();
    tokio::time::sleep(Duration::from_mins(10)).await;
    let mut again = get(&mut bed, &client, Some(&opening)).await;
    event(&mut again).await.unwrap();
    let (_, data) = event(&mut again).await.unwrap();
    assert!(data.contains("\"waited\""), "{data}");
    assert_eq!(event(&mut again).await, None);
}

#[tokio::test(start_paused = true)]
async fn streams_are_told_apart_and_only_the_one_named_is_replayed() {
    let mut bed = Bed::new();
    let client = session(&mut bed, "2025-11-25").await;
    let mut opened = Vec::new();
    let mut streams = Vec::new();
    for id in 1..=3 {
        let mut stream = bed.sibling(&client);
        let wait = call(id, "fixture_wait", &json!({}));
        stream.send("POST", "/mcp", &[], &wait).await;
        stream.receive().await;
        opened.push(event(&mut stream).await.unwrap().0);
        streams.push(stream);
    }
    assert_eq!(opened, ["1-0", "2-0", "3-0"]);
    let mut second = get(&mut bed, &client, Some("2-0")).await;
    event(&mut second).await.unwrap();
    assert_eq!(event(&mut streams[1]).await, None, "it was taken over");
    for _ in 0..3 {
        bed.knobs.release.notify_one();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (id, data) = event(&mut second).await.unwrap();
    assert!(id == "2-1" && data.contains("\"id\":2"), "{data}");
    for stream in [0, 2] {
        let (_, data) = event(&mut streams[stream]).await.unwrap();
        assert!(data.contains(&format!("\"id\":{}", stream + 1)), "{data}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_no_longer_known_gives_an_empty_stream_that_ends() {
    let mut bed = Bed::new();
    let client = session(&mut bed, "2025-11-25").await;
    for heard in [
        "1-0",
        "99-3",
        "1-99999999999999999999",
        "nonsense",
        "-",
        "x-1",
    ] {
        let mut stream = get(&mut bed, &client, Some(heard)).await;
        assert_eq!(event(&mut stream).await, None, "{heard}");
    }
    let mut other = session(&mut bed, "2025-11-25").await;
    let speak = call(1, "fixture_speak", &json!({}));
    other.send("POST", "/mcp", &[], &speak).await;
    other.receive().await;
    while event(&mut other).await.is_some() {}
    let mut stream = get(&mut bed, &client, Some("1-0")).await;
    assert_eq!(event(&mut stream).await, None, "it is another session's");
    other.session = Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1-0")];
    let gone = other.request("GET", "/mcp", &headers, "").await;
    assert_eq!(gone.status, 404);
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_the_session_is_opened_anew_by_an_id_of_its_own() {
    let mut bed = Bed::new();
    let client = session(&mut bed, "2025-11-25").await;
    let mut first = get(&mut bed, &client, None).await;
    let (opening, data) = event(&mut first).await.unwrap();
    assert_eq!((opening.as_str(), data.as_str()), ("0-1", ""));
    drop(first);
    let mut second = get(&mut bed, &client, Some(&opening)).await;
    assert_eq!(event(&mut second).await.unwrap().0, "0-2");
    assert_eq!(second.chunk().await.unwrap(), ":\n\n", "it stays open");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_quick_needs_no_stream_and_a_slow_one_gets_it_within_a_second() {
    let mut bed = Bed::new();
    let mut client = session(&mut bed, "2025-11-25").await;
    let echo = call(1, "fixture_echo", &json!({"text": "hi"}));
    let quick = client.post(&[], &echo).await;
    assert_eq!(quick.header("content-type"), "application/json");
    let wait = call(2, "fixture_wait", &json!({}));
    client.send("POST", "/mcp", &[], &wait).await;
    let head = tokio::time::timeout(Duration::from_millis(1100), client.receive()).await;
    assert_eq!(head.unwrap().header("content-type"), "text/event-stream");
    assert_eq!(
        client.chunk().await.unwrap(),
        "id: 1-0\nretry: 1000\ndata: \n\n"
    );
}

#[tokio::test(start_paused = true)]
async fn no_other_revision_gets_ids() {
    let mut bed = Bed::new();
    for revision in ["2025-06-18", "2025-03-26", "2024-11-05"] {
        let mut client = session(&mut bed, revision).await;
        let speak = call(1, "fixture_speak", &json!({}));
        client.send("POST", "/mcp", &[], &speak).await;
        client.receive().await;
        while let Some((id, data)) = event(&mut client).await {
            assert!(id.is_empty() && !data.is_empty(), "{revision}: {id} {data}");
        }
        let mut stream = get(&mut bed, &client, Some("1-0")).await;
        assert_eq!(stream.chunk().await.unwrap(), ":\n\n", "{revision}");
    }
    let mut client = bed.client();
    let (headers, mut body) = modern("tools/call", json!({"name": "fixture_speak"}));
    body["params"]["_meta"]["progressToken"] = json!(1);
    let mut headers = refs(&headers);
    headers.push(("last-event-id", "1-0"));
    client
        .send("POST", "/mcp", &headers, &body.to_string())
        .await;
    client.receive().await;
    while let Some((id, data)) = event(&mut client).await {
        assert!(id.is_empty() && !data.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_with_its_session_cannot_be_taken_up_again() {
    let mut bed = Bed::new();
    let mut client = session(&mut bed, "2025-11-25").await;
    let mut stream = bed.sibling(&client);
    let wait = call(1, "fixture_wait", &json!({}));
    stream.send("POST", "/mcp", &[], &wait).await;
    stream.receive().await;
    event(&mut stream).await.unwrap();
    assert_eq!(client.request("DELETE", "/mcp", &[], "").await.status, 204);
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1-0")];
    let gone = client.request("GET", "/mcp", &headers, "").await;
    assert_eq!(gone.status, 404);
    bed.knobs.release.notify_one();
    let (_, data) = event(&mut stream).await.unwrap();
    assert!(data.contains("\"waited\""), "who is still there hears it");
}
