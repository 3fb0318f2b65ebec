//! Sessions that a box forgets, and streams that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::bed::{Host, Rack, Seen, Told, answer, result};

/// Opens session number `n`.
fn opened(seen: &Seen, n: usize) -> Told {
    opened_in("2025-06-18", seen, n)
}

fn opened_in(revision: &str, seen: &Seen, n: usize) -> Told {
    let result = json!({"protocolVersion": revision, "capabilities": {}, "serverInfo": {"name": "box", "version": "1"}});
    Told::json(
        200,
        &format!("mcp-session-id: s{n}\r\n"),
        &answer(seen, &result),
    )
}

fn forgotten() -> Told {
    let error = json!({"code": -32600, "message": "This session has ended or never was."});
    Told::json(404, "", &json!({"jsonrpc": "2.0", "error": error}))
}

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_box_is_nothing_that_an_older_client_sees() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    host.initialize().await;
    for _ in 0..3 {
        rack.stop();
        rack.start();
        let listed = host.ask("tools/list", json!({})).await;
        assert!(listed["result"]["tools"].is_array(), "{listed}");
    }
    assert!(host.leaves().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_requests_after_a_restart_share_one_new_session() {
    let sessions = AtomicUsize::new(0);
    let rack = Rack::scripted(
        move |seen| match (seen.method(), seen.header("mcp-session-id")) {
            ("initialize", _) => opened(seen, sessions.fetch_add(1, Ordering::SeqCst)),
            ("ping", "s1") => result(seen, &json!({})),
            ("ping", _) => forgotten(),
            _ if seen.line.starts_with("GET") => Told::page(405),
            _ => Told::taken(),
        },
    );
    let mut host = Host::new(&rack);
    host.initialize().await;
    for id in 0..8 {
        host.say(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))
            .await;
    }
    let mut ids = Vec::new();
    for _ in 0..8 {
        let answer = host.hear().await;
        assert!(answer["result"].is_object(), "{answer}");
        ids.push(answer["id"].as_u64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..8).collect::<Vec<u64>>());
    let opened = rack
        .methods()
        .iter()
        .filter(|method| *method == "initialize")
        .count();
    assert_eq!(opened, 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_client_set_up_is_set_up_again_and_it_looks_again_at_what_it_watches() {
    let sessions = AtomicUsize::new(0);
    let rack = Rack::scripted(
        move |seen| match (seen.method(), seen.header("mcp-session-id")) {
            ("initialize", _) => opened(seen, sessions.fetch_add(1, Ordering::SeqCst)),
            ("ping", "s0") => forgotten(),
            ("", _) if seen.line.starts_with("GET") => Told::events(":\n\n").open(),
            ("notifications/initialized", _) => Told::taken(),
            _ => result(seen, &json!({})),
        },
    );
    let mut host = Host::new(&rack);
    host.initialize().await;
    host.ask("logging/setLevel", json!({"level": "info"})).await;
    host.ask("resources/subscribe", json!({"uri": "qsys://a"}))
        .await;
    host.ask("resources/subscribe", json!({"uri": "qsys://b"}))
        .await;
    host.ask("resources/unsubscribe", json!({"uri": "qsys://b"}))
        .await;
    sleep(Duration::from_secs(1)).await;
    let before = rack.methods().len();
    host.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        .await;
    let notice = host.hear().await;
    assert_eq!(notice["method"], "notifications/resources/updated");
    assert_eq!(notice["params"]["uri"], "qsys://a");
    assert_eq!(host.hear().await["id"], 1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        rack.methods()[before..before + 5],
        [
            "ping",
            "initialize",
            "notifications/initialized",
            "logging/setLevel",
            "resources/subscribe"
        ]
    );
    let mut rest = rack.methods()[before + 5..].to_vec();
    rest.sort();
    assert_eq!(rest, ["GET /mcp", "ping"]);
    let seen = rack.seen.lock().unwrap();
    for seen in &seen[before + 2..] {
        assert_eq!(seen.header("mcp-session-id"), "s1", "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_box_that_forgets_at_once_or_has_changed_is_told_and_not_pestered() {
    let rack = Rack::scripted(|seen| match seen.method() {
        "initialize" => opened(seen, 0),
        _ => forgotten(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    let answer = host.ask("ping", json!({})).await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Start this client again"),
        "{answer}"
    );
    assert!(rack.methods().len() < 8, "{:?}", rack.methods());

    let opened_before = AtomicUsize::new(0);
    let rack = Rack::scripted(move |seen| match seen.method() {
        "initialize" if opened_before.fetch_add(1, Ordering::SeqCst) > 0 => {
            opened_in("2025-03-26", seen, 2)
        }
        "initialize" => opened(seen, 1),
        "ping" => forgotten(),
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    let answer = host.ask("ping", json!({})).await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("another revision"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_a_session_is_opened_again_where_it_broke() {
    let opened_streams = AtomicUsize::new(0);
    let rack = Rack::scripted(move |seen| match seen.method() {
        "initialize" => opened(seen, 0),
        "" if seen.line.starts_with("GET") => {
            let n = opened_streams.fetch_add(1, Ordering::SeqCst);
            let notice = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"n": n}});
            let told = Told::events(&format!("id: g-{n}\n{}", event(&notice)));
            if n < 2 { told } else { told.open() }
        }
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    for n in 0..3 {
        assert_eq!(host.hear().await["params"]["n"], n);
    }
    let seen = rack.seen.lock().unwrap();
    let asked: Vec<_> = seen
        .iter()
        .filter(|seen| seen.line.starts_with("GET"))
        .map(|seen| seen.header("last-event-id"))
        .collect();
    assert_eq!(asked, ["", "g-0", "g-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_hears_again_after_a_restart() {
    let sessions = AtomicUsize::new(0);
    let rack = Rack::scripted(
        move |seen| match (seen.method(), seen.header("mcp-session-id")) {
            ("initialize", _) => opened(seen, sessions.fetch_add(1, Ordering::SeqCst)),
            ("", "s0") if seen.line.starts_with("GET") => forgotten(),
            ("", _) if seen.line.starts_with("GET") => {
                let notice =
                    json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                Told::events(&event(&notice)).open()
            }
            _ => Told::taken(),
        },
    );
    let mut host = Host::new(&rack);
    host.initialize().await;
    assert_eq!(
        host.hear().await["method"],
        "notifications/tools/list_changed"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_stream_broke_is_fetched_where_the_box_names_its_events() {
    let tries = AtomicUsize::new(0);
    let rack = Rack::scripted(move |seen| match seen.method() {
        "initialize" => opened(seen, 0),
        "tools/call" => Told::events("id: p-0\nretry: 800\ndata:\n\n"),
        "" if seen.header("last-event-id").starts_with("p-") => {
            match tries.fetch_add(1, Ordering::SeqCst) {
                0 => Told::nothing(),
                1 => {
                    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
                    Told::events(&format!("id: p-1\n{}data: {{\"cut", event(&progress)))
                }
                _ => Told::events(&event(
                    &json!({"jsonrpc": "2.0", "id": 5, "result": {"content": []}}),
                ))
                .open(),
            }
        }
        "" if seen.line.starts_with("GET") => Told::page(405),
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    host.say(&json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "x"}}))
        .await;
    assert_eq!(host.hear().await["method"], "notifications/progress");
    assert_eq!(host.hear().await["id"], 5);
    let calls = rack
        .methods()
        .iter()
        .filter(|method| *method == "tools/call")
        .count();
    assert_eq!(calls, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_fetched_any_more_is_unknown() {
    let rack = Rack::scripted(|seen| match seen.method() {
        "initialize" => opened(seen, 0),
        "tools/call" => Told::events("id: p-0\ndata:\n\n"),
        "" if seen.line.starts_with("GET") => Told::nothing(),
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "x"}});
    host.say(&call).await;
    let answer = host.hear().await;
    assert_eq!(
        answer["error"]["data"]["code"], "OUTCOME_UNKNOWN",
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_an_older_client_goes_to_the_box() {
    let rack = Rack::scripted(|seen| match seen.method() {
        "initialize" => opened(seen, 0),
        "tools/call" => Told::events(":\n\n").open(),
        "" if seen.line.starts_with("GET") => Told::page(405),
        _ => Told::taken(),
    });
    let mut host = Host::new(&rack);
    host.initialize().await;
    host.say(&json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "x"}}))
        .await;
    host.notify("notifications/cancelled", json!({"requestId": 5}))
        .await;
    host.leaves().await;
    assert!(
        rack.methods()
            .iter()
            .any(|method| method == "notifications/cancelled")
    );
}
