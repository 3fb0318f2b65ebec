//! A load of requests over kept-alive connections, as cheap as it can be for the one who makes it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

    /// Opens a session of an older revision; its name.
    pub(crate) async fn initialize(
        &mut self,
        address: SocketAddr,
        key: &str,
        revision: &str,
    ) -> Result<String> {
        let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1.0.0"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        self.ask(&post(address, key, "", &body)).await?;
        let head = String::from_utf8_lossy(&self.buffer).into_owned();
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id")
                .then(|| value.trim().to_owned())
        });
        session.with_context(|| format!("no session in {head}"))
    }

    /// Says that a session can be used.
    pub(crate) async fn initialized(
        &mut self,
        address: SocketAddr,
        key: &str,
        session: (&str, &str),
    ) -> Result<()> {
        let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let request = post(address, key, &session_fields(session), &body);
        self.stream.write_all(&request).await?;
        self.until_head("HTTP/1.1 202").await
    }

    /// Sends a request that is answered by a stream, and waits until the stream has begun.
    pub(crate) async fn open_stream(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        self.until_head("HTTP/1.1 200").await
    }

    async fn until_head(&mut self, wanted: &str) -> Result<()> {
        self.buffer.clear();
        while !self.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
        }
        let head = String::from_utf8_lossy(&self.buffer);
        ensure!(head.starts_with(wanted), "not {wanted}: {head}");
        Ok(())
    }
}

/// Where the body of an answer stands, once all of it is there.
fn whole(answer: &[u8]) -> Result<Option<std::ops::Range<usize>>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    let field = |wanted: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let start = head + 4;
    let body = match field("content-length") {
        Some(length) => start..start + length.parse::<usize>()?,
        // A stream that ends with its answer: the last chunk is empty.
        None if field("transfer-encoding").is_some() => {
            if !answer.ends_with(b"\r\n0\r\n\r\n") {
                return Ok(None);
            }
            start..answer.len()
        }
        None => anyhow::bail!("no length in {text}"),
    };
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

/// Asks `total` times over `connections`, one request of each at a time. The requests take turns among the connections.
///
/// It never sleeps but looks at its sockets all the time. A client that sleeps has to be woken by the server's kernel, which costs
/// as much as a small answer does, and a fast server would be spared that by keeping its client busy.
pub(crate) fn drive(
    address: SocketAddr,
    requests: &[Vec<u8>],
    connections: usize,
    total: usize,
) -> Result<()> {
    let mut lines = (0..connections)
        .map(|_| Line::connect(address))
        .collect::<Result<Vec<_>>>()?;
    let (mut asked, mut answered) = (0, 0);
    while answered < total {
        for (line, request) in lines.iter_mut().zip(requests.iter().cycle()) {
            if line.is_waiting {
                answered += usize::from(line.look()?);
            } else if asked < total {
                line.stream.write_all(request)?;
                line.is_waiting = true;
                asked += 1;
            }
        }
    }
    Ok(())
}

/// One connection of [`drive`].
struct Line {
    stream: std::net::TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    is_waiting: bool,
}

impl Line {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 << 10],
            filled: 0,
            is_waiting: false,
        })
    }

    /// Takes what is there. True when that completes an answer.
    fn look(&mut self) -> Result<bool> {
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let read = match self.stream.read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            read => read?,
        };
        ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        let is_whole = whole(self.buffer.get(..self.filled).unwrap_or_default())?.is_some();
        if is_whole {
            self.filled = 0;
            self.is_waiting = false;
        }
        Ok(is_whole)
    }
}

/// A call of a tool by revision 2026-07-28.
pub(crate) fn tool_call(address: SocketAddr, key: &str, tool: &str, arguments: &Value) -> Vec<u8> {
    let fields = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta()});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    post(address, key, &fields, &body)
}

/// The same call in a session.
pub(crate) fn session_call(
    address: SocketAddr,
    key: &str,
    session: (&str, &str),
    tool: &str,
    arguments: &Value,
) -> Vec<u8> {
    let params = json!({"name": tool, "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    post(address, key, &session_fields(session), &body)
}

/// The request for the stream of a session.
pub(crate) fn session_stream(address: SocketAddr, key: &str, session: (&str, &str)) -> Vec<u8> {
    let fields = session_fields(session);
    format!(
        "GET /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// `subscriptions/listen` by revision 2026-07-28.
pub(crate) fn listen(address: SocketAddr, key: &str) -> Vec<u8> {
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta()});
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params});
    post(address, key, fields, &body)
}

fn session_fields((session, revision): (&str, &str)) -> String {
    format!("MCP-Protocol-Version: {revision}\r\nMcp-Session-Id: {session}\r\n")
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1.0.0"},
    })
}

fn post(address: SocketAddr, key: &str, fields: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
