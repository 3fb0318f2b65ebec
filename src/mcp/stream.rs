//! Event streams: what they carry and when they end. Framing and keep-alive belong to the transport.

use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::feed::Feed;
use super::line::Line;
use super::places::Place;
use super::session::{SessionId, Sessions};

/// An open stream of server messages, to be framed by the transport. To drop it means that the client went away.
#[derive(Debug)]
pub struct EventStream(Kind);

#[derive(Debug)]
enum Kind {
    /// What a call says, and its result.
    Call {
        line: Arc<Line>,
        /// The call, ended with the stream where a client that goes away takes its request back.
        _task: Option<AbortOnDropHandle<()>>,
    },
    /// Changes, for as long as the client wants to hear of them.
    Feed(Reading),
    /// Nothing at all.
    Ended,
}

/// A feed in the hands of one reader.
#[derive(Debug)]
pub(super) struct Reading {
    feed: Arc<Feed>,
    reader: u32,
    session: Option<OfSession>,
    _place: Option<Place>,
}

/// The session that a stream belongs to, told when the stream ends: it is idle from then on.
#[derive(Debug)]
pub(super) struct OfSession {
    pub(super) sessions: Arc<Mutex<Sessions>>,
    pub(super) id: SessionId,
}

impl Reading {
    /// Takes a feed over from whoever read it before.
    pub(super) fn new(feed: Arc<Feed>, session: Option<OfSession>, place: Option<Place>) -> Self {
        let reader = feed.attach();
        Self {
            feed,
            reader,
            session,
            _place: place,
        }
    }

    /// Whether the request with this id opened it.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.feed.is_of(id)
    }

    /// Ends it in good order.
    pub(super) fn end(&self) {
        self.feed.end();
    }

    /// The next message; `None` at the end.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.feed.poll_next(self.reader, context)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(of) = &self.session
            && self.feed.is_read_by(self.reader)
        {
            of.sessions.lock().rest(of.id, Instant::now());
        }
    }
}

impl EventStream {
    /// The stream of a call.
    pub(super) const fn of_call(line: Arc<Line>, task: Option<AbortOnDropHandle<()>>) -> Self {
        Self(Kind::Call { line, _task: task })
    }

    /// A stream of changes.
    pub(super) const fn of_feed(reading: Reading) -> Self {
        Self(Kind::Feed(reading))
    }

    /// A stream that has ended.
    pub(super) const fn ended() -> Self {
        Self(Kind::Ended)
    }

    /// Whether it stays open although nothing is under way.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(self.0, Kind::Feed(_))
    }

    /// Ends the stream in good order: what closes it comes next. A call goes on to its result.
    pub fn end(&self) {
        if let Kind::Feed(reading) = &self.0 {
            reading.end();
        }
    }

    /// The next message; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        match &self.0 {
            Kind::Call { line, .. } => line.poll_next(context),
            Kind::Feed(reading) => reading.poll_next(context),
            Kind::Ended => Poll::Ready(None),
        }
    }
}
