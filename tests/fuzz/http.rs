//! Bytes on a connection: requests that are nearly right, one after the other.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::house::{self, House, KEY};
use super::json::{Bent, Mcp, Odd, Slip};
use super::mcp;

/// Every status of the surface, those of the HTTP layer itself included.
const STATUSES: [u16; 20] = [
    101, 200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 409, 413, 414, 415, 426, 429, 431, 501,
    503,
];

#[derive(Debug, Clone, TypeGenerator)]
enum Length {
    Right,
    Wrong(u16),
    Chunked,
    Absent,
}

/// One request.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Request {
    method: u8,
    path: u8,
    has_key: bool,
    headers: Vec<(u8, u8)>,
    odd_header: Option<(u8, Odd)>,
    body: Option<Bent<Mcp>>,
    length: Length,
}

/// Requests in a row on one connection, and slips in what they come to.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Connection {
    requests: Vec<Request>,
    slips: Option<[Slip; 2]>,
    bytes: Option<(u16, u8)>,
    in_pieces_of: u8,
}

const METHODS: &[&str] = &[
    "POST", "POST", "POST", "GET", "DELETE", "HEAD", "OPTIONS", "PUT", "BREW", "post", "",
];
const PATHS: &[&str] = &[
    "/mcp",
    "/mcp",
    "/mcp",
    "/sse",
    "/messages?session_id=AAAAAAAAAAAAAAAAAAAAAA",
    "/mcp/ws",
    "/",
    "/livez",
    "/readyz",
    "/healthz?detail",
    "/.well-known/x",
    "/register",
    "/mcp/",
    "/%6dcp",
    "*",
    "http://127.0.0.1/mcp",
    "",
    "/?",
];
const HEADERS: &[&[&str]] = &[
    &[
        "Host: 127.0.0.1",
        "Host: localhost:8080",
        "Host: evil.example",
        "Host: [::1]:8080",
        "Host:",
        "X: y",
    ],
    &[
        "Content-Type: application/json",
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: text/plain",
        "X: y",
    ],
    &[
        "Accept: application/json, text/event-stream",
        "Accept: */*",
        "Accept: text/html",
        "Accept: text/event-stream",
        "X: y",
    ],
    &[
        "MCP-Protocol-Version: 2026-07-28",
        "MCP-Protocol-Version: 2025-11-25",
        "MCP-Protocol-Version: 1",
        "X: y",
    ],
    &[
        "Mcp-Method: tools/call",
        "Mcp-Method: tools/list",
        "Mcp-Name: qsys_get_overview",
        "Mcp-Session-Id: x",
        "X: y",
    ],
    &[
        "Origin: https://panel.example",
        "Origin: https://evil.example",
        "Origin: null",
        "X: y",
        "X: y",
        "X: y",
    ],
    &[
        "Connection: close",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Transfer-Encoding: gzip",
        "X: y",
        "X: y",
    ],
];

impl Request {
    fn text(&self) -> String {
        let pick = |list: &[&str], number: u8| list[usize::from(number) % list.len()].to_owned();
        let mut text = format!(
            "{} {} HTTP/1.1\r\n",
            pick(METHODS, self.method),
            pick(PATHS, self.path)
        );
        for (at, kind) in HEADERS.iter().enumerate() {
            // Mostly the first, which is right.
            let chosen = self
                .headers
                .get(at)
                .filter(|(coin, _)| coin % 4 == 0)
                .map_or(0, |(_, which)| *which);
            text += &pick(kind, chosen);
            text += "\r\n";
        }
        if self.has_key {
            text += &format!("Authorization: Bearer {KEY}\r\n");
        }
        if let Some((name, odd)) = &self.odd_header {
            let names = [
                "Host",
                "Authorization",
                "Content-Length",
                "X-Long",
                "Mcp-Name",
                "Accept",
                "Cookie",
            ];
            text += &format!("{}: {}\r\n", pick(&names, *name), odd.clone().text());
        }
        let body = self.body.as_ref().map_or("", |body| &body.text);
        match self.length {
            Length::Right => text += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            Length::Wrong(length) => text += &format!("Content-Length: {length}\r\n\r\n{body}"),
            Length::Chunked => {
                text += &format!(
                    "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                    body.len()
                );
            }
            Length::Absent => text += &format!("\r\n{body}"),
        }
        text
    }
}

/// Whatever comes in, what goes out is HTTP with a status of the surface, its JSON is JSON, and the connection ends.
pub(crate) fn holds(connection: &Connection) {
    let mut text: String = connection
        .requests
        .iter()
        .take(4)
        .map(Request::text)
        .collect();
    for slip in connection.slips.iter().flatten() {
        slip.clone().apply(&mut text);
    }
    let mut bytes = text.into_bytes();
    if let Some((at, byte)) = connection.bytes
        && !bytes.is_empty()
    {
        let at = usize::from(at) % bytes.len();
        bytes[at] = byte;
    }
    let answer = house::visit(async |house| converse(house, &bytes, connection.in_pieces_of).await);
    are_responses(&answer);
}

async fn converse(house: &House, bytes: &[u8], in_pieces_of: u8) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let served = Arc::clone(&house.front).serve_connection(theirs, peer, house.stop.clone());
    let mut answer = Vec::new();
    let client = async {
        for piece in bytes.chunks(usize::from(in_pieces_of) * 16 + 1) {
            if ours.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // An event stream has no end of its own: its client leaves.
        let _left = timeout(Duration::from_mins(3), ours.read_to_end(&mut answer)).await;
        drop(ours);
    };
    tokio::join!(served, client);
    answer
}

fn are_responses(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let head_end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a response has a head");
        let head = std::str::from_utf8(&bytes[..head_end]).expect("a head is text");
        let status: u16 = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status: {head}"));
        bytes = &bytes[head_end + 4..];
        if status == 100 {
            continue;
        }
        if status == 101 {
            // What follows are frames of a WebSocket.
            return;
        }
        assert!(STATUSES.contains(&status), "{head}");
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let Some(length) = field("content-length").and_then(|length| length.parse::<usize>().ok())
        else {
            // A stream, or no body at all.
            if field("transfer-encoding").is_some() || field("content-type").is_some() {
                return;
            }
            continue;
        };
        // The answer to HEAD tells the length of a body that does not come; then another head follows, or nothing.
        if bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 ") {
            continue;
        }
        let body = bytes.get(..length).expect("the body is as long as it says");
        bytes = &bytes[length..];
        if field("content-type") == Some("application/json") {
            let value: Value = serde_json::from_slice(body).expect("JSON is JSON");
            if value.get("jsonrpc").is_some() {
                mcp::is_answer(&value);
            }
        }
    }
}
