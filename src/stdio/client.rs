//! One HTTP request to a box, on a connection of its own. That costs a round trip on the LAN, and it keeps the two things apart that
//! matter: what was never sent, and what may have been carried out. To drop a reply hangs up, which takes a modern request back.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::address::Address;
use super::fault::Fault;
use crate::base::backoff::{Backoff, random_unit};
use crate::base::secret::Secret;
use crate::limits::{BRIDGE_MESSAGE_MAX_BYTES, CONNECTION_BUFFER_BYTES, STREAM_KEEP_ALIVE_SECS};
use crate::link::ConnectError;
use crate::link::dial::{self, ByteStream, Dial};

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How long a box that was there before is waited for: as long as it takes to start anew, with time to spare.
const RESTART_PATIENCE: Duration = Duration::from_secs(8);

/// A stream on which nothing comes, not even a comment, for three of the box's periods is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3 * STREAM_KEEP_ALIVE_SECS);

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// The way to one box.
pub struct Client {
    dial: Arc<dyn Dial>,
    address: Address,
    key: Option<HeaderValue>,
    /// The certificate that the box must show, for `https`.
    fingerprint: String,
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
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
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
    /// A way to the box at `address`. `fingerprint` is the SHA-256 of the certificate that it must show, in hex, and used with `https`.
    #[must_use]
    pub fn new(
        dial: Arc<dyn Dial>,
        address: Address,
        key: Option<&Secret>,
        fingerprint: String,
    ) -> Self {
        let key = key.and_then(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            dial,
            address,
            key,
            fingerprint,
            was_reached: AtomicBool::new(false),
        }
    }

    /// The box.
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, ask: Ask) -> Result<Reply, SendFault> {
        let stream = self.connect().await.map_err(SendFault::NotSent)?;
        let wait = ask.wait;
        let request = self.request(ask);
        timeout(wait, Box::pin(exchange(stream, request)))
            .await
            .map_or(Err(SendFault::Sent), |answer| answer)
    }

    fn request(&self, ask: Ask) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(ask.body));
        *request.method_mut() = ask.method;
        if let Ok(path) = self.address.path.parse() {
            *request.uri_mut() = path;
        }
        let headers = request.headers_mut();
        *headers = ask.headers;
        if let Ok(host) = HeaderValue::try_from(&self.address.authority) {
            headers.insert(HOST, host);
        }
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
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
        dial::secure_pinned(stream, &address.host, &self.fingerprint, until)
            .await
            .map_err(|fault| match fault {
                ConnectError::Untrusted { fingerprint } => Fault::Untrusted {
                    address: address.clone(),
                    shown: fingerprint,
                },
                ConnectError::Tls(why) => Fault::Tls {
                    address: address.clone(),
                    why,
                },
                other => unreachable(other.to_string()),
            })
    }
}

/// The headers of a posted message.
pub(super) fn post_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers
}

/// The headers of a request for events.
pub(super) fn stream_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers
}

type Line = Pin<Box<Connection<TokioIo<Box<dyn ByteStream>>, Full<Bytes>>>>;

/// An answer whose head is there.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Incoming,
    /// Moves the bytes; `None` once it is done.
    line: Option<Line>,
    /// To drop it before the body is read would end the connection.
    _sender: SendRequest<Full<Bytes>>,
}

async fn exchange(
    stream: Box<dyn ByteStream>,
    request: Request<Full<Bytes>>,
) -> Result<Reply, SendFault> {
    let (mut sender, line) = http1::Builder::new()
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| SendFault::Sent)?;
    let mut line: Option<Line> = Some(Box::pin(line));
    let answer = {
        let mut answer = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = run(&mut line), if line.is_some() => line = None,
            }
        }
    };
    let (head, body) = answer.map_err(|_| SendFault::Sent)?.into_parts();
    let head = Response::from_parts(head, ());
    Ok(Reply {
        status: head.status().as_u16(),
        headers: head.headers().clone(),
        body,
        line,
        _sender: sender,
    })
}

/// Moves the bytes of a connection until it ends.
async fn run(line: &mut Option<Line>) {
    if let Some(line) = line {
        // How it ended shows in the answer, whole or not.
        let _ended = line.await;
    }
}

impl Reply {
    /// The next piece of the body; `None` at its proper end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        let until = Instant::now() + SILENCE_MAX;
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = run(&mut self.line), if self.line.is_some() => {
                    self.line = None;
                    continue;
                }
                () = tokio::time::sleep_until(until) => return Err(Broken::Cut),
            };
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Broken::Cut),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
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
        self.is_of("text/event-stream")
    }

    /// Whether it is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.is_of("application/json")
    }

    fn is_of(&self, media: &str) -> bool {
        let value = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        value.is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case(media)
        })
    }
}
