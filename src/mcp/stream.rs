//! Event streams: what they carry and when they end. Framing and keep-alive belong to the transport.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::berth::Berth;
use super::error::Fault;
use super::feed::Feed;
use super::line::Line;
use super::places::Place;
use super::replay::{Ring, Track};
use super::session::{SessionId, Sessions};

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The name by which the client can take the stream up again behind it.
    pub id: Option<EventId>,
    /// The message; empty for an event that only tells its id.
    pub message: Bytes,
}

/// Name of an event, unique in its session: the stream, and a number on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    stream: u64,
    number: u64,
}

impl EventId {
    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, number) = text.split_once('-')?;
        Some(Self {
            stream: stream.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

/// An open stream of server messages, to be framed by the transport. To drop it means that the client went away.
#[derive(Debug)]
pub struct EventStream(Kind);

#[derive(Debug)]
enum Kind {
    /// What a call says, and its result.
    Call(Hearing),
    /// The same where it can be taken up again.
    Track(Playing),
    /// Changes, for as long as the client wants to hear of them.
    Feed(Reading),
    /// Nothing at all.
    Ended,
}

/// Whose call it is, for the fault that ends it.
#[derive(Debug, Clone)]
pub(super) struct Addressee {
    pub(super) id: Option<Box<str>>,
    pub(super) is_modern: bool,
}

impl Addressee {
    /// The message that says that the key has ended.
    pub(super) fn revoked(&self) -> Vec<u8> {
        let fault = Fault::revoked(self.is_modern);
        fault.to_json(self.id.as_deref())
    }
}

/// The line of a call in the hands of its one reader.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) line: Arc<Line>,
    /// The call, unless it is over.
    pub(super) task: Option<AbortHandle>,
    /// A client that goes away takes its request back.
    pub(super) cancels: bool,
    pub(super) whose: Addressee,
    pub(super) _place: Option<Arc<Place>>,
}

impl Hearing {
    fn end(&mut self) {
        self.line.close(Some(self.whose.revoked()));
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if self.cancels
            && let Some(task) = &self.task
        {
            task.abort();
        }
    }
}

/// A track in the hands of one reader.
#[derive(Debug)]
pub(super) struct Playing {
    track: Arc<Track>,
    reader: u32,
    /// Number of the event that opens the stream, until it was told.
    opens_at: Option<u64>,
    _place: Option<Arc<Place>>,
}

impl Playing {
    /// A track from the beginning, by its first reader.
    pub(super) const fn new(track: Arc<Track>, reader: u32, place: Option<Arc<Place>>) -> Self {
        Self {
            track,
            reader,
            opens_at: Some(0),
            _place: place,
        }
    }

    /// A track behind the event that its client heard last.
    fn resumed(track: Arc<Track>, heard: u64, place: Place) -> Option<Self> {
        let reader = track.attach(heard)?;
        Some(Self {
            track,
            reader,
            opens_at: Some(heard),
            _place: Some(Arc::new(place)),
        })
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = |number, message| Event {
            id: Some(EventId {
                stream: self.track.number,
                number,
            }),
            message,
        };
        if let Some(number) = self.opens_at.take() {
            return Poll::Ready(Some(event(number, Bytes::new())));
        }
        let next = std::task::ready!(self.track.poll_next(self.reader, context));
        Poll::Ready(next.map(|(number, message)| event(number, message)))
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.track.detach(self.reader);
    }
}

/// A feed in the hands of one reader.
#[derive(Debug)]
pub(super) struct Reading {
    feed: Arc<Feed>,
    reader: u32,
    session: Option<OfSession>,
    /// Its events have ids; the one that opens the stream is yet to come.
    is_numbered: bool,
    is_opening: bool,
    /// Of a stream of its own; one that shares a connection has none.
    berth: Option<Box<Berth>>,
}

/// Number of the stream of a session itself. It cannot be replayed, and need not be: a feed tells what is new whenever it is read.
const OF_SESSION: u64 = 0;

/// The session that a stream belongs to, told when the stream ends: it is idle from then on.
#[derive(Debug)]
pub(super) struct OfSession {
    pub(super) sessions: Arc<Mutex<Sessions>>,
    pub(super) id: SessionId,
}

impl Reading {
    /// Takes a feed over from whoever read it before.
    pub(super) fn new(feed: Arc<Feed>, session: Option<OfSession>, berth: Option<Berth>) -> Self {
        let reader = feed.attach();
        Self {
            feed,
            reader,
            session,
            is_numbered: false,
            is_opening: false,
            berth: berth.map(Box::new),
        }
    }

    /// Ready when its client is asked to leave.
    fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.berth {
            Some(berth) => berth.poll_leave(context),
            None => Poll::Pending,
        }
    }

    /// The same with ids on its events, for clients that know what to do with them.
    pub(super) fn numbered(mut self, is_numbered: bool) -> Self {
        self.is_numbered = is_numbered;
        self.is_opening = is_numbered;
        self
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let message = if std::mem::take(&mut self.is_opening) {
            Some(Bytes::new())
        } else {
            std::task::ready!(self.poll_next(context)).map(Bytes::from)
        };
        if let Some(berth) = &self.berth {
            berth.used();
        }
        Poll::Ready(message.map(|message| Event {
            id: self.is_numbered.then(|| EventId {
                stream: OF_SESSION,
                number: self.feed.count(),
            }),
            message,
        }))
    }

    /// Whether the request with this id opened it.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.feed.is_of(id)
    }

    /// Ends it in good order.
    pub(super) fn end(&self) {
        self.feed.end_for_reader();
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
    pub(super) const fn of_call(hearing: Hearing) -> Self {
        Self(Kind::Call(hearing))
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

    /// Ends the stream in good order, since its caller has lost the right to it: what closes it comes next. A call is taken back.
    pub fn end(&mut self) {
        match &mut self.0 {
            Kind::Call(hearing) => hearing.end(),
            Kind::Track(playing) => playing.track.revoke(),
            Kind::Feed(reading) => reading.end(),
            Kind::Ended => {}
        }
    }

    /// Ready when its client is asked to leave. What it then hears is the transport's to say.
    pub fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.0 {
            Kind::Feed(reading) => reading.poll_leave(context),
            Kind::Call(_) | Kind::Track(_) | Kind::Ended => Poll::Pending,
        }
    }

    /// Whether an event was one of the stream of a session itself.
    pub(super) fn is_of_session(heard: &str) -> bool {
        EventId::parse(heard).is_some_and(|id| id.stream == OF_SESSION)
    }

    /// The stream of a call behind the event that was heard last. One of which that is no longer known has ended.
    pub(super) fn resumed(ring: Option<&Ring>, heard: &str, place: Place) -> Self {
        let playing = EventId::parse(heard).and_then(|id| {
            let track = ring?.find(id.stream)?;
            Playing::resumed(track, id.number, place)
        });
        playing.map_or(Self::ended(), Self::of_track)
    }

    /// The stream of a call that can be taken up again.
    pub(super) const fn of_track(playing: Playing) -> Self {
        Self(Kind::Track(playing))
    }

    /// The next event; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        match &mut self.0 {
            Kind::Call(hearing) => hearing.line.poll_next(context).map(|message| {
                message.map(|message| Event {
                    id: None,
                    message: message.into(),
                })
            }),
            Kind::Track(playing) => playing.poll_next(context),
            Kind::Feed(reading) => reading.poll_event(context),
            Kind::Ended => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_events_are_read_back_and_nothing_else_is() {
        let id = EventId {
            stream: 17,
            number: 4,
        };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "a-1",
            "1-2-3",
            "99999999999999999999-1",
        ] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }
}
