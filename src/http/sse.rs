//! Server-sent events: framing, keep-alive, an orderly end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::limits::STREAM_KEEP_ALIVE_SECS;
use crate::mcp::EventStream;

/// A stream of events on its way to a client. It buffers nothing: the next event is made when the last one was taken.
#[derive(Debug)]
pub(super) struct Sse {
    events: EventStream,
    has_ended: bool,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    keep_alive: Interval,
}

impl Sse {
    /// Frames a stream.
    pub(super) fn new(events: EventStream) -> Self {
        let period = Duration::from_secs(STREAM_KEEP_ALIVE_SECS);
        // The first comment goes out at once: the head of the response is then on the wire, and clients know that it is open.
        let mut keep_alive = tokio::time::interval_at(Instant::now(), period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ended: Box::pin(events.ended.clone().cancelled_owned()),
            events,
            has_ended: false,
            keep_alive,
        }
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.events.opening.take() {
            return Poll::Ready(Some(frame(&opening)));
        }
        if self.has_ended || self.ended.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            let closing = self.events.closing.take();
            return Poll::Ready(closing.map(|closing| frame(&closing)));
        }
        ready!(self.keep_alive.poll_tick(context));
        Poll::Ready(Some(Bytes::from_static(b":\n\n")))
    }
}

/// One event. A message is one line of JSON, so one `data` line holds it.
fn frame(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}
