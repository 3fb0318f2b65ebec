//! What the box gives up when memory runs short, in which order, and what it keeps.

use std::time::Duration;

use rackhand::sim::design;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{Bed, OPEN, change, code};

const WATCH: &str = "qsys_start_watch";

/// A machine with control groups of version 2, where the box may take 100 MiB and takes so many, beside 50 MiB of files that the kernel could
/// drop.
fn takes(bed: &Bed, mib: u64) {
    let bytes = |mib: u64| format!("{}\n", mib << 20);
    bed.machine_says("proc/self/cgroup", "0::/box\n");
    let files = bytes(50);
    for (file, text) in [
        ("memory.max", bytes(100)),
        (
            "memory.stat",
            format!("anon 1\ninactive_file {files}active_file 0\nfile_mapped 0\n"),
        ),
        ("memory.current", bytes(mib + 50)),
    ] {
        bed.machine_says(&format!("sys/fs/cgroup/box/{file}"), &text);
    }
}

async fn memory(bed: &Bed) -> Value {
    let health = bed.call("system_health", json!({})).await.unwrap();
    let checks = health["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == "memory");
    found.unwrap().clone()
}

async fn becomes(bed: &Bed, level: &str) -> String {
    for _ in 0..1_200 {
        let found = memory(bed).await;
        if found["level"] == level {
            return found["reason"].as_str().unwrap().to_owned();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never {level}: {:#}", memory(bed).await);
}

/// The request of a viewer for a stream of changes.
fn listen(bed: &Bed) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {
        "notifications": { "toolsListChanged": true },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "scenario", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } })
    .to_string();
    let key = bed.client("viewer").key.unwrap();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn hears(stream: &mut DuplexStream, heard: &mut String, words: &str) {
    let waited = timeout(Duration::from_mins(5), async {
        while !heard.contains(words) {
            let mut more = Vec::new();
            assert!(
                stream.read_buf(&mut more).await.unwrap() > 0,
                "it ended: {heard}"
            );
            heard.push_str(&String::from_utf8(more).unwrap());
        }
    });
    assert!(waited.await.is_ok(), "never {words}: {heard}");
}

async fn ends(stream: &mut DuplexStream) -> String {
    let mut rest = String::new();
    let ended = timeout(Duration::from_mins(1), stream.read_to_string(&mut rest));
    ended.await.unwrap().unwrap();
    rest
}

async fn opened(bed: &mut Bed) -> DuplexStream {
    let mut stream = bed.connect(64 << 10);
    stream.write_all(listen(bed).as_bytes()).await.unwrap();
    hears(&mut stream, &mut String::new(), "acknowledged").await;
    stream
}

#[tokio::test(start_paused = true)]
async fn short_of_memory_the_box_gives_up_watches_and_idle_streams_and_never_the_link() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    takes(&bed, 40);
    let gain =
        json!({ "controls": [{ "component": "Hall A Gain", "control": "gain" }], "ttl_s": 600 });
    let watch = bed.call(WATCH, gain.clone()).await.unwrap();
    let watch = json!({ "watch_id": watch["watch_id"] });
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(opened(&mut bed).await);
    }
    let begun = Instant::now();

    takes(&bed, 82);
    let reason = becomes(&bed, "DEGRADED").await;
    assert!(reason.contains("82 MiB of the 100 MiB"), "{reason}");
    sleep(Duration::from_mins(1)).await;
    assert!(bed.call("qsys_poll_watch", watch.clone()).await.is_ok());
    assert_eq!(
        bed.health().await["detail"]["machine"]["given_up"]["streams"],
        0
    );

    takes(&bed, 96);
    let reason = becomes_unhealthy(&bed).await;
    assert!(
        reason.contains("96 MiB of the 100 MiB") && reason.contains("No streams"),
        "{reason}"
    );
    for stream in &mut streams {
        let rest = ends(stream).await;
        let (_, told) = rest.split_once("event: shutdown_pending").unwrap();
        let (_, after) = told.split_once("\"reconnect_after\":").unwrap();
        let secs: f64 = after.split(',').next().unwrap().parse().unwrap();
        assert!((30.0..=90.0).contains(&secs), "{told}");
        assert!(told.contains("The box is short of memory."), "{told}");
        assert!(
            rest.contains("resultType"),
            "the subscription ends in good order: {rest}"
        );
    }
    let fault = bed.call("qsys_poll_watch", watch).await.unwrap_err();
    assert_eq!(fault["code"], "BUSY");
    assert!(
        fault
            .to_string()
            .contains("short of memory and ended this watch"),
        "{fault}"
    );
    assert_eq!(fault["data"]["retry_after_ms"], 30_000);
    assert_eq!(code(bed.call(WATCH, gain.clone()).await), "BUSY");
    let refused = bed.client("viewer").exchange(&listen(&bed)).await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 30"), "{refused:?}");

    // What the box is there for goes on.
    let link = bed.link().await;
    assert_eq!(
        (&link["state"], &link["drops"]),
        (&json!("live"), &json!(0)),
        "{link:#}"
    );
    let set = bed
        .call("qsys_set_controls", change("Hall A Gain", "gain", -20.0))
        .await;
    assert!(set.is_ok(), "{set:?}");
    let page = bed.client("viewer").get("/metrics").await.body;
    for line in [
        "rackhand_memory_pressure 2",
        "rackhand_memory_given_up_total{kind=\"watches\"} 1",
        "rackhand_memory_given_up_total{kind=\"streams\"} 20",
        "rackhand_memory_refused_total 2",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }

    takes(&bed, 40);
    becomes(&bed, "HEALTHY").await;
    assert!(begun.elapsed() > Duration::from_secs(20));
    opened(&mut bed).await;
    bed.call(WATCH, gain).await.unwrap();
}

/// The probes answer 503 by then; tools are still served.
async fn becomes_unhealthy(bed: &Bed) -> String {
    let reason = becomes(bed, "UNHEALTHY").await;
    assert_eq!(bed.client("nobody").get("/health").await.status, 503);
    reason
}

#[tokio::test(start_paused = true)]
async fn a_connection_leaves_only_when_the_write_under_way_on_it_is_answered() {
    let mut bed = Bed::live(design::venue(), OPEN).await;
    takes(&bed, 40);
    let key = bed.client("operator").key.unwrap();
    let mut stream = bed.connect(64 << 10);
    let open = format!(
        "GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(open.as_bytes()).await.unwrap();
    let mut heard = String::new();
    hears(&mut stream, &mut heard, "session_id=").await;
    let (_, rest) = heard.split_once("/messages?session_id=").unwrap();
    let id = rest.split(['\n', '\r']).next().unwrap().to_owned();
    let post = async |message: Value| {
        let body = message.to_string();
        let request = format!(
            "POST /messages?session_id={id} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = bed.client("operator").exchange(&request).await;
        assert_eq!(reply.status, 202, "{reply:?}");
    };
    let params = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "old", "version": "1" } });
    post(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })).await;
    hears(&mut stream, &mut heard, "\"serverInfo\"").await;
    bed.sim.slow_replies(Duration::from_secs(3));
    let call =
        json!({ "name": "qsys_set_controls", "arguments": change("Hall A Gain", "gain", -21.0) });
    post(json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call })).await;
    takes(&bed, 99);
    let rest = ends(&mut stream).await;
    let answer = rest
        .find("\"id\":7")
        .unwrap_or_else(|| panic!("no answer: {rest}"));
    let farewell = rest
        .find("shutdown_pending")
        .unwrap_or_else(|| panic!("no farewell: {rest}"));
    assert!(answer < farewell, "{rest}");
    bed.sim.slow_replies(Duration::ZERO);
    assert_eq!(bed.sim.value("Hall A Gain", "gain"), Some(-21.0));
    let link = bed.link().await;
    assert_eq!(link["drops"], 0, "{link:#}");
}
