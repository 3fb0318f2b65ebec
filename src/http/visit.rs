//! A request from its head to the head of its answer: its ids, who sent it, and the line of the log about it.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use tokio::time::Instant;

use super::Front;
use super::body::Body;
use super::route::Route;
use crate::audit::Refused;
use crate::base::text::{for_log, of_stranger};
use crate::base::trace::{Trace, TraceParent};
use crate::guard::{Caller, CredentialId, Role};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_MCP_KEY: HeaderName = HeaderName::from_static("x-mcp-key");

/// Longest piece of a path or of the name of a client in the log, bytes. Beyond it they are cut.
const SHOWN_MAX: usize = 120;

/// What is known of one request while it is answered.
#[derive(Debug)]
pub(super) struct Visit {
    /// Its ids: made here, until its sender has shown who they are.
    trace: Trace,
    /// The id that its sender wishes.
    wished: Option<Trace>,
    address: IpAddr,
    caller: Option<Arc<str>>,
    logged: Option<Logged>,
}

/// What the log says of it.
#[derive(Debug)]
struct Logged {
    began: Instant,
    method: String,
    path: String,
    agent: String,
}

impl Visit {
    pub(super) fn begin<B>(front: &Front, request: &Request<B>, address: IpAddr) -> Self {
        let headers = request.headers();
        let (id, parent) = (one(headers, &REQUEST_ID), one(headers, &TRACEPARENT));
        let trace = front.traces.of(None, parent);
        let logged = front.logs_requests.then(|| Logged {
            began: Instant::now(),
            method: of_stranger(request.method().as_str(), SHOWN_MAX),
            path: path(request.uri().path()),
            agent: of_stranger(one(headers, &USER_AGENT).unwrap_or_default(), SHOWN_MAX),
        });
        Self {
            wished: id
                .filter(|id| !is_credential(headers, id))
                .map(|id| trace.clone().wished(id)),
            trace,
            address,
            caller: None,
            logged,
        }
    }

    /// Its ids.
    pub(super) const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Its sender was let in: the id that they wish counts from now on.
    pub(super) fn admitted(&mut self, front: &Front, caller: &Caller) {
        if let Some(wished) = self.wished.take() {
            self.trace = wished;
        }
        self.caller = Some(Arc::clone(&caller.name));
        // Anybody may come from any number of addresses, and must not decide how much is written.
        if caller.credential != CredentialId::Anonymous {
            let request = Some(self.trace.request.as_str());
            let audit = front.server.audit();
            audit.used(&caller.name, Some(self.address), request);
        }
    }

    /// It is refused because its sender, of this role if anybody, asks too often.
    pub(super) fn asks_too_often(&self, front: &Front, role: Option<Role>) {
        let role = role.map_or("none", Role::as_str);
        front.server.metrics().too_often(role);
        self.refused(front, None, "TOO_OFTEN");
    }

    /// It is refused.
    pub(super) fn refused(&self, front: &Front, what: Option<&str>, reason: &'static str) {
        front.server.metrics().refused(reason);
        front.server.audit().refused(&Refused {
            caller: self.caller.as_ref(),
            address: Some(self.address),
            request: Some(&self.trace.request),
            what,
            reason,
        });
    }

    /// It is answered: the answer says the ids, and the log gets its line.
    pub(super) fn end(self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(self.trace.request.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        // The message itself may have said more of its trace than its head did.
        if !headers.contains_key(TRACEPARENT) {
            set_trace(headers, &self.trace.parent);
        }
        let Some(logged) = self.logged else { return };
        let caller = self.caller.as_deref().unwrap_or("-");
        tracing::info!(
            target: "requests",
            method = %logged.method,
            path = %logged.path,
            status = response.status().as_u16(),
            took_us = u64::try_from(logged.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            caller = %for_log(caller),
            address = %self.address,
            agent = %logged.agent,
            request = %self.trace.request,
            "a request was answered"
        );
    }
}

/// Tells where a request stands in a trace.
pub(super) fn set_trace(headers: &mut HeaderMap, parent: &TraceParent) {
    if let Ok(parent) = HeaderValue::try_from(parent.text()) {
        headers.insert(TRACEPARENT, parent);
    }
}

/// A header that came once, as text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a text is the very credential of the request: a client that sends its key under every name it knows.
fn is_credential(headers: &HeaderMap, text: &str) -> bool {
    let credentials = [AUTHORIZATION, X_API_KEY, X_MCP_KEY];
    let mut sent = credentials.iter().flat_map(|name| headers.get_all(name));
    sent.any(|value| value.to_str().is_ok_and(|value| value.contains(text)))
}

/// A path as it is logged. What stands on paths that are none of ours could be anything, a key in the wrong place included.
fn path(path: &str) -> String {
    match Route::of(path) {
        Route::Nothing | Route::NoOauth => of_stranger(path, SHOWN_MAX),
        _ => for_log(path).into_owned(),
    }
}
