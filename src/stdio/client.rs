//! One HTTP request to a box, on a connection of its own. That costs a round trip on the LAN, and it keeps the two things apart that
//! matter: what was never sent, and what may have been carried out. To drop a reply hangs up, which takes a modern request back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::address::Address;
use super::answer::{Head, Piece};
use super::fault::Fault;
use crate::base::backoff::{Backoff, random_unit};
use crate::base::secret::Secret;
use crate::limits::{BRIDGE_MESSAGE_MAX_BYTES, STREAM_KEEP_ALIVE_SECS};
use crate::link::ConnectError;
use crate::link::dial::{self, ByteStream, Dial, PeerTrust};

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long a page may take.
const PAGE_WAIT: Duration = Duration::from_secs(10);

/// How long a box that was there before is waited for: as long as it takes to start anew, with time to spare.
const RESTART_PATIENCE: Duration = Duration::from_secs(8);

/// A stream on which nothing comes, not even a comment, for three of the box's periods is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3 * STREAM_KEEP_ALIVE_SECS);

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// A header field whose value was found fit for one.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    value: Arc<str>,
}

impl Field {
    /// A field; `None` for a value that would break out of its line, or that no header carries.
    pub(super) fn new(name: &'static str, value: &str) -> Option<Self> {
        let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_plain.then(|| Self {
            name,
            value: value.into(),
        })
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }
}

/// The way to one box.
pub struct Client {
    dial: Arc<dyn Dial>,
    address: Address,
    key: Option<Secret>,
    /// How the box is known, for `https`.
    trust: PeerTrust,
    /// Whether it was there before.
    was_reached: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What is asked of a box.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) verb: &'static str,
    pub(super) accept: &'static str,
    pub(super) fields: &'a [Field],
    /// JSON, or nothing.
    pub(super) body: &'a [u8],
    /// How long the head of the answer may take.
    pub(super) wait: Duration,
}

/// Why there is no whole answer after a connection was made: the request may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection ended, or nothing came for too long.
    Cut,
    /// More came than is taken.
    TooLong,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendFault {
    /// Nothing was sent.
    NotSent(Fault),
    /// It may have been carried out.
    Sent,
}

impl Client {
    /// A way to the box at `address`. `trust` is how the box is known, and used with `https`.
    #[must_use]
    pub fn new(
        dial: Arc<dyn Dial>,
        address: Address,
        key: Option<&Secret>,
        trust: impl Into<PeerTrust>,
    ) -> Self {
        Self {
            dial,
            address,
            key: key.cloned(),
            trust: trust.into(),
            was_reached: AtomicBool::new(false),
        }
    }

    /// The box.
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Gets a page: its status and body.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn get(&self) -> anyhow::Result<(u16, String)> {
        let ask = Ask {
            verb: "GET",
            accept: "application/json",
            fields: &[],
            body: &[],
            wait: PAGE_WAIT,
        };
        let reply = match self.send(ask).await {
            Ok(reply) => reply,
            Err(SendFault::NotSent(fault)) => anyhow::bail!("{fault}"),
            Err(SendFault::Sent) => anyhow::bail!("{} does not answer", self.address),
        };
        let status = reply.head.status;
        let body = reply.whole().await;
        let body =
            body.map_err(|_| anyhow::anyhow!("the answer of {} is cut off", self.address))?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Reply, SendFault> {
        let mut stream = self.connect().await.map_err(SendFault::NotSent)?;
        let request = self.request(&ask);
        let mut come = BytesMut::with_capacity(READ_BYTES);
        let exchanged = timeout(ask.wait, async {
            // A box that refuses need not read to the end; what it says counts then, not that it stopped reading.
            let _sent = stream.write_all(&request).await;
            let _flushed = stream.flush().await;
            loop {
                if let Some(head) = Head::take(&mut come).ok()? {
                    return Some(head);
                }
                come.reserve(READ_BYTES);
                if stream.read_buf(&mut come).await.ok()? == 0 {
                    return None;
                }
            }
        });
        match exchanged.await {
            Ok(Some(head)) => Ok(Reply { head, come, stream }),
            Ok(None) | Err(_) => Err(SendFault::Sent),
        }
    }

    /// The request on the wire.
    fn request(&self, ask: &Ask<'_>) -> Vec<u8> {
        let Address {
            path, authority, ..
        } = &self.address;
        let mut text = format!(
            "{} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\naccept: {}\r\n",
            ask.verb, ask.accept
        );
        if let Some(key) = &self.key {
            text.extend(["authorization: Bearer ", key.expose(), "\r\n"]);
        }
        for field in ask.fields {
            text.extend([field.name, ": ", field.value(), "\r\n"]);
        }
        if !ask.body.is_empty() {
            let length = ask.body.len().to_string();
            text.extend([
                "content-type: application/json\r\ncontent-length: ",
                &length,
                "\r\n",
            ]);
        }
        text.push_str("\r\n");
        let mut request = text.into_bytes();
        request.extend_from_slice(ask.body);
        request
    }

    /// Connects. A box that was there before is given the time to start anew.
    async fn connect(&self) -> Result<Box<dyn ByteStream>, Fault> {
        let until = Instant::now() + RESTART_PATIENCE;
        let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.connect_once().await {
                Ok(stream) => {
                    self.was_reached.store(true, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(fault)
                    if fault.is_unreachable()
                        && self.was_reached.load(Ordering::Relaxed)
                        && Instant::now() < until =>
                {
                    sleep(pauses.next_delay(0.5 + random_unit() / 2.0)).await;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn connect_once(&self) -> Result<Box<dyn ByteStream>, Fault> {
        let address = &self.address;
        let unreachable = |why: String| Fault::Unreachable {
            address: address.clone(),
            why,
        };
        let until = Instant::now() + CONNECT_WAIT;
        let dialled = self.dial.dial(address.host.clone(), address.port);
        let stream = match timeout_at(until, dialled).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(fault)) => return Err(unreachable(fault.to_string())),
            Err(_elapsed) => return Err(unreachable("nothing answers there".to_owned())),
        };
        if !address.is_secure {
            return Ok(stream);
        }
        dial::secure_with(stream, &address.host, &self.trust, until)
            .await
            .map_err(|fault| match fault {
                ConnectError::Untrusted { fingerprint } => Fault::Untrusted {
                    address: address.clone(),
                    shown: fingerprint,
                },
                ConnectError::Certificate(why) => Fault::Unsigned {
                    address: address.clone(),
                    why,
                },
                ConnectError::CaFile { path, fault } => Fault::CaFile { path, why: fault },
                ConnectError::Tls(why) => Fault::Tls {
                    address: address.clone(),
                    why,
                },
                other => unreachable(other.to_string()),
            })
    }
}

/// An answer whose head is there.
pub(super) struct Reply {
    pub(super) head: Head,
    /// What has come and was not taken.
    come: BytesMut,
    stream: Box<dyn ByteStream>,
}

impl Reply {
    /// The next piece of the body; `None` at its proper end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        let until = Instant::now() + SILENCE_MAX;
        let mut is_over = false;
        loop {
            match self.head.piece(&mut self.come, is_over) {
                Ok(Piece::Some(piece)) => return Ok(Some(piece)),
                Ok(Piece::End) => return Ok(None),
                Ok(Piece::Wait) if !is_over => {}
                Ok(Piece::Wait) | Err(_) => return Err(Broken::Cut),
            }
            self.come.reserve(READ_BYTES);
            match timeout_at(until, self.stream.read_buf(&mut self.come)).await {
                Ok(Ok(0)) => is_over = true,
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return Err(Broken::Cut),
            }
        }
    }

    /// The whole body.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Broken> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > BRIDGE_MESSAGE_MAX_BYTES {
                return Err(Broken::TooLong);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Whether it is a stream of events.
    pub(super) fn is_events(&self) -> bool {
        self.head.content_type == "text/event-stream"
    }

    /// Whether it is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.head.content_type == "application/json"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_breaks_out_of_its_line() {
        for value in ["a\r\nb: c", "a\nb", "\0", "\u{7f}", "é"] {
            assert!(Field::new("x", value).is_none(), "{value:?}");
        }
        assert_eq!(Field::new("x", "2026-07-28").unwrap().value(), "2026-07-28");
    }
}
