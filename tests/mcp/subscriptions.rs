//! What clients hear of changes: `subscriptions/listen`, the stream of a session, subscriptions to resources, and their bounds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::limits::{
    STREAMS_PER_CALLER_MAX, SUBSCRIPTIONS_PER_CALLER_MAX, SUBSCRIPTIONS_PER_STREAM_MAX,
};
use rackhand::service::Service;
use serde_json::{Value, json};

use crate::bed::{Bed, Client, modern, refs};
use crate::board::{Board, List};

const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const EVENTS: (&str, &str) = ("accept", "text/event-stream");

fn bed() -> (Bed, Arc<Board>) {
    let board = Arc::new(Board::default());
    let service: Arc<dyn Service> = Arc::<Board>::clone(&board);
    (Bed::serving_also(service), board)
}

/// Opens a subscription stream and gives back what was acknowledged.
async fn listen(client: &mut Client, id: Value, notifications: Value) -> Value {
    let (headers, mut body) = modern(
        "subscriptions/listen",
        json!({"notifications": notifications}),
    );
    body["id"] = id.clone();
    client
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    let head = client.receive().await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, "text/event-stream")
    );
    let acknowledged = client.event().await.unwrap();
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    assert_eq!(subscription(&acknowledged), id);
    acknowledged["params"]["notifications"].clone()
}

fn subscription(message: &Value) -> Value {
    message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
}

/// Opens the stream of the client's session.
async fn open_stream(bed: &mut Bed, client: &Client) -> Client {
    let mut stream = bed.sibling(client);
    stream.send("GET", "/mcp", &[EVENTS], "").await;
    let head = stream.receive().await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, "text/event-stream")
    );
    stream
}

/// Nothing but keep-alive comes for a while.
async fn is_quiet(client: &mut Client) {
    let event = tokio::time::timeout(Duration::from_mins(1), client.event()).await;
    assert!(event.is_err(), "{event:?}");
}

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_served_is_acknowledged_and_only_that_is_told() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    let wishes = json!({
        "toolsListChanged": true,
        "promptsListChanged": false,
        "resourceSubscriptions": ["board://note/1", "board://note/9999", "other://x", "board://note/1"],
        "somethingNew": true,
    });
    let granted = listen(&mut client, json!("listen:0"), wishes).await;
    assert_eq!(
        granted,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["board://note/1"]})
    );
    for list in [List::Prompts, List::Resources] {
        board.change(list);
    }
    board.write(2);
    is_quiet(&mut client).await;
    board.change(List::Tools);
    let told = client.event().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(subscription(&told), "listen:0");
    board.write(1);
    let told = client.event().await.unwrap();
    assert_eq!(told["method"], "notifications/resources/updated");
    assert_eq!(told["params"]["uri"], "board://note/1");
    assert_eq!(subscription(&told), "listen:0");
    is_quiet(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_prompts_and_resources_acknowledges_none() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let wishes = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": []});
    let granted = listen(&mut client, json!(7), wishes).await;
    assert_eq!(granted, json!({"toolsListChanged": true}));
}

#[tokio::test(start_paused = true)]
async fn wishes_that_cannot_be_read_are_refused() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    for wishes in [
        json!({"toolsListChanged": "yes"}),
        json!({"resourceSubscriptions": "board://note/1"}),
        json!({"resourceSubscriptions": [1]}),
        json!([]),
        Value::Null,
    ] {
        let params = json!({"notifications": wishes});
        let answer = client.modern("subscriptions/listen", params).await;
        assert_eq!(answer.code(), (200, -32602), "{wishes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_events_cannot_listen() {
    let (mut bed, _) = bed();
    let (headers, body) = modern("subscriptions/listen", json!({"notifications": {}}));
    let mut headers = refs(&headers);
    headers.push(("accept", "application/json"));
    let answer = bed.client().post(&headers, &body.to_string()).await;
    assert_eq!(answer.code(), (406, 406));
}

#[tokio::test(start_paused = true)]
async fn what_changes_often_is_told_once_to_a_reader_that_does_not_keep_up() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    let uris: Vec<_> = (0..100).map(|n| format!("board://note/{n}")).collect();
    listen(
        &mut client,
        json!(1),
        json!({"resourceSubscriptions": uris}),
    )
    .await;
    // The pipe to this client holds about seventeen rounds of a hundred notices.
    for _ in 0..56 {
        for note in 0..100 {
            board.write(note);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut told = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), client.event()).await {
        told += 1;
    }
    assert!((100..2500).contains(&told), "{told} notices came");
    board.write(42);
    let last = client.event().await.unwrap();
    assert_eq!(last["params"]["uri"], "board://note/42");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_at_all_is_cut() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    let uris: Vec<_> = (0..100).map(|n| format!("board://note/{n}")).collect();
    listen(
        &mut client,
        json!(1),
        json!({"resourceSubscriptions": uris}),
    )
    .await;
    for _ in 0..200 {
        for note in 0..100 {
            board.write(note);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let looks = board.looks.load(Ordering::SeqCst);
    pause().await;
    assert_eq!(
        board.looks.load(Ordering::SeqCst),
        looks,
        "nobody listens any more"
    );
    while client.event().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_while_nobody_listens() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    let wishes = json!({"resourceSubscriptions": ["board://note/1"]});
    listen(&mut client, json!(1), wishes.clone()).await;
    pause().await;
    assert!(board.looks.load(Ordering::SeqCst) > 2);
    drop(client);
    pause().await;
    let looks = board.looks.load(Ordering::SeqCst);
    board.write(1);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(board.looks.load(Ordering::SeqCst), looks);
    let mut again = bed.client();
    listen(&mut again, json!(1), wishes).await;
    is_quiet(&mut again).await;
    board.write(1);
    assert!(again.event().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_hears_of_lists_and_of_what_it_subscribes_to_in_its_form() {
    let (mut bed, board) = bed();
    for revision in LEGACY {
        let mut client = bed.client();
        let opened = client.initialize(revision).await.json();
        let capabilities = &opened["result"]["capabilities"];
        assert_eq!(capabilities["tools"], json!({"listChanged": true}));
        assert_eq!(
            capabilities["resources"],
            json!({"listChanged": true, "subscribe": true})
        );
        let mut stream = open_stream(&mut bed, &client).await;
        let uri = json!({"uri": "board://note/5"});
        let done = client.legacy("resources/subscribe", uri.clone()).await;
        assert_eq!(done.json()["result"], json!({}));
        board.write(5);
        let told = stream.event().await.unwrap();
        assert_eq!(
            told,
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": uri})
        );
        for (list, method) in [
            (List::Tools, "notifications/tools/list_changed"),
            (List::Prompts, "notifications/prompts/list_changed"),
            (List::Resources, "notifications/resources/list_changed"),
        ] {
            board.change(list);
            let told = stream.event().await.unwrap();
            assert_eq!(told, json!({"jsonrpc": "2.0", "method": method}));
        }
        client.legacy("resources/unsubscribe", uri).await;
        board.write(5);
        is_quiet(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_hears_later_what_changed_while_it_had_no_stream() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    board.change(List::Tools);
    let mut stream = open_stream(&mut bed, &client).await;
    let told = stream.event().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    client
        .legacy("resources/subscribe", json!({"uri": "board://note/5"}))
        .await;
    drop(stream);
    pause().await;
    board.write(5);
    board.write(6);
    pause().await;
    let mut stream = open_stream(&mut bed, &client).await;
    let told = stream.event().await.unwrap();
    assert_eq!(told["params"]["uri"], "board://note/5");
    is_quiet(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_resource_cannot_be_subscribed_to_and_a_key_must_be_able_to_read() {
    let (mut bed, _) = bed();
    let mut client = bed.client();
    client.initialize("2025-06-18").await;
    for uri in ["board://note/9999", "", "nonsense"] {
        let answer = client
            .legacy("resources/subscribe", json!({"uri": uri}))
            .await;
        assert_eq!(answer.code(), (200, -32002), "{uri}");
    }
    let long = format!("board://note/1{}", "x".repeat(4000));
    let answer = client
        .legacy("resources/subscribe", json!({"uri": long}))
        .await;
    assert_eq!(answer.code(), (200, -32002));
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(client.legacy(method, json!({})).await.code(), (200, -32602));
        let modern = client
            .modern(method, json!({"uri": "board://note/1"}))
            .await;
        assert_eq!(modern.code(), (404, -32601));
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_bounded_per_stream_and_per_key() {
    let (mut bed, _) = bed();
    let uris =
        |count: usize| -> Vec<String> { (0..count).map(|n| format!("board://note/{n}")).collect() };
    let mut clients = Vec::new();
    for number in 0..=SUBSCRIPTIONS_PER_CALLER_MAX / SUBSCRIPTIONS_PER_STREAM_MAX {
        let mut client = bed.client();
        let wishes = json!({"resourceSubscriptions": uris(SUBSCRIPTIONS_PER_STREAM_MAX + 10)});
        let granted = listen(&mut client, json!(1), wishes).await;
        let granted = granted["resourceSubscriptions"].as_array().map(Vec::len);
        if number < SUBSCRIPTIONS_PER_CALLER_MAX / SUBSCRIPTIONS_PER_STREAM_MAX {
            assert_eq!(granted, Some(SUBSCRIPTIONS_PER_STREAM_MAX));
        } else {
            assert_eq!(granted, None);
        }
        clients.push(client);
    }
    let mut session = bed.client();
    session.initialize("2025-11-25").await;
    let uri = json!({"uri": "board://note/1"});
    let answer = session.legacy("resources/subscribe", uri.clone()).await;
    assert_eq!(answer.code(), (429, -32005));
    clients.clear();
    pause().await;
    let answer = session.legacy("resources/subscribe", uri).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_per_key() {
    let (mut bed, _) = bed();
    let mut clients = Vec::new();
    for number in 0..STREAMS_PER_CALLER_MAX {
        let mut client = bed.client();
        listen(&mut client, json!(number), json!({})).await;
        clients.push(client);
    }
    let params = json!({"notifications": {}});
    let answer = bed.client().modern("subscriptions/listen", params).await;
    assert_eq!(answer.code(), (429, 429));
    assert_eq!(answer.header("retry-after"), "1");
    let mut session = bed.client();
    session.initialize("2025-11-25").await;
    let answer = session.request("GET", "/mcp", &[EVENTS], "").await;
    assert_eq!(answer.code(), (429, -32005));
    clients.pop();
    pause().await;
    let params = json!({"notifications": {}});
    let mut client = bed.client();
    listen(&mut client, json!("again"), params["notifications"].clone()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_a_stream_on_one_connection_is_answered_before_it() {
    let (mut bed, board) = bed();
    let mut client = bed.client();
    let (mut headers, body) = modern("tools/list", json!({}));
    headers.push(("accept".to_owned(), "application/json".to_owned()));
    let count = 200;
    for _ in 0..count {
        client
            .send("POST", "/mcp", &refs(&headers), &body.to_string())
            .await;
    }
    let wishes = json!({"notifications": {"toolsListChanged": true}});
    let (headers, mut body) = modern("subscriptions/listen", wishes);
    body["id"] = json!("listen");
    client
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    pause().await;
    let mut bytes = 0;
    for _ in 0..count {
        let answer = client.receive().await;
        bytes += answer.body.len();
        assert!(answer.json()["result"]["tools"].is_array());
    }
    assert!(bytes > 256 << 10, "{bytes} bytes fit the pipe");
    let opened = client.receive().await;
    assert_eq!(opened.header("content-type"), "text/event-stream");
    assert!(client.event().await.is_some());
    board.change(List::Tools);
    assert!(client.event().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn streams_end_in_good_order_when_the_server_stops() {
    let (mut bed, _) = bed();
    let mut listening = bed.client();
    listen(&mut listening, json!(3), json!({"toolsListChanged": true})).await;
    let mut session = bed.client();
    session.initialize("2025-03-26").await;
    let mut stream = open_stream(&mut bed, &session).await;
    bed.stop.cancel();
    for client in [&mut listening, &mut stream] {
        let told = client.event().await.unwrap();
        let after = told["reconnect_after"].as_f64().unwrap();
        assert!((1.0..=5.0).contains(&after), "{told}");
    }
    let closing = listening.event().await.unwrap();
    assert_eq!(
        closing,
        json!({"jsonrpc": "2.0", "id": 3, "result": {"resultType": "complete", "_meta": {"io.modelcontextprotocol/subscriptionId": 3}}})
    );
    assert_eq!(listening.event().await, None);
    assert_eq!(stream.event().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_while_the_server_stops_ends_at_once() {
    let (mut bed, _) = bed();
    let mut late = bed.client();
    bed.server.close_streams();
    let (headers, body) = modern("subscriptions/listen", json!({"notifications": {}}));
    late.send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    late.receive().await;
    assert!(late.event().await.is_some(), "the acknowledgement");
    assert!(late.event().await.unwrap().get("result").is_some());
}
