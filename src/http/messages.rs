//! HTTP+SSE, the transport of the first revision (2024-11-05, Transports): `GET /sse` opens a stream whose first event names the path to
//! post to, and everything that is answered comes on that stream. The stream's end is the session's end.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use parking_lot::Mutex;

use super::Front;
use super::body::Body;
use super::endpoint::{self, Answered, Refusal};
use super::lasting::Lasting;
use super::reply;
use crate::base::trace::Trace;
use crate::guard::Caller;
use crate::mcp::{Connection, Outgoing, Overrun, SessionId};

/// Where the posts of each open stream go in.
#[derive(Debug, Default)]
pub(super) struct Inboxes(Mutex<HashMap<SessionId, Inbox>>);

#[derive(Debug)]
struct Inbox {
    connection: Arc<Connection>,
    owner: Caller,
}

impl Inboxes {
    fn find(&self, id: &str, caller: &Caller) -> Option<Arc<Connection>> {
        let inboxes = self.0.lock();
        let inbox = inboxes.get(&SessionId::parse(id)?)?;
        may_post(&inbox.owner, caller).then(|| Arc::clone(&inbox.connection))
    }

    fn close(&self, id: SessionId) {
        let inbox = self.0.lock().remove(&id);
        drop(inbox);
    }
}

/// Whether a caller may post into a stream: what is posted is carried out with the rights of whoever opened it, so that a token with
/// fewer of them may not.
fn may_post(owner: &Caller, caller: &Caller) -> bool {
    owner.name == caller.name
        && owner.role <= caller.role
        && owner.scopes.and(caller.scopes) == owner.scopes
        && owner.reach == caller.reach
}

/// The way out of one stream.
#[derive(Debug)]
pub(super) struct Messages {
    outgoing: Outgoing,
    id: SessionId,
    inboxes: Arc<Inboxes>,
    is_open: bool,
}

impl Messages {
    /// The next event, framed; `None` at the end.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !std::mem::replace(&mut self.is_open, true) {
            let event = format!(
                "event: endpoint\ndata: /messages?session_id={}\n\n",
                self.id
            );
            return Poll::Ready(Some(Bytes::from(event)));
        }
        let message = ready!(self.outgoing.poll_next(context));
        Poll::Ready(message.map(|message| {
            let mut event = Vec::with_capacity(message.len() + 24);
            event.extend_from_slice(b"event: message\ndata: ");
            event.extend_from_slice(&message);
            event.extend_from_slice(b"\n\n");
            Bytes::from(event)
        }))
    }

    /// Ready when the client is asked to leave, and nothing is under way any more.
    pub(super) fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outgoing.poll_leave(context)
    }

    /// Takes nothing more in; what is under way is still answered.
    pub(super) fn end(&self) {
        self.inboxes.close(self.id);
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.end();
    }
}

/// `GET /sse`
pub(super) fn open(front: &Front, headers: &HeaderMap, caller: &Caller) -> Answered {
    if !endpoint::accepts_events(headers) {
        return Err(Refusal::plain(
            406,
            "This is a stream of events: send `Accept: text/event-stream`.",
        ));
    }
    let id = SessionId::random().map_err(|_| Refusal::plain(500, "No session can be opened."))?;
    let (connection, outgoing) = match front.server.connect(caller.clone()) {
        Ok(connection) => connection,
        Err(reply) => return Ok(endpoint::respond(front, *reply, caller)),
    };
    let inbox = Inbox {
        connection: Arc::new(connection),
        owner: caller.clone(),
    };
    front.inboxes.0.lock().insert(id, inbox);
    let messages = Messages {
        outgoing,
        id,
        inboxes: Arc::clone(&front.inboxes),
        is_open: false,
    };
    let lasting = Lasting::Messages(Box::new(messages), caller.clone());
    Ok(reply::lasting_events(lasting))
}

/// `POST /messages?session_id=…`
pub(super) async fn take(
    front: &Front,
    request: Request<Incoming>,
    caller: &Caller,
    trace: &Trace,
) -> Result<Response<Body>, Refusal> {
    let unknown = || {
        Refusal::plain(
            404,
            "This session has ended or never was. Open the stream at /sse again.",
        )
    };
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let id = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("session_id="))
        .ok_or_else(unknown)?;
    let connection = front.inboxes.find(id, caller).ok_or_else(unknown)?;
    let body = endpoint::read(front, &head.headers, body).await?;
    match connection.take_traced(&body.bytes, Some(trace)) {
        Ok(()) => Ok(reply::empty(202)),
        Err(Overrun) => Err(Refusal {
            status: 429,
            message: "Too many answers wait on the stream. Read them first.",
            retry_after: Some(Duration::from_secs(1)),
        }),
    }
}
