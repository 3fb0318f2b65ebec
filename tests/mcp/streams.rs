//! What a call says before its answer: the form of the reply, progress, log lines, cancellation, clients that go away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Client, Response, modern, refs};

const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Posts a modern call of the speaking tool and reads the whole reply.
async fn speak(client: &mut Client, meta: Value, then: &str) -> (Response, Vec<Value>) {
    let params = json!({"name": "fixture_speak", "arguments": {"then": then}, "_meta": meta});
    let (headers, body) = modern("tools/call", params);
    client
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    read(client).await
}

/// The next response and, if it is a stream, all its messages.
async fn read(client: &mut Client) -> (Response, Vec<Value>) {
    let response = client.receive().await;
    let mut messages = Vec::new();
    if response.header("content-type") == "text/event-stream" {
        while let Some(message) = client.event().await {
            messages.push(message);
        }
    }
    (response, messages)
}

fn methods(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message["method"].as_str().unwrap_or("result"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_modern_call_that_nobody_listens_to_is_answered_in_plain_json() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (response, messages) = speak(&mut client, json!({}), "answer").await;
    assert_eq!(response.header("content-type"), "application/json");
    assert!(messages.is_empty());
    let quiet = client
        .modern(
            "tools/call",
            json!({"name": "fixture_echo", "arguments": {"text": "hi"}, "_meta": {"progressToken": 1}}),
        )
        .await;
    assert_eq!(
        quiet.header("content-type"),
        "application/json",
        "nothing was said before the result"
    );
}

#[tokio::test(start_paused = true)]
async fn progress_comes_with_its_token_byte_for_byte_rising_and_before_the_result() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for token in [
        json!("p-41"),
        json!(0),
        json!(9_007_199_254_740_993_i64),
        json!("ü\"\n"),
    ] {
        let (response, messages) =
            speak(&mut client, json!({"progressToken": token}), "answer").await;
        assert_eq!(
            (
                response.status,
                response.header("content-type"),
                response.header("cache-control"),
                response.header("x-accel-buffering")
            ),
            (200, "text/event-stream", "no-cache", "no")
        );
        assert_eq!(
            methods(&messages),
            ["notifications/progress", "notifications/progress", "result"]
        );
        assert_eq!(
            messages[1]["params"],
            json!({"progressToken": token, "progress": 50.0, "total": 100.0, "message": "half \"way\""})
        );
        assert_eq!(messages[2]["result"]["structuredContent"]["text"], "said");
        assert_eq!(messages[2]["id"], 7);
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_modern_stream_have_no_ids_and_the_connection_lives_on() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let params = json!({"name": "fixture_speak", "_meta": {"progressToken": 1}});
    let (headers, body) = modern("tools/call", params);
    client
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    assert_eq!(client.receive().await.status, 200);
    while let Some(chunk) = client.chunk().await {
        assert!(
            chunk.starts_with("data: ") || chunk.starts_with(':'),
            "{chunk}"
        );
    }
    let after = client.modern("server/discover", json!({})).await;
    assert_eq!(after.status, 200);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_after_the_result() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    speak(&mut client, json!({"progressToken": 1}), "answer").await;
    let voice = bed.knobs.voice.lock().unwrap().take().unwrap();
    voice.progress(99.0, None, "too late");
    let (_, messages) = speak(&mut client, json!({"progressToken": 1}), "answer").await;
    assert_eq!(messages.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_some_ten_times_a_second_at_most() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (_, messages) = speak(&mut client, json!({"progressToken": 1}), "go_on").await;
    let told = messages.len() - 1;
    assert!((20..=32).contains(&told), "{told} in two seconds");
    let steps: Vec<_> = messages
        .iter()
        .filter_map(|message| message["params"]["progress"].as_f64())
        .collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_modern_request_hears_log_lines_from_the_level_that_it_names() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for (level, heard) in [
        ("debug", &["debug", "info", "warning", "error"][..]),
        ("info", &["info", "warning", "error"]),
        ("notice", &["warning", "error"]),
        ("error", &["error"]),
        ("emergency", &[]),
    ] {
        let meta = json!({"io.modelcontextprotocol/logLevel": level});
        let (response, messages) = speak(&mut client, meta, "answer").await;
        if heard.is_empty() {
            assert_eq!(response.header("content-type"), "application/json");
            continue;
        }
        let levels: Vec<_> = messages
            .iter()
            .filter_map(|message| message["params"]["level"].as_str())
            .collect();
        assert_eq!(levels, heard, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_level_or_a_token_that_is_none_is_refused() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for meta in [
        json!({"io.modelcontextprotocol/logLevel": "loud"}),
        json!({"io.modelcontextprotocol/logLevel": 3}),
        json!({"progressToken": 1.5}),
        json!({"progressToken": {}}),
        json!({"progressToken": null}),
    ] {
        let params = json!({"name": "fixture_speak", "_meta": meta});
        let answer = client.modern("tools/call", params).await;
        assert_eq!(answer.code(), (200, -32602), "{meta}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_events_gets_json_and_hears_nothing() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let params = json!({"name": "fixture_speak", "_meta": {"progressToken": 1}});
    let (headers, body) = modern("tools/call", params.clone());
    let mut extra = refs(&headers);
    extra.push(("accept", "application/json"));
    let answer = client.post(&extra, &body.to_string()).await;
    assert_eq!(answer.json()["result"]["isError"], false);
    client.initialize("2025-11-25").await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let answer = client
        .post(&[("accept", "application/json")], &body.to_string())
        .await;
    assert_eq!(answer.json()["result"]["isError"], false);
}

#[tokio::test(start_paused = true)]
async fn each_older_revision_hears_progress_and_the_log_level_of_its_session() {
    let mut bed = Bed::new();
    for revision in LEGACY {
        let mut client = bed.client();
        client.initialize(revision).await;
        let call = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "fixture_speak", "_meta": {"progressToken": "t"}}});
        client.send("POST", "/mcp", &[], &call.to_string()).await;
        let (_, messages) = read(&mut client).await;
        let progress = &messages[1]["params"];
        assert_eq!(
            progress.get("message").is_some(),
            revision != "2024-11-05",
            "{revision}"
        );
        let levels = |messages: &[Value]| -> Vec<String> {
            let levels = messages
                .iter()
                .filter_map(|message| message["params"]["level"].as_str());
            levels.map(str::to_owned).collect()
        };
        assert_eq!(
            levels(&messages),
            ["info", "warning", "error"],
            "{revision}"
        );
        client
            .legacy("logging/setLevel", json!({"level": "error"}))
            .await;
        client.send("POST", "/mcp", &[], &call.to_string()).await;
        assert_eq!(levels(&read(&mut client).await.1), ["error"], "{revision}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_that_leaves_the_stream_takes_its_call_back() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let params = json!({"name": "fixture_speak", "arguments": {"then": "wait"}, "_meta": {"progressToken": 1}});
    let (headers, body) = modern("tools/call", params);
    client
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    assert_eq!(
        client.receive().await.header("content-type"),
        "text/event-stream"
    );
    assert_eq!(client.event().await.unwrap()["params"]["progress"], 0.0);
    drop(client);
    bed.knobs.cancelled.notified().await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_call_goes_on_without_its_client() {
    let mut bed = Bed::new();
    for (tool, is_stream) in [("fixture_speak", true), ("fixture_wait", false)] {
        let mut client = bed.client();
        client.initialize("2025-06-18").await;
        let arguments = if is_stream {
            json!({"then": "wait"})
        } else {
            json!({})
        };
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        client.send("POST", "/mcp", &[], &call.to_string()).await;
        bed.knobs.begun.notified().await;
        if is_stream {
            client.receive().await;
            client.event().await.unwrap();
        }
        drop(client);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 0, "{tool}");
        bed.knobs.release.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), bed.server.finish_writes())
        .await
        .unwrap();
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_older_client_takes_a_call_back_by_its_id() {
    let mut bed = Bed::new();
    for (tool, then) in [("fixture_speak", Some("wait")), ("fixture_wait", None)] {
        let mut client = bed.client();
        client.initialize("2025-11-25").await;
        let arguments = then.map_or(json!({}), |then| json!({"then": then}));
        let call = json!({"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        client.send("POST", "/mcp", &[], &call.to_string()).await;
        bed.knobs.begun.notified().await;
        let mut other = bed.sibling(&client);
        for (id, is_dropped) in [("another", 0), ("mine", 1)] {
            let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
            let taken = other.post(&[], &notice.to_string()).await;
            assert_eq!(taken.status, 202);
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(bed.knobs.dropped.swap(0, Ordering::SeqCst), is_dropped);
        }
        let (response, messages) = read(&mut client).await;
        assert_eq!(response.header("content-type"), "text/event-stream");
        assert!(!methods(&messages).contains(&"result"), "no answer comes");
        assert_eq!(client.legacy("ping", json!({})).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_taken_back_is_told_and_finishes() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "fixture_set"}});
    client.send("POST", "/mcp", &[], &call.to_string()).await;
    bed.knobs.begun.notified().await;
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5, "reason": "wrong room"}});
    bed.sibling(&client).post(&[], &notice.to_string()).await;
    bed.knobs.cancelled.notified().await;
    bed.knobs.release.notify_one();
    bed.server.finish_writes().await;
    assert_eq!(bed.knobs.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_a_stream_is_its_last_event() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-06-18").await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fixture_speak", "arguments": {"then": "misfit"}}});
    client.send("POST", "/mcp", &[], &call.to_string()).await;
    let (response, messages) = read(&mut client).await;
    assert_eq!(response.header("content-type"), "application/json");
    assert!(messages.is_empty() && response.code() == (200, -32602));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fixture_speak", "arguments": {"then": "refuse"}}});
    client.send("POST", "/mcp", &[], &call.to_string()).await;
    let (_, messages) = read(&mut client).await;
    let last = messages.last().unwrap();
    assert_eq!(
        (&last["id"], &last["error"]["code"]),
        (&json!(1), &json!(-32602))
    );
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_of_a_session_and_of_a_key_are_turned_away() {
    use rackhand::limits::{ATTENDED_PER_CALLER_MAX, RUNNING_PER_SESSION_MAX};
    let mut bed = Bed::new();
    let mut clients = Vec::new();
    let wait = |id: usize| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "fixture_wait"}}).to_string()
    };
    let mut session = bed.client();
    session.initialize("2025-11-25").await;
    for number in 0..ATTENDED_PER_CALLER_MAX {
        if number == RUNNING_PER_SESSION_MAX {
            let answer = bed.sibling(&session).post(&[], &wait(number)).await;
            assert_eq!(answer.code(), (429, -32005));
            assert_eq!(answer.header("retry-after"), "1");
            session = bed.client();
            session.initialize("2025-11-25").await;
        }
        let mut client = bed.sibling(&session);
        client.send("POST", "/mcp", &[], &wait(number)).await;
        bed.knobs.begun.notified().await;
        clients.push(client);
    }
    session = bed.client();
    session.initialize("2025-11-25").await;
    let answer = session.post(&[], &wait(0)).await;
    assert_eq!(answer.code(), (429, -32005));
    assert!(answer.body.contains("calls under way"));
    drop(clients);
    for _ in 0..ATTENDED_PER_CALLER_MAX {
        bed.knobs.release.notify_one();
        tokio::task::yield_now().await;
    }
}
