//! Streams that can be taken up again: what was said on them is kept for a while, within bounds, so that a client whose connection broke
//! hears the rest (2025-11-25, Transports, Resumability and Redelivery).

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::stream::Addressee;
use crate::limits::{
    KEPT_BYTES_MAX, KEPT_BYTES_PER_SESSION_MAX, KEPT_STREAM_BYTES, KEPT_STREAMS_PER_SESSION_MAX,
    LINE_MESSAGES_MAX,
};

/// What is kept over all sessions.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    bytes: usize,
    /// Tracks that are complete, the one that ended longest ago first.
    finished: VecDeque<Weak<Track>>,
    /// Length from which on those are taken out that are no more.
    tidy_at: usize,
}

/// What is kept of one session.
#[derive(Debug)]
pub(super) struct Ring {
    shelf: Arc<Shelf>,
    state: Mutex<Tracks>,
}

#[derive(Debug, Default)]
struct Tracks {
    bytes: usize,
    /// Number of the last stream. The stream of the session itself is 0.
    last: u64,
    kept: VecDeque<Arc<Track>>,
}

/// What was said on one stream.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) number: u64,
    ring: Weak<Ring>,
    whose: Addressee,
    /// The call.
    task: OnceLock<AbortHandle>,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    /// Number of the first entry. The event that opens the stream is 0.
    first: u64,
    /// Number of the entry that is read next.
    next: u64,
    /// Number of the reader whose stream it is now.
    reader: u32,
    has_reader: bool,
    is_finished: bool,
}

#[derive(Debug)]
struct Entry {
    message: Bytes,
    /// It has room on the shelf, and stays when it is read.
    is_kept: bool,
}

impl Shelf {
    fn claim(&self, bytes: usize) -> bool {
        // Each round makes room or finds none to make.
        loop {
            let mut stock = self.0.lock();
            if stock.bytes + bytes <= KEPT_BYTES_MAX {
                stock.bytes += bytes;
                return true;
            }
            let Some(oldest) = stock.finished.pop_front() else {
                return false;
            };
            drop(stock);
            if let Some(track) = oldest.upgrade() {
                if let Some(ring) = track.ring.upgrade() {
                    ring.remove(track.number);
                }
                track.lose();
            }
        }
    }

    /// Forgets what is over and read by nobody. How many streams.
    pub(super) fn clear(&self) -> usize {
        let finished = std::mem::take(&mut self.0.lock().finished);
        let mut count = 0;
        for track in finished.iter().filter_map(Weak::upgrade) {
            if !track.is_over() {
                // Its reader reads on, and it is forgotten at the next time.
                self.0.lock().finished.push_back(Arc::downgrade(&track));
                continue;
            }
            if let Some(ring) = track.ring.upgrade() {
                ring.remove(track.number);
            }
            track.lose();
            count += 1;
        }
        count
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    fn release(&self, bytes: usize) {
        let mut stock = self.0.lock();
        stock.bytes = stock.bytes.saturating_sub(bytes);
    }

    fn finished(&self, track: &Arc<Track>) {
        let mut stock = self.0.lock();
        stock.finished.push_back(Arc::downgrade(track));
        if stock.finished.len() > stock.tidy_at {
            stock.finished.retain(|track| track.strong_count() > 0);
            stock.tidy_at = 2 * stock.finished.len() + 64;
        }
    }
}

impl Ring {
    pub(super) fn new(all: &Arc<Shelf>) -> Arc<Self> {
        Arc::new(Self {
            shelf: Arc::clone(all),
            state: Mutex::default(),
        })
    }

    /// Opens a track, in the hands of its first reader; `None` if the session has too many that run, or there is no room.
    pub(super) fn open(self: &Arc<Self>, whose: Addressee) -> Option<(Arc<Track>, u32)> {
        if !self.claim(KEPT_STREAM_BYTES) {
            return None;
        }
        let opened = self.place(whose);
        if opened.is_none() {
            self.release(KEPT_STREAM_BYTES);
        }
        opened
    }

    fn place(self: &Arc<Self>, whose: Addressee) -> Option<(Arc<Track>, u32)> {
        let mut state = self.state.lock();
        let lost = if state.kept.len() >= KEPT_STREAMS_PER_SESSION_MAX {
            let at = state.kept.iter().position(|track| track.is_over())?;
            state.kept.remove(at)
        } else {
            None
        };
        state.last += 1;
        let track = Arc::new(Track {
            number: state.last,
            ring: Arc::downgrade(self),
            whose,
            task: OnceLock::new(),
            state: Mutex::new(State {
                entries: VecDeque::new(),
                first: 1,
                next: 1,
                reader: 0,
                has_reader: true,
                is_finished: false,
            }),
            reader: AtomicWaker::new(),
        });
        state.kept.push_back(Arc::clone(&track));
        drop(state);
        if let Some(lost) = lost {
            lost.lose();
        }
        Some((track, 0))
    }

    /// The track of this number, if anything of it is left.
    pub(super) fn find(&self, number: u64) -> Option<Arc<Track>> {
        let state = self.state.lock();
        let found = state.kept.iter().find(|track| track.number == number);
        found.map(Arc::clone)
    }

    fn remove(&self, number: u64) {
        let removed = {
            let mut state = self.state.lock();
            let at = state.kept.iter().position(|track| track.number == number);
            at.and_then(|at| state.kept.remove(at))
        };
        drop(removed);
    }

    fn claim(&self, bytes: usize) -> bool {
        loop {
            let mut state = self.state.lock();
            if state.bytes + bytes <= KEPT_BYTES_PER_SESSION_MAX {
                state.bytes += bytes;
                break;
            }
            let Some(at) = state.kept.iter().position(|track| track.is_over()) else {
                return false;
            };
            let oldest = state.kept.remove(at);
            drop(state);
            if let Some(track) = oldest {
                track.lose();
            }
        }
        if self.shelf.claim(bytes) {
            return true;
        }
        self.state.lock().bytes -= bytes;
        false
    }

    fn release(&self, bytes: usize) {
        {
            let mut state = self.state.lock();
            state.bytes = state.bytes.saturating_sub(bytes);
        }
        self.shelf.release(bytes);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Tracks that are still read find no ring to give their room back to.
        self.shelf.release(self.state.get_mut().bytes);
    }
}

impl Track {
    /// Records a message. What finds no room to be kept is only passed on to a reader who keeps up.
    pub(super) fn record(&self, message: Vec<u8>) {
        self.put(message, LINE_MESSAGES_MAX);
    }

    /// Records the last message. Without room it is lost, unless somebody reads.
    pub(super) fn finish(self: &Arc<Self>, last: Option<Vec<u8>>) {
        if let Some(last) = last {
            self.put(last, usize::MAX);
        }
        let was_finished = std::mem::replace(&mut self.state.lock().is_finished, true);
        self.reader.wake();
        if !was_finished && let Some(ring) = self.ring.upgrade() {
            ring.shelf.finished(self);
        }
    }

    /// Says which task the call is.
    pub(super) fn is_of(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Ends the call, whose caller has lost the right to it.
    pub(super) fn revoke(self: &Arc<Self>) {
        self.finish(Some(self.whose.revoked()));
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn put(&self, message: Vec<u8>, unread_max: usize) {
        let ring = self.ring.upgrade();
        let bytes = message.len();
        let is_kept = ring.as_ref().is_some_and(|ring| ring.claim(bytes));
        let is_taken = {
            let mut state = self.state.lock();
            let is_taken =
                !state.is_finished && (is_kept || state.has_reader && state.unread() < unread_max);
            if is_taken {
                let message = Bytes::from(message);
                state.entries.push_back(Entry { message, is_kept });
            }
            is_taken
        };
        if is_taken {
            self.reader.wake();
        } else if is_kept && let Some(ring) = ring {
            ring.release(bytes);
        }
    }

    /// Hands the track to a new reader, who has read up to the entry of this number; `None` if what follows is no longer there. The
    /// reader before finds its end.
    pub(super) fn attach(&self, read: u64) -> Option<u32> {
        let reader = {
            let mut state = self.state.lock();
            let next = read.checked_add(1)?;
            let end = state.first + u64::try_from(state.entries.len()).ok()?;
            if !(state.first..=end).contains(&next) {
                return None;
            }
            state.next = next;
            state.reader = state.reader.wrapping_add(1);
            state.has_reader = true;
            state.reader
        };
        self.reader.wake();
        Some(reader)
    }

    /// The reader is gone.
    pub(super) fn detach(&self, reader: u32) {
        let mut state = self.state.lock();
        if state.reader == reader {
            state.has_reader = false;
        }
    }

    /// The next message for this reader, and its number; `None` at its end.
    pub(super) fn poll_next(
        &self,
        reader: u32,
        context: &mut Context<'_>,
    ) -> Poll<Option<(u64, Bytes)>> {
        let (next, given_back) = {
            let mut state = self.state.lock();
            if state.reader != reader {
                return Poll::Ready(None);
            }
            self.reader.register(context.waker());
            let Some(entry) = state.entries.get(state.at()) else {
                return if state.is_finished {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            };
            let (number, message, is_kept) = (state.next, entry.message.clone(), entry.is_kept);
            state.next += 1;
            // What is not kept cannot be read again, nor can what came before it.
            let given_back = if is_kept { 0 } else { state.forget_read() };
            ((number, message), given_back)
        };
        self.give_back(given_back);
        Poll::Ready(Some(next))
    }

    /// Whether everything was said and nobody reads.
    fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_finished && !state.has_reader
    }

    /// Forgets what was said. A reader who is at it reads on.
    fn lose(&self) {
        let given_back = {
            let mut state = self.state.lock();
            if state.has_reader {
                state.forget_read()
            } else {
                state.next = state.first + u64::try_from(state.entries.len()).unwrap_or(0);
                let given_back = state.forget_read();
                // Not even the end can be heard any more.
                state.first += 1;
                given_back
            }
        };
        self.give_back(given_back);
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0
            && let Some(ring) = self.ring.upgrade()
        {
            ring.release(bytes);
        }
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let kept = state.entries.iter().filter(|entry| entry.is_kept);
        let bytes: usize = kept.map(|entry| entry.message.len()).sum();
        self.give_back(bytes + KEPT_STREAM_BYTES);
    }
}

impl State {
    /// Place of the entry that is read next.
    fn at(&self) -> usize {
        usize::try_from(self.next.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn unread(&self) -> usize {
        self.entries.len().saturating_sub(self.at())
    }

    /// Drops what was read; how many bytes that frees on the shelf.
    fn forget_read(&mut self) -> usize {
        let mut bytes = 0;
        while self.first < self.next
            && let Some(entry) = self.entries.pop_front()
        {
            self.first += 1;
            if entry.is_kept {
                bytes += entry.message.len();
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn read(track: &Track, reader: u32) -> Option<(u64, String)> {
        let next = poll_fn(|context| track.poll_next(reader, context)).await;
        next.map(|(number, message)| (number, String::from_utf8(message.to_vec()).unwrap()))
    }

    fn somebody() -> Addressee {
        Addressee {
            id: None,
            is_modern: false,
        }
    }

    fn stock(shelf: &Shelf) -> usize {
        shelf.0.lock().bytes
    }

    #[tokio::test]
    async fn a_new_reader_hears_what_the_one_before_did_not() {
        let shelf = Arc::<Shelf>::default();
        let ring = Ring::new(&shelf);
        let (track, first) = ring.open(somebody()).unwrap();
        for text in ["a", "b", "c"] {
            track.record(text.into());
        }
        assert_eq!(read(&track, first).await, Some((1, "a".to_owned())));
        let second = ring.find(1).unwrap().attach(1).unwrap();
        assert_eq!(read(&track, first).await, None);
        track.finish(Some("end".into()));
        for (number, text) in [(2, "b"), (3, "c"), (4, "end")] {
            assert_eq!(read(&track, second).await, Some((number, text.to_owned())));
        }
        assert_eq!(read(&track, second).await, None);
        let third = track.attach(0).unwrap();
        assert_eq!(read(&track, third).await, Some((1, "a".to_owned())));
        assert!(track.attach(5).is_none() && track.attach(u64::MAX).is_none());
        assert!(ring.find(2).is_none());
        let at_the_end = track.attach(4).unwrap();
        assert_eq!(read(&track, at_the_end).await, None);
        drop((track, ring));
        assert_eq!(stock(&shelf), 0);
    }

    #[tokio::test]
    async fn the_room_of_a_session_goes_to_its_newest_streams() {
        let shelf = Arc::<Shelf>::default();
        let ring = Ring::new(&shelf);
        let half = "x".repeat(KEPT_BYTES_PER_SESSION_MAX / 2 - KEPT_STREAM_BYTES);
        for _ in 0..3 {
            let (track, reader) = ring.open(somebody()).unwrap();
            track.finish(Some(half.clone().into()));
            track.detach(reader);
        }
        assert!(ring.find(1).is_none());
        assert!(ring.find(2).unwrap().attach(0).is_some());
        assert!(ring.find(3).unwrap().attach(0).is_some());
        assert_eq!(stock(&shelf), 2 * (half.len() + KEPT_STREAM_BYTES));
        drop(ring);
        assert_eq!(stock(&shelf), 0);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_read_once_by_who_reads_and_else_lost() {
        let shelf = Arc::<Shelf>::default();
        let ring = Ring::new(&shelf);
        let huge = "x".repeat(KEPT_BYTES_PER_SESSION_MAX + 1);
        let (read_at_once, reader) = ring.open(somebody()).unwrap();
        read_at_once.record("a".into());
        read_at_once.finish(Some(huge.clone().into()));
        assert_eq!(read(&read_at_once, reader).await.unwrap().0, 1);
        assert_eq!(read(&read_at_once, reader).await.unwrap().1, huge);
        assert!(read_at_once.attach(0).is_none() && read_at_once.attach(1).is_none());
        let (unread, reader) = ring.open(somebody()).unwrap();
        unread.detach(reader);
        unread.finish(Some(huge.into()));
        let late = unread.attach(0).unwrap();
        assert_eq!(read(&unread, late).await, None);
        drop((read_at_once, unread, ring));
        assert_eq!(stock(&shelf), 0);
    }

    #[test]
    fn the_room_of_all_sessions_goes_to_the_newest_streams() {
        let shelf = Arc::<Shelf>::default();
        let each = KEPT_BYTES_PER_SESSION_MAX;
        let rings: Vec<_> = (0..=KEPT_BYTES_MAX / each)
            .map(|_| {
                let ring = Ring::new(&shelf);
                let (track, reader) = ring.open(somebody()).unwrap();
                track.finish(Some(vec![b'x'; each - KEPT_STREAM_BYTES]));
                track.detach(reader);
                ring
            })
            .collect();
        assert!(stock(&shelf) <= KEPT_BYTES_MAX);
        let left = |ring: &Ring| ring.find(1).is_some_and(|track| track.attach(0).is_some());
        assert!(!left(&rings[0]));
        assert!(rings[1..].iter().all(|ring| left(ring)));
        drop(rings);
        assert_eq!(stock(&shelf), 0);
    }

    #[test]
    fn streams_that_run_are_bounded_per_session() {
        let ring = Ring::new(&Arc::default());
        let open: Vec<_> = (0..KEPT_STREAMS_PER_SESSION_MAX)
            .map(|_| ring.open(somebody()).unwrap())
            .collect();
        assert!(ring.open(somebody()).is_none());
        let (track, reader) = &open[3];
        track.finish(None);
        assert!(ring.open(somebody()).is_none(), "it is still read");
        track.detach(*reader);
        assert!(ring.open(somebody()).is_some() && ring.find(track.number).is_none());
    }
}
