//! Clients that take their time: each step has an end.

use std::time::Duration;

use rackhand::http::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bed::{Bed, PATIENCE, connect_from, rest};

const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_head_that_comes_letter_by_letter_ends_with_its_time() {
    let limits = Limits {
        head_timeout: SHORT,
        ..Limits::default()
    };
    let bed = Bed::with(limits).await;
    let tls = bed.connect_tls("rack.local", &[]).await.unwrap();
    let (plain, secure) = tokio::join!(drip(bed.connect().await), drip(tls));
    assert!(plain && secure, "the connection was kept");
}

/// Sends a head that never ends; whether the connection was ended.
async fn drip<S>(mut stream: S) -> bool
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let _ = stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n")
        .await;
    for _ in 0..200 {
        sleep(Duration::from_millis(50)).await;
        if stream.write_all(b"x: y\r\n").await.is_err() || stream.flush().await.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_ends_the_connection() {
    let bed = Bed::with(Limits {
        body_timeout: SHORT,
        ..Limits::default()
    })
    .await;
    let more = "content-type: application/json\r\ncontent-length: 100\r\n";
    let answer = bed.say(bed.head("POST", "/mcp", more) + "{").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_body_is_not_waited_for_when_nobody_is_let_in() {
    let bed = Bed::new().await;
    let answer = bed
        .say("POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_handshake_that_dawdles_is_ended_and_keeps_nobody_out() {
    let bed = Bed::with(Limits {
        handshake_timeout: SHORT,
        handshakes: 8,
        handshakes_per_address: 4,
        ..Limits::default()
    })
    .await;
    let mut dawdlers = Vec::new();
    for index in 0..40 {
        let mut stream = connect_from(10 + index % 8, bed.secure).await.unwrap();
        // The beginning of a long greeting.
        stream.write_all(&[0x16, 3, 1, 0x3f, 0, 1]).await.unwrap();
        dawdlers.push(stream);
    }
    for _ in 0..5 {
        let right = bed.connect_tls("rack.local", &[]).await;
        assert!(right.is_ok(), "{right:?}");
    }
    for mut stream in dawdlers {
        rest(&mut stream).await;
    }
}

#[tokio::test]
async fn a_greeting_without_end_is_not_heaped_up() {
    let bed = Bed::new().await;
    let mut stream = TcpStream::connect(bed.secure).await.unwrap();
    // A record of the longest size, as the beginning of a message of 16 MiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut sent = 0;
    while sent < 64 && stream.write_all(&record).await.is_ok() {
        sent += 1;
        record.truncate(5);
        record.resize(5 + 0x4000, 0);
    }
    rest(&mut stream).await;
    assert!(bed.serves().await);
}

#[tokio::test]
async fn who_asks_and_asks_and_never_reads_holds_up_nobody() {
    let bed = Bed::new().await;
    let mut stream = bed.connect().await;
    let ask = bed.head("GET", "/help", "").repeat(64);
    // The server stops reading when its answers are not taken.
    let flood = async {
        loop {
            stream.write_all(ask.as_bytes()).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_secs(2), flood).await.is_err());
    assert!(bed.serves().await);
    let mut buffer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 200");
}
