//! HTTP/2 as an attacker writes it: frames by hand.

use std::time::Duration;

use rackhand::http::Limits;
use rackhand::limits::{HTTP2_CONNECTIONS_MAX, HTTP2_STREAMS_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::bed::{Bed, PATIENCE};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET https://rack.local/livez`, without Huffman codes and without the table (RFC 7541).
fn live() -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    // Literals without indexing, with the names of entries 4 (path) and 1 (authority).
    for (name, value) in [(4, "/livez"), (1, "rack.local")] {
        block.push(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A connection on which frames are written by hand.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn open(bed: &Bed, settings: &[u8]) -> Self {
        let stream = bed.connect_tls("rack.local", &[b"h2"]).await.unwrap();
        let mut raw = Self(stream);
        raw.write(PREFACE).await;
        raw.write(&frame(SETTINGS, 0, 0, settings)).await;
        raw
    }

    /// Whether the bytes were taken.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
        .is_ok_and(|written| written.is_ok())
    }

    /// The next frame: kind, stream and payload; `None` at the end.
    async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        timeout(PATIENCE, async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
            Some((head[3], stream, payload))
        })
        .await
        .expect("a frame or the end")
    }

    /// The frames until the end.
    async fn rest(&mut self) -> Vec<(u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(frame) = self.read().await {
            frames.push(frame);
        }
        frames
    }
}

/// Whether the connection was ended, with a reason or by a cut.
fn is_told_off(frames: &[(u8, u32, Vec<u8>)]) -> bool {
    frames
        .iter()
        .all(|(kind, _, payload)| *kind != GO_AWAY || payload[4..8] != [0, 0, 0, 0])
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let bed = Bed::new().await;
    let mut raw = Raw::open(&bed, &[]).await;
    for round in 0..200 {
        let mut burst = Vec::new();
        for index in 0..50 {
            let stream = (round * 50 + index) * 2 + 1;
            burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &live()));
            burst.extend(frame(RESET, 0, stream, &[0, 0, 0, 8]));
        }
        if !raw.write(&burst).await {
            break;
        }
    }
    let frames = raw.rest().await;
    assert!(is_told_off(&frames));
    let answered = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
    assert!(answered < 2_000, "{answered} of 10,000 were answered");
    assert!(bed.serves().await);
}

#[tokio::test]
async fn a_head_that_is_continued_for_ever_ends_the_connection() {
    let bed = Bed::new().await;
    let mut raw = Raw::open(&bed, &[]).await;
    raw.write(&frame(HEADERS, END_STREAM, 1, &live())).await;
    let mut sent = 0;
    // Each a literal that is never put into the table: `x-a: aaa…`.
    let mut field = vec![0, 3];
    field.extend(b"x-a");
    field.push(100);
    field.extend([b'a'; 100]);
    while sent < 100_000 && raw.write(&frame(CONTINUATION, 0, 1, &field)).await {
        sent += 1;
    }
    assert!(sent < 100_000, "all of it was taken");
    assert!(is_told_off(&raw.rest().await));
    assert!(bed.serves().await);
}

#[tokio::test]
async fn empty_continuations_end_the_connection() {
    let bed = Bed::new().await;
    let mut raw = Raw::open(&bed, &[]).await;
    raw.write(&frame(HEADERS, END_STREAM, 1, &live())).await;
    let mut sent = 0;
    while sent < 100_000 && raw.write(&frame(CONTINUATION, 0, 1, &[])).await {
        sent += 1;
    }
    assert!(sent < 100_000, "all of it was taken");
    assert!(bed.serves().await);
}

#[tokio::test]
async fn more_requests_at_once_than_agreed_are_refused() {
    let bed = Bed::with(Limits {
        body_timeout: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let mut raw = Raw::open(&bed, &[]).await;
    let most = u32::try_from(HTTP2_STREAMS_MAX).unwrap();
    for index in 0..most + 8 {
        let block = live();
        // The body never comes, so each stays open.
        raw.write(&frame(HEADERS, END_HEADERS, index * 2 + 1, &block))
            .await;
    }
    let mut refused = 0;
    let mut answered = 0;
    while refused + answered < most + 8 {
        match raw.read().await.expect("the connection goes on") {
            (RESET, _, reason) if reason == [0, 0, 0, 7] => refused += 1,
            (HEADERS, ..) => answered += 1,
            _ => {}
        }
    }
    assert!(answered >= most, "{answered} and {refused}");
}

#[tokio::test]
async fn floods_of_pings_and_settings_are_outlived() {
    let bed = Bed::new().await;
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[])] {
        let mut raw = Raw::open(&bed, &[]).await;
        let flood: Vec<u8> = (0..1_000)
            .flat_map(|_| frame(kind, 0, 0, payload))
            .collect();
        for _ in 0..20 {
            // Nothing is read: the server must not heap its answers up.
            if !timeout(Duration::from_millis(500), raw.0.write_all(&flood))
                .await
                .is_ok_and(|written| written.is_ok())
            {
                break;
            }
        }
        assert!(bed.serves().await);
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_ended() {
    let bed = Bed::with(Limits {
        head_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    // With a preface, without one, and with a head that never ends.
    let mut raw = Raw::open(&bed, &[]).await;
    assert!(raw.rest().await.iter().any(|(kind, ..)| *kind == GO_AWAY));
    let mut mute = bed.connect_tls("rack.local", &[b"h2"]).await.unwrap();
    let mut heard = Vec::new();
    let _cut = timeout(PATIENCE, mute.read_to_end(&mut heard))
        .await
        .unwrap();
    let mut raw = Raw::open(&bed, &[]).await;
    raw.write(&frame(HEADERS, END_STREAM, 1, &live())).await;
    raw.rest().await;
}

#[tokio::test]
async fn a_client_that_never_makes_room_for_answers_is_ended() {
    let bed = Bed::with(Limits {
        head_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: heads can be sent, bodies cannot.
    let mut raw = Raw::open(&bed, &[0, 4, 0, 0, 0, 0]).await;
    raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &live()))
        .await;
    let frames = raw.rest().await;
    assert!(frames.iter().any(|(kind, ..)| *kind == HEADERS));
    assert!(!frames.iter().any(|(kind, ..)| *kind == DATA));
}

#[tokio::test]
async fn when_there_are_enough_connections_with_http_2_the_next_is_offered_http_1() {
    let bed = Bed::new().await;
    let mut held = Vec::new();
    for _ in 0..HTTP2_CONNECTIONS_MAX {
        let mut raw = Raw::open(&bed, &[]).await;
        raw.read().await.unwrap();
        held.push(raw);
    }
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let next = bed.connect_tls("rack.local", both).await.unwrap();
    assert_eq!(next.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    drop(held);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let next = bed.connect_tls("rack.local", both).await.unwrap();
        if next.get_ref().1.alpn_protocol() == Some(b"h2") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
}
