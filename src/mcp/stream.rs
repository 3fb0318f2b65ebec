//! Event streams: how many there are, what opens and closes them. Framing and keep-alive belong to the transport.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::session::{SessionId, Sessions};
use crate::base::shutdown::Stop;
use crate::limits::{STREAMS_MAX, STREAMS_PER_CALLER_MAX};

/// An open stream of server messages, to be framed by the transport.
#[derive(Debug)]
pub struct EventStream {
    /// The first message, if the stream opens with one.
    pub opening: Option<Vec<u8>>,
    /// The last message, if the stream is ended by the server in good order.
    pub closing: Option<Vec<u8>>,
    /// Cancelled when the stream has to end.
    pub ended: Stop,
    /// Gives the place back.
    _place: Place,
}

/// Why no stream can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many in all.
    Total,
    /// This caller has too many.
    Caller,
}

/// Counts the open streams.
#[derive(Debug, Default, Clone)]
pub(super) struct Streams(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_caller: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Place {
    streams: Streams,
    caller: Arc<str>,
    session: Option<OfSession>,
}

/// The session that a stream belongs to, told when the stream ends: it is idle from then on.
#[derive(Debug)]
pub(super) struct OfSession {
    pub(super) sessions: Arc<Mutex<Sessions>>,
    pub(super) id: SessionId,
    pub(super) ended: Stop,
}

/// What opens and closes a stream, and when.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) opening: Option<Vec<u8>>,
    pub(super) closing: Option<Vec<u8>>,
    pub(super) ended: Stop,
    pub(super) session: Option<OfSession>,
}

impl Streams {
    /// Opens a stream, if there is room for one more.
    pub(super) fn open(&self, caller: &Arc<str>, course: Course) -> Result<EventStream, Full> {
        let mut counts = self.0.lock();
        if counts.total >= STREAMS_MAX {
            return Err(Full::Total);
        }
        let own = counts.by_caller.entry(Arc::clone(caller)).or_insert(0);
        if *own >= STREAMS_PER_CALLER_MAX {
            return Err(Full::Caller);
        }
        *own += 1;
        counts.total += 1;
        Ok(EventStream {
            opening: course.opening,
            closing: course.closing,
            ended: course.ended,
            _place: Place {
                streams: self.clone(),
                caller: Arc::clone(caller),
                session: course.session,
            },
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(of) = self.session.take() {
            of.sessions.lock().detach(of.id, &of.ended, Instant::now());
        }
        let mut counts = self.streams.0.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(own) = counts.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_caller_and_in_all_and_given_back() {
        let streams = Streams::default();
        let open = |caller: &str| streams.open(&Arc::from(caller), Course::default());
        let greedy: Vec<_> = (0..STREAMS_PER_CALLER_MAX)
            .map(|_| open("greedy").unwrap())
            .collect();
        assert_eq!(open("greedy").err(), Some(Full::Caller));
        let others: Vec<_> = (STREAMS_PER_CALLER_MAX..STREAMS_MAX)
            .map(|n| open(&n.to_string()).unwrap())
            .collect();
        assert_eq!(open("late").err(), Some(Full::Total));
        drop((greedy, others));
        assert!(open("greedy").is_ok());
        assert!(streams.0.lock().by_caller.is_empty());
    }
}
