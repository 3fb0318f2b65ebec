//! What clients send is data, also in the log: it begins no line of its own and colours nothing.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;

use crate::bed::{Bed, rest};

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<u8>>>);

impl Write for Book {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_begins_a_line_of_the_log() {
    let book = Book::default();
    let writer = book.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
    let bed = Bed::new().await;
    let forged = "2030-01-01T00:00:00Z  INFO forged";
    for line in [
        format!("GET /livez%0d%0a{forged} HTTP/1.1\r\nhost: localhost\r\n"),
        format!("GET /livez?x=\x1b[31m{forged} HTTP/1.1\r\nhost: localhost\r\n"),
        format!("GET /livez\n{forged} HTTP/1.1\r\nhost: localhost\r\n"),
        format!(
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nuser-agent: x\u{85}\u{2028}{forged}\r\n"
        ),
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nuser-agent: \x1b[2J\r\n{forged}\r\n"),
        format!(
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: a\u{202e}\tb {forged}\r\n"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: {forged}\r\ncontent-length: 0\r\n"
        ),
        format!("{forged}\r\n"),
    ] {
        bed.say(line + "connection: close\r\n\r\n").await;
    }
    let mut secure = tokio::net::TcpStream::connect(bed.secure).await.unwrap();
    secure
        .write_all(format!("\n{forged}\n").as_bytes())
        .await
        .unwrap();
    rest(&mut secure).await;
    let written = String::from_utf8(book.0.lock().unwrap().clone()).unwrap();
    for line in written.lines() {
        assert!(!line.starts_with("2030"), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
