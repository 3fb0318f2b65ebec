//! Requests that may speak before their answer: carried out on data of their own, and answered in the form that turns out to fit.
//! Where nothing was said before the result, the reply is one JSON document; else it is a stream that begins with what was said.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::error::{Code, Fault};
use super::line::Line;
use super::outlet::{Hears, Outlet};
use super::peer::{Peer, Running};
use super::places::Place;
use super::replay::Track;
use super::schema::{Message, Method};
use super::stream::{Addressee, EventStream, Hearing, Playing};
use super::trail::Trail;
use super::{Heading, Post, Reply, Request, Revision, Server, batch};
use crate::base::shutdown::Stop;
use crate::guard::Caller;
use crate::limits::STREAM_OPENS_AFTER_MS;
use crate::service::Abilities;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its result.
    Done(Vec<u8>),
    /// A fault, and the id of the request if it is known.
    Fault(Fault, Option<Box<str>>),
    /// Its client took it back and waits for nothing.
    Cancelled,
    /// It was none, so nothing is answered.
    Nothing,
}

impl Outcome {
    /// The last message of a stream.
    pub(super) fn into_message(self) -> Option<Vec<u8>> {
        match self {
            Self::Done(json) => Some(json),
            Self::Fault(fault, id) => Some(fault.to_json(id.as_deref())),
            Self::Cancelled | Self::Nothing => None,
        }
    }

    fn into_reply(self, accepts_events: bool) -> Reply {
        match self {
            Self::Done(json) => Reply::json(json),
            Self::Fault(fault, id) => Reply::fault(&fault, id.as_deref()),
            Self::Nothing => Reply::empty(202),
            // A cancelled request gets no response, but HTTP wants one.
            Self::Cancelled if accepts_events => Reply::events(EventStream::ended()),
            Self::Cancelled => {
                let fault = Fault::new(Code::Http(499), "The client took this request back.");
                Reply::fault(&fault, None)
            }
        }
    }
}

/// A body to be carried out, with all that it needs.
pub(super) struct Errand {
    body: Box<[u8]>,
    caller: Caller,
    work: Work,
    place: Option<Arc<Place>>,
}

/// What is to be carried out.
pub(super) enum Work {
    /// One request, and its entry in the table of its session, by which the client can take it back.
    One(Heading<'static>, Option<Running>),
    /// An array of messages of a session.
    Batch(Arc<Peer>, Trail),
}

impl Work {
    pub(super) fn revision(&self) -> Revision {
        match self {
            Self::One(heading, _) => heading.revision,
            Self::Batch(peer, _) => peer.revision(),
        }
    }

    fn whose(&self) -> Addressee {
        let id = match self {
            Self::One(heading, _) => Some(heading.id.as_ref().into()),
            Self::Batch(..) => None,
        };
        Addressee {
            id,
            is_modern: self.revision().is_modern(),
        }
    }

    /// The session by which the stream can be taken up again, if it can.
    fn resumable(&self) -> Option<Arc<Peer>> {
        match self {
            Self::One(heading, _) if heading.revision.resumes_streams() => heading.peer.clone(),
            Self::One(..) | Self::Batch(..) => None,
        }
    }

    /// The way back to its client.
    pub(super) fn outlet(&self, line: &Arc<Line>, closing: &Stop) -> Outlet {
        let (hears, peer) = match self {
            Self::One(heading, _) => (heading.hears.clone(), heading.peer.clone()),
            // Each request of an array has its own wishes, and only questions and log lines are common to them.
            Self::Batch(peer, _) => (Hears::default(), Some(Arc::clone(peer))),
        };
        Outlet::open(
            Arc::clone(line),
            self.revision(),
            hears,
            peer,
            closing.clone(),
        )
    }
}

impl Errand {
    /// An errand that holds its place until it is done, or none if somebody else holds it.
    pub(super) fn new(body: &[u8], caller: &Caller, work: Work, place: Option<Arc<Place>>) -> Self {
        Self {
            body: body.into(),
            caller: caller.clone(),
            work,
            place,
        }
    }

    /// Carries it out.
    pub(super) async fn run(self, server: Arc<Server>, outlet: Outlet) -> Outcome {
        match &self.work {
            Work::Batch(peer, trail) => {
                batch::carry_out(&server, (peer, trail), &self.body, &self.caller, &outlet).await
            }
            Work::One(heading, running) => match Message::parse(&self.body) {
                Ok(message) => {
                    let running = running.as_ref();
                    carry_out(&server, &message, heading, &self.caller, &outlet, running).await
                }
                Err(malformed) => Outcome::Fault(Fault::malformed(malformed), None),
            },
        }
    }
}

/// Carries one request out, unless its client takes it back.
pub(super) async fn carry_out(
    server: &Arc<Server>,
    message: &Message<'_>,
    heading: &Heading<'_>,
    caller: &Caller,
    outlet: &Outlet,
    running: Option<&Running>,
) -> Outcome {
    let request = Request {
        id: &heading.id,
        revision: heading.revision,
        message,
        caller,
        // Who cannot be reached cannot be asked, whatever it can do.
        abilities: if heading.revision.has_server_requests() && !outlet.can_ask() {
            Abilities::default()
        } else {
            heading.abilities
        },
        peer: heading.peer.as_ref(),
        outlet,
        trail: &heading.trail,
    };
    let work = server.answer(&request, heading.method);
    let result = match running {
        None => work.await,
        Some(running) => tokio::select! {
            biased;
            () = running.cancelled().cancelled() => return Outcome::Cancelled,
            result = work => result,
        },
    };
    result.map_or_else(
        |fault| Outcome::Fault(fault, Some(heading.id.as_ref().into())),
        Outcome::Done,
    )
}

/// An errand under way in the hands of its connection.
struct UnderWay {
    run: Option<BoxFuture<'static, Outcome>>,
    server: Arc<Server>,
    /// It goes on when its client goes away.
    survives: bool,
}

impl UnderWay {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(run) = &mut self.run else {
            return Poll::Pending;
        };
        let outcome = std::task::ready!(Pin::new(run).poll(context));
        self.run = None;
        Poll::Ready(outcome)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.survives
            && let Some(run) = self.run.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let alone = self.server.watched(async move { drop(run.await) });
            self.server.calls.spawn_on(alone, &runtime);
        }
    }
}

/// Carries an errand out and replies in the form that fits.
pub(super) async fn reply(server: &Arc<Server>, post: &Post<'_>, errand: Errand) -> Reply {
    let survives = !errand.work.revision().cancels_on_disconnect();
    let whose = errand.work.whose();
    // Held until the stream is read to its end, not only until the call has come to its own.
    let place = errand.place.clone();
    let resumable = errand.work.resumable().filter(|_| post.accepts_events);
    let mut patience = None;
    let line = post
        .accepts_events
        .then(|| Arc::new(Line::of_call(&server.lines)));
    let outlet = line.as_ref().map_or_else(Outlet::default, |line| {
        errand.work.outlet(line, &server.closing)
    });
    let mut under_way = UnderWay {
        run: Some(Box::pin(errand.run(Arc::clone(server), outlet))),
        server: Arc::clone(server),
        survives,
    };
    let first = poll_fn(|context| {
        if let Poll::Ready(outcome) = under_way.poll(context) {
            return Poll::Ready(Some(outcome));
        }
        if resumable.is_some() {
            // A stream that can be taken up again is of use from its opening event on, so a long silence does not come before it.
            let patience = patience.get_or_insert_with(|| {
                let limit = Duration::from_millis(STREAM_OPENS_AFTER_MS);
                Box::pin(tokio::time::sleep(limit))
            });
            if patience.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
        }
        match &line {
            Some(line) => line.poll_readable(context).map(|()| None),
            None => Poll::Pending,
        }
    });
    let (outcome, line) = match (first.await, line) {
        (outcome, Some(line)) if outcome.is_none() || !line.is_empty() => (outcome, line),
        (Some(outcome), _) => return outcome.into_reply(post.accepts_events),
        // Without a line there is only an outcome to wait for.
        (None, line) => (
            None,
            line.unwrap_or_else(|| Arc::new(Line::of_call(&server.lines))),
        ),
    };
    let run = under_way.run.take();
    if let Some(peer) = resumable
        && let Some((track, reader)) = peer.open_track(&server.shelf, whose.clone())
    {
        let run = run
            .unwrap_or_else(|| Box::pin(std::future::ready(outcome.unwrap_or(Outcome::Nothing))));
        let task = server.watched(record(run, line, Arc::clone(&track)));
        track.is_of(server.calls.spawn(task).abort_handle());
        return Reply::events(EventStream::of_track(Playing::new(track, reader, place)));
    }
    let task = if let Some(run) = run {
        let task = server.watched(close(run, Arc::clone(&line)));
        Some(server.calls.spawn(task).abort_handle())
    } else {
        line.close(outcome.and_then(Outcome::into_message));
        None
    };
    Reply::events(EventStream::of_call(Hearing {
        line,
        task,
        cancels: !survives,
        whose,
        _place: place,
    }))
}

/// Lets an errand go on as a task that puts its outcome on the line.
fn close(run: BoxFuture<'static, Outcome>, line: Arc<Line>) -> impl Future<Output = ()> {
    struct ClosesWhenDropped(Arc<Line>);
    impl Drop for ClosesWhenDropped {
        fn drop(&mut self) {
            self.0.close(None);
        }
    }
    let line = ClosesWhenDropped(line);
    async move {
        line.0.close(run.await.into_message());
    }
}

/// Lets an errand go on as a task that records what it says and its outcome.
fn record(
    mut run: BoxFuture<'static, Outcome>,
    line: Arc<Line>,
    track: Arc<Track>,
) -> impl Future<Output = ()> {
    struct FinishesWhenDropped(Arc<Track>);
    impl Drop for FinishesWhenDropped {
        fn drop(&mut self) {
            self.0.finish(None);
        }
    }
    let track = FinishesWhenDropped(track);
    async move {
        let outcome = poll_fn(|context| {
            let outcome = run.as_mut().poll(context);
            while let Poll::Ready(Some(message)) = line.poll_next(context) {
                track.0.record(message);
            }
            outcome
        });
        let last = outcome.await.into_message();
        track.0.finish(last);
    }
}

impl Server {
    /// A place for a call that goes on by itself.
    pub(super) fn place(
        &self,
        caller: &Caller,
        bytes: usize,
        revision: Revision,
    ) -> Result<Place, Fault> {
        let place = self.attended.take(&caller.name, bytes);
        place.map_err(|full| full.fault("calls under way", revision.is_modern()))
    }

    /// Carries out what may speak before its answer.
    pub(super) async fn attend(
        self: &Arc<Self>,
        post: &Post<'_>,
        work: Work,
    ) -> Result<Reply, Fault> {
        let place = self.place(post.caller, post.body.len(), work.revision())?;
        let errand = Errand::new(post.body, post.caller, work, Some(Arc::new(place)));
        Ok(reply(self, post, errand).await)
    }
}

/// Whether a request may speak before its answer: a call whose client wants to hear progress or log lines, and any call of a
/// session, which can be asked, can take the call back, and does not end it by going away.
pub(super) fn may_speak(post: &Post<'_>, heading: &Heading<'_>) -> bool {
    let is_call = match heading.method {
        Method::CallTool | Method::GetPrompt | Method::ReadResource => true,
        Method::Discover
        | Method::Initialize
        | Method::Ping
        | Method::SetLogLevel
        | Method::ListTools
        | Method::ListResources
        | Method::ListTemplates
        | Method::ListPrompts
        | Method::Complete
        | Method::GetTask
        | Method::UpdateTask
        | Method::CancelTask
        | Method::Listen
        | Method::Subscribe
        | Method::Unsubscribe => false,
    };
    is_call
        && (heading.revision.has_server_requests()
            || post.accepts_events && !heading.hears.is_nothing())
}

/// Enters a request into the table of its session.
pub(super) fn runs(heading: &Heading<'_>) -> Result<Option<Running>, Fault> {
    let Some(peer) = &heading.peer else {
        return Ok(None);
    };
    let running = peer.runs(&heading.id);
    running
        .map(Some)
        .ok_or_else(|| Fault::busy(429, "This session has too many calls under way.", false))
}
