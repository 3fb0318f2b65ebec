//! `/mcp/ws`: MCP over a WebSocket, one JSON-RPC message in each text message, both ways (RFC 6455).

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::Front;
use super::body::Body;
use super::endpoint::{self, Answered, Refusal};
use super::farewell::Why;
use super::lasting::{Lasting, Pass};
use super::places::Place;
use super::socket::Socket;
use crate::base::shutdown::Stop;
use crate::guard::Caller;
use crate::limits::{
    LAST_WORDS_SECS, WEBSOCKET_BUFFER_BYTES, WEBSOCKET_MESSAGE_MAX_BYTES, WEBSOCKET_OUT_MAX_BYTES,
    WEBSOCKET_PING_SECS,
};
use crate::mcp::{Connection, Outgoing};

/// A WebSocket that was agreed on.
#[derive(Debug)]
pub(super) struct Opening {
    connection: Connection,
    outgoing: Outgoing,
    caller: Caller,
    place: Place,
}

/// `GET /mcp/ws`: agrees on a WebSocket.
pub(super) fn open(front: &Front, headers: &HeaderMap, caller: &Caller) -> Answered {
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(Refusal::plain(
            426,
            "This is a WebSocket: open it with `Connection: Upgrade` and `Upgrade: websocket`.",
        ));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Refusal::plain(
            426,
            "Only version 13 of the WebSocket protocol is spoken here.",
        ));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .ok_or_else(|| Refusal::plain(400, "The header Sec-WebSocket-Key is missing or wrong."))?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Refusal::plain(400, "The header Sec-WebSocket-Key is wrong."))?;
    let place = front.websockets.take().ok_or(Refusal::busy(
        "There are too many WebSockets. Try again in a second.",
    ))?;
    let (connection, outgoing) = match front.server.connect(caller.clone()) {
        Ok(connection) => connection,
        Err(reply) => return Ok(endpoint::respond(front, *reply, caller)),
    };
    let opening = Opening {
        connection,
        outgoing,
        caller: caller.clone(),
        place,
    };
    let mut response = Response::new(Body::Lasting(Lasting::WebSocket(Box::new(opening))));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if has_token(headers, &SEC_WEBSOCKET_PROTOCOL, "mcp") {
        out.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    }
    Ok(response)
}

/// Whether a list in a header has this token.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut parts = value.to_str().unwrap_or_default().split(',');
        parts.any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

/// Why the server ends a WebSocket.
enum End {
    /// Everything is answered and nothing more comes.
    Done(CloseCode, &'static str),
    /// The client is gone.
    Gone,
}

/// Carries a WebSocket to its end. `read` is what came behind the request already.
pub(super) async fn carry<S>(
    front: &Front,
    socket: Box<Socket<S>>,
    read: Bytes,
    opening: Box<Opening>,
    stop: &Stop,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Opening {
        connection,
        outgoing,
        caller,
        place: _place,
    } = *opening;
    let config = WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WEBSOCKET_OUT_MAX_BYTES)
        .max_message_size(Some(WEBSOCKET_MESSAGE_MAX_BYTES))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_MAX_BYTES));
    let mut websocket =
        WebSocketStream::from_partially_read(socket, read.into(), Role::Server, Some(config)).await;
    let pass = Pass::new(&front.guard, caller);
    match talk(&mut websocket, connection, outgoing, pass, stop).await {
        Ok(End::Done(code, reason)) => {
            let frame = CloseFrame {
                code,
                reason: Utf8Bytes::from_static(reason),
            };
            let limit = Duration::from_secs(LAST_WORDS_SECS);
            // A client that does not answer the farewell is left.
            let _ = tokio::time::timeout(limit, async {
                websocket.close(Some(frame)).await?;
                while websocket
                    .next()
                    .await
                    .is_some_and(|message| message.is_ok())
                {}
                Ok::<_, Error>(())
            })
            .await;
            Ok(())
        }
        Ok(End::Gone) => Ok(()),
        Err(Error::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

async fn talk<S>(
    websocket: &mut WebSocketStream<Box<Socket<S>>>,
    connection: Connection,
    mut outgoing: Outgoing,
    mut pass: Pass,
    stop: &Stop,
) -> Result<End, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut way_in = Some(connection);
    let mut end = (CloseCode::Normal, "");
    let mut deadline = None;
    let period = Duration::from_secs(WEBSOCKET_PING_SECS);
    let mut ping = interval_at(Instant::now() + period, period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled(), if way_in.is_some() => {
                (way_in, end) = (None, (CloseCode::Away, "The server stops."));
                deadline = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
                websocket.send(Message::text(Why::Stops.notification())).await?;
            }
            () = pass.ended(), if way_in.is_some() => {
                (way_in, end) = (None, (CloseCode::Policy, "The API key has ended."));
                deadline = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
            }
            next = poll_fn(|context| {
                if way_in.is_some() && outgoing.poll_leave(context).is_ready() {
                    return Poll::Ready(None);
                }
                outgoing.poll_next(context).map(Some)
            }) => match next.map(|message| message.map(Bytes::from).map(Utf8Bytes::try_from)) {
                None => {
                    (way_in, end) = (None, (CloseCode::Again, "The server is short of memory."));
                    deadline = Some(Instant::now() + Duration::from_secs(LAST_WORDS_SECS));
                    websocket.send(Message::text(Why::Short.notification())).await?;
                }
                Some(Some(Ok(text))) => websocket.send(Message::Text(text)).await?,
                // JSON is UTF-8; what is not was not made here.
                Some(Some(Err(_))) => {}
                Some(None) => return Ok(End::Done(end.0, end.1)),
            },
            () = super::lasting::until(deadline) => return Ok(End::Done(end.0, end.1)),
            frame = next(websocket, way_in.as_ref()) => {
                heard = Instant::now();
                let message = match frame {
                    None | Some(Err(Error::ConnectionClosed)) => return Ok(End::Gone),
                    Some(Err(Error::Capacity(_))) => {
                        return Ok(End::Done(CloseCode::Size, "The message is too large."));
                    }
                    Some(Err(Error::Protocol(_))) => {
                        return Ok(End::Done(CloseCode::Protocol, "The frame is not as RFC 6455 has it."));
                    }
                    Some(Err(Error::Utf8(_))) => {
                        return Ok(End::Done(CloseCode::Invalid, "The text is no UTF-8."));
                    }
                    Some(Err(error)) => return Err(error),
                    Some(Ok(message)) => message,
                };
                match (message, &way_in) {
                    (Message::Text(text), Some(connection))
                        if connection.take_paid(text.as_bytes()).is_err() =>
                    {
                        return Ok(End::Done(CloseCode::Policy, "Answers wait to be read."));
                    }
                    (Message::Binary(_), _) => {
                        return Ok(End::Done(CloseCode::Unsupported, "Messages are texts."));
                    }
                    // Pings and closes are answered by the library, as long as it is polled.
                    _ => {}
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > 2 * period {
                    return Ok(End::Gone);
                }
                websocket.send(Message::Ping(Bytes::new())).await?;
            }
        }
    }
}

/// The next message, once the client has read enough of what was said.
async fn next<S>(
    websocket: &mut WebSocketStream<Box<Socket<S>>>,
    way_in: Option<&Connection>,
) -> Option<Result<Message, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(connection) = way_in {
        connection.ready().await;
    }
    websocket.next().await
}
