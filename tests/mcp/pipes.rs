//! A server on standard input and output: one client, both eras, and its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rackhand::base::shutdown::Stop;
use rackhand::guard::{Caller, Role};
use rackhand::limits::LINE_MAX_BYTES;
use rackhand::stdio;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf, split,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::bed::{Bed, meta};
use crate::schemas;

const PATIENCE: Duration = Duration::from_mins(20);

/// A host and the server that it has started.
struct Host {
    bed: Bed,
    to: WriteHalf<DuplexStream>,
    from: BufReader<ReadHalf<DuplexStream>>,
    serving: JoinSet<()>,
    stop: Stop,
}

impl Host {
    fn new(role: Role) -> Self {
        let bed = Bed::new();
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (input, output) = split(theirs);
        let caller = Caller::local("stdio", role);
        let (server, stop) = (bed.server.clone(), Stop::new());
        let until = stop.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move { stdio::serve(&server, caller, input, output, until).await });
        let (from, to) = split(ours);
        Self {
            bed,
            to,
            from: BufReader::new(from),
            serving,
            stop,
        }
    }

    async fn say(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.to.write_all(line.as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.from.read_line(&mut line)).await;
        (read.unwrap().unwrap() > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn ask(&mut self, method: &'static str, params: Value) -> Value {
        let is_modern = params.get("_meta").is_some();
        self.say(&json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params}))
            .await;
        let answer = self.hear().await.unwrap();
        assert_eq!(answer["id"], 3, "{answer}");
        schemas::check_answer(is_modern, method, &answer);
        answer
    }

    async fn initialize(&mut self) {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}});
        let answer = self.ask("initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// What it still says until its end.
    async fn rest(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some(message) = self.hear().await {
            rest.push(message);
        }
        let ended = timeout(PATIENCE, self.serving.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        rest
    }
}

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": meta()}})
}

#[tokio::test(start_paused = true)]
async fn both_eras_are_served_on_one_pipe_with_the_rights_of_one_caller() {
    let mut host = Host::new(Role::Viewer);
    let discovered = host.ask("server/discover", json!({"_meta": meta()})).await;
    assert!(discovered["result"]["supportedVersions"].is_array());
    let early = host.ask("tools/list", json!({})).await;
    assert!(
        early["error"]["message"]
            .as_str()
            .unwrap()
            .contains("initialize")
    );
    host.initialize().await;
    for params in [json!({}), json!({"_meta": meta()})] {
        let listed = host.ask("tools/list", params).await;
        let names = listed["result"]["tools"].to_string();
        assert!(
            names.contains("fixture_echo") && !names.contains("fixture_admin"),
            "{names}"
        );
    }
    let echo = json!({"name": "fixture_echo", "arguments": {"text": "a\nb"}});
    let answer = host.ask("tools/call", echo).await;
    assert_eq!(answer["result"]["structuredContent"]["text"], "a\nb");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_or_too_long_is_answered_and_the_next_line_is_read() {
    let mut host = Host::new(Role::Viewer);
    host.to.write_all(b"nonsense\n\n").await.unwrap();
    assert_eq!(host.hear().await.unwrap()["error"]["code"], -32700);
    host.to
        .write_all(&vec![b'x'; LINE_MAX_BYTES * 2])
        .await
        .unwrap();
    host.to.write_all(b"\n").await.unwrap();
    let answer = host.hear().await.unwrap();
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("too long"),
        "{answer}"
    );
    host.ask("tools/list", json!({"_meta": meta()})).await;
}

#[tokio::test(start_paused = true)]
async fn answers_still_come_after_the_last_line() {
    let mut host = Host::new(Role::Operator);
    host.initialize().await;
    host.say(&call("fixture_wait")).await;
    host.bed.knobs.begun.notified().await;
    host.to.shutdown().await.unwrap();
    host.bed.knobs.release.notify_one();
    let rest = host.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0]["result"]["structuredContent"]["text"], "waited");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_holds_the_end_up_for_seconds_only() {
    for is_signal in [false, true] {
        let mut host = Host::new(Role::Operator);
        host.say(&call("fixture_wait")).await;
        host.bed.knobs.begun.notified().await;
        let asked = Instant::now();
        if is_signal {
            host.stop.cancel();
        } else {
            host.to.shutdown().await.unwrap();
        }
        assert!(host.rest().await.is_empty());
        assert!(
            asked.elapsed() <= Duration::from_secs(6),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(host.bed.knobs.dropped.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_only_talks_is_not_heard_for_ever() {
    let mut host = Host::new(Role::Viewer);
    let list =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}});
    let mut said = 0;
    while timeout(Duration::from_secs(30), host.say(&list))
        .await
        .is_ok()
    {
        said += 1;
        assert!(said < 10_000, "everything is taken");
    }
    host.stop.cancel();
    assert!(!host.rest().await.is_empty());
}
