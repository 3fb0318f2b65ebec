//! Server-sent events: framing, keep-alive, an orderly end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep};

use super::lasting::Pass;
use super::messages::Messages;
use super::seats::Busy;
use crate::base::shutdown::Stop;
use crate::limits::{LAST_WORDS_SECS, STREAM_KEEP_ALIVE_SECS, STREAM_RETRY_MS};
use crate::mcp::{Event, EventStream};

/// Where events come from, framed.
pub(super) enum Source {
    Events(EventStream),
    Messages(Box<Messages>),
}

impl Source {
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Events(events) => {
                let event = ready!(events.poll_next(context));
                Poll::Ready(event.map(|event| frame(&event)))
            }
            Self::Messages(messages) => messages.poll_next(context),
        }
    }

    /// Asks for the end in good order.
    pub(super) fn end(&mut self) {
        match self {
            Self::Events(events) => events.end(),
            Self::Messages(messages) => messages.end(),
        }
    }
}

/// A stream of events on its way to a client. It buffers nothing: the next event is made when the last one was taken.
pub(super) struct Sse {
    source: Source,
    /// Ready when the key has ended or the server stops.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Until when what is under way may still be said.
    last_words: Option<Pin<Box<Sleep>>>,
    keep_alive: Interval,
    busy: Option<Busy>,
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").finish_non_exhaustive()
    }
}

impl Sse {
    /// Frames a stream that ends with its key, and when the server stops.
    pub(super) fn new(source: Source, mut pass: Pass, stop: Stop) -> Self {
        let period = Duration::from_secs(STREAM_KEEP_ALIVE_SECS);
        // The first comment goes out at once: the head of the response is then on the wire, and clients know that it is open.
        let mut keep_alive = tokio::time::interval_at(Instant::now(), period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = pass.ended() => {}
            }
        };
        Self {
            source,
            over: Some(Box::pin(over)),
            last_words: None,
            keep_alive,
            busy: None,
        }
    }

    /// Counts as work from now on.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(over) = &mut self.over
            && over.as_mut().poll(context).is_ready()
        {
            self.over = None;
            self.source.end();
            let limit = Duration::from_secs(LAST_WORDS_SECS);
            self.last_words = Some(Box::pin(sleep(limit)));
        }
        if let Poll::Ready(event) = self.source.poll_next(context) {
            return Poll::Ready(event);
        }
        if let Some(last_words) = &mut self.last_words
            && last_words.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
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
