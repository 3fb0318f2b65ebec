//! HTTP+SSE, the transport of the first revision: one stream for all answers, one path to post to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::service::Service;
use serde_json::{Value, json};

use crate::bed::{Bed, Client, meta};
use crate::board::{Board, List};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A client with a stream and a connection to post on.
struct Pair {
    stream: Client,
    posts: Client,
    path: String,
}

impl Pair {
    async fn open(bed: &mut Bed) -> Self {
        Self::open_as(bed, "operator").await
    }

    async fn open_as(bed: &mut Bed, role: &str) -> Self {
        let mut stream = bed.client_as(role);
        stream.send("GET", "/sse", &[EVENTS], "").await;
        let head = stream.receive().await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, "text/event-stream")
        );
        let first = stream.chunk().await.unwrap();
        let path = first.strip_prefix("event: endpoint\ndata: ").unwrap();
        let posts = bed.sibling(&stream);
        Self {
            path: path.trim().to_owned(),
            stream,
            posts,
        }
    }

    async fn post(&mut self, message: &Value) {
        let answer = self
            .posts
            .request("POST", &self.path, &[], &message.to_string())
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.post(message).await;
        self.next().await
    }

    async fn next(&mut self) -> Value {
        loop {
            let chunk = self.stream.chunk().await.unwrap();
            if let Some(message) = chunk.strip_prefix("event: message\ndata: ") {
                return serde_json::from_str(message.trim()).unwrap();
            }
            assert_eq!(chunk, ":\n\n");
        }
    }

    async fn initialize(&mut self, revision: &str) -> Value {
        let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let opened = self.ask(&request(0, "initialize", &params)).await;
        self.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        opened
    }
}

fn request(id: i64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test(start_paused = true)]
async fn answers_come_on_the_stream_in_the_revision_agreed_on() {
    let mut bed = Bed::new();
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let mut pair = Pair::open(&mut bed).await;
        let opened = pair.initialize(asked).await;
        assert_eq!(opened["result"]["protocolVersion"], agreed);
        let list = pair.ask(&request(1, "tools/list", &json!({}))).await;
        assert!(list["result"]["tools"].as_array().unwrap().len() > 3);
        let call = json!({"name": "fixture_echo", "arguments": {"text": "hi"}});
        let done = pair.ask(&request(2, "tools/call", &call)).await;
        assert_eq!(done["result"]["content"][0]["text"], "hi");
        let none = pair.ask(&request(3, "no/such", &json!({}))).await;
        assert_eq!(none["error"]["code"], -32601);
        let answer = pair.posts.request("POST", &pair.path, &[], "{").await;
        assert_eq!(answer.status, 202);
        assert_eq!(pair.next().await["error"]["code"], -32700);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_progress_and_cancellation_travel_on_the_stream_too() {
    let board = Arc::new(Board::default());
    let service: Arc<dyn Service> = Arc::<Board>::clone(&board);
    let mut bed = Bed::serving_also(service);
    let mut pair = Pair::open(&mut bed).await;
    pair.initialize("2024-11-05").await;
    board.change(List::Prompts);
    let told = pair.next().await;
    assert_eq!(told["method"], "notifications/prompts/list_changed");
    let uri = json!({"uri": "board://note/1"});
    pair.ask(&request(1, "resources/subscribe", &uri)).await;
    board.write(1);
    assert_eq!(pair.next().await["params"], uri);
    let call = json!({"name": "fixture_speak", "arguments": {"then": "wait"}, "_meta": {"progressToken": 5}});
    pair.post(&request(2, "tools/call", &call)).await;
    assert_eq!(pair.next().await["params"]["progressToken"], 5);
    pair.post(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}),
    )
    .await;
    bed.knobs.cancelled.notified().await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_stream_and_its_key() {
    let mut bed = Bed::new();
    let mut pair = Pair::open(&mut bed).await;
    pair.initialize("2024-11-05").await;
    let ping = request(1, "ping", &json!({})).to_string();
    let mut thief = bed.client_as("admin");
    let stolen = thief.request("POST", &pair.path, &[], &ping).await;
    assert_eq!(stolen.status, 404);
    let mut nobody = bed.client_as("nobody");
    let refused = nobody.request("POST", &pair.path, &[], &ping).await;
    assert_eq!(refused.status, 401);
    let refused = nobody.request("GET", "/sse", &[EVENTS], "").await;
    assert_eq!(refused.status, 401);
    for path in [
        "/messages",
        "/messages?session_id=",
        "/messages?session_id=AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let answer = pair.posts.request("POST", path, &[], &ping).await;
        assert_eq!(answer.code(), (404, -32600), "{path}");
    }
    drop(pair.stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = pair.posts.request("POST", &pair.path, &[], &ping).await;
    assert_eq!(late.status, 404);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_belong_there_is_refused() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let json_only = ("accept", "application/json");
    let answer = client.request("GET", "/sse", &[json_only], "").await;
    assert_eq!(answer.code(), (406, -32600));
    let answer = client.request("POST", "/sse", &[], "{}").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET"));
    let answer = client.request("GET", "/messages", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    let origin = ("origin", "https://evil.example");
    let answer = client.request("GET", "/sse", &[EVENTS, origin], "").await;
    assert_eq!(answer.status, 403);
    let mut pair = Pair::open(&mut bed).await;
    let text = ("content-type", "text/plain");
    let answer = pair.posts.request("POST", &pair.path, &[text], "{}").await;
    assert_eq!(answer.status, 415);
}

#[tokio::test(start_paused = true)]
async fn an_allowed_page_may_read_the_stream() {
    let mut bed = Bed::new();
    let mut stream = bed.client();
    let origin = ("origin", "https://panel.example");
    stream.send("GET", "/sse", &[EVENTS, origin], "").await;
    let head = stream.receive().await;
    assert_eq!(
        head.header("access-control-allow-origin"),
        "https://panel.example"
    );
    assert!(stream.chunk().await.unwrap().starts_with("event: endpoint"));
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_newest_revision_are_answered_as_well() {
    let mut bed = Bed::new();
    let mut pair = Pair::open(&mut bed).await;
    let found = pair
        .ask(&request(1, "server/discover", &json!({"_meta": meta()})))
        .await;
    assert_eq!(found["result"]["resultType"], "complete");
    let early = pair.ask(&request(2, "tools/list", &json!({}))).await;
    assert_eq!(early["error"]["code"], -32600);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_answered_before_the_stream_ends_with_the_server() {
    let mut bed = Bed::new();
    let mut pair = Pair::open(&mut bed).await;
    pair.initialize("2024-11-05").await;
    let call = json!({"name": "fixture_wait", "arguments": {}});
    pair.post(&request(1, "tools/call", &call)).await;
    bed.knobs.begun.notified().await;
    bed.stop.cancel();
    let told = pair.stream.chunk().await.unwrap();
    assert!(
        told.starts_with("event: shutdown_pending\nretry: "),
        "{told}"
    );
    assert!(told.contains("\ndata: {\"reconnect_after\":"), "{told}");
    bed.knobs.release.notify_one();
    assert_eq!(pair.next().await["id"], 1);
    assert_eq!(pair.stream.chunk().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_with_fewer_rights_cannot_post_into_the_stream_of_its_key() {
    let mut bed = Bed::new();
    let mut pair = Pair::open(&mut bed).await;
    pair.initialize("2024-11-05").await;
    let json = [("content-type", "application/json")];
    let wish = r#"{"scope": "read"}"#;
    let minted = pair.posts.request("POST", "/auth/token", &json, wish).await;
    let mut narrow = bed.client();
    narrow.key = Some(minted.json()["access_token"].as_str().unwrap().to_owned());
    let set = request(
        1,
        "tools/call",
        &json!({"name": "fixture_set", "arguments": {"text": "x"}}),
    );
    let set = set.to_string();
    let refused = narrow.request("POST", &pair.path, &[], &set);
    assert_eq!(refused.await.status, 404);
    let minted = pair.posts.request("POST", "/auth/token", &json, "{}").await;
    narrow.key = Some(minted.json()["access_token"].as_str().unwrap().to_owned());
    let taken = narrow.request("POST", &pair.path, &[], &set);
    assert_eq!(taken.await.status, 202);
    assert_eq!(pair.next().await["id"], 1);
}
