//! What is open on the strength of a key ends with the key.

use std::time::Duration;

use rackhand::guard::{KeyFile, NewKey, Role};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, modern, refs};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A bed whose keys stand in a file, and a client with the key `desk`.
struct Desk {
    bed: Bed,
    keys: KeyFile,
    key: String,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let keys = KeyFile::new(&path);
        for name in ["desk", "other"] {
            keys.create(&NewKey::new(name, Role::Operator)).unwrap();
        }
        keys.revoke("desk").unwrap();
        let desk = NewKey::new("desk", Role::Operator);
        let secret = keys.create(&desk).unwrap();
        Self {
            bed: Bed::with_keys(KeyFile::new(&path)),
            keys,
            key: secret.expose().to_owned(),
            _folder: folder,
        }
    }

    fn client(&mut self) -> Client {
        let mut client = self.bed.client_as("nobody");
        client.key = Some(self.key.clone());
        client
    }

    fn revoke(&self) {
        self.keys.revoke("desk").unwrap();
    }
}

/// What comes within a second and a bit.
async fn soon<T>(next: impl Future<Output = T>) -> T {
    // Real time: the key file is looked at on a thread of its own.
    let limit = Duration::from_secs(2);
    tokio::time::timeout(limit, Box::pin(next)).await.unwrap()
}

#[tokio::test]
async fn every_kind_of_open_stream_ends_in_good_order() {
    let mut desk = Desk::new();
    let mut listening = desk.client();
    let (headers, body) = modern(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
    );
    listening
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    listening.receive().await;
    listening.event().await.unwrap();
    let mut session = desk.client();
    session.initialize("2025-11-25").await;
    let mut stream = desk.client();
    stream.session.clone_from(&session.session);
    stream.send("GET", "/mcp", &[EVENTS], "").await;
    stream.receive().await;
    let mut old = desk.client();
    old.send("GET", "/sse", &[EVENTS], "").await;
    old.receive().await;
    let mut calling = desk.client();
    let mut call = modern(
        "tools/call",
        json!({"name": "fixture_speak", "arguments": {"then": "wait"}}),
    );
    call.1["params"]["_meta"]["progressToken"] = json!(1);
    calling
        .send("POST", "/mcp", &refs(&call.0), &call.1.to_string())
        .await;
    calling.receive().await;
    calling.event().await.unwrap();
    desk.revoke();
    let closing = soon(listening.event()).await.unwrap();
    assert_eq!(closing["result"]["resultType"], "complete");
    assert_eq!(soon(listening.event()).await, None);
    assert_eq!(soon(stream.event()).await, None);
    assert_eq!(soon(old.event()).await, None);
    let told = soon(async {
        let mut last = Value::Null;
        while let Some(message) = calling.event().await {
            last = message;
        }
        last
    });
    let told = told.await;
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&json!(7), &json!(401))
    );
    assert_eq!(session.legacy("ping", json!({})).await.status, 401);
}

#[tokio::test]
async fn a_session_whose_caller_gets_another_key_opens_its_stream_again() {
    let mut desk = Desk::new();
    let mut session = desk.client();
    session.initialize("2025-11-25").await;
    let mut stream = desk.bed.sibling(&session);
    stream.send("GET", "/mcp", &[EVENTS], "").await;
    stream.receive().await;
    desk.revoke();
    assert_eq!(soon(stream.event()).await, None);
    let again = NewKey::new("desk", Role::Viewer);
    let secret = desk.keys.create(&again).unwrap();
    session.key = Some(secret.expose().to_owned());
    soon(async {
        while session.legacy("ping", json!({})).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut stream = desk.bed.sibling(&session);
    stream.send("GET", "/mcp", &[EVENTS], "").await;
    assert_eq!(stream.receive().await.status, 200);
    let more = tokio::time::timeout(Duration::from_secs(1), stream.event()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn streams_of_other_keys_go_on() {
    let mut desk = Desk::new();
    let mut listening = desk.client();
    let (headers, body) = modern("subscriptions/listen", json!({"notifications": {}}));
    listening
        .send("POST", "/mcp", &refs(&headers), &body.to_string())
        .await;
    listening.receive().await;
    listening.event().await.unwrap();
    desk.keys.revoke("other").unwrap();
    let more = tokio::time::timeout(Duration::from_millis(1500), listening.event()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_revoked_key_cuts_what_its_tokens_opened() {
    let mut desk = Desk::new();
    let minted = desk.client().request("POST", "/auth/token", &[], "").await;
    assert_eq!(minted.status, 200, "{}", minted.body);
    let token = minted.json()["access_token"].as_str().unwrap().to_owned();
    let mut open = Vec::new();
    for path in ["/sse", "/mcp"] {
        let mut client = desk.client();
        client.key = Some(token.clone());
        if path == "/mcp" {
            client.initialize("2025-11-25").await;
            let mut stream = desk.bed.sibling(&client);
            stream.send("GET", path, &[EVENTS], "").await;
            assert_eq!(stream.receive().await.status, 200);
            open.push(stream);
        } else {
            client.send("GET", path, &[EVENTS], "").await;
            assert_eq!(client.receive().await.status, 200);
            open.push(client);
        }
    }
    desk.revoke();
    for mut client in open {
        assert_eq!(soon(client.event()).await, None);
    }
    let mut client = desk.client();
    client.key = Some(token);
    assert_eq!(client.legacy("ping", json!({})).await.status, 401);
}
