//! One connection with HTTP/2, on which many requests are under way at once. Streams that last are bodies here: there is no socket to be
//! taken out from under the others.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::body::Body;
use super::reply::{self, Refused};
use super::route::Route;
use super::seats::{Seat, Usage};
use super::socket::{Flushed, Socket};
use super::{Front, endpoint, lasting, refuse};
use crate::base::shutdown::Stop;
use crate::limits;

/// Bytes of answers that are made, or wait for their clients to take them.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<AtomicUsize>);

/// Room for one answer, given back when dropped.
#[derive(Debug)]
struct Share {
    answers: Answers,
    bytes: usize,
}

/// An answer that keeps its room until its last byte is gone.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// Room for an answer of which nothing is known yet.
    fn take(&self) -> Option<Share> {
        let bytes = limits::ANSWER_MAX_BYTES;
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            answers: self.clone(),
            bytes,
        };
        (before + bytes <= limits::HTTP2_ANSWERS_MAX_BYTES).then_some(share)
    }
}

impl Share {
    /// Keeps as much room as the answer takes.
    fn hold(mut self, answer: Bytes) -> Bytes {
        let spare = self.bytes.saturating_sub(answer.len());
        self.answers.0.fetch_sub(spare, Ordering::Relaxed);
        self.bytes -= spare;
        Bytes::from_owner(Held {
            bytes: answer,
            _share: self,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.answers.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The requests of one connection, which live and end with it: they are carried on by the connection's own task.
#[derive(Debug, Clone, Default)]
struct Requests(Arc<Mutex<New>>);

#[derive(Default)]
struct New(Vec<Task>);

impl std::fmt::Debug for New {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("New").field(&self.0.len()).finish()
    }
}

impl<F> Executor<F> for Requests
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.lock().0.push(Box::pin(request));
    }
}

impl Requests {
    /// Carries all of them on as far as they come.
    fn poll(&self, running: &mut FuturesUnordered<Task>, context: &mut Context<'_>) {
        loop {
            running.extend(self.0.lock().0.drain(..));
            match running.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }
}

/// Serves a connection.
pub(super) async fn converse<S>(
    front: Arc<Front>,
    stream: S,
    peer: IpAddr,
    stop: Stop,
    seat: Option<Seat>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Too many clients chose it in the same moment: this one comes again and is offered HTTP/1.1.
    let Some(_place) = front.multiplexed.take() else {
        return;
    };
    let usage = seat
        .as_ref()
        .map_or_else(Usage::new, |seat| Arc::clone(&seat.usage));
    let requests = Requests::default();
    let service = {
        let (front, usage, stop) = (Arc::clone(&front), Arc::clone(&usage), stop.clone());
        let requests = requests.clone();
        service_fn(move |request| {
            let (front, usage, stop) = (Arc::clone(&front), Arc::clone(&usage), stop.clone());
            let requests = requests.clone();
            async move {
                let busy = usage.begin();
                let mut response = Box::pin(respond(&front, request, peer, stop)).await;
                response.body_mut().hold(busy);
                if let Some(pulse) = response.body_mut().pulse() {
                    requests.execute(async move {
                        tokio::select! {
                            () = pulse.ends() => {}
                            () = pulse.stalls() => usage.cut(),
                        }
                    });
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let io = TokioIo::new(Socket::new(stream, Flushed::default()));
    let ping = Duration::from_secs(limits::HTTP2_PING_SECS);
    let mut connection = Box::pin(
        http2::Builder::new(requests.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(setting(limits::HTTP2_STREAMS_MAX))
            .max_header_list_size(setting(limits::HEAD_MAX_BYTES))
            .initial_stream_window_size(setting(limits::HTTP2_STREAM_WINDOW_BYTES))
            .initial_connection_window_size(setting(limits::HTTP2_WINDOW_BYTES))
            .max_send_buf_size(limits::HTTP2_SEND_BYTES)
            .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(limits::HTTP2_FAULTY_STREAMS_MAX)
            .keep_alive_interval(ping)
            .keep_alive_timeout(ping)
            .serve_connection(io, service),
    );
    let mut running = FuturesUnordered::new();
    let mut deadline = None;
    let mut is_ending = false;
    let mut idle = pin!(idle(&usage, front.limits.head_timeout));
    loop {
        tokio::select! {
            biased;
            () = usage.left() => return,
            () = stop.cancelled(), if !is_ending => is_ending = true,
            () = &mut idle, if !is_ending => {
                is_ending = true;
                deadline = Some(Instant::now() + Duration::from_secs(limits::LAST_WORDS_SECS));
            }
            () = lasting::until(deadline) => return,
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
                return;
            }
            () = std::future::poll_fn(|context| {
                requests.poll(&mut running, context);
                Poll::<()>::Pending
            }) => {}
        }
        // Only the two arms that end in good order come here.
        connection.as_mut().graceful_shutdown();
    }
}

fn setting(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns when nothing was asked for so long. HTTP/2 has no time limit of its own, neither for a preface nor for a head that never
/// ends.
async fn idle(usage: &Usage, limit: Duration) {
    loop {
        let end = match usage.idle_since() {
            Some(since) if since.elapsed() >= limit => return,
            Some(since) => since + limit,
            None => Instant::now() + limit,
        };
        sleep_until(end).await;
    }
}

async fn respond(
    front: &Arc<Front>,
    request: Request<Incoming>,
    peer: IpAddr,
    stop: Stop,
) -> Response<Body> {
    if request.headers().len() > limits::HEADERS_MAX {
        let route = Route::of(request.uri().path());
        return refuse(route, request.headers(), 431, "Too many header fields.");
    }
    let Some(share) = front.answers.take() else {
        return reply::refuse(&Refused {
            route: Route::of(request.uri().path()),
            status: 503,
            message: "Too many answers wait for their clients. Try again in a second.",
            version: endpoint::version(request.headers()),
            retry_after: Some(Duration::from_secs(1)),
        });
    };
    let is_head = request.method() == Method::HEAD;
    let mut response = front.respond(request, peer).await;
    match response.body_mut() {
        Body::Whole(bytes) => *bytes = share.hold(std::mem::take(bytes)),
        // These make each piece when the one before was taken.
        Body::Events(_) | Body::Lines(_) | Body::Lasting(_) => {}
    }
    response.body_mut().flow(&front.guard, stop);
    if is_head {
        // HTTP/1.1 leaves the body out by itself.
        let length = response.body().size_hint().exact();
        *response.body_mut() = Body::Whole(Bytes::new());
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_their_room_until_they_are_gone_and_no_request_begins_without_any() {
        let answers = Answers::default();
        let most = limits::HTTP2_ANSWERS_MAX_BYTES / limits::ANSWER_MAX_BYTES;
        let mut shares: Vec<_> = (0..most).map(|_| answers.take().unwrap()).collect();
        assert!(answers.take().is_none());
        let answer = shares.pop().unwrap().hold(Bytes::from_static(b"short"));
        drop(shares);
        assert_eq!(answers.0.load(Ordering::Relaxed), 5);
        let part = answer.slice(1..2);
        drop(answer);
        assert_eq!(answers.0.load(Ordering::Relaxed), 5);
        drop(part);
        assert_eq!(answers.0.load(Ordering::Relaxed), 0);
    }
}
