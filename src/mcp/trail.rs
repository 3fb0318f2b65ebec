//! What a message leaves behind: its ids, and what the audit trail says of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::schema::{self, Meta};
use super::{Request, Server};
use crate::audit::{Actor, Audit, Refused};
use crate::base::trace::{Trace, TraceParent};
use crate::guard::Caller;
use crate::telemetry::metrics::Metrics;

/// Longest name of a tool that nobody has, as the trail keeps it, bytes.
const NAME_SHOWN: usize = 80;

/// The reason on record where a caller asks too often.
pub(super) const TOO_OFTEN: &str = "TOO_OFTEN";

/// The ids of a message.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    pub(super) trace: Trace,
    /// The transport has no headers, so results say the id of their request.
    is_told: bool,
}

impl Trail {
    /// Of a message whose transport gave it these ids, or none.
    pub(super) fn of(server: &Server, given: Option<&Trace>, meta: &Meta<'_>) -> Self {
        let parent = meta.traceparent.and_then(schema::text);
        let trace = match given {
            Some(given) => {
                let parent = parent.as_deref().and_then(TraceParent::parse);
                given.clone().joined(parent)
            }
            None => server.traces.of(None, parent.as_deref()),
        };
        Self {
            trace: server.spans.decide(trace),
            is_told: given.is_none(),
        }
    }

    /// The one of a message of an array that was carried by this one.
    pub(super) fn of_part(&self, server: &Server, meta: &Meta<'_>) -> Self {
        let parent = meta.traceparent.and_then(schema::text);
        let parent = parent.as_deref().and_then(TraceParent::parse);
        let part = self.trace.clone().part(&server.traces);
        Self {
            trace: server.spans.decide(part.joined(parent)),
            is_told: self.is_told,
        }
    }

    /// Who acts, for the audit trail.
    pub(super) fn actor<'a>(&'a self, caller: &'a Caller) -> Actor<'a> {
        Actor {
            caller: &caller.name,
            address: caller.address,
            request: &self.trace.request,
        }
    }
}

impl Server {
    /// The same server with this audit trail; one in memory alone otherwise.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// The same server that counts here.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// What is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The audit trail.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Notes that a call was refused before its tool saw it.
    pub(super) fn note_refusal(&self, request: &Request<'_>, what: &str, reason: &'static str) {
        let what = crate::base::text::mask_keys(what);
        let end = what.floor_char_boundary(NAME_SHOWN);
        self.note_refused(request.caller, request.trail, what.get(..end), reason);
    }

    /// Notes that a message was refused because its caller asks too often.
    pub(super) fn note_too_often(&self, caller: &Caller, trail: &Trail) {
        self.note_refused(caller, trail, None, TOO_OFTEN);
    }

    fn note_refused(
        &self,
        caller: &Caller,
        trail: &Trail,
        what: Option<&str>,
        reason: &'static str,
    ) {
        self.metrics.refused(reason);
        if reason == TOO_OFTEN {
            self.metrics.too_often(caller.role.as_str());
        }
        self.audit.refused(&Refused {
            caller: Some(&caller.name),
            address: caller.address,
            request: Some(&trail.trace.request),
            what,
            reason,
        });
    }

    /// `_meta` of a result: with the id of the request and its place in a trace where no header says them.
    pub(super) fn meta_of(&self, trail: &Trail) -> Cow<'_, str> {
        let open = self.meta.strip_suffix('}');
        match open.filter(|_| trail.is_told) {
            // An id is made of letters, digits and a few signs that JSON takes as they are.
            Some(open) => Cow::Owned(format!(
                "{open},\"rackhand/requestId\":\"{}\",\"traceparent\":\"{}\"}}",
                trail.trace.request,
                trail.trace.parent.text()
            )),
            None => Cow::Borrowed(&self.meta),
        }
    }
}
