//! What is known of a client with a handshake, and what is under way with it: requests that it may take back, and requests of ours
//! that it has yet to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::feed::{Feed, Form, Lists};
use super::hub::Hub;
use super::outlet::{AskFault, Threshold};
use super::replay::{Ring, Shelf, Track};
use super::revision::Revision;
use super::schema::{self, Response};
use super::stream::Addressee;
use crate::base::shutdown::Stop;
use crate::guard::Caller;
use crate::limits::{ASKS_PER_SESSION_MAX, RUNNING_PER_SESSION_MAX};
use crate::service::{Abilities, Generations};

/// The state of one session: 100 bytes while nothing is under way.
#[derive(Debug)]
pub(super) struct Peer {
    revision: Revision,
    abilities: Abilities,
    log_level: AtomicU8,
    /// The lists as they were when the session opened.
    seen: Generations,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// Number of the last request of ours.
    asked: u64,
    /// Requests of ours without an answer, by number.
    pending: Vec<(u64, oneshot::Sender<Result<Value, AskFault>>)>,
    /// Requests of the client that run, by id.
    running: Vec<(Box<str>, Stop)>,
    /// What it hears of changes, from the first time on that it wants to hear.
    feed: Option<Arc<Feed>>,
    /// What is kept of its streams.
    ring: Option<Arc<Ring>>,
    is_closed: bool,
}

/// A request of ours on its way. Forgotten when dropped; what is answered then answers nobody.
#[derive(Debug)]
pub(super) struct Expected {
    peer: Arc<Peer>,
    id: u64,
    answer: oneshot::Receiver<Result<Value, AskFault>>,
}

/// A request of the client that runs, until dropped.
#[derive(Debug)]
pub(super) struct Running {
    peer: Arc<Peer>,
    cancelled: Stop,
}

impl Peer {
    /// A client that opened with these capabilities.
    pub(super) fn new(
        revision: Revision,
        capabilities: Option<&RawValue>,
        seen: Generations,
    ) -> Self {
        Self {
            revision,
            abilities: abilities(capabilities, revision),
            log_level: AtomicU8::new(Threshold::INFO.number()),
            seen,
            book: Mutex::default(),
        }
    }

    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    /// What it said it can be asked.
    pub(super) const fn abilities(&self) -> Abilities {
        self.abilities
    }

    pub(super) fn log_level(&self) -> Threshold {
        Threshold::of(self.log_level.load(Ordering::Relaxed))
    }

    pub(super) fn set_log_level(&self, level: Threshold) {
        self.log_level.store(level.number(), Ordering::Relaxed);
    }

    /// Opens a place for the answer to a request of ours, if there is one more.
    pub(super) fn expect_answer(self: &Arc<Self>) -> Option<Expected> {
        let (sender, answer) = oneshot::channel();
        let mut book = self.book.lock();
        if book.is_closed || book.pending.len() >= ASKS_PER_SESSION_MAX {
            return None;
        }
        book.asked += 1;
        let id = book.asked;
        book.pending.push((id, sender));
        Some(Expected {
            peer: Arc::clone(self),
            id,
            answer,
        })
    }

    /// Takes a response. One that nobody waits for is late or made up, and counts for nothing.
    pub(super) fn answered(&self, response: &Response<'_>) {
        let id = response.id.and_then(|raw| raw.get().parse::<u64>().ok());
        let Some(id) = id else { return };
        let sender = {
            let mut book = self.book.lock();
            let at = book.pending.iter().position(|(number, _)| *number == id);
            at.map(|at| book.pending.swap_remove(at).1)
        };
        if let Some(sender) = sender {
            let _ = sender.send(outcome(response));
        }
    }

    /// Notes a request that runs; `None` if there are too many.
    pub(super) fn runs(self: &Arc<Self>, id: &str) -> Option<Running> {
        let mut book = self.book.lock();
        if book.running.len() >= RUNNING_PER_SESSION_MAX {
            return None;
        }
        let cancelled = Stop::new();
        book.running.push((id.into(), cancelled.clone()));
        Some(Running {
            peer: Arc::clone(self),
            cancelled,
        })
    }

    /// Cancels every request that runs.
    pub(super) fn cancel_all(&self) {
        for (_, stop) in &self.book.lock().running {
            stop.cancel();
        }
    }

    /// What it hears of changes: of every list, and of the resources that it subscribes to. A list that changed before somebody listened
    /// counts as changed.
    pub(super) fn feed(
        &self,
        hub: &Arc<Hub>,
        caller: &Caller,
        now: impl FnOnce() -> Generations,
    ) -> Arc<Feed> {
        let mut book = self.book.lock();
        if let Some(feed) = &book.feed {
            if feed.reach == caller.reach {
                return Arc::clone(feed);
            }
            // What was subscribed to with another key may lie beyond this one's reach.
            feed.end();
        }
        let now = now();
        let feed = hub.open(Form::Session, caller, Lists::ALL, now);
        feed.mark_lists(Lists::changed(self.seen, now));
        if book.is_closed {
            feed.end();
        }
        book.feed = Some(Arc::clone(&feed));
        feed
    }

    /// What is kept of its streams, if anything is.
    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.book.lock().ring.clone()
    }

    /// Opens a track of a stream, in the hands of its first reader, if there is room for one more.
    pub(super) fn open_track(
        &self,
        all: &Arc<Shelf>,
        whose: Addressee,
    ) -> Option<(Arc<Track>, u32)> {
        let ring = {
            let mut book = self.book.lock();
            if book.is_closed {
                return None;
            }
            Arc::clone(book.ring.get_or_insert_with(|| Ring::new(all)))
        };
        ring.open(whose)
    }

    /// Ends what hangs on the session: its stream, and the questions to its client.
    pub(super) fn close(&self) {
        let (feed, ring, pending) = {
            let mut book = self.book.lock();
            book.is_closed = true;
            let pending = std::mem::take(&mut book.pending);
            (book.feed.take(), book.ring.take(), pending)
        };
        drop((ring, pending));
        if let Some(feed) = feed {
            feed.end();
        }
    }

    /// Cancels the request with this id, if it runs.
    pub(super) fn cancel(&self, id: &str) {
        for (running, stop) in &self.book.lock().running {
            if **running == *id {
                stop.cancel();
            }
        }
    }
}

impl Expected {
    /// Its number, which is its id on the wire.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer.
    pub(super) async fn answer(&mut self) -> Result<Value, AskFault> {
        (&mut self.answer).await.unwrap_or(Err(AskFault::Gone))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut book = self.peer.book.lock();
        book.pending.retain(|(number, _)| *number != self.id);
    }
}

impl Running {
    /// Cancelled when the client takes the request back.
    pub(super) const fn cancelled(&self) -> &Stop {
        &self.cancelled
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Each token is another one, even if a client gave two requests one id.
        self.cancelled.cancel();
        let mut book = self.peer.book.lock();
        book.running.retain(|(_, stop)| !stop.is_cancelled());
    }
}

fn outcome(response: &Response<'_>) -> Result<Value, AskFault> {
    #[derive(Deserialize)]
    struct Refusal {
        code: i64,
        message: String,
    }
    let refused = |code, message: String| AskFault::Refused {
        code,
        message: message.chars().take(200).collect(),
    };
    if let Some(result) = response.result {
        return serde_json::from_str(result.get())
            .map_err(|_| refused(0, "its result cannot be read".to_owned()));
    }
    let error = response.error.map_or("null", RawValue::get);
    Err(serde_json::from_str(error).map_or_else(
        |_| refused(0, "its error cannot be read".to_owned()),
        |Refusal { code, message }| refused(code, message),
    ))
}

/// What capabilities say about being asked. `elicitation` without a mode means forms (2025-11-25, Elicitation, Capabilities).
pub(super) fn abilities(capabilities: Option<&RawValue>, revision: Revision) -> Abilities {
    #[derive(Default, Deserialize)]
    struct Declared<'a> {
        #[serde(borrow, default)]
        elicitation: Option<&'a RawValue>,
        #[serde(borrow, default)]
        sampling: Option<&'a RawValue>,
        #[serde(borrow, default)]
        roots: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    struct Modes<'a> {
        #[serde(borrow, default)]
        form: Option<&'a RawValue>,
        #[serde(borrow, default)]
        url: Option<&'a RawValue>,
    }
    if capabilities.is_none_or(|raw| raw.get() == "{}") {
        return Abilities::default();
    }
    let declared: Declared<'_> = schema::object(capabilities).unwrap_or_default();
    let has = |raw: Option<&RawValue>| raw.is_some_and(schema::is_object);
    let modes: Option<Modes<'_>> = schema::object(declared.elicitation);
    Abilities {
        elicitation: revision.has_elicitation()
            && modes.is_some_and(|modes| modes.form.is_some() || modes.url.is_none()),
        sampling: has(declared.sampling),
        roots: has(declared.roots),
    }
}
