//! A WebSocket through its real upgrade: frames that are whole, cut, spliced, unmasked, too long or of no kind, behind a handshake that
//! is right or nearly so.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::mcp::Load;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::house::{self, House, KEY};
use super::json::{Bent, Mcp, Slip};
use super::traffic::is_message;

/// Statuses of a handshake that leads nowhere, the HTTP layer's own included.
const REFUSALS: [u16; 11] = [400, 401, 403, 404, 405, 414, 426, 429, 431, 500, 503];

/// Longest payload that the server sends in one frame of a control kind (RFC 6455, section 5.5).
const CONTROL_MAX: usize = 125;

#[derive(Debug, Clone, TypeGenerator)]
enum Payload {
    Message(Bent<Mcp>),
    Bytes(Vec<u8>),
    Close(u16, String),
    Empty,
    Long(u16),
}

/// How the length is written.
#[derive(Debug, Clone, TypeGenerator)]
enum Length {
    Right,
    /// In more bytes than needed.
    Wide(bool),
    Wrong(u64),
}

#[derive(Debug, Clone, TypeGenerator)]
struct Frame {
    payload: Payload,
    /// Mostly text.
    kind: u8,
    /// Reserved bits; mostly none.
    reserved: u8,
    /// In so many frames.
    pieces: u8,
    mask: [u8; 4],
    is_unmasked: u8,
    length: Length,
}

/// A client of a WebSocket.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Client {
    headers: Vec<(u8, u8)>,
    slip: Option<Slip>,
    frames: Vec<Frame>,
    damage: Option<(u16, u8)>,
    in_pieces_of: u8,
    /// It leaves without reading.
    leaves: bool,
}

const HEADERS: &[&[&str]] = &[
    &["Host: 127.0.0.1", "Host: evil.example"],
    &["Upgrade: websocket", "Upgrade: h2c", "X: y"],
    &["Connection: keep-alive, Upgrade", "Connection: close"],
    &[
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Version: 8",
        "X: y",
    ],
    &[
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Key: x",
        "X: y",
    ],
    &[
        "X: y",
        "Sec-WebSocket-Protocol: mcp",
        "Sec-WebSocket-Protocol: a, mcp",
    ],
    &[
        "X: y",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Origin: https://evil.example",
    ],
];

impl Client {
    fn bytes(&self) -> Vec<u8> {
        let mut head = String::new();
        for (at, kind) in HEADERS.iter().enumerate() {
            // Mostly the first, which is right.
            let chosen = self.headers.get(at).filter(|(coin, _)| coin % 8 == 0);
            let which = chosen.map_or(0, |(_, which)| usize::from(*which) % kind.len());
            head += kind[which];
            head += "\r\n";
        }
        if let Some(slip) = &self.slip
            && self.in_pieces_of.is_multiple_of(4)
        {
            slip.clone().apply(&mut head);
        }
        // The key stays whole: after wrong ones this address would have to wait.
        let line = format!("GET /mcp/ws HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n");
        let mut bytes = (line + &head + "\r\n").into_bytes();
        for frame in self.frames.iter().take(12) {
            frame.put(&mut bytes);
        }
        if let Some((at, byte)) = self.damage {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes
    }
}

impl Frame {
    fn put(&self, out: &mut Vec<u8>) {
        let payload = match &self.payload {
            Payload::Message(message) => message.text.clone().into_bytes(),
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Close(code, reason) => [&code.to_be_bytes()[..], reason.as_bytes()].concat(),
            Payload::Empty => Vec::new(),
            Payload::Long(length) => vec![b' '; usize::from(*length)],
        };
        let kind = match (&self.payload, self.kind % 16) {
            (Payload::Close(..), 0..8) => 8,
            (_, 0..8) => 1,
            (_, other) => other,
        };
        let pieces = match self.pieces {
            0..200 => 1,
            more => usize::from(more % 7) + 1,
        };
        let size = payload.len().div_ceil(pieces).max(1);
        let mut rest = &payload[..];
        for number in 0..pieces {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let is_last = number + 1 == pieces;
            self.put_one(out, piece, if number == 0 { kind } else { 0 }, is_last);
        }
    }

    fn put_one(&self, out: &mut Vec<u8>, payload: &[u8], kind: u8, is_last: bool) {
        let reserved = if self.reserved.is_multiple_of(16) {
            self.reserved & 0x70
        } else {
            0
        };
        out.push(u8::from(is_last) << 7 | reserved | kind);
        let is_masked = !self.is_unmasked.is_multiple_of(32);
        let mask_bit = u8::from(is_masked) << 7;
        let length = u64::try_from(payload.len()).unwrap();
        let (length, least) = match self.length {
            Length::Wrong(wrong) if self.mask[0].is_multiple_of(16) => (wrong, 0),
            Length::Wide(is_widest) if self.mask[0].is_multiple_of(16) => {
                (length, 1 + u8::from(is_widest))
            }
            _ => (length, 0),
        };
        match (least, length) {
            (0, 0..126) => out.push(mask_bit | u8::try_from(length).unwrap()),
            (0 | 1, 0..0x1_0000) => {
                out.push(mask_bit | 0x7e);
                out.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 0x7f);
                out.extend(length.to_be_bytes());
            }
        }
        if is_masked {
            out.extend(self.mask);
            let masked = payload.iter().zip(self.mask.iter().cycle());
            out.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            out.extend(payload);
        }
    }
}

/// Whatever comes in, what goes out is a handshake and frames of messages, or a refusal; the connection ends, and nothing is left of it.
pub(crate) fn holds(client: &Client) {
    let bytes = client.bytes();
    house::visit(async |house| {
        let before = house.server.load();
        let answer = converse(house, &bytes, client).await;
        if !client.leaves {
            is_conversation(&answer);
        }
        // A call goes on for a while when its client is gone.
        timeout(Duration::from_mins(6), async {
            while settled(house.server.load()) != settled(before) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await
        .unwrap_or_else(|_| {
            panic!(
                "left behind: {:?} and before {before:?}",
                house.server.load()
            )
        });
    });
}

/// What a connection holds.
fn settled(load: Load) -> Load {
    Load {
        tasks: 0,
        task_bytes: 0,
        ..load
    }
}

async fn converse(house: &House, bytes: &[u8], client: &Client) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let served = Arc::clone(&house.front).serve_connection(theirs, peer, house.stop.clone());
    let mut answer = Vec::new();
    let talk = async {
        for piece in bytes.chunks(usize::from(client.in_pieces_of) * 16 + 1) {
            if ours.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if !client.leaves {
            // Long enough for every call; then it hangs up, for a socket has no end of its own.
            let _left = timeout(Duration::from_mins(2), ours.read_to_end(&mut answer)).await;
        }
        drop(ours);
    };
    let ended = timeout(Duration::from_mins(8), async { tokio::join!(served, talk) }).await;
    assert!(ended.is_ok(), "the connection does not end");
    answer
}

fn is_conversation(answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let head_end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a response has a head");
    let head = std::str::from_utf8(&answer[..head_end]).expect("a head is text");
    let status: u16 = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status: {head}"));
    if status == 101 {
        are_frames(&answer[head_end + 4..]);
    } else {
        assert!(REFUSALS.contains(&status), "{head}");
    }
}

/// Frames of a server: whole, unmasked, of known kinds, each text a message (RFC 6455, section 5).
fn are_frames(mut bytes: &[u8]) {
    let mut has_closed = false;
    while let [first, second, rest @ ..] = bytes {
        assert!(!has_closed, "a frame after the farewell");
        assert_eq!(
            first & 0xf0,
            0x80,
            "a frame in pieces, or with reserved bits"
        );
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, rest) = match second {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>().expect("a length");
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>().expect("a length");
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(*short), rest),
        };
        let length = usize::try_from(length).unwrap();
        let payload = rest.get(..length).expect("a frame is whole");
        bytes = &rest[length..];
        match first & 0xf {
            1 => {
                let text: Value = serde_json::from_slice(payload).expect("a text is JSON");
                match text.as_array() {
                    Some(list) => list.iter().for_each(is_message),
                    None => is_message(&text),
                }
            }
            8 => {
                has_closed = true;
                assert!(length != 1 && length <= CONTROL_MAX);
            }
            9 | 10 => assert!(length <= CONTROL_MAX),
            other => panic!("a frame of kind {other}"),
        }
    }
    assert!(bytes.is_empty(), "half a frame");
}
