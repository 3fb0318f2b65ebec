//! Ways in beside a key in a header: one-use tickets for event streams, `ping` for anybody, tools for anybody; and none by a key in the URL.

use std::time::Duration;

use rackhand::base::secret::Secret;
use rackhand::guard::{Guard, KeySource, NewKey, Open, Role};
use rackhand::limits::REQUESTS_MAX;
use serde_json::{Value, json};

use crate::bed::{Bed, modern, refs};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

#[tokio::test(start_paused = true)]
async fn a_key_in_the_url_is_refused_with_a_sentence_and_a_right_header_beside_it_too() {
    let mut bed = Bed::new();
    let key = bed.key("operator").to_owned();
    for path in [
        format!("/mcp?key={key}"),
        format!("/mcp?ticket={key}"),
        "/help?token=abc".to_owned(),
    ] {
        for role in ["nobody", "operator"] {
            let answer = bed.client_as(role).request("POST", &path, &[], PING).await;
            assert_eq!(answer.status, 400, "{path}");
            assert!(
                answer.body.contains("does not belong in a URL"),
                "{}",
                answer.body
            );
            assert!(!answer.body.contains(&key));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_opens_one_event_stream_and_nothing_else() {
    let mut bed = Bed::new();
    let refused = bed
        .client_as("nobody")
        .request("POST", "/auth/ticket", &[], "")
        .await;
    assert_eq!(refused.status, 401);
    let mut desk = bed.client();
    let ticket = async |desk: &mut crate::bed::Client| {
        let made = desk.request("POST", "/auth/ticket", &[], "").await;
        assert_eq!((made.status, &made.json()["expires_in"]), (200, &json!(60)));
        made.json()["ticket"].as_str().unwrap().to_owned()
    };
    let first = ticket(&mut desk).await;
    let path = format!("/sse?ticket={first}");
    let mut stream = bed.client_as("nobody");
    stream.send("GET", &path, &[EVENTS], "").await;
    assert_eq!(stream.receive().await.status, 200);
    assert!(stream.chunk().await.unwrap().starts_with("event: endpoint"));
    let again = bed
        .client_as("nobody")
        .request("GET", &path, &[EVENTS], "")
        .await;
    assert_eq!(again.status, 401);
    assert!(
        again.body.contains("each opens one event stream"),
        "{}",
        again.body
    );
    let second = ticket(&mut desk).await;
    for (method, path) in [
        ("POST", "/mcp"),
        ("GET", "/help"),
        ("POST", "/auth/ticket"),
        ("POST", "/auth/token"),
    ] {
        let path = format!("{path}?ticket={second}");
        let answer = bed
            .client_as("nobody")
            .request(method, &path, &[], "{}")
            .await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    let path = format!("/sse?ticket={second}");
    let late = bed
        .client_as("nobody")
        .request("GET", &path, &[EVENTS], "")
        .await;
    assert_eq!(late.status, 401);
}

fn open_to(tools: &[&str], answers_ping: bool) -> Bed {
    open_beside(
        &rackhand::guard::key::generate().unwrap(),
        tools,
        answers_ping,
    )
}

/// The same with this key of a viewer.
fn open_beside(key: &Secret, tools: &[&str], answers_ping: bool) -> Bed {
    let guard = Guard::new(KeySource::memory(&[(
        NewKey::new("desk", Role::Viewer),
        key.clone(),
    )]))
    .unwrap();
    Bed::guarded(guard.with_open(Open {
        loopback: None,
        tools: tools.iter().map(ToString::to_string).collect(),
        scrapers: Vec::new(),
        answers_ping,
    }))
}

#[tokio::test(start_paused = true)]
async fn numbers_are_for_keys_and_for_the_networks_that_are_named() {
    let guard = Guard::new(KeySource::memory(&[])).unwrap();
    let mut bed = Bed::guarded(guard.with_open(Open {
        scrapers: vec!["192.168.1.0/24".parse().unwrap()],
        ..Open::default()
    }));
    let mut client = bed.client();
    let page = client.request("GET", "/metrics", &[], "").await;
    assert_eq!(page.status, 200, "{page:?}");
    let mut bed = open_to(&[], true);
    let mut client = bed.client();
    let page = client.request("GET", "/metrics", &[], "").await;
    assert_eq!(page.status, 401, "{page:?}");
}

#[tokio::test(start_paused = true)]
async fn anybody_is_answered_a_ping_where_that_is_open_and_nothing_else() {
    let mut bed = open_to(&[], true);
    let answer = bed.client_as("nobody").post(&[], PING).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"jsonrpc": "2.0", "id": "p", "result": {}}))
    );
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}}"#,
        "x".repeat(400)
    );
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        "ping",
        "",
        &long,
    ] {
        let answer = bed.client_as("nobody").post(&[], body).await;
        assert_eq!(answer.status, 401, "{body}");
    }
    let wrong = [("x-api-key", "a wrong key of somebody")];
    assert_eq!(bed.client_as("nobody").post(&wrong, PING).await.status, 401);
    let mut closed = open_to(&[], false);
    assert_eq!(closed.client_as("nobody").post(&[], PING).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn anybody_is_shown_and_may_call_the_tools_that_are_open_and_no_other() {
    let names = |listed: &Value| -> Vec<String> {
        let tools = listed["result"]["tools"].as_array().unwrap();
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut bed = Bed::new();
    let (headers, body) = modern("tools/list", json!({}));
    let all = bed
        .client_as("viewer")
        .post(&refs(&headers), &body.to_string())
        .await;
    let all = names(&all.json());
    assert!(all.len() > 1);
    let mut bed = open_to(&[&all[0]], true);
    let listed = bed
        .client_as("nobody")
        .post(&refs(&headers), &body.to_string())
        .await;
    assert_eq!(names(&listed.json()), all[..1]);
    let (headers, body) = modern("tools/call", json!({"name": all[1], "arguments": {}}));
    let refused = bed
        .client_as("nobody")
        .post(&refs(&headers), &body.to_string())
        .await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let (headers, body) = modern("resources/list", json!({}));
    let shelf = bed
        .client_as("nobody")
        .post(&refs(&headers), &body.to_string())
        .await;
    let shelf = shelf.json();
    let resources = shelf["result"]["resources"].as_array();
    assert!(resources.is_none_or(Vec::is_empty), "{shelf}");
    assert_eq!(
        bed.client_as("nobody")
            .request("GET", "/help", &[], "")
            .await
            .status,
        401
    );
}

#[tokio::test(start_paused = true)]
async fn each_role_is_shown_what_it_may_call_and_calls_are_checked_again() {
    let mut bed = Bed::new();
    let (headers, body) = modern("tools/list", json!({}));
    let listed = bed
        .client_as("admin")
        .post(&refs(&headers), &body.to_string())
        .await
        .json();
    let all: Vec<Value> = listed["result"]["tools"].as_array().unwrap().clone();
    for role in [
        "guest",
        "viewer",
        "operator",
        "engineer",
        "admin",
        "writes-only",
    ] {
        let listed = bed
            .client_as(role)
            .post(&refs(&headers), &body.to_string())
            .await
            .json();
        let shown = listed["result"]["tools"].as_array().unwrap();
        for tool in &all {
            // Arguments that no tool takes: what is let through ends there.
            let arguments = json!({"name": tool["name"], "arguments": {"\u{1}": 1}});
            let (headers, body) = modern("tools/call", arguments);
            let called = bed
                .client_as(role)
                .post(&refs(&headers), &body.to_string())
                .await;
            assert_eq!(
                called.status != 403,
                shown.contains(tool),
                "{role} {} {}",
                tool["name"],
                called.body
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_who_send_half_a_ping_keep_nobody_out_who_has_a_key() {
    let key = rackhand::guard::key::generate().unwrap();
    let mut bed = open_beside(&key, &[], true);
    let mut strangers = Vec::new();
    for _ in 0..=REQUESTS_MAX {
        let mut stranger = bed.client_as("nobody");
        let half = [("content-length", "100")];
        stranger.send("POST", "/mcp", &half, "{").await;
        strangers.push(stranger);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut desk = bed.client_as("nobody");
    desk.key = Some(key.expose().to_owned());
    assert_eq!(desk.modern("tools/list", json!({})).await.status, 200);
    for stranger in &mut strangers {
        assert_eq!(stranger.receive().await.status, 401);
    }
    // Their places are free again.
    let answer = bed.client_as("nobody").post(&[], PING).await;
    assert_eq!(answer.status, 200);
}
