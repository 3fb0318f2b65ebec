//! What goes wrong, and what the host is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rackhand::limits::{BRIDGE_REQUESTS_MAX, LINE_MAX_BYTES};
use rackhand::link::pin;
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use super::bed::{Host, KEY, Rack, Told, call, result};
use crate::bed::meta;

/// The words of the error to a request of each era.
async fn refusals(host: &mut Host) -> [String; 2] {
    let modern = host.ask("tools/list", json!({"_meta": meta()})).await;
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}});
    let legacy = host.ask("initialize", params).await;
    [modern, legacy].map(|answer| {
        answer["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    })
}

#[tokio::test(start_paused = true)]
async fn a_wrong_or_missing_key_is_answered_with_the_way_to_one() {
    let rack = Rack::new();
    for (key, hint) in [
        (Some("another-key-of-somebody"), "rackhand key new"),
        (Some("rh_damaged"), "damaged"),
        (None, "rackhand key new"),
    ] {
        let mut host = Host::with(&rack, key, "http://127.0.0.1:8080", "");
        for words in refusals(&mut host).await {
            assert!(
                words.contains(hint) && words.contains("RACKHAND_KEY"),
                "{words}"
            );
            assert!(words.contains("--key-file"), "{words}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_box_is_named_as_such() {
    let rack = Rack::scripted(|_| Told::page(404));
    for words in refusals(&mut Host::new(&rack)).await {
        assert!(
            words.contains("not the MCP endpoint") && words.contains("404"),
            "{words}"
        );
    }
    let rack = Rack::new();
    let mut host = Host::with(&rack, Some(KEY), "http://127.0.0.1:8080/other", "");
    for words in refusals(&mut host).await {
        assert!(words.contains("ends in /mcp"), "{words}");
    }
    let rack = Rack::scripted(|_| Told::json(200, "", &json!({"hello": "world"})));
    for words in refusals(&mut Host::new(&rack)).await {
        assert!(words.contains("not the MCP endpoint"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_box_that_is_not_there_is_told_at_once_and_one_that_starts_anew_is_waited_for() {
    let rack = Rack::empty();
    let mut host = Host::with(&rack, Some(KEY), "http://127.0.0.1/mcp", "");
    let asked = Instant::now();
    for words in refusals(&mut host).await {
        assert!(
            words.contains("cannot be reached") && words.contains("nothing was sent"),
            "{words}"
        );
        assert!(words.contains("8080"), "{words}");
    }
    assert!(asked.elapsed() < Duration::from_secs(1));
    rack.start();
    host.call("fixture_echo", json!({"text": "x"})).await;
    rack.stop();
    let back = async {
        sleep(Duration::from_secs(3)).await;
        rack.start();
    };
    let (answer, ()) = tokio::join!(host.call("fixture_echo", json!({"text": "y"})), back);
    assert_eq!(answer["result"]["structuredContent"]["text"], "y");
    rack.stop();
    let answer = host.call("fixture_echo", json!({"text": "z"})).await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_reported_and_not_repeated() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    host.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("fixture_wait", &json!({}))}))
        .await;
    rack.knobs.begun.notified().await;
    rack.stop();
    rack.start();
    let answer = host.hear().await;
    assert_eq!(
        answer["error"]["data"]["code"], "OUTCOME_UNKNOWN",
        "{answer}"
    );
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(words.contains("may have been carried out"), "{words}");
    assert_eq!(*rack.dialled.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_looks_is_asked_once_more() {
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let rack = Rack::scripted(move |seen| {
        if count.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
            result(
                seen,
                &json!({"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "private"}),
            )
        } else {
            Told::nothing()
        }
    });
    let mut host = Host::new(&rack);
    let answer = host.ask("tools/list", json!({"_meta": meta()})).await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Ask again"),
        "{answer}"
    );
    lost.store(1, Ordering::SeqCst);
    let answer = host.ask("tools/list", json!({"_meta": meta()})).await;
    assert!(answer["result"]["tools"].is_array(), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_cut_off() {
    let rack = Rack::scripted(|seen| match seen.method() {
        "tools/list" => result(seen, &json!({"text": "x".repeat(3 << 20)})),
        _ => Told::events(&format!("data: {}", "x".repeat(3 << 20))).open(),
    });
    let mut host = Host::new(&rack);
    for method in ["tools/list", "resources/list"] {
        let answer = host.ask(method, json!({"_meta": meta()})).await;
        let words = answer["error"]["message"].as_str().unwrap();
        assert!(words.contains("longer than 2 MiB"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_no_message_is_answered_and_the_next_one_is_read() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    host.say_text("nonsense\n\n{\"a\":1}\n").await;
    assert_eq!(host.hear().await["error"]["code"], -32700);
    assert_eq!(host.hear().await["error"]["code"], -32600);
    let long = "x".repeat(LINE_MAX_BYTES * 2);
    for _ in 0..3 {
        host.say_text(&long).await;
    }
    host.say_text("\n").await;
    let answer = host.hear().await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("too long"),
        "{answer}"
    );
    host.call("fixture_echo", json!({"text": "still here"}))
        .await;
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_a_bridge_carries_are_refused() {
    let rack = Rack::new();
    let mut host = Host::new(&rack);
    let wait = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call("fixture_wait", &json!({}))});
    for id in 0..=BRIDGE_REQUESTS_MAX {
        host.say(&wait(id)).await;
    }
    let refused = host.hear().await;
    assert_eq!(refused["id"], BRIDGE_REQUESTS_MAX);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Too many"),
        "{refused}"
    );
    assert_eq!(*rack.dialled.lock().unwrap(), BRIDGE_REQUESTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_read_is_not_read_from() {
    let rack = Rack::scripted(|seen| result(seen, &json!({"text": "x".repeat(60 << 10)})));
    let mut host = Host::new(&rack);
    let list = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {"_meta": meta()}});
    for id in 0..BRIDGE_REQUESTS_MAX * 4 {
        let said = tokio::time::timeout(Duration::from_mins(1), host.say(&list(id))).await;
        if said.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(*rack.dialled.lock().unwrap() <= 2 * BRIDGE_REQUESTS_MAX);
    host.stop.cancel();
    let mut said = 0;
    while host.hear_or_end().await.is_some() {
        said += 1;
    }
    assert!(said > 0);
}

#[tokio::test(start_paused = true)]
async fn a_box_with_tls_is_known_by_its_certificate() {
    let made = generate_simple_self_signed(vec!["box".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let plain = Rack::new();
    let rack = plain.behind_tls(TlsAcceptor::from(Arc::new(config)));
    let right = pin::fingerprint(made.cert.der());
    let mut host = Host::with(
        &rack,
        Some(KEY),
        "https://127.0.0.1:8443",
        &right.to_uppercase(),
    );
    host.call("fixture_echo", json!({"text": "x"})).await;
    let wrong = "ab".repeat(32);
    let mut host = Host::with(&rack, Some(KEY), "https://127.0.0.1:8443", &wrong);
    let answer: Value = host.call("fixture_echo", json!({"text": "x"})).await;
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(
        words.contains(&right) && words.contains("nothing was sent"),
        "{words}"
    );
    let mut host = Host::with(&plain, Some(KEY), "https://127.0.0.1:8443", &right);
    let answer = host.call("fixture_echo", json!({"text": "x"})).await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("TLS"),
        "{answer}"
    );
}
