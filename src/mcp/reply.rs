//! What a transport hands over with one body, and what it gets back.

use super::error::Fault;
use super::ladder::Routing;
use super::session::SessionId;
use super::stream::EventStream;
use crate::base::trace::{Trace, TraceParent};
use crate::guard::{Caller, Exceeded, Scope};

/// A body that was posted, and what came with it.
#[derive(Debug)]
pub struct Post<'a> {
    /// The body.
    pub body: &'a [u8],
    /// The header fields that route it; `None` on transports that have none.
    pub routing: Option<Routing<'a>>,
    /// Who sent it.
    pub caller: &'a Caller,
    /// Whether the client takes a stream of events for an answer. One that does not hears nothing before its answer.
    pub accepts_events: bool,
    /// The ids of the message, where the transport has a way to tell them.
    pub trace: Option<&'a Trace>,
}

/// What a transport sends back.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status, where HTTP carries it.
    pub status: u16,
    /// The body.
    pub body: ReplyBody,
    /// The session that this request opened.
    pub session: Option<SessionId>,
    /// The scope that the caller lacks, with status 403.
    pub needed_scope: Option<Scope>,
    /// Why the caller has to wait, with status 429.
    pub exceeded: Option<Box<Exceeded>>,
    /// Where the message stands in a trace, if that is not what its transport said.
    pub trace: Option<Box<TraceParent>>,
    /// Seconds to wait, where it is more than one.
    pub retry_after_secs: Option<u16>,
}

/// The body of a reply.
#[derive(Debug)]
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// One JSON document.
    Json(Vec<u8>),
    /// Messages as they come.
    Events(EventStream),
}

impl Reply {
    pub(super) const fn empty(status: u16) -> Self {
        Self {
            status,
            body: ReplyBody::Empty,
            session: None,
            needed_scope: None,
            exceeded: None,
            trace: None,
            retry_after_secs: None,
        }
    }

    pub(super) const fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Json(body),
            session: None,
            needed_scope: None,
            exceeded: None,
            trace: None,
            retry_after_secs: None,
        }
    }

    pub(super) const fn events(events: EventStream) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Events(events),
            session: None,
            needed_scope: None,
            exceeded: None,
            trace: None,
            retry_after_secs: None,
        }
    }

    pub(super) fn fault(fault: &Fault, id: Option<&str>) -> Self {
        Self {
            status: fault.status,
            body: ReplyBody::Json(fault.to_json(id)),
            session: None,
            needed_scope: fault.needed_scope,
            exceeded: fault.exceeded.clone(),
            trace: None,
            retry_after_secs: fault.retry_after_secs,
        }
    }
}
