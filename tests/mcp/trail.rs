//! What a request leaves behind: its ids, its place in the audit trail, and its line in the log.

use std::io;
use std::sync::{Arc, Mutex};

use rackhand::audit::{Entry, Query};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::bed::{Bed, modern, refs};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn call(tool: &str, arguments: &Value) -> (Vec<(String, String)>, String) {
    let (headers, body) = modern("tools/call", json!({"name": tool, "arguments": arguments}));
    (headers, body.to_string())
}

fn recent(bed: &Bed, tool: &str) -> Vec<Arc<Entry>> {
    let query = Query {
        tool: Some(tool),
        limit: 100,
        ..Query::default()
    };
    let found = bed.server.audit().recent(&query);
    found.entries.into_iter().map(|(_, entry)| entry).collect()
}

#[tokio::test(start_paused = true)]
async fn the_ids_of_a_client_come_back_and_stand_on_record() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    for (tool, arguments) in [
        ("fixture_set", json!({"text": "x"})),
        ("fixture_echo", json!({"text": "x"})),
    ] {
        let (headers, body) = call(tool, &arguments);
        let mut headers = refs(&headers);
        headers.extend([("x-request-id", "client-7"), ("traceparent", PARENT)]);
        let answer = client.post(&headers, &body).await;
        assert_eq!(answer.header("x-request-id"), "client-7", "{answer:?}");
        assert_eq!(answer.header("traceparent")[..36], PARENT[..36]);
        let entry = &recent(&bed, tool)[0];
        assert_eq!(entry.request.as_deref(), Some("client-7"));
        assert_eq!(entry.caller.as_deref(), Some("operator"));
        assert_eq!(entry.address, Some([192, 168, 1, 9].into()));
        assert!(entry.outcome.is_some());
    }
    let login = bed.server.audit().recent(&Query {
        caller: Some("operator"),
        limit: 9,
        ..Query::default()
    });
    let last = login.entries.last().unwrap();
    assert_eq!(last.1.request.as_deref(), Some("client-7"));
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_ids_and_those_of_strangers_and_bad_ones_are_replaced() {
    let mut bed = Bed::new();
    let key = bed.key("operator").to_owned();
    for (role, path, id) in [
        ("operator", "/mcp", "a b"),
        ("operator", "/mcp", &key),
        ("operator", "/nothing", ""),
        ("nobody", "/mcp", "stranger-1"),
        ("guest", "/audit.jsonl", ""),
        ("nobody", "/livez", "stranger-1"),
    ] {
        let mut client = bed.client_as(role);
        let headers = [("x-request-id", id), ("traceparent", "00-zz")];
        let answer = client.request("GET", path, &headers, "").await;
        let made = answer.header("x-request-id");
        assert!(made.len() > 8 && made != id, "{path}: {answer:?}");
        assert_eq!(answer.header("traceparent").len(), 55);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_calls_are_on_record_too() {
    let mut bed = Bed::new();
    let mut viewer = bed.client_as("viewer");
    let (headers, body) = call("fixture_set", &json!({"text": "x"}));
    viewer.post(&refs(&headers), &body).await;
    assert_eq!(
        recent(&bed, "fixture_set")[0].outcome.as_deref(),
        Some("FORBIDDEN")
    );
    let (headers, body) = call("fixture_echo", &json!({"wrong": 1}));
    viewer.post(&refs(&headers), &body).await;
    assert_eq!(
        recent(&bed, "fixture_echo")[0].outcome.as_deref(),
        Some("BAD_ARGUMENTS")
    );
    let (headers, body) = call("no_such_tool", &json!({}));
    viewer.post(&refs(&headers), &body).await;
    assert_eq!(
        recent(&bed, "no_such_tool")[0].outcome.as_deref(),
        Some("UNKNOWN_TOOL")
    );
}

/// What was logged.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_reaches_the_log_wherever_a_client_puts_it_and_no_line_is_forged() {
    let page = Page::default();
    let log = tracing_subscriber::fmt()
        .with_writer(page.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let _logging = tracing::subscriber::set_default(log);
    let mut bed = Bed::new();
    let own = bed.key("operator").to_owned();
    let chosen = "the-key-that-somebody-chose-2026";
    let paths = [
        "/mcp",
        "/sse",
        "/messages",
        "/mcp/ws",
        "/livez",
        "/readyz",
        "/healthz",
        "/health",
        "/",
        "/help",
        "/auth/token",
        "/auth/refresh",
        "/audit.jsonl",
        "/ca.pem",
        "/.well-known/oauth-protected-resource",
        "/register",
        "/nothing",
    ];
    for path in paths {
        for secret in [own.as_str(), chosen] {
            for role in ["operator", "nobody"] {
                let with_query =
                    format!("{path}?api_key={secret}&since={secret}&session_id={secret}");
                let below = format!("{}/{secret}", path.trim_end_matches('/'));
                for target in [path, &with_query, &below] {
                    let mut client = bed.client_as(role);
                    // With a good key, an id can look like anything but that key.
                    let id = if role == "operator" { &own } else { secret };
                    let wrong = [
                        ("x-request-id", id),
                        ("user-agent", secret),
                        ("traceparent", secret),
                        ("mcp-session-id", secret),
                        ("mcp-name", secret),
                        ("last-event-id", secret),
                        ("cookie", secret),
                        ("referer", secret),
                        ("sec-websocket-protocol", secret),
                    ];
                    for verb in ["GET", "POST"] {
                        client.send(verb, target, &wrong, "{}").await;
                        let answer = client.receive_head().await;
                        assert_ne!(answer.header("x-request-id"), own);
                        client = bed.client_as(role);
                    }
                }
            }
        }
    }
    let mut client = bed.client_as("nobody");
    let hostile = [("user-agent", "a\u{9b}31m\u{202e}b\tERROR forged")];
    client.send("GET", "/%0aERROR%1b[2J", &hostile, "").await;
    client.receive_head().await;
    let (headers, body) = call("fixture_set", &json!({"text": own}));
    bed.client().post(&refs(&headers), &body).await;
    let written = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let requests = written
        .lines()
        .filter(|line| line.contains("a request was answered"));
    assert!(requests.count() > 400, "{written}");
    for secret in [own.as_str(), chosen] {
        let line = written.lines().find(|line| line.contains(&secret[4..]));
        assert_eq!(line, None);
    }
    let mut letters = written.chars();
    assert!(!letters.any(|letter| letter != '\n' && (letter.is_control() || letter == '\u{202e}')));
    let everything = bed.server.audit().recent(&Query {
        limit: 5_000,
        ..Query::default()
    });
    for (_, entry) in everything.entries {
        let line = serde_json::to_string(&*entry).unwrap();
        assert!(
            !line.contains(&own[4..]) && !line.contains(&chosen[4..]),
            "{line}"
        );
    }
}
