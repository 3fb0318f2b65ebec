//! A connection on which everything travels: messages in any order, read or not, and both kinds of end.

use std::time::Duration;

use bolero::TypeGenerator;
use futures_util::FutureExt as _;
use rackhand::mcp::Outgoing;
use serde_json::{Value, json};

use super::house;
use super::json::{Bent, Mcp};
use super::mcp;

/// What a client does, or does not do.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    Send(Bent<Mcp>),
    Initialize(u8),
    Listen(u8),
    Cancel(u8),
    Respond(u8),
    Read(u8),
    Wait(u8),
}

const REVISIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "x"];

/// What goes out are messages, and once the way in is closed there is an end.
pub(crate) fn holds(ops: &Vec<Op>) {
    house::visit(async |house| {
        let caller = house.caller.clone();
        let (connection, mut outgoing) = house.server.connect(caller).expect("there is room");
        for op in ops.iter().take(24) {
            let message = match op {
                Op::Send(bent) => bent.text.clone(),
                Op::Initialize(revision) => {
                    let revision = REVISIONS[usize::from(*revision) % REVISIONS.len()];
                    let params = json!({"protocolVersion": revision, "capabilities": {"elicitation": {}, "roots": {}}, "clientInfo": {"name": "f", "version": "1"}});
                    request(0, "initialize", &params)
                }
                Op::Listen(id) => request(
                    *id,
                    "subscriptions/listen",
                    &json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["qsys://demo/status"]}, "_meta": {
                        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}),
                ),
                Op::Cancel(id) => {
                    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}).to_string()
                }
                Op::Respond(id) => json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}).to_string(),
                Op::Read(count) => {
                    for _ in 0..*count % 8 {
                        read_now(&mut outgoing);
                    }
                    continue;
                }
                Op::Wait(tenths) => {
                    tokio::time::sleep(Duration::from_millis(u64::from(*tenths) * 100)).await;
                    continue;
                }
            };
            if connection.take(message.as_bytes()).is_err() {
                break;
            }
        }
        drop(connection);
        while let Some(message) = outgoing.next().await {
            is_message(&message);
        }
    });
}

fn request(id: u8, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

fn read_now(outgoing: &mut Outgoing) {
    if let Some(message) = outgoing.next().now_or_never() {
        is_message(&message.expect("it does not end while the way in is open"));
    }
}

fn is_message(text: &[u8]) {
    let message: Value = serde_json::from_slice(text).expect("what goes out is JSON");
    for message in message.as_array().unwrap_or(&vec![message.clone()]) {
        if message["method"].is_string() {
            assert_eq!(message["jsonrpc"], "2.0", "{message}");
        } else {
            mcp::is_answer(message);
        }
    }
}
