//! Server-sent events: framing, keep-alive, an orderly end.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::limits::STREAM_KEEP_ALIVE_SECS;
use crate::mcp::EventStream;

/// A stream of events on its way to a client. It buffers nothing: the next event is made when the last one was taken.
#[derive(Debug)]
pub(super) struct Sse {
    events: EventStream,
    keep_alive: Interval,
}

impl Sse {
    /// Frames a stream.
    pub(super) fn new(events: EventStream) -> Self {
        let period = Duration::from_secs(STREAM_KEEP_ALIVE_SECS);
        // The first comment goes out at once: the head of the response is then on the wire, and clients know that it is open.
        let mut keep_alive = tokio::time::interval_at(Instant::now(), period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { events, keep_alive }
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Poll::Ready(event) = self.events.poll_next(context) {
            return Poll::Ready(event.map(|message| frame(&message)));
        }
        ready!(self.keep_alive.poll_tick(context));
        Poll::Ready(Some(Bytes::from_static(b":\n\n")))
    }
}

/// One event. A message is one line of JSON, so one `data` line holds it.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}
