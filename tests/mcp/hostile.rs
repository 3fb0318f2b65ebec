//! Clients that are hostile, broken or merely odd: each was once told something untrue, or not what to do next.

use std::sync::Arc;

use rackhand::limits::WEBSOCKET_MESSAGE_MAX_BYTES;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bed::{Bed, MODERN, fault_code, lines, modern, refs};
use crate::shelf::Shelf;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_compressed_body_was_called_no_json() {
    let mut bed = Bed::new();
    for coding in ["gzip", "br", "identity, gzip"] {
        let response = bed
            .client()
            .post(&[("content-encoding", coding)], PING)
            .await;
        assert_eq!(response.status, 415, "{coding}");
        assert!(response.body.contains("Content-Encoding"), "{coding}");
    }
    let plain = [("content-encoding", "Identity")];
    assert_eq!(bed.client().post(&plain, PING).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_came_twice_was_called_missing() {
    let mut bed = Bed::new();
    let version = [("mcp-protocol-version", MODERN), ("mcp-method", "ping")];
    let (_, body) = modern("ping", json!({}));
    let meta = body["params"]["_meta"].to_string();
    for params in [
        format!(r#"{{"_meta":{{}},"_meta":{meta}}}"#),
        format!("[{meta}]"),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{params}}}"#);
        let response = bed.client().post(&version, &body).await;
        assert_eq!(response.code(), (400, -32602));
        assert!(
            message(&response.json()).contains("no field comes twice"),
            "{params}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_as_long_as_a_body_came_back_whole() {
    let mut bed = Bed::new();
    let (headers, mut body) = modern("tools/call", json!({"name": "fixture_echo"}));
    body["params"]["name"] = json!("y".repeat(200_000));
    let response = bed.client().post(&refs(&headers), &body.to_string()).await;
    assert_eq!(response.code(), (400, -32020));
    assert!(response.body.len() < 500, "{} bytes", response.body.len());
}

#[tokio::test(start_paused = true)]
async fn a_session_header_that_came_twice_was_called_missing() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let session = client.session.clone().unwrap();
    let twice = [
        ("mcp-session-id", session.as_str()),
        ("Mcp-Session-Id", session.as_str()),
    ];
    let response = client.post(&twice, PING).await;
    assert_eq!(response.code(), (400, -32600));
    assert!(message(&response.json()).contains("must be there once"));
}

#[tokio::test(start_paused = true)]
async fn a_field_of_the_arguments_that_came_twice_was_taken_the_second_time() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for version in ["2024-11-05", "2025-11-25"] {
        client.initialize(version).await;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fixture_echo","arguments":{"text":"a","text":"b"}}}"#;
        let response = client.post(&[], body).await;
        assert_eq!(response.code(), (200, -32602));
        assert!(message(&response.json()).contains(r#"the field "text" comes twice"#));
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_of_null_were_refused_where_none_are_needed() {
    let mut bed = Bed::serving_also(Arc::new(Shelf::with_books(1)));
    for (method, name, expected) in [
        ("tools/call", "fixture_speak", "\"isError\":false"),
        ("prompts/get", "shelf_tidy", "\"messages\":["),
    ] {
        let (mut headers, body) = modern(method, json!({"name": name, "arguments": null}));
        let body = body.to_string();
        headers.extend([
            ("host".to_owned(), "127.0.0.1:8080".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
            ("x-api-key".to_owned(), bed.key("operator").to_owned()),
        ]);
        let head = lines(refs(&headers));
        let request = format!("POST /mcp HTTP/1.1\r\n{head}\r\n{body}");
        let mut client = bed.client();
        // Past the bed, which checks what is sent, and the schema has no null here.
        let fitting = body.replace("\"arguments\":null,", "");
        client.tape.lock().unwrap().sent(&fitting);
        client.stream.write_all(request.as_bytes()).await.unwrap();
        let answer = client.receive().await;
        assert!(answer.body.contains(expected), "{answer:?}");
    }
}

/// Hosts of the older revisions show a model the message of an error and nothing else.
#[tokio::test(start_paused = true)]
async fn older_clients_were_told_that_arguments_do_not_fit_but_not_which() {
    let mut bed = Bed::new();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18"] {
        let mut client = bed.client();
        client.initialize(version).await;
        let call = json!({"name": "fixture_echo", "arguments": {"text": 5}});
        let answer = client.legacy("tools/call", call).await.json();
        let message = message(&answer);
        assert!(
            message.contains("/text") && message.contains("Give a value of type string"),
            "{version}: {message}"
        );
        assert_eq!(answer["error"]["data"][0]["path"], "/text");
    }
}

/// Both official TypeScript clients hold structured content against the output schema even of a result that is an error, and throw
/// away what does not fit: the model then read of a schema instead of what was wrong.
#[tokio::test(start_paused = true)]
async fn every_error_of_a_tool_was_thrown_away_by_clients_that_check_its_schema() {
    let mut bed = Bed::new();
    for version in ["2025-06-18", "2025-11-25"] {
        let mut client = bed.client();
        client.initialize(version).await;
        let call = json!({"name": "fixture_fail"});
        let answer = client.legacy("tools/call", call).await.json();
        let result = &answer["result"];
        assert_eq!(fault_code(result), "NOT_FOUND");
        assert!(result.get("structuredContent").is_none(), "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_said_that_arguments_do_not_fit_but_not_which() {
    let mut bed = Bed::serving_also(Arc::new(Shelf::with_books(1)));
    let params = json!({"name": "shelf_letter", "arguments": {}});
    let answer = bed.client().modern("prompts/get", params).await.json();
    let message = message(&answer);
    assert!(
        message.contains("/to: the argument is missing. Who gets it."),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_resource_left_the_reader_without_a_next_step() {
    let mut bed = Bed::serving_also(Arc::new(Shelf::with_books(1)));
    let params = json!({"uri": "shelf://nowhere"});
    let answer = bed.client().modern("resources/read", params).await.json();
    assert!(message(&answer).contains("`resources/list`"), "{answer}");
    assert_eq!(answer["error"]["data"]["uri"], "shelf://nowhere");
}

#[tokio::test(start_paused = true)]
async fn an_empty_last_event_id_gave_a_stream_that_ended_at_once_and_for_ever() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    client.initialize("2025-11-25").await;
    let mut stream = bed.sibling(&client);
    // Blanks, since the bed takes a header away whose value is empty.
    let headers = [("accept", "text/event-stream"), ("last-event-id", " ")];
    stream.send("GET", "/mcp", &headers, "").await;
    assert_eq!(stream.receive_head().await.status, 200);
    assert!(stream.chunk().await.unwrap().starts_with("id: 0-"));
    assert_eq!(stream.chunk().await.unwrap(), ":\n\n", "it stays open");
}

/// RFC 6455, 7.1.7: whoever fails a connection says why.
#[tokio::test(start_paused = true)]
async fn a_websocket_was_cut_without_a_word_for_a_frame_against_the_rules() {
    for (what, frame, code) in [
        ("unmasked", &b"\x81\x02{}"[..], 1002_u16),
        ("a reserved bit", b"\xc1\x82\0\0\0\0{}", 1002),
        ("an unknown opcode", b"\x83\x80\0\0\0\0", 1002),
        ("a piece of nothing", b"\x80\x80\0\0\0\0", 1002),
        ("half a ping", b"\x09\x80\0\0\0\0", 1002),
        ("no UTF-8", b"\x81\x82\0\0\0\0\xff\xfe", 1007),
        ("too long", b"\x81\xff\0\0\0\0\0\x02\0\0\0\0\0\0", 1009),
    ] {
        const { assert!(WEBSOCKET_MESSAGE_MAX_BYTES < 0x2_0000) };
        let mut bed = Bed::new();
        let mut client = bed.client();
        let upgrade = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        client.send("GET", "/mcp/ws", &upgrade, "").await;
        assert_eq!(client.receive_head().await.status, 101);
        client.stream.write_all(frame).await.unwrap();
        let mut head = [0_u8; 4];
        client.stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[0], 0x88, "{what}: a close frame");
        assert_eq!(u16::from_be_bytes([head[2], head[3]]), code, "{what}");
    }
}
