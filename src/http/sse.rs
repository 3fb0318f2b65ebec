//! Server-sent events: framing, keep-alive, an orderly end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep, sleep_until};

use super::farewell::Why;
use super::lasting::Pass;
use super::messages::Messages;
use super::seats::Busy;
use crate::base::shutdown::Stop;
use crate::limits::{LAST_WORDS_SECS, STREAM_KEEP_ALIVE_SECS, STREAM_RETRY_MS, WRITE_STALL_SECS};
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

    /// Ready when the client is asked to leave.
    pub(super) fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Events(events) => events.poll_leave(context),
            Self::Messages(messages) => messages.poll_leave(context),
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
    /// Ready when the key has ended or the server stops; whether it is the server.
    over: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    /// Until when what is under way may still be said.
    last_words: Option<Pin<Box<Sleep>>>,
    keep_alive: Interval,
    busy: Option<Busy>,
    pulse: Option<Beating>,
}

/// Shows from outside whether a stream is being taken. Over HTTP/2 nobody asks for the next piece while its client makes no room for it.
#[derive(Debug)]
pub(super) struct Pulse {
    last: Mutex<Instant>,
    gone: Stop,
}

/// The side of a [`Pulse`] that lives and ends with its stream.
#[derive(Debug)]
pub(super) struct Beating(Arc<Pulse>);

impl Beating {
    pub(super) fn new() -> (Self, Arc<Pulse>) {
        let pulse = Arc::new(Pulse {
            last: Mutex::new(Instant::now()),
            gone: Stop::new(),
        });
        (Self(Arc::clone(&pulse)), pulse)
    }

    /// The next piece is asked for.
    pub(super) fn beat(&self) {
        *self.0.last.lock() = Instant::now();
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.gone.cancel();
    }
}

impl Pulse {
    /// Returns when the client has taken nothing for so long that it is not worth waiting for; never, once the stream has ended.
    pub(super) async fn stalls(&self) {
        // A stream that is taken asks for a comment at least this often.
        let limit = Duration::from_secs(STREAM_KEEP_ALIVE_SECS + WRITE_STALL_SECS);
        loop {
            let end = *self.last.lock() + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::select! {
                () = self.gone.cancelled() => std::future::pending().await,
                () = sleep_until(end) => {}
            }
        }
    }

    /// Returns when the stream has ended.
    pub(super) async fn ends(&self) {
        self.gone.cancelled().await;
    }
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
                () = stop.cancelled() => true,
                () = pass.ended() => false,
            }
        };
        Self {
            source,
            over: Some(Box::pin(over)),
            last_words: None,
            keep_alive,
            busy: None,
            pulse: None,
        }
    }

    /// Lets somebody watch whether it is taken.
    pub(super) fn pulse(&mut self) -> Arc<Pulse> {
        let (beating, pulse) = Beating::new();
        self.pulse = Some(beating);
        pulse
    }

    /// Counts as work from now on.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
        if let Some(over) = &mut self.over {
            let why = match over.as_mut().poll(context) {
                Poll::Ready(stops) => Some(stops.then_some(Why::Stops)),
                Poll::Pending => {
                    let leaves = self.source.poll_leave(context).is_ready();
                    leaves.then_some(Some(Why::Short))
                }
            };
            if let Some(why) = why {
                self.over = None;
                self.source.end();
                let limit = Duration::from_secs(LAST_WORDS_SECS);
                self.last_words = Some(Box::pin(sleep(limit)));
                if let Some(why) = why {
                    return Poll::Ready(Some(why.event()));
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_takes_stalls_and_one_that_is_taken_does_not() {
        let pulse = Pulse {
            last: Mutex::new(Instant::now()),
            gone: Stop::new(),
        };
        let begun = Instant::now();
        let taking = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(STREAM_KEEP_ALIVE_SECS)).await;
                *pulse.last.lock() = Instant::now();
            }
        };
        tokio::join!(taking, pulse.stalls());
        let waited = 11 * STREAM_KEEP_ALIVE_SECS + WRITE_STALL_SECS;
        assert_eq!(begun.elapsed(), Duration::from_secs(waited));
    }
}
