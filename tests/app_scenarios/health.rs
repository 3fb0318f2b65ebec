//! How well the box says it is, and who hears of it.

use std::time::Duration;

use rackhand::sim::design;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bed::{Bed, OPEN};

async fn check(bed: &Bed, name: &str) -> Value {
    let health = bed.call("system_health", json!({})).await.unwrap();
    let checks = health["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("{health:#}")).clone()
}

async fn becomes(bed: &Bed, name: &str, level: &str) -> Value {
    for _ in 0..1_200 {
        let found = check(bed, name).await;
        if found["level"] == level {
            return found;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never {level}: {:#}", check(bed, name).await);
}

/// Reads a stream until it has told this.
async fn hears(stream: &mut DuplexStream, words: &str) {
    let mut heard = Vec::new();
    let waited = timeout(Duration::from_mins(5), async {
        while !String::from_utf8_lossy(&heard).contains(words) {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
        }
    });
    let heard_it = waited.await;
    assert!(
        heard_it.is_ok(),
        "never {words}: {}",
        String::from_utf8_lossy(&heard)
    );
}

async fn subscribed(bed: &mut Bed, uris: &[&str]) -> DuplexStream {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {
        "notifications": { "resourceSubscriptions": uris },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "scenario", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } })
    .to_string();
    let key = bed.client("viewer").key.unwrap();
    let mut stream = bed.connect(64 << 10);
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    hears(&mut stream, "acknowledged").await;
    stream
}

#[tokio::test(start_paused = true)]
async fn a_core_that_freezes_degrades_the_box_and_everybody_who_asked_hears_of_it_and_of_its_return()
 {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    let well = becomes(&bed, "link", "HEALTHY").await;
    assert_eq!(well["last_good_ms"], 0);
    let mut stream = subscribed(&mut bed, &["qsys://health", "qsys://health/disk"]).await;
    bed.sim.freeze(true);
    let ill = becomes(&bed, "link", "DEGRADED").await;
    assert!(ill["reason"].as_str().unwrap().contains("hall"), "{ill:#}");
    assert!(ill["last_good_ms"].is_u64());
    hears(&mut stream, "\"qsys://health\"").await;
    // Degraded and ready: what is known is served.
    for path in ["/health", "/healthz", "/readyz", "/livez"] {
        assert_eq!(bed.client("nobody").get(path).await.status, 200, "{path}");
    }
    bed.sim.freeze(false);
    let well = becomes(&bed, "link", "HEALTHY").await;
    assert!(well["changes"].as_u64().unwrap() >= 2, "{well:#}");
    hears(&mut stream, "\"qsys://health\"").await;
    let page = bed.client("viewer").get("/").await.body;
    assert!(
        page.contains("link HEALTHY -&gt; DEGRADED")
            && page.contains("link DEGRADED -&gt; HEALTHY"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_key_a_probe_says_three_things_and_with_one_everything() {
    let bed = Bed::live(design::venue(), OPEN).await;
    for (path, status) in [
        ("/livez", "alive"),
        ("/readyz", "ready"),
        ("/health", "HEALTHY"),
        ("/healthz", "HEALTHY"),
    ] {
        let reply = bed.client("nobody").get(path).await;
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        let keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            (reply.status, &body["status"]),
            (200, &json!(status)),
            "{path}"
        );
        assert_eq!(keys, ["status", "uptime", "version"], "{path}");
    }
    let health = bed.health().await;
    assert!(health["checks"].as_array().unwrap().len() > 10);
    assert!(health["detail"]["store"].is_object());
}

#[tokio::test(start_paused = true)]
async fn a_box_that_stops_is_alive_and_no_longer_ready() {
    let bed = Bed::live(design::venue(), OPEN).await;
    let client = bed.client("nobody").come_before();
    assert_eq!(client.get("/readyz").await.status, 200);
    bed.stop.cancel();
    let reply = client.get("/readyz").await;
    assert!(
        reply.status == 503 && reply.body.contains("not ready"),
        "{reply:?}"
    );
    assert_eq!(client.get("/livez").await.status, 200);
    let viewer = bed.client("viewer").come_before();
    let detail = viewer.get("/health?detail").await.body;
    assert!(detail.contains("The service is stopping."), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_nobody_sets_any_more_is_told_until_somebody_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("synchronized");
    std::fs::write(&file, "").unwrap();
    let settings = format!("{OPEN}[audit]\nclock-file = {:?}\n", file.to_str().unwrap());
    let bed = Bed::live(design::venue(), &settings).await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(check(&bed, "clock").await["level"], "HEALTHY");
    std::fs::remove_file(&file).unwrap();
    let ill = becomes(&bed, "clock", "DEGRADED").await;
    assert!(ill["reason"].as_str().unwrap().contains("time server"));
    std::fs::write(&file, "").unwrap();
    becomes(&bed, "clock", "HEALTHY").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_does_not_reach_everything_is_not_told_names() {
    let bed = Bed::live(design::venue(), OPEN).await;
    bed.sim.freeze(true);
    becomes(&bed, "link", "DEGRADED").await;
    let health = bed
        .client("bounded")
        .call("system_health", json!({}))
        .await
        .unwrap();
    assert_eq!(health["status"], "DEGRADED");
    assert!(!health.to_string().contains("hall"), "{health:#}");
    let page = bed.client("bounded").get("/").await;
    assert!(
        page.status == 200 && !page.body.contains("hall"),
        "{}",
        page.body
    );
}

/// In real time: who holds a worker stops no clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_held_is_told_while_it_is_and_no_longer() {
    let bed = Bed::live(design::venue(), OPEN).await;
    becomes(&bed, "event_loop", "HEALTHY").await;
    let (release, waits) = std::sync::mpsc::channel::<()>();
    let mut holding = JoinSet::new();
    holding.spawn(async move {
        waits.recv().ok();
    });
    let ill = becomes(&bed, "event_loop", "DEGRADED").await;
    let reason = ill["reason"].as_str().unwrap();
    assert!(reason.contains("held a thread of the service"), "{reason}");
    drop(release);
    becomes(&bed, "event_loop", "HEALTHY").await;
}
