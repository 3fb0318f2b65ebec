//! Revisions with a handshake: initialize, sessions, differences of form, streams, batches.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::Bed;

#[tokio::test(start_paused = true)]
async fn initialize_opens_a_session_in_the_revision_asked_for() {
    let mut bed = Bed::new();
    for (asked, answered) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ] {
        let mut client = bed.client();
        let response = client.initialize(asked).await;
        assert_eq!(
            response.json()["result"]["protocolVersion"],
            answered,
            "{asked}"
        );
        assert_eq!(response.header("mcp-session-id").len(), 22);
        assert!(response.json()["result"].get("resultType").is_none());
        client.version = None;
        let notice = client
            .post(
                &[],
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            )
            .await;
        assert_eq!((notice.status, notice.body.as_str()), (202, ""));
        assert_eq!(
            client.legacy("ping", json!({})).await.json()["result"],
            json!({})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_session_the_way_to_one_is_told() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let response = client.legacy("tools/list", json!({})).await;
    assert_eq!(response.code(), (400, -32600));
    assert!(response.body.contains("initialize"));
    client.session = Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned());
    assert_eq!(client.legacy("tools/list", json!({})).await.status, 404);
    assert_eq!(
        bed.client().legacy("initialize", json!({})).await.code(),
        (200, -32602)
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_belongs_to_its_caller_and_ends_by_delete_or_idleness() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let mut thief = bed.client_as("admin");
    thief.session.clone_from(&client.session);
    assert_eq!(thief.legacy("ping", json!({})).await.status, 404);
    assert_eq!(thief.request("DELETE", "/mcp", &[], "").await.status, 404);
    assert_eq!(client.legacy("ping", json!({})).await.status, 200);
    assert_eq!(client.request("DELETE", "/mcp", &[], "").await.status, 204);
    assert_eq!(client.legacy("ping", json!({})).await.status, 404);
    let mut idle = bed.client();
    idle.initialize("2025-11-25").await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    let mut later = bed.client();
    later.session = idle.session;
    assert_eq!(later.legacy("ping", json!({})).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn the_version_header_may_be_missing_but_not_strange() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    for (version, status) in [
        ("", 200),
        ("2025-11-25", 200),
        ("2025-06-18", 200),
        ("1999-01-01", 400),
        ("latest", 400),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let response = client
            .post(&[("mcp-protocol-version", version)], &body)
            .await;
        assert_eq!(response.status, status, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_are_no_404_and_log_levels_are_checked() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    assert_eq!(
        client.legacy("prompts/list", json!({})).await.code(),
        (200, -32601)
    );
    assert_eq!(
        client
            .legacy("logging/setLevel", json!({"level": "info"}))
            .await
            .json()["result"],
        json!({})
    );
    assert_eq!(
        client
            .legacy("logging/setLevel", json!({"level": "loud"}))
            .await
            .code(),
        (200, -32602)
    );
    let response = client
        .post(&[], r#"{"jsonrpc":"2.0","id":9,"result":{}}"#)
        .await;
    assert_eq!(response.status, 202);
}

#[tokio::test(start_paused = true)]
async fn each_revision_gets_only_what_it_knows() {
    let mut bed = Bed::new();
    for (version, titles, hints, structure) in [
        ("2025-11-25", true, true, true),
        ("2025-06-18", true, true, true),
        ("2025-03-26", false, true, false),
        ("2024-11-05", false, false, false),
    ] {
        let mut client = bed.client();
        client.initialize(version).await;
        let list = client.legacy("tools/list", json!({})).await.json();
        let tool = &list["result"]["tools"][0];
        assert_eq!(tool.get("title").is_some(), titles, "{version}");
        assert_eq!(tool.get("outputSchema").is_some(), titles, "{version}");
        assert_eq!(tool.get("annotations").is_some(), hints, "{version}");
        assert!(list["result"].get("ttlMs").is_none());
        let params = json!({"name": "fixture_echo", "arguments": {"text": "hi"}});
        let result = client.legacy("tools/call", params).await.json()["result"].clone();
        assert_eq!(
            result.get("structuredContent").is_some(),
            structure,
            "{version}"
        );
        let texts: Vec<_> = result["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["text"].as_str().unwrap().to_owned())
            .collect();
        let expected: &[&str] = if structure {
            &["hi"]
        } else {
            &["hi", r#"{"text":"hi"}"#]
        };
        assert_eq!(texts, expected, "{version}");
        assert!(result.get("_meta").is_none() && result.get("resultType").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_arguments_are_a_protocol_error_before_2025_11_25() {
    let mut bed = Bed::new();
    for (version, is_result) in [
        ("2025-11-25", true),
        ("2025-06-18", false),
        ("2024-11-05", false),
    ] {
        let mut client = bed.client();
        client.initialize(version).await;
        let answer = client
            .legacy("tools/call", json!({"name": "fixture_echo"}))
            .await
            .json();
        if is_result {
            assert_eq!(crate::bed::fault_code(&answer["result"]), "BAD_ARGUMENTS");
        } else {
            assert_eq!(answer["error"]["code"], -32602, "{version}");
            assert_eq!(
                answer["error"]["data"][0]["problem"],
                "the argument \"text\" is missing"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_does_not_cancel_a_write() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fixture_set"}});
    client.send("POST", "/mcp", &[], &body.to_string()).await;
    bed.knobs.begun.notified().await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bed.knobs.release.notify_one();
    bed.server.finish_writes().await;
    assert_eq!(bed.knobs.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_one_stream_and_the_second_replaces_the_first() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let mut open = async || {
        let mut stream = bed.client();
        stream.session.clone_from(&client.session);
        stream
            .send("GET", "/mcp", &[("accept", "text/event-stream")], "")
            .await;
        let head = stream.receive().await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, "text/event-stream")
        );
        let opening = stream.chunk().await.unwrap();
        assert!(opening.starts_with("id: 0-"), "{opening}");
        assert_eq!(stream.chunk().await.unwrap(), ":\n\n");
        stream
    };
    let mut first = open().await;
    let mut second = open().await;
    assert_eq!(first.chunk().await, None);
    assert_eq!(second.chunk().await.unwrap(), ":\n\n");
    tokio::time::sleep(Duration::from_hours(3)).await;
    let mut third = bed.client();
    third.session.clone_from(&client.session);
    assert_eq!(
        third.legacy("ping", json!({})).await.status,
        200,
        "a session with a stream is in use"
    );
    assert_eq!(third.request("DELETE", "/mcp", &[], "").await.status, 204);
    while let Some(chunk) = second.chunk().await {
        assert_eq!(chunk, ":\n\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_needs_a_session_and_the_right_accept() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let events = ("accept", "text/event-stream");
    assert_eq!(
        client.request("GET", "/mcp", &[events], "").await.code(),
        (400, -32600)
    );
    assert_eq!(
        client
            .request("GET", "/mcp", &[("accept", "text/html")], "")
            .await
            .status,
        406
    );
    let modern = client
        .request(
            "GET",
            "/mcp",
            &[events, ("mcp-protocol-version", "2026-07-28")],
            "",
        )
        .await;
    assert_eq!((modern.status, modern.header("allow")), (405, "POST"));
    assert_eq!(client.request("DELETE", "/mcp", &[], "").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn one_revision_has_batches_and_the_others_refuse_them() {
    let mut bed = Bed::new();
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": {"name": "fixture_echo", "arguments": {"text": "hi"}}},
        {"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {}},
        7
    ])
    .to_string();
    let mut client = bed.client();
    assert_eq!(client.post(&[], &batch).await.code(), (400, -32600));
    client.initialize("2025-11-25").await;
    assert_eq!(client.post(&[], &batch).await.code(), (400, -32600));
    let mut client = bed.client();
    client.initialize("2025-03-26").await;
    let answers = client.post(&[], &batch).await.json();
    let ids: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["id"].clone())
        .collect();
    assert_eq!(ids, [json!(1), json!("b"), json!(3), Value::Null]);
    assert_eq!(answers[1]["result"]["content"][0]["text"], "hi");
    assert_eq!(answers[2]["error"]["code"], -32600);
    for (body, code) in [
        ("[]".to_owned(), -32600),
        (format!("[{}7]", "7,".repeat(32)), -32600),
        ("[".to_owned(), -32700),
    ] {
        assert_eq!(client.post(&[], &body).await.code(), (400, code));
    }
    let notices = r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#;
    assert_eq!(client.post(&[], notices).await.status, 202);
}
