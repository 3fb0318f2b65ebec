//! Sessions of the older revisions: a random name, bound to its caller, bounded in number, ended when idle.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashMap;
use tokio::time::Instant;

use super::peer::Peer;
use crate::limits::{SESSION_IDLE_SECS, SESSIONS_MAX, SESSIONS_PER_CALLER_MAX};

const IDLE: Duration = Duration::from_secs(SESSION_IDLE_SECS);

/// A session's name: 128 random bits. It is no credential: each use is checked against the caller too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads what [`Display`](std::fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 16];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// What is kept of a session: some 200 bytes with its peer.
#[derive(Debug)]
struct Session {
    owner: Arc<str>,
    peer: Arc<Peer>,
    last_used: Instant,
    /// An event stream of it is open.
    has_stream: bool,
}

impl Session {
    /// A session with an open stream is in use, however quiet.
    fn idle_since(&self, now: Instant) -> Option<Duration> {
        (!self.has_stream).then(|| now.duration_since(self.last_used))
    }
}

type Table = HashMap<SessionId, Session>;

/// Sessions by when they were used last, as far as that is known here: an entry that is behind the times is put right when its turn
/// comes, so that a use costs nothing.
#[derive(Debug, Default)]
struct Queue(BinaryHeap<Reverse<(Instant, SessionId)>>);

impl Queue {
    fn push(&mut self, id: SessionId, used: Instant) {
        self.0.push(Reverse((used, id)));
    }

    /// The session that was idle longest; one with a stream only if all have one.
    fn oldest(&mut self, table: &mut Table, now: Instant) -> Option<SessionId> {
        let mut in_use = self.0.len();
        while let Some(Reverse((used, id))) = self.0.pop() {
            let Some(session) = table.get_mut(&id) else {
                continue;
            };
            if session.has_stream && in_use > 0 {
                in_use -= 1;
                session.last_used = now;
            }
            if session.last_used <= used {
                return Some(id);
            }
            self.push(id, session.last_used);
        }
        None
    }

    /// Drops entries of sessions that have ended, once they are many.
    fn tidy(&mut self, table: &Table, live: usize) {
        if self.0.len() > 2 * live + 64 {
            self.0.retain(|Reverse((_, id))| table.contains_key(id));
        }
    }
}

/// Sessions of one caller.
#[derive(Debug, Default)]
struct Owned {
    count: usize,
    queue: Queue,
}

/// All sessions. The caps hold whatever order they are opened and used in.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    table: Table,
    queue: Queue,
    owned: HashMap<Arc<str>, Owned>,
}

impl Sessions {
    /// Opens a session. At a cap the one that was idle longest ends: the caller's own at the caller's cap, anybody's at the total.
    pub(super) fn open(
        &mut self,
        owner: &Arc<str>,
        peer: Peer,
        now: Instant,
    ) -> Result<SessionId, getrandom::Error> {
        let id = SessionId::random()?;
        let own = self.owned.get_mut(owner);
        if let Some(own) = own.filter(|own| own.count >= SESSIONS_PER_CALLER_MAX)
            && let Some(oldest) = own.queue.oldest(&mut self.table, now)
        {
            self.remove(oldest);
        }
        if self.table.len() >= SESSIONS_MAX
            && let Some(oldest) = self.queue.oldest(&mut self.table, now)
        {
            self.remove(oldest);
        }
        let session = Session {
            owner: Arc::clone(owner),
            peer: Arc::new(peer),
            last_used: now,
            has_stream: false,
        };
        self.table.insert(id, session);
        self.queue.push(id, now);
        self.queue.tidy(&self.table, self.table.len());
        let own = self.owned.entry(Arc::clone(owner)).or_default();
        own.count += 1;
        own.queue.push(id, now);
        own.queue.tidy(&self.table, own.count);
        Ok(id)
    }

    /// How many there are, idle ones included until they are found to be.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Finds the caller's session and marks it used. `None` for one that is unknown, ended, or somebody else's.
    pub(super) fn find(
        &mut self,
        id: &str,
        caller: &str,
        now: Instant,
    ) -> Option<(SessionId, Arc<Peer>)> {
        let id = SessionId::parse(id)?;
        let session = self.owned_by(id, caller)?;
        if session.idle_since(now).is_some_and(|idle| idle >= IDLE) {
            self.remove(id);
            return None;
        }
        session.last_used = now;
        Some((id, Arc::clone(&session.peer)))
    }

    /// Ends the caller's session; whether there was one.
    pub(super) fn end(&mut self, id: &str, caller: &str) -> bool {
        match SessionId::parse(id) {
            Some(id) if self.owned_by(id, caller).is_some() => self.remove(id),
            _ => false,
        }
    }

    /// Notes that a stream of the session is open.
    pub(super) fn stream(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(&id) {
            session.has_stream = true;
        }
    }

    /// Notes that its stream is gone; the session is idle from now on.
    pub(super) fn rest(&mut self, id: SessionId, now: Instant) {
        if let Some(session) = self.table.get_mut(&id) {
            session.has_stream = false;
            session.last_used = now;
        }
    }

    fn owned_by(&mut self, id: SessionId, caller: &str) -> Option<&mut Session> {
        self.table
            .get_mut(&id)
            .filter(|session| *session.owner == *caller)
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.table.remove(&id) else {
            return false;
        };
        session.peer.close();
        if let Some(own) = self.owned.get_mut(&session.owner) {
            own.count = own.count.saturating_sub(1);
            if own.count == 0 {
                self.owned.remove(&session.owner);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::mcp::revision::Revision;
    use crate::service::Generations;

    const REVISION: Revision = Revision::R2025_11_25;

    fn peer() -> Peer {
        Peer::new(REVISION, None, Generations::default())
    }

    #[test]
    fn a_session_is_found_by_its_caller_alone_until_it_ends() {
        let mut sessions = Sessions::default();
        let (now, mine) = (Instant::now(), Arc::from("mine"));
        let id = sessions.open(&mine, peer(), now).unwrap().to_string();
        assert_eq!(id.len(), 22);
        assert_eq!(
            sessions
                .find(&id, "mine", now)
                .map(|found| found.1.revision()),
            Some(REVISION)
        );
        assert!(sessions.find(&id, "other", now).is_none());
        assert!(!sessions.end(&id, "other"));
        assert!(sessions.end(&id, "mine") && !sessions.end(&id, "mine"));
        assert!(sessions.find(&id, "mine", now).is_none());
        assert!(sessions.find("not a session ä", "mine", now).is_none());
    }

    #[test]
    fn an_idle_session_ends_and_a_streaming_one_does_not() {
        let mut sessions = Sessions::default();
        let (now, owner) = (Instant::now(), Arc::from("a"));
        let idle = sessions.open(&owner, peer(), now).unwrap();
        let streaming = sessions.open(&owner, peer(), now).unwrap();
        sessions.stream(streaming);
        let later = now + IDLE;
        assert!(sessions.find(&idle.to_string(), "a", later).is_none());
        assert!(sessions.find(&streaming.to_string(), "a", later).is_some());
        assert!(sessions.end(&streaming.to_string(), "a"));
        assert!(sessions.owned.is_empty());
    }

    #[test]
    fn a_session_is_idle_from_the_end_of_its_stream_on() {
        let mut sessions = Sessions::default();
        let (now, owner) = (Instant::now(), Arc::from("a"));
        let id = sessions.open(&owner, peer(), now).unwrap();
        sessions.stream(id);
        sessions.rest(id, now + IDLE);
        let id = id.to_string();
        assert!(sessions.find(&id, "a", now + IDLE + IDLE / 2).is_some());
        assert!(sessions.find(&id, "a", now + IDLE * 3).is_none());
    }

    #[test]
    fn caps_hold_and_the_longest_idle_goes_first() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let other = Arc::from("other");
        let kept = sessions.open(&other, peer(), start).unwrap().to_string();
        let greedy = Arc::from("greedy");
        let mut ids = Vec::new();
        let mut now = start;
        for _ in 0..SESSIONS_PER_CALLER_MAX + 100 {
            now += Duration::from_millis(1);
            ids.push(sessions.open(&greedy, peer(), now).unwrap().to_string());
        }
        assert_eq!(sessions.table.len(), SESSIONS_PER_CALLER_MAX + 1);
        assert!(
            sessions.find(&kept, "other", now).is_some(),
            "a greedy caller ends only its own"
        );
        assert!(sessions.find(&ids[100], "greedy", now).is_some());
        assert!(sessions.find(&ids[99], "greedy", now).is_none());
        for number in 0..SESSIONS_MAX - SESSIONS_PER_CALLER_MAX + 50 {
            let owner = Arc::from(format!("caller {number}"));
            sessions.open(&owner, peer(), now).unwrap();
        }
        assert_eq!(sessions.table.len(), SESSIONS_MAX);
    }

    #[test]
    fn sessions_that_end_leave_nothing_behind() {
        let mut sessions = Sessions::default();
        let (now, owner) = (Instant::now(), Arc::from("a"));
        let kept = sessions.open(&owner, peer(), now).unwrap();
        for _ in 0..1_000 {
            let id = sessions.open(&owner, peer(), now).unwrap();
            assert!(sessions.end(&id.to_string(), "a"));
        }
        let own = &sessions.owned["a"];
        assert!(sessions.queue.0.len() < 100 && own.queue.0.len() < 100);
        let found = sessions.queue.oldest(&mut sessions.table, now);
        assert_eq!(found, Some(kept));
    }

    #[test]
    fn ten_thousand_sessions_would_cost_less_than_eight_megabytes() {
        let queued = 2 * size_of::<(Instant, SessionId)>();
        let each = size_of::<Session>() + size_of::<Peer>() + size_of::<SessionId>() + queued + 96;
        assert!(each * 10_000 < 8 << 20, "{each} bytes each");
    }
}
