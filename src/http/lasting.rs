//! Streams that last: written straight to the socket, with nothing kept for them but what they wait for.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Front;
use super::converse::Taken;
use super::farewell::Why;
use super::messages::Messages;
use super::socket::Socket;
use super::sse::{Source, Sse};
use super::websocket::{self, Opening};
use crate::base::shutdown::Stop;
use crate::guard::{Caller, Guard};
use crate::limits::{LAST_WORDS_SECS, STRAY_BYTES_MAX, STREAM_KEEP_ALIVE_SECS};
use crate::mcp::EventStream;

/// What a connection becomes when its response lasts.
#[derive(Debug)]
pub(super) enum Lasting {
    /// Server-sent events of a feed.
    Events(EventStream, Caller),
    /// The way out of HTTP+SSE.
    Messages(Box<Messages>, Caller),
    /// A WebSocket.
    WebSocket(Box<Opening>),
}

impl Lasting {
    /// Whether HTTP ends here.
    pub(super) const fn is_upgrade(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// As a body among others; `None` for a WebSocket, which nobody can ask for on such a connection.
    pub(super) fn flow(self, guard: &Arc<Guard>, stop: Stop) -> Option<Sse> {
        let (source, caller) = match self {
            Self::Events(events, caller) => (Source::Events(events), caller),
            Self::Messages(messages, caller) => (Source::Messages(messages), caller),
            Self::WebSocket(_) => return None,
        };
        Some(Sse::new(source, Pass::new(guard, caller), stop))
    }
}

/// Watches whether a caller's key is still in force.
#[derive(Debug)]
pub(super) struct Pass {
    guard: Arc<Guard>,
    caller: Caller,
    changes: watch::Receiver<()>,
}

impl Pass {
    pub(super) fn new(guard: &Arc<Guard>, caller: Caller) -> Self {
        let mut changes = guard.changes();
        // Whatever happened since the caller was let in is looked at as well.
        changes.mark_changed();
        Self {
            guard: Arc::clone(guard),
            caller,
            changes,
        }
    }

    /// Returns when the key has ended.
    pub(super) async fn ended(&mut self) {
        loop {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if !self.guard.is_in_force(&self.caller) {
                return;
            }
        }
    }
}

/// Carries a stream to its end.
pub(super) async fn carry<S>(
    front: &Front,
    mut socket: Box<Socket<S>>,
    read: Bytes,
    taken: Taken,
    stop: &Stop,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Taken {
        head,
        is_chunked,
        lasting,
    } = taken;
    socket.write_all(&head).await?;
    drop(head);
    let (source, caller) = match lasting {
        Lasting::Events(events, caller) => (Source::Events(events), caller),
        Lasting::Messages(messages, caller) => (Source::Messages(messages), caller),
        Lasting::WebSocket(opening) => {
            // Boxed: idle event streams are many, and their tasks are as large as the largest of these.
            return Box::pin(websocket::carry(front, socket, read, opening, stop)).await;
        }
    };
    drop(read);
    let pass = Pass::new(&front.guard, caller);
    pour(socket, source, pass, is_chunked, stop).await
}

/// What comes next on a stream.
enum Next {
    /// Its client is asked to leave.
    Leave,
    /// This, or its end.
    Piece(Option<Bytes>),
}

async fn pour<S>(
    mut socket: Box<Socket<S>>,
    mut source: Source,
    mut pass: Pass,
    is_chunked: bool,
    stop: &Stop,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let period = Duration::from_secs(STREAM_KEEP_ALIVE_SECS);
    // The first comment goes out at once: clients then know that the stream is open.
    let mut keep_alive = interval_at(Instant::now(), period);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stray = 0;
    let mut last_words = None;
    loop {
        let mut buffer = [0; 64];
        let piece = tokio::select! {
            biased;
            () = stop.cancelled(), if last_words.is_none() => {
                source.end();
                last_words = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
                Why::Stops.event()
            }
            () = pass.ended(), if last_words.is_none() => {
                source.end();
                last_words = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
                continue;
            }
            next = poll_fn(|context| {
                if last_words.is_none() && source.poll_leave(context).is_ready() {
                    return Poll::Ready(Next::Leave);
                }
                source.poll_next(context).map(Next::Piece)
            }) => match next {
                Next::Leave => {
                    source.end();
                    last_words = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
                    Why::Short.event()
                }
                Next::Piece(Some(piece)) => piece,
                Next::Piece(None) => break,
            },
            () = until(last_words) => break,
            read = socket.read(&mut buffer) => {
                // Nothing is expected here; line ends after a body are let pass.
                let count = read?;
                stray += count;
                if count == 0 || stray > STRAY_BYTES_MAX {
                    return Ok(());
                }
                continue;
            }
            _ = keep_alive.tick() => Bytes::from_static(b":\n\n"),
        };
        write(&mut socket, &piece, is_chunked).await?;
    }
    if is_chunked {
        socket.write_all(b"0\r\n\r\n").await?;
    }
    socket.shutdown().await
}

/// Never, without a deadline.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn write<S>(socket: &mut Socket<S>, piece: &[u8], is_chunked: bool) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    if is_chunked {
        let mut chunk = Vec::with_capacity(piece.len() + 12);
        chunk.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        socket.write_all(&chunk).await?;
    } else {
        socket.write_all(piece).await?;
    }
    socket.flush().await
}
