//! `rackhand stdio --url`: a host with a program on the one side, a box on the other, and whatever happens between them.

mod bed;
mod faults;
mod sessions;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use self::bed::{Host, Rack, Told, answer, call, result};
use crate::bed::{MODERN, meta};

#[tokio::test(start_paused = true)]
async fn a_modern_client_needs_no_headers_of_its_own() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    let discovered = host.ask("server/discover", json!({"_meta": meta()})).await;
    assert_eq!(discovered["result"]["supportedVersions"][0], MODERN);
    let listed = host.ask("tools/list", json!({"_meta": meta()})).await;
    assert!(listed["result"]["tools"].as_array().unwrap().len() > 2);
    let called = host.call("fixture_echo", json!({"text": "ä\nb"})).await;
    assert_eq!(called["result"]["structuredContent"]["text"], "ä\nb");
    // A name that no header carries as it is gets as far as the tools.
    let unknown = host.call("fixture_échö", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602);
    let unknown = host.ask("tools/frob", json!({"_meta": meta()})).await;
    assert_eq!(unknown["error"]["code"], -32601);
    assert!(host.leaves().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_client_gets_a_session_that_ends_with_it() {
    let rack = Rack::scripted(|seen| match seen.method() {
        "initialize" => Told::json(
            200,
            "mcp-session-id: s1\r\n",
            &answer(
                seen,
                &json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "box", "version": "1"}}),
            ),
        ),
        "ping" => result(seen, &json!({})),
        "" if seen.line.starts_with("GET") => Told::events(":\n\n").open(),
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    host.ask("ping", json!({})).await;
    host.say(&json!({"jsonrpc": "2.0", "id": 4, "result": {"roots": []}}))
        .await;
    host.leaves().await;
    let mut methods = rack.methods();
    // The stream opens while the client goes on.
    methods.sort();
    assert_eq!(
        methods,
        [
            "DELETE /mcp",
            "GET /mcp",
            "POST /mcp",
            "initialize",
            "notifications/initialized",
            "ping"
        ]
    );
    for seen in rack.seen.lock().unwrap().iter() {
        let is_opening = seen.method() == "initialize";
        let (session, version) = if is_opening {
            ("", "")
        } else {
            ("s1", "2025-06-18")
        };
        assert_eq!(seen.header("mcp-session-id"), session, "{seen:?}");
        assert_eq!(seen.header("mcp-protocol-version"), version, "{seen:?}");
        assert_eq!(seen.header("authorization"), format!("Bearer {}", bed::KEY));
        assert_eq!(seen.header("mcp-method"), "", "{seen:?}");
        assert_eq!(seen.header("host"), "127.0.0.1:8080");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_client_does_its_work_and_both_eras_may_share_the_pipe() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    let opened = host.initialize().await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-06-18");
    let listed = host.ask("tools/list", json!({})).await;
    assert!(listed["result"]["tools"].is_array());
    let echo = json!({"name": "fixture_echo", "arguments": {"text": "x"}});
    let called = host.ask("tools/call", echo).await;
    assert_eq!(called["result"]["structuredContent"]["text"], "x");
    let modern = host.call("fixture_echo", json!({"text": "y"})).await;
    assert_eq!(modern["result"]["resultType"], "complete");
    host.ask("ping", json!({})).await;
    // A second session on the same pipe.
    assert!(host.initialize().await["result"].is_object());
    host.ask("ping", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn an_array_of_messages_travels_as_one() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    let params = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}});
    host.ask("initialize", params).await;
    let ping = |id: u8| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    host.say(&json!([ping(1), ping(2)])).await;
    let answers = host.hear().await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn answers_overtake_each_other_and_a_modern_request_is_taken_back_by_hanging_up() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    host.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("fixture_wait", &json!({}))}))
        .await;
    rack.knobs.begun.notified().await;
    host.call("fixture_echo", json!({"text": "first"})).await;
    host.notify("notifications/cancelled", json!({"requestId": 1}))
        .await;
    rack.knobs.cancelled.notified().await;
    assert_eq!(rack.knobs.dropped.load(Ordering::SeqCst), 1);
    host.call("fixture_echo", json!({"text": "still here"}))
        .await;
    assert!(
        host.leaves().await.is_empty(),
        "a cancelled request has no answer"
    );
}

#[tokio::test(start_paused = true)]
async fn what_precedes_an_answer_comes_before_it() {
    let rack = Rack::scripted(|seen| {
        let done = answer(seen, &json!({"resultType": "complete", "content": []}));
        Told::events(&format!(
            ": hello\n\ndata: {}\n\ndata: {done}\n\n",
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})
        ))
        .open()
    });
    let mut host = Host::new(&rack);
    host.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("slow", &json!({}))}))
        .await;
    assert_eq!(host.hear().await["method"], "notifications/progress");
    assert_eq!(host.hear().await["id"], 1);
    assert_eq!(rack.seen.lock().unwrap()[0].header("mcp-name"), "slow");
}

#[tokio::test(start_paused = true)]
async fn answers_still_come_after_the_last_line_but_no_stream_keeps_the_bridge() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    host.ask("server/discover", json!({"_meta": meta()})).await;
    let listen = json!({"notifications": {}, "_meta": meta()});
    host.say(
        &json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": listen}),
    )
    .await;
    assert_eq!(
        host.hear().await["method"],
        "notifications/subscriptions/acknowledged"
    );
    let wait = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("fixture_wait", &json!({}))});
    host.say_text(&wait.to_string()).await;
    let (knobs, left) = (rack.knobs.clone(), Instant::now());
    let release = async {
        knobs.begun.notified().await;
        sleep(Duration::from_secs(2)).await;
        knobs.release.notify_one();
    };
    let (said, ()) = tokio::join!(host.leaves(), release);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["id"], 1);
    assert!(
        left.elapsed() < Duration::from_secs(4),
        "{:?}",
        left.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_holds_the_end_up_for_seconds_only_and_a_signal_not_at_all() {
    let rack = Rack::new();
    let wait = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("fixture_wait", &json!({}))});
    let mut host = Host::new(&rack);
    host.say(&wait).await;
    rack.knobs.begun.notified().await;
    let left = Instant::now();
    host.leaves().await;
    assert!(left.elapsed() < Duration::from_secs(8));
    let mut host = Host::new(&rack);
    host.initialize().await;
    host.say(&wait).await;
    rack.knobs.begun.notified().await;
    let left = Instant::now();
    host.stop.cancel();
    host.ends().await;
    assert!(left.elapsed() < Duration::from_secs(2));
}
