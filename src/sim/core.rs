//! One connection of a simulated Core, over any stream of bytes: WebSocket, or TCP with NUL.

use std::io;

use bytes::{Buf, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::SimCore;
use super::fault::Admission;
use super::world::{End, Peer};
use crate::limits::CORE_FRAME_MAX_BYTES;
use crate::wire::qrc::{WEBSOCKET_PATH, WEBSOCKET_PATH_OLD};

/// How long a handshake or an orderly close may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Frames taken from a client before their answers are sent.
const READ_AHEAD: usize = 64;

/// A stream that the simulated Core can speak over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl SimCore {
    /// Serves one client over WebSocket, upgrade included, until either side ends it. Paths other than QRC's get 404.
    pub async fn serve_websocket(&self, mut stream: impl Stream + 'static) {
        self.websocket(&mut stream).await;
    }

    /// Serves one client over TCP framing (one NUL after each frame) until either side ends it.
    pub async fn serve_tcp(&self, mut stream: impl Stream + 'static) {
        self.tcp(&mut stream).await;
    }

    pub(super) async fn websocket<S: Stream>(&self, stream: &mut S) -> End {
        let admission = self.admission().await;
        if admission == Admission::Refuse {
            return End::Reset;
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(CORE_FRAME_MAX_BYTES))
            .max_frame_size(Some(CORE_FRAME_MAX_BYTES));
        let upgrade =
            tokio_tungstenite::accept_hdr_async_with_config(stream, check_path, Some(config));
        let Ok(Ok(websocket)) = timeout(PATIENCE, upgrade).await else {
            return End::Close;
        };
        let wire = Wire::WebSocket(Box::new(websocket));
        if admission == Admission::Close {
            wire.close(End::Close).await
        } else {
            self.converse(wire).await
        }
    }

    pub(super) async fn tcp<S: Stream>(&self, stream: &mut S) -> End {
        let wire = Wire::Nul {
            stream,
            buffer: BytesMut::new(),
        };
        match self.admission().await {
            Admission::Refuse => End::Reset,
            Admission::Close => wire.close(End::Close).await,
            Admission::Serve => self.converse(wire).await,
        }
    }

    /// What to do with a new connection, once the Core is not frozen.
    async fn admission(&self) -> Admission {
        let mut bell = self.shared.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let admission = self.look(|world| {
                let faults = &world.half(self.half)?.faults;
                (!faults.is_frozen).then(|| faults.admission(Instant::now()))
            });
            if let Some(admission) = admission {
                return admission;
            }
            if bell.changed().await.is_err() {
                return Admission::Refuse;
            }
        }
    }

    async fn converse<S: Stream>(&self, mut wire: Wire<'_, S>) -> End {
        let Some(seat) = Seat::take(self) else {
            return End::Close;
        };
        let mut bell = self.shared.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let now = Instant::now();
            let step = self.with(|world| {
                let faults = &world.half(self.half)?.faults;
                let (is_frozen, split) = (faults.is_frozen, faults.split);
                let frames = if is_frozen {
                    Vec::new()
                } else {
                    world.take_due(seat.peer, now)
                };
                let end = if is_frozen {
                    None
                } else {
                    world.conn(seat.peer)?.end
                };
                Some((
                    frames,
                    split,
                    end,
                    is_frozen,
                    world.next_wake(seat.peer, now),
                    world.may_read(seat.peer),
                ))
            });
            let Some((frames, split, end, is_frozen, wake, may_read)) = step else {
                return End::Close;
            };
            if is_frozen {
                if bell.changed().await.is_err() {
                    return End::Reset;
                }
                continue;
            }
            if !frames.is_empty() && end != Some(End::Reset) {
                tokio::select! {
                    biased;
                    outcome = wire.send(frames, split) => if outcome.is_err() {
                        return End::Reset;
                    },
                    () = self.reset_of(seat.peer) => return End::Reset,
                    () = sleep_until(now + PATIENCE * 6) => return End::Reset,
                }
                continue;
            }
            if let Some(end) = end {
                return wire.close(end).await;
            }
            tokio::select! {
                biased;
                _ = bell.changed() => (),
                frame = wire.next(), if may_read => {
                    if !self.hear(seat.peer, frame, &mut wire) {
                        return wire.close(End::Close).await;
                    }
                }
                () = sleep_until(wake) => if self.look(|world| world.is_idle(seat.peer, Instant::now())) {
                    return wire.close(End::Close).await;
                },
            }
        }
    }

    /// Takes a frame and those that are there already; false when the client has gone.
    fn hear<S: Stream>(&self, peer: Peer, first: Option<String>, wire: &mut Wire<'_, S>) -> bool {
        let mut frame = first;
        for _ in 0..READ_AHEAD {
            let Some(text) = frame else { return false };
            self.with(|world| world.receive(peer, &text, Instant::now()));
            match wire.next().now_or_never() {
                Some(next) => frame = next,
                None => return true,
            }
        }
        let Some(text) = frame else { return false };
        self.with(|world| world.receive(peer, &text, Instant::now()));
        true
    }

    async fn reset_of(&self, peer: Peer) {
        let mut bell = self.shared.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let is_reset = self.look(|world| {
                world
                    .conn(peer)
                    .is_none_or(|conn| conn.end == Some(End::Reset))
            });
            if is_reset || bell.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A client's place in the world, given back also when the connection's task is dropped.
struct Seat<'c> {
    core: &'c SimCore,
    peer: Peer,
}

impl<'c> Seat<'c> {
    fn take(core: &'c SimCore) -> Option<Self> {
        let peer = core.with(|world| world.open(core.half, Instant::now()))?;
        Some(Self { core, peer })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.core.with(|world| world.close(self.peer));
    }
}

enum Wire<'s, S> {
    WebSocket(Box<WebSocketStream<&'s mut S>>),
    Nul { stream: &'s mut S, buffer: BytesMut },
}

impl<S: Stream> Wire<'_, S> {
    /// The next frame; `None` when the client has gone. Safe to drop and call again.
    async fn next(&mut self) -> Option<String> {
        match self {
            Self::WebSocket(stream) => loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => (),
                }
            },
            Self::Nul { stream, buffer } => loop {
                if let Some(end) = buffer.iter().position(|&byte| byte == 0) {
                    let frame = buffer.split_to(end);
                    buffer.advance(1);
                    if frame.is_empty() {
                        continue;
                    }
                    return Some(String::from_utf8_lossy(&frame).into_owned());
                }
                if buffer.len() > CORE_FRAME_MAX_BYTES
                    || stream.read_buf(buffer).await.unwrap_or(0) == 0
                {
                    return None;
                }
            },
        }
    }

    async fn send(&mut self, frames: Vec<String>, split: Option<usize>) -> io::Result<()> {
        match self {
            Self::WebSocket(stream) => {
                for frame in frames {
                    stream
                        .feed(Message::text(frame))
                        .await
                        .map_err(io::Error::other)?;
                }
                stream.flush().await.map_err(io::Error::other)
            }
            Self::Nul { stream, .. } => {
                let mut joined = frames.join("\0").into_bytes();
                joined.push(0);
                for piece in joined.chunks(split.unwrap_or(usize::MAX)) {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    if split.is_some() {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            }
        }
    }

    /// Ends the connection as told, within [`PATIENCE`].
    async fn close(self, end: End) -> End {
        if end == End::Close {
            let _ = timeout(PATIENCE, async {
                match self {
                    Self::WebSocket(mut stream) => {
                        let frame = CloseFrame {
                            code: CloseCode::Away,
                            reason: "going away".into(),
                        };
                        let _ = stream.as_mut().close(Some(frame)).await;
                        while matches!(stream.next().await, Some(Ok(_))) {}
                    }
                    Self::Nul { stream, .. } => {
                        let _ = stream.shutdown().await;
                    }
                }
            })
            .await;
        }
        end
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the type of the error is the handshake's"
)]
fn check_path(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if [WEBSOCKET_PATH, WEBSOCKET_PATH_OLD].contains(&request.uri().path()) {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("not found".to_owned()));
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}
