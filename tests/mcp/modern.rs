//! Revision 2026-07-28: the ladder row by row, discover, lists, calls, listen, cancellation.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::bed::{Bed, MODERN, meta, modern, refs};
use crate::schemas;

/// Sends a modern `tools/call` of the echo tool with `change` applied to the body and `extra` to the headers.
async fn call_with(change: impl FnOnce(&mut Value), extra: &[(&str, &str)]) -> (u16, i64, Value) {
    let mut bed = Bed::new();
    let (headers, mut body) = modern(
        "tools/call",
        json!({"name": "fixture_echo", "arguments": {"text": "hi"}}),
    );
    change(&mut body);
    let mut all: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| {
            !extra
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
        })
        .collect();
    all.extend_from_slice(extra);
    let response = bed.client().post(&all, &body.to_string()).await;
    let answer = response.json();
    schemas::check_answer(true, "tools/call", &answer);
    let (status, code) = response.code();
    (status, code, answer)
}

fn set(path: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |body| *body.pointer_mut(path).unwrap() = value
}

const VERSION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

#[tokio::test(start_paused = true)]
async fn rung_1_metadata_must_be_there() {
    for (path, value) in [
        ("/params/_meta", json!({})),
        ("/params/_meta", json!(7)),
        ("/params", json!([])),
        (VERSION, json!(20_260_728)),
        (
            "/params/_meta/io.modelcontextprotocol~1clientCapabilities",
            json!([]),
        ),
        (
            "/params/_meta/io.modelcontextprotocol~1clientCapabilities",
            Value::Null,
        ),
    ] {
        let (status, code, answer) = call_with(set(path, value.clone()), &[]).await;
        assert_eq!((status, code), (400, -32602), "{path} {value}");
        assert_eq!(answer["id"], 7);
    }
}

#[tokio::test(start_paused = true)]
async fn rungs_2_to_4_headers_must_say_what_the_body_says() {
    for extra in [
        &[("mcp-protocol-version", "2025-11-25")][..],
        &[("mcp-protocol-version", "")],
        &[
            ("mcp-protocol-version", MODERN),
            ("MCP-Protocol-Version", MODERN),
        ],
        &[("mcp-method", "")],
        &[("mcp-method", "tools/list")],
        &[("mcp-method", "Tools/Call")],
        &[("mcp-method", "tools/call"), ("Mcp-Method", "tools/call")],
        &[("mcp-name", "")],
        &[("mcp-name", "fixture_fail")],
        &[("mcp-name", "=?base64?***?=")],
        &[("mcp-name", "fixture_echo"), ("mcp-name", "fixture_echo")],
    ] {
        let (status, code, _) = call_with(|_| {}, extra).await;
        assert_eq!((status, code), (400, -32020), "{extra:?}");
    }
    for name in ["  fixture_echo  ", "=?base64?Zml4dHVyZV9lY2hv?="] {
        assert_eq!(
            call_with(|_| {}, &[("mcp-name", name)]).await.0,
            200,
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rung_4_comes_before_5_and_5_before_6() {
    let future = "2027-01-01";
    let (status, code, _) = call_with(
        set(VERSION, json!(future)),
        &[("mcp-protocol-version", future), ("mcp-name", "x")],
    )
    .await;
    assert_eq!((status, code), (400, -32020));
    let (status, code, answer) = call_with(
        |body| {
            set(VERSION, json!(future))(body);
            body["method"] = json!("no/such");
        },
        &[("mcp-protocol-version", future), ("mcp-method", "no/such")],
    )
    .await;
    assert_eq!((status, code), (400, -32022));
    assert_eq!(answer["error"]["data"]["requested"], future);
    assert_eq!(answer["error"]["data"]["supported"][0], MODERN);
}

#[tokio::test(start_paused = true)]
async fn a_revision_with_a_handshake_is_not_spoken_per_request() {
    let (status, code, answer) = call_with(
        set(VERSION, json!("2025-11-25")),
        &[("mcp-protocol-version", "2025-11-25")],
    )
    .await;
    assert_eq!((status, code), (400, -32022));
    assert_eq!(answer["error"]["data"]["supported"], json!([MODERN]));
}

#[tokio::test(start_paused = true)]
async fn rung_6_unknown_methods_and_those_of_older_revisions_are_404() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for method in [
        "no/such",
        "initialize",
        "ping",
        "logging/setLevel",
        "prompts/list",
        "resources/subscribe",
        "tasks/list",
    ] {
        let response = client
            .modern(
                method,
                json!({"level": "info", "protocolVersion": "2025-11-25"}),
            )
            .await;
        assert_eq!(response.code(), (404, -32601), "{method}");
        assert_eq!(response.json()["id"], 7);
    }
}

#[tokio::test(start_paused = true)]
async fn rung_9_wrong_parameters_are_an_ordinary_error() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for params in [
        json!({"name": "no_such_tool"}),
        json!({"name": "fixture_echo", "arguments": [1]}),
        json!({"arguments": {}}),
    ] {
        assert_eq!(
            client.modern("tools/call", params.clone()).await.code(),
            (200, -32602),
            "{params}"
        );
    }
    let near = client
        .modern("tools/call", json!({"name": "fixture_ecko"}))
        .await;
    assert!(
        near.body.contains(r#"Did you mean \"fixture_echo\"?"#),
        "{}",
        near.body
    );
    assert_eq!(
        client
            .modern("tools/list", json!({"cursor": "bogus"}))
            .await
            .code(),
        (200, -32602)
    );
    assert_eq!(
        client
            .modern("tools/list", json!({"cursor": 5}))
            .await
            .code(),
        (200, -32602)
    );
    assert_eq!(
        client
            .modern("subscriptions/listen", json!({}))
            .await
            .code(),
        (200, -32602)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_told_so_without_an_id() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for (body, code) in [
        ("{", -32700),
        ("", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
    ] {
        let response = client.post(&[("mcp-protocol-version", MODERN)], body).await;
        assert_eq!(response.code(), (400, code), "{body}");
        assert!(response.json().get("id").is_none());
        schemas::check_answer(true, "", &response.json());
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_refused_and_a_notification_is_taken() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let version = [("mcp-protocol-version", MODERN)];
    let response = client
        .post(&version, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
        .await;
    assert_eq!(response.code(), (400, -32600));
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "_meta": meta()}});
    let response = client.post(&version, &notice.to_string()).await;
    assert_eq!((response.status, response.body.as_str()), (202, ""));
}

#[tokio::test(start_paused = true)]
async fn discover_names_revisions_capabilities_and_the_server() {
    let mut bed = Bed::new();
    let answer = bed
        .client()
        .modern("server/discover", json!({}))
        .await
        .json();
    let result = &answer["result"];
    assert_eq!(result["supportedVersions"][0], MODERN);
    assert_eq!(
        result["capabilities"],
        json!({"tools": {"listChanged": true}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
    );
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "rackhand"
    );
    assert_eq!(result["instructions"], "Read before you write.");
    assert_eq!(result["cacheScope"], "private");
}

#[tokio::test(start_paused = true)]
async fn a_good_call_has_text_and_structure_and_repeats_the_id() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for id in [json!(0), json!("x\"y"), json!(9_007_199_254_740_993_i64)] {
        let (headers, mut body) = modern(
            "tools/call",
            json!({"name": "fixture_echo", "arguments": {"text": "Küche \"1\"\n"}}),
        );
        body["id"] = id.clone();
        let extra = refs(&headers);
        let response = client.post(&extra, &body.to_string()).await;
        let answer = response.json();
        schemas::check_answer(true, "tools/call", &answer);
        assert_eq!(answer["id"], id);
        assert_eq!(answer["result"]["content"][0]["text"], "Küche \"1\"\n");
        assert_eq!(
            answer["result"]["structuredContent"],
            json!({"text": "Küche \"1\"\n"})
        );
        assert_eq!(answer["result"]["resultType"], "complete");
        assert_eq!(answer["result"]["isError"], false);
        assert_eq!(response.header("content-type"), "application/json");
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        assert!(!response.headers.contains_key("mcp-session-id"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_tool_answers_with_code_problem_and_next_step() {
    let mut bed = Bed::new();
    let result = bed
        .client()
        .modern("tools/call", json!({"name": "fixture_fail"}))
        .await
        .json()["result"]
        .clone();
    assert_eq!(result["isError"], true);
    assert_eq!(
        result["content"][0]["text"],
        r#"NOT_FOUND: There is no "Mixr". Use one of the nearest names. {"nearest":["Mixer"]}"#
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_arguments_are_a_result_that_lists_every_problem() {
    let mut bed = Bed::new();
    let params = json!({"name": "fixture_echo", "arguments": {"txt": 1}});
    let result = bed.client().modern("tools/call", params).await.json()["result"].clone();
    assert_eq!(result["isError"], true);
    assert_eq!(crate::bed::fault_code(&result), "BAD_ARGUMENTS");
    let text = result["content"][0]["text"].as_str().unwrap();
    let problems: Vec<Value> = serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap();
    assert_eq!(problems.len(), 2);
    assert!(problems.contains(&json!({"path": "/txt", "problem": "there is no argument \"txt\" here", "hint": "Did you mean \"text\"?"})));
    assert!(problems.contains(&json!({"path": "", "problem": "the argument \"text\" is missing", "hint": "Add \"text\": What to say."})));
}

#[tokio::test(start_paused = true)]
async fn arguments_nested_beyond_the_bound_are_refused() {
    let mut bed = Bed::new();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let (headers, body) = modern(
        "tools/call",
        json!({"name": "fixture_echo", "arguments": {"text": 1}}),
    );
    let body = body
        .to_string()
        .replace("\"text\":1", &format!("\"text\":{deep}"));
    let extra = refs(&headers);
    assert_eq!(bed.client().post(&extra, &body).await.code(), (200, -32602));
}

#[tokio::test(start_paused = true)]
async fn a_caller_sees_and_calls_only_what_its_scopes_allow() {
    let mut bed = Bed::new();
    for (role, expected) in [
        (
            "guest",
            &[
                "fixture_echo",
                "fixture_fail",
                "fixture_wait",
                "fixture_speak",
            ][..],
        ),
        (
            "operator",
            &[
                "fixture_echo",
                "fixture_fail",
                "fixture_wait",
                "fixture_speak",
                "fixture_set",
            ],
        ),
        (
            "admin",
            &[
                "fixture_echo",
                "fixture_fail",
                "fixture_wait",
                "fixture_speak",
                "fixture_set",
                "fixture_admin",
                "fixture_panic",
            ],
        ),
    ] {
        let mut client = bed.client_as(role);
        let answer = client.modern("tools/list", json!({})).await.json();
        let names: Vec<_> = answer["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, expected, "{role}");
    }
    let response = bed
        .client_as("guest")
        .modern("tools/call", json!({"name": "fixture_set"}))
        .await;
    assert_eq!(response.code(), (403, 403));
    assert_eq!(
        response.header("www-authenticate"),
        r#"Bearer realm="rackhand", error="insufficient_scope", scope="operate""#
    );
    assert!(response.body.contains("role operator"));
}

#[tokio::test(start_paused = true)]
async fn tools_are_listed_with_all_hints_page_by_page_and_old_names_are_not() {
    let mut bed = Bed::with(rackhand::http::Limits::default(), 2);
    let mut client = bed.client_as("admin");
    let mut names = Vec::new();
    let mut params = json!({});
    for _ in 0..4 {
        let result = client.modern("tools/list", params).await.json()["result"].clone();
        for tool in result["tools"].as_array().unwrap() {
            assert_eq!(tool["annotations"].as_object().unwrap().len(), 5);
            assert_eq!(tool["inputSchema"]["type"], "object");
            names.push(tool["name"].as_str().unwrap().to_owned());
        }
        params = json!({"cursor": result["nextCursor"]});
    }
    assert_eq!(
        names,
        [
            "fixture_echo",
            "fixture_fail",
            "fixture_wait",
            "fixture_speak",
            "fixture_set",
            "fixture_admin",
            "fixture_panic"
        ]
    );
    assert_eq!(params["cursor"], Value::Null, "the last page has no cursor");
    let answer = client
        .modern(
            "tools/call",
            json!({"name": "old_echo", "arguments": {"text": "as ever"}}),
        )
        .await
        .json();
    assert_eq!(answer["result"]["structuredContent"]["text"], "as ever");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_its_read_back() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (headers, body) = modern("tools/call", json!({"name": "fixture_wait"}));
    let extra = refs(&headers);
    client.send("POST", "/mcp", &extra, &body.to_string()).await;
    bed.knobs.begun.notified().await;
    drop(client);
    bed.knobs.cancelled.notified().await;
    assert_eq!(bed.knobs.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_told_that_its_client_went_away_and_finishes() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (headers, body) = modern("tools/call", json!({"name": "fixture_set"}));
    let extra = refs(&headers);
    client.send("POST", "/mcp", &extra, &body.to_string()).await;
    bed.knobs.begun.notified().await;
    drop(client);
    bed.knobs.cancelled.notified().await;
    bed.knobs.release.notify_one();
    bed.server.finish_writes().await;
    assert_eq!(bed.knobs.written.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn listen_acknowledges_what_is_served_keeps_alive_and_ends_in_good_order() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let (headers, mut body) = modern(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
    );
    body["id"] = json!("listen:0");
    let extra = refs(&headers);
    client.send("POST", "/mcp", &extra, &body.to_string()).await;
    let head = client.receive().await;
    assert_eq!(
        (
            head.status,
            head.header("content-type"),
            head.header("x-accel-buffering")
        ),
        (200, "text/event-stream", "no")
    );
    let message = |event: &str| {
        serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap().trim()).unwrap()
    };
    let acknowledged = message(&client.chunk().await.unwrap());
    schemas::assert_is(true, "SubscriptionsAcknowledgedNotification", &acknowledged);
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
    assert_eq!(
        acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "listen:0"
    );
    for _ in 0..3 {
        assert_eq!(client.chunk().await.unwrap(), ":\n\n");
    }
    bed.server.close_streams();
    let closing = message(&client.chunk().await.unwrap());
    schemas::assert_is(true, "SubscriptionsListenResultResponse", &closing);
    assert_eq!(closing["id"], "listen:0");
    assert_eq!(client.chunk().await, None);
}
