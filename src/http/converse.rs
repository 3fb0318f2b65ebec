//! One connection with HTTP/1.1 from its first byte to its last: HTTP on hyper, until a response turns out to be a stream that lasts. Then the socket is
//! taken out of hyper, whose buffers would cost more than all the rest of an idle stream.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{pending, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Front;
use super::body::Body;
use super::lasting::{self, Lasting};
use super::seats::{Seat, Usage};
use super::socket::{Flushed, Socket};
use crate::base::shutdown::Stop;
use crate::limits;

/// A response that lasts, on its way out of hyper.
pub(super) struct Taken {
    /// The head as it is sent.
    pub(super) head: Bytes,
    /// Whether the peer knows chunks.
    pub(super) is_chunked: bool,
    pub(super) lasting: Lasting,
}

/// A connection in the hands of hyper.
type Http<S, F> = http1::Connection<TokioIo<Socket<S>>, F>;

/// How the HTTP part of a connection ended.
enum Ended {
    Over(hyper::Result<()>),
    /// Its place was given to another.
    Left,
    Taken(Box<Taken>),
}

/// Serves a connection. Its seat is given back when it goes over into a stream, which has a place of its own.
pub(super) async fn converse<S>(
    front: Arc<Front>,
    stream: S,
    peer: IpAddr,
    stop: Stop,
    seat: Option<Seat>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let taken: Arc<Mutex<Option<Taken>>> = Arc::default();
    let is_flushed = Flushed::default();
    let usage = seat
        .as_ref()
        .map_or_else(Usage::new, |seat| Arc::clone(&seat.usage));
    let service = service_fn(|request| {
        let (front, taken) = (Arc::clone(&front), Arc::clone(&taken));
        let busy = usage.begin();
        async move {
            let version = request.version();
            let mut response = front.respond(request, peer).await;
            if let Some(lasting) = response.body_mut().take_lasting() {
                let is_upgrade = lasting.is_upgrade();
                let is_chunked = version > Version::HTTP_10 && !is_upgrade;
                *taken.lock() = Some(Taken {
                    head: head(&response, is_chunked, is_upgrade),
                    is_chunked,
                    lasting,
                });
                // The connection is taken away from under this future.
                pending::<()>().await;
            }
            response.body_mut().hold(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Socket::new(stream, is_flushed.clone()));
    let mut connection = Box::new(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(front.limits.head_timeout)
            .max_buf_size(limits::CONNECTION_BUFFER_BYTES)
            .max_headers(limits::HEADERS_MAX)
            .max_header_size(limits::HEAD_MAX_BYTES)
            .serve_connection(io, service),
    );
    let ended = {
        let mut stopped = pin!(stop.cancelled());
        let mut left = pin!(usage.left());
        let mut is_stopping = false;
        poll_fn(|context| {
            if left.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ended::Left);
            }
            if !is_stopping && stopped.as_mut().poll(context).is_ready() {
                is_stopping = true;
                Pin::new(&mut *connection).graceful_shutdown();
            }
            if let Poll::Ready(outcome) = Pin::new(&mut *connection).poll(context) {
                return Poll::Ready(Ended::Over(outcome));
            }
            // What was answered before goes out first.
            if is_flushed.is_true()
                && let Some(taken) = taken.lock().take()
            {
                return Poll::Ready(Ended::Taken(Box::new(taken)));
            }
            Poll::Pending
        })
        .await
    };
    match ended {
        Ended::Over(Ok(())) | Ended::Left => {}
        Ended::Over(Err(error)) => tracing::debug!(%peer, %error, "a connection broke"),
        Ended::Taken(taken) => {
            let (socket, read) = apart(*connection);
            drop(seat);
            if let Err(error) = lasting::carry(&front, socket, read, *taken, &stop).await {
                tracing::debug!(%peer, %error, "a stream broke");
            }
        }
    }
}

/// Takes the socket out of hyper, with what it has read ahead. Boxed, so that it is small wherever it is handed on.
fn apart<S, F>(connection: Http<S, F>) -> (Box<Socket<S>>, Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: HttpService<Incoming, ResBody = Body>,
    F::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let parts = connection.into_parts();
    (Box::new(parts.io.into_inner()), parts.read_buf)
}

/// The head of a response as HTTP/1.1 writes it.
fn head(response: &Response<Body>, is_chunked: bool, is_upgrade: bool) -> Bytes {
    let status = response.status();
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if is_chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if !is_upgrade {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}
