//! A connection on which the messages of both sides travel freely, as on stdio, a WebSocket, and HTTP with a separate stream. Framing
//! belongs to the transport: it hands over each message that came, and sends each message that comes out.
//!
//! Requests of all revisions may alternate. `initialize` opens the session of the connection; what carries no metadata of its own
//! belongs to it. Cancellation is a notification, and subscriptions share the way out, told apart by their ids.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::attend::{Errand, Outcome, Work};
use super::berth::Berth;
use super::error::Fault;
use super::heading::legacy_heading;
use super::ladder::{self, Era, Field};
use super::line::Line;
use super::peer::{Peer, Running};
use super::places::Place;
use super::schema::{Kind, Message, Meta, Method};
use super::stream::Reading;
use super::trail::Trail;
use super::{Heading, Outlet, Reply, Request, Revision, Server, batch, invalid, listen};
use crate::base::trace::Trace;
use crate::guard::Caller;
use crate::limits::FEEDS_PER_CONNECTION_MAX;
use crate::service::Generations;

/// The way in of a connection. To drop it means that nothing more comes: subscriptions end, calls under way are finished.
pub struct Connection(Arc<Shared>);

/// The way out of a connection. To drop it means that the client is gone: what it waits for is taken back where its revision says so.
pub struct Outgoing(Arc<Shared>);

/// The client sends and does not read: its connection is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client sends without reading the answers")]
pub struct Overrun;

struct Shared {
    server: Arc<Server>,
    caller: Caller,
    line: Arc<Line>,
    /// Requests under way that carry their own metadata.
    modern: Arc<Peer>,
    /// What `initialize` opened.
    session: Mutex<Option<Arc<Peer>>>,
    feeds: Mutex<Vec<Reading>>,
    /// Calls whose answers are not on the line yet.
    under_way: AtomicUsize,
    /// Nothing more comes in.
    is_half_closed: AtomicBool,
    berth: Berth,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection")
            .field(&self.0.caller.name)
            .finish()
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outgoing")
            .field(&self.0.caller.name)
            .finish()
    }
}

impl Server {
    /// Opens a connection for a caller, whom the transport has checked.
    ///
    /// # Errors
    /// There are too many already: the reply to send instead, where there is a way to send one.
    pub fn connect(self: &Arc<Self>, caller: Caller) -> Result<(Connection, Outgoing), Box<Reply>> {
        let berth = self
            .streams
            .take(&caller.name, false)
            .map_err(|fault| Box::new(Reply::fault(&fault, None)))?;
        let modern = Peer::new(Revision::SPOKEN[0], None, Generations::default());
        let shared = Arc::new(Shared {
            server: Arc::clone(self),
            caller,
            line: Arc::new(Line::of_connection(&self.lines)),
            modern: Arc::new(modern),
            session: Mutex::default(),
            feeds: Mutex::default(),
            under_way: AtomicUsize::new(0),
            is_half_closed: AtomicBool::new(false),
            berth,
        });
        Ok((Connection(Arc::clone(&shared)), Outgoing(shared)))
    }
}

impl Connection {
    /// Waits while the client has much to read already. A transport that can waits before it takes the next message, so that no burst is
    /// answered with refusals. One task may wait at a time.
    pub async fn ready(&self) {
        poll_fn(|context| self.0.line.poll_room(context)).await;
    }

    /// Takes one message that came in: a JSON text. It never waits; answers come out of [`Outgoing`], in whatever order they are ready.
    /// Called within a runtime.
    ///
    /// # Errors
    /// The client does not read its answers.
    pub fn take(&self, message: &[u8]) -> Result<(), Overrun> {
        self.take_traced(message, None)
    }

    /// The same with the ids that the transport has for this message.
    ///
    /// # Errors
    /// The client does not read its answers.
    pub fn take_traced(&self, message: &[u8], trace: Option<&Trace>) -> Result<(), Overrun> {
        if batch::is_batch(message) {
            let session = self.0.session.lock().clone();
            let trail = Trail::of(&self.0.server, trace, &Meta::default());
            return match batch::work(&self.0.server, message, session, trail, &self.0.caller)
                .and_then(|work| self.begin(message, work))
            {
                Ok(()) => Ok(()),
                Err(fault) => self.refuse(&fault, None),
            };
        }
        let parsed = match Message::parse(message) {
            Ok(parsed) => parsed,
            Err(malformed) => return self.refuse(&Fault::malformed(malformed), None),
        };
        match parsed.kind {
            Kind::Notification | Kind::Response => {
                self.note(&parsed);
                Ok(())
            }
            Kind::Request(id) => match self.request(id, &parsed, message, trace) {
                Ok(()) => Ok(()),
                Err(fault) => self.refuse(&fault, Some(id)),
            },
        }
    }

    /// The same for a transport on which each message is paid for when it comes.
    ///
    /// # Errors
    /// The client does not read its answers.
    pub fn take_paid(&self, message: &[u8]) -> Result<(), Overrun> {
        let Err(exceeded) = self.0.caller.purse.spend(1) else {
            return self.take(message);
        };
        let parsed = Message::parse(message).ok();
        let is_modern = parsed
            .as_ref()
            .is_some_and(|message| ladder::era(message, Field::Absent) == Era::Modern);
        let (id, meta) = match parsed {
            Some(Message {
                kind: Kind::Request(id),
                meta,
                ..
            }) => (Some(id), meta),
            Some(Message { meta, .. }) => (None, meta),
            None => (None, Meta::default()),
        };
        let server = &self.0.server;
        let trail = Trail::of(server, None, &meta);
        server.note_too_often(&self.0.caller, &trail);
        self.refuse(&Fault::too_often(&exceeded, is_modern), id)
    }

    /// Answers a message that the transport could not take, in these words.
    ///
    /// # Errors
    /// The client does not read its answers.
    pub fn refuse_unread(&self, words: &str) -> Result<(), Overrun> {
        self.refuse(&invalid(words), None)
    }

    fn refuse(&self, fault: &Fault, id: Option<&str>) -> Result<(), Overrun> {
        if self.0.line.offer(fault.to_json(id)) {
            Ok(())
        } else {
            Err(Overrun)
        }
    }

    /// Notifications mean the same in every revision.
    fn note(&self, message: &Message<'_>) {
        let session = self.0.session.lock().clone();
        if let Some(session) = &session {
            super::take_notice(session, message);
        }
        super::take_notice(&self.0.modern, message);
        if message.method == "notifications/cancelled"
            && let Some(id) = message.params.request_id
        {
            self.0
                .feeds
                .lock()
                .retain(|reading| !reading.is_of(id.get()));
        }
    }

    fn request(
        &self,
        id: &str,
        message: &Message<'_>,
        body: &[u8],
        trace: Option<&Trace>,
    ) -> Result<(), Fault> {
        let trail = Trail::of(&self.0.server, trace, &message.meta);
        let server = &self.0.server;
        match ladder::era(message, Field::Absent) {
            Era::Modern => {
                let heading = server.modern_heading(id, message, None, trail)?;
                if heading.method == Method::Listen {
                    return self.listen(&heading, message);
                }
                let running = runs(&self.0.modern, &heading)?;
                self.begin(body, Work::One(heading.into_owned(), Some(running)))
            }
            Era::Opening => self.initialize(id, message),
            Era::Legacy => {
                let session = self.0.session.lock().clone();
                let session = session.ok_or_else(|| {
                    invalid("Send `initialize` first, or the metadata of revision 2026-07-28 with each request.")
                })?;
                let heading = legacy_heading(id, message, &session, server.offers, trail)?;
                let running = runs(&session, &heading)?;
                self.begin(body, Work::One(heading.into_owned(), Some(running)))
            }
        }
    }

    /// `initialize`: opens the session of the connection. A second one opens another, as if the client had come anew.
    fn initialize(&self, id: &str, message: &Message<'_>) -> Result<(), Fault> {
        let shared = &self.0;
        let peer = Arc::new(shared.server.agree(message, &shared.caller)?);
        let welcome = shared.server.welcome(id, peer.revision());
        let place = shared.server.place(&shared.caller, 0, peer.revision())?;
        shared.line.deliver(welcome, place);
        let feed = peer.feed(&shared.server.hub, &shared.caller, || {
            shared.server.registry.generations()
        });
        let before = shared.session.lock().replace(peer);
        if let Some(before) = before {
            before.close();
        }
        shared.feeds.lock().push(Reading::new(feed, None, None));
        shared.line.wake();
        Ok(())
    }

    fn listen(&self, heading: &Heading<'_>, message: &Message<'_>) -> Result<(), Fault> {
        if message.params.is_malformed {
            return Err(Fault::params("`params` must be an object."));
        }
        let request = Request {
            id: &heading.id,
            revision: heading.revision,
            message,
            caller: &self.0.caller,
            abilities: heading.abilities,
            peer: None,
            outlet: &Outlet::default(),
            trail: &heading.trail,
        };
        if self.0.feeds.lock().len() >= FEEDS_PER_CONNECTION_MAX {
            return Err(Fault::busy(
                429,
                "This connection has too many subscriptions open.",
                true,
            ));
        }
        let reading = listen::open(&self.0.server, &request)?;
        self.0.feeds.lock().push(reading);
        self.0.line.wake();
        Ok(())
    }

    /// Begins what may take a while. What is ready at once is answered at once, so that quick requests keep their order.
    fn begin(&self, body: &[u8], work: Work) -> Result<(), Fault> {
        let shared = &self.0;
        let server = &shared.server;
        let place = server.place(&shared.caller, body.len(), work.revision())?;
        let outlet = work.outlet(&shared.line, &server.closing);
        let errand = Errand::new(body, &shared.caller, work, None);
        let mut run = Box::pin(errand.run(Arc::clone(server), outlet));
        if let Some(outcome) = run.as_mut().now_or_never() {
            shared.deliver(outcome, place);
            return Ok(());
        }
        let under_way = UnderWay::new(shared);
        let work = async move {
            let outcome = run.await;
            under_way.0.deliver(outcome, place);
        };
        server.calls.spawn(server.watched(work));
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.is_half_closed.store(true, Ordering::Release);
        let session = self.0.session.lock().clone();
        if let Some(session) = session {
            session.close();
        }
        for reading in &*self.0.feeds.lock() {
            reading.end();
        }
        self.0.line.wake();
    }
}

impl Outgoing {
    /// The next message to send; `None` when nothing more comes, since the way in is closed and everything is answered.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same as a poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let shared = &self.0;
        // Looked at first: whoever counts down puts the answer on the line before.
        let is_over = shared.is_half_closed.load(Ordering::Acquire)
            && shared.under_way.load(Ordering::Acquire) == 0;
        if let Poll::Ready(message) = shared.line.poll_next(context) {
            shared.berth.used();
            return Poll::Ready(message);
        }
        let mut feeds = shared.feeds.lock();
        let mut at = 0;
        while let Some(reading) = feeds.get(at) {
            match reading.poll_next(context) {
                Poll::Ready(Some(message)) => {
                    shared.berth.used();
                    return Poll::Ready(Some(message));
                }
                Poll::Ready(None) => drop(feeds.swap_remove(at)),
                Poll::Pending => at += 1,
            }
        }
        if is_over && feeds.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// Ready when the client is asked to leave, and nothing is under way any more.
    pub fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        let shared = &self.0;
        let is_idle = shared.under_way.load(Ordering::Acquire) == 0 && shared.line.is_empty();
        match shared.berth.poll_leave(context) {
            // Whoever comes to its end wakes the reader of the line, who asks again.
            Poll::Ready(()) if is_idle => Poll::Ready(()),
            Poll::Ready(()) | Poll::Pending => Poll::Pending,
        }
    }

    /// Ends the subscriptions in good order: what closes them comes next. For a transport that stops while its client goes on.
    pub fn end(&self) {
        for reading in &*self.0.feeds.lock() {
            reading.end();
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.line.cut();
        self.0.modern.cancel_all();
        let session = self.0.session.lock().clone();
        if let Some(session) = session {
            session.close();
        }
        let feeds = std::mem::take(&mut *self.0.feeds.lock());
        drop(feeds);
    }
}

impl Shared {
    fn deliver(&self, outcome: Outcome, place: Place) {
        if let Some(message) = outcome.into_message() {
            self.line.deliver(message, place);
        }
    }
}

/// Counts a call until its answer is on the line.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.under_way.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
        self.0.line.wake();
    }
}

fn runs(peer: &Arc<Peer>, heading: &Heading<'_>) -> Result<Running, Fault> {
    let is_modern = heading.revision.is_modern();
    peer.runs(&heading.id).ok_or_else(|| {
        Fault::busy(
            429,
            "This connection has too many calls under way.",
            is_modern,
        )
    })
}
