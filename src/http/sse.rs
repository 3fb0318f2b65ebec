//! Server-sent events: framing, keep-alive, an orderly end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::lasting::Pass;
use crate::limits::{STREAM_KEEP_ALIVE_SECS, STREAM_RETRY_MS};
use crate::mcp::{Event, EventStream};

/// A stream of events on its way to a client. It buffers nothing: the next event is made when the last one was taken.
pub(super) struct Sse {
    events: EventStream,
    /// Ready when the key has ended.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    keep_alive: Interval,
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Sse {
    /// Frames a stream that ends with its key.
    pub(super) fn new(events: EventStream, mut pass: Pass) -> Self {
        let period = Duration::from_secs(STREAM_KEEP_ALIVE_SECS);
        // The first comment goes out at once: the head of the response is then on the wire, and clients know that it is open.
        let mut keep_alive = tokio::time::interval_at(Instant::now(), period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events,
            revoked: Some(Box::pin(async move { pass.ended().await })),
            keep_alive,
        }
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(context).is_ready()
        {
            self.revoked = None;
            self.events.end();
        }
        if let Poll::Ready(event) = self.events.poll_next(context) {
            return Poll::Ready(event.map(|event| frame(&event)));
        }
        ready!(self.keep_alive.poll_tick(context));
        Poll::Ready(Some(Bytes::from_static(b":\n\n")))
    }
}

/// One event. A message is one line of JSON, so one `data` line holds it. An event without a message tells its id, and when to come
/// back.
pub(super) fn frame(event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(event.message.len() + 48);
    if let Some(id) = event.id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
        if event.message.is_empty() {
            out.extend_from_slice(format!("retry: {STREAM_RETRY_MS}\n").as_bytes());
        }
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&event.message);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}
