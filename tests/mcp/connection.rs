//! Connections on which everything travels, without a transport around them: revisions side by side, order, cancellation,
//! subscriptions, bounds, both kinds of end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::guard::{Caller, Role};
use rackhand::limits::RUNNING_PER_SESSION_MAX;
use rackhand::mcp::{Connection, Outgoing, Overrun};
use rackhand::service::Service;
use serde_json::{Value, json};

use crate::bed::{Bed, meta};
use crate::board::{Board, List};
use crate::schemas::Tape;

/// A client on a connection of its own. All it sends and receives is checked.
struct Wire {
    connection: Option<Connection>,
    outgoing: Outgoing,
    tape: Tape,
}

impl Wire {
    fn to(bed: &Bed) -> Self {
        let caller = Caller::local("somebody", Role::Admin);
        let (connection, outgoing) = bed.server.connect(caller).unwrap();
        Self {
            connection: Some(connection),
            outgoing,
            tape: Tape::default(),
        }
    }

    fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).unwrap();
    }

    fn send_text(&mut self, text: &str) -> Result<(), Overrun> {
        self.tape.sent(text);
        self.connection.as_ref().unwrap().take(text.as_bytes())
    }

    async fn next(&mut self) -> Option<Value> {
        let message = self.outgoing.next().await?;
        let message = serde_json::from_slice(&message).unwrap();
        self.tape.received(&message);
        Some(message)
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.send(message);
        self.next().await.unwrap()
    }

    async fn initialize(&mut self, revision: &str) -> Value {
        self.ask(&legacy(0, "initialize", json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})))
            .await
    }

    async fn is_quiet(&mut self) {
        let next = tokio::time::timeout(Duration::from_secs(30), self.outgoing.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

fn legacy(id: impl Into<Value>, method: &str, params: Value) -> Value {
    let mut message = json!({"jsonrpc": "2.0", "id": id.into(), "method": method});
    message["params"] = params;
    message
}

fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    params["_meta"] = meta();
    legacy(id, method, params)
}

fn call(tool: &str) -> Value {
    json!({"name": tool, "arguments": {}})
}

fn cancel(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id.into()}})
}

#[tokio::test(start_paused = true)]
async fn both_eras_alternate_on_one_connection() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    let found = wire.ask(&modern("d", "server/discover", json!({}))).await;
    assert_eq!(found["result"]["resultType"], "complete");
    let early = wire.ask(&legacy(1, "tools/list", json!({}))).await;
    assert_eq!(early["error"]["code"], -32600);
    for revision in ["2024-11-05", "2025-11-25"] {
        let opened = wire.initialize(revision).await;
        assert_eq!(opened["result"]["protocolVersion"], revision);
        wire.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        let list = wire.ask(&legacy(1, "tools/list", json!({}))).await;
        let has_titles = list["result"]["tools"][0].get("title").is_some();
        assert_eq!(has_titles, revision == "2025-11-25");
        let list = wire.ask(&modern(2, "tools/list", json!({}))).await;
        assert!(list["result"].get("ttlMs").is_some());
        let unknown = wire.ask(&legacy(3, "no/such", json!({}))).await;
        assert_eq!(unknown["error"]["code"], -32601);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_told_so_and_a_burst_keeps_its_order() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    for (text, code) in [
        ("{", -32700),
        ("", -32700),
        ("7", -32600),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
    ] {
        wire.send_text(text).unwrap();
        assert_eq!(wire.next().await.unwrap()["error"]["code"], code, "{text}");
    }
    wire.initialize("2025-03-26").await;
    for id in 0..60 {
        wire.send(&legacy(id, "ping", json!({})));
    }
    for id in 0..60 {
        assert_eq!(wire.next().await.unwrap()["id"], id);
    }
    let batch = json!([
        legacy(1, "ping", json!({})),
        legacy(2, "tools/call", call("fixture_fail"))
    ]);
    let answers = wire.ask(&batch).await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2));
}

#[tokio::test(start_paused = true)]
async fn progress_of_calls_side_by_side_is_told_apart_by_tokens() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-06-18").await;
    let mut speak = call("fixture_speak");
    speak["arguments"] = json!({"then": "wait"});
    speak["_meta"] = json!({"progressToken": "old"});
    wire.send(&legacy(1, "tools/call", speak.clone()));
    let mut speak = modern(2, "tools/call", speak);
    speak["params"]["_meta"]["progressToken"] = json!("new");
    wire.send(&speak);
    let mut heard = Vec::new();
    for _ in 0..7 {
        let message = wire.next().await.unwrap();
        let params = &message["params"];
        heard.push(format!("{}{}", params["progressToken"], params["level"]));
    }
    assert_eq!(
        heard,
        [
            "\"old\"null",
            "\"old\"null",
            "null\"info\"",
            "null\"warning\"",
            "null\"error\"",
            "\"new\"null",
            "\"new\"null"
        ]
    );
    bed.knobs.release.notify_one();
    let first = wire.next().await.unwrap();
    bed.knobs.release.notify_one();
    let second = wire.next().await.unwrap();
    assert_eq!((&first["id"], &second["id"]), (&json!(1), &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_notification_takes_a_call_of_either_era_back_and_no_answer_comes() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-11-25").await;
    for (number, request) in [
        legacy("x", "tools/call", call("fixture_wait")),
        modern("x", "tools/call", call("fixture_wait")),
    ]
    .iter()
    .enumerate()
    {
        wire.send(request);
        bed.knobs.begun.notified().await;
        wire.send(&cancel("y"));
        wire.is_quiet().await;
        assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), number);
        wire.send(&cancel("x"));
        bed.knobs.cancelled.notified().await;
        wire.is_quiet().await;
        assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), number + 1);
    }
    assert_eq!(wire.ask(&legacy(1, "ping", json!({}))).await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_share_the_way_out_and_end_one_by_one() {
    let board = Arc::new(Board::default());
    let service: Arc<dyn Service> = Arc::<Board>::clone(&board);
    let bed = Bed::serving_also(service);
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-11-25").await;
    for id in [json!("a"), json!(7)] {
        let wishes = json!({"notifications": {"toolsListChanged": true}});
        let acknowledged = wire
            .ask(&modern(id.clone(), "subscriptions/listen", wishes))
            .await;
        assert_eq!(subscription(&acknowledged), id);
    }
    board.change(List::Tools);
    let mut told = Vec::new();
    for _ in 0..3 {
        let message = wire.next().await.unwrap();
        assert_eq!(message["method"], "notifications/tools/list_changed");
        told.push(subscription(&message));
    }
    assert_eq!(told, [Value::Null, json!("a"), json!(7)]);
    wire.send(&cancel("a"));
    wire.ask(&legacy(
        1,
        "resources/subscribe",
        json!({"uri": "board://note/3"}),
    ))
    .await;
    board.change(List::Tools);
    board.write(3);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(wire.next().await.unwrap()["method"].clone());
    }
    assert_eq!(
        told,
        [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
            "notifications/tools/list_changed"
        ]
    );
    wire.connection = None;
    let closing = wire.next().await.unwrap();
    assert_eq!(
        (&closing["id"], &closing["result"]["resultType"]),
        (&json!(7), &json!("complete"))
    );
    assert_eq!(wire.next().await, None);
}

fn subscription(message: &Value) -> Value {
    message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_the_input_ended_is_answered() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-11-25").await;
    wire.send(&legacy(1, "tools/call", call("fixture_wait")));
    wire.send(&modern(2, "tools/call", call("fixture_set")));
    wire.connection = None;
    wire.is_quiet().await;
    bed.knobs.release.notify_one();
    assert_eq!(wire.next().await.unwrap()["id"], 1);
    bed.knobs.release.notify_one();
    assert_eq!(wire.next().await.unwrap()["id"], 2);
    assert_eq!(wire.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_takes_its_modern_calls_back_and_the_older_ones_finish() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-11-25").await;
    wire.send(&modern(1, "tools/call", call("fixture_wait")));
    bed.knobs.begun.notified().await;
    wire.send(&legacy(2, "tools/call", call("fixture_set")));
    bed.knobs.begun.notified().await;
    drop(wire);
    bed.knobs.cancelled.notified().await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bed.knobs.release.notify_one();
    bed.server.finish_writes().await;
    assert_eq!(bed.knobs.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_are_refused_and_a_client_that_does_not_read_is_cut() {
    let bed = Bed::new();
    let mut wire = Wire::to(&bed);
    wire.initialize("2025-11-25").await;
    for id in 0..RUNNING_PER_SESSION_MAX {
        wire.send(&legacy(id, "tools/call", call("fixture_wait")));
    }
    let refused = wire.ask(&legacy("late", "ping", json!({}))).await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!("late"), &json!(-32005))
    );
    wire.send(&cancel(0));
    tokio::task::yield_now().await;
    assert_eq!(
        wire.ask(&legacy("late", "ping", json!({}))).await["id"],
        "late"
    );
    let cut = (0..1000).find(|_| wire.send_text("nonsense").is_err());
    assert!(cut.is_some_and(|after| after >= 100), "{cut:?}");
    let ready = tokio::time::timeout(
        Duration::from_secs(5),
        wire.connection.as_ref().unwrap().ready(),
    );
    assert!(ready.await.is_err());
    for _ in 0..100 {
        wire.next().await.unwrap();
    }
    wire.connection.as_ref().unwrap().ready().await;
    wire.send_text("nonsense").unwrap();
}
