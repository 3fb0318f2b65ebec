//! A load of requests over kept-alive connections, as cheap as it can be for the one who makes it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 << 10),
        })
    }

    /// Sends a request and reads the answer, which must be good; its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
            if let Some(body) = whole(&self.buffer)? {
                return self
                    .buffer
                    .get(body)
                    .context("a body outside of the answer");
            }
        }
    }
}

/// Where the body of an answer stands, once all of it is there.
fn whole(answer: &[u8]) -> Result<Option<std::ops::Range<usize>>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    let length: usize = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim())
        })
        .with_context(|| format!("no length in {text}"))?
        .parse()?;
    let body = head + 4..head + 4 + length;
    if answer.len() < body.end {
        return Ok(None);
    }
    ensure!(
        text.starts_with("HTTP/1.1 200"),
        "{text}\n{}",
        String::from_utf8_lossy(&answer[body])
    );
    Ok(Some(body))
}

/// Asks `total` times over `connections`, one request of each at a time. How long that took.
pub(crate) async fn drive(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    total: usize,
) -> Result<Duration> {
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for _ in 0..connections {
        let request = request.to_vec();
        clients.spawn(async move {
            let mut client = Client::connect(address).await?;
            for _ in 0..total / connections {
                client.ask(&request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(start.elapsed())
}

/// A call of a tool by revision 2026-07-28.
pub(crate) fn tool_call(
    address: SocketAddr,
    key: &str,
    tool: &str,
    arguments: &serde_json::Value,
) -> Vec<u8> {
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1.0.0"},
            },
        },
    })
    .to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
         Mcp-Name: {tool}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
