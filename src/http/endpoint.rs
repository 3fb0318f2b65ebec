//! The endpoints of MCP: from an HTTP request to the protocol layer and back.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};

use super::Front;
use super::body::{Body, BodyFault, BodyLimits, Held};
use super::lasting::{Lasting, Pass};
use super::places::Full;
use super::reply::{self, Refused};
use super::route::Route;
use super::{messages, rate, visit, websocket};
use crate::base::trace::Trace;
use crate::guard::Caller;
use crate::mcp::{Field, ParamHeaders, Post, Reply, ReplyBody, Revision, Routing};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// What a client takes as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accepts {
    json: bool,
    events: bool,
}

/// A request that is not carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: &'static str,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) const fn plain(status: u16, message: &'static str) -> Self {
        Self {
            status,
            message,
            retry_after: None,
        }
    }

    pub(super) const fn busy(message: &'static str) -> Self {
        Self {
            status: 503,
            message,
            retry_after: Some(Duration::from_secs(1)),
        }
    }
}

/// What an endpoint answers.
pub(super) type Answered = Result<Response<Body>, Refusal>;

/// The peer's version header, if it is one text.
pub(super) fn version(headers: &HeaderMap) -> Option<&str> {
    field(headers, &VERSION).text()
}

/// Answers a request to an endpoint of MCP whose caller was let in and whose verb exists there.
pub(super) async fn answer(
    front: &Front,
    route: Route,
    request: Request<Incoming>,
    caller: &Caller,
    trace: &Trace,
) -> Response<Body> {
    // A number that is copied, for the request is taken apart.
    let is_modern = version(request.headers()).is_some_and(Revision::is_modern_date);
    let answered = match (route, request.method()) {
        (Route::Sse, _) => messages::open(front, request.headers(), caller),
        (Route::Messages, _) => messages::take(front, request, caller, trace).await,
        (Route::WebSocket, _) => websocket::open(front, request.headers(), caller),
        (_, &Method::POST) => post(front, request, caller, trace).await,
        (_, &Method::GET) => open_stream(front, request.headers(), caller),
        _ => end_session(front, request.headers(), caller),
    };
    answered.unwrap_or_else(|refusal| {
        reply::refuse(&Refused {
            route,
            status: refusal.status,
            message: refusal.message,
            version: is_modern.then_some(Revision::SPOKEN[0].as_str()),
            retry_after: refusal.retry_after,
        })
    })
}

async fn post(
    front: &Front,
    request: Request<Incoming>,
    caller: &Caller,
    trace: &Trace,
) -> Answered {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let accepted = accepts(headers);
    if !accepted.json && is_json(headers) {
        return Err(Refusal::plain(
            406,
            "Send `Accept: application/json, text/event-stream`.",
        ));
    }
    let place = front.requests.take(&caller.name, 0);
    let _place = place.map_err(|full| match full {
        Full::Total => Refusal::busy(
            "Too many requests are being answered at this moment. Try again in a second.",
        ),
        Full::Caller => Refusal {
            status: 429,
            ..Refusal::busy(
                "Too many requests of this API key are being answered at this moment. Try again in a second.",
            )
        },
    })?;
    let body = read(front, headers, body).await?;
    let post = Post {
        body: &body.bytes,
        routing: Some(routing(headers)),
        caller,
        accepts_events: accepted.events,
        trace: Some(trace),
    };
    Ok(respond(front, front.server.post(post).await, caller))
}

/// Reads a body that has to be JSON.
pub(super) async fn read<'a>(
    front: &'a Front,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Held<'a>, Refusal> {
    if !is_json(headers) {
        return Err(NOT_JSON);
    }
    if is_encoded(headers) {
        return Err(Refusal::plain(
            415,
            "The body is compressed, which is not read here: leave `Content-Encoding` out.",
        ));
    }
    let limits = BodyLimits {
        each: front.limits.body,
        all: front.limits.bodies,
        time: front.limits.body_timeout,
    };
    let read = front.bodies.read(body, limits).await;
    read.map_err(|fault| body_fault(fault, "The body is too large: at most 1 MiB is taken."))
}

/// The answer to a body that is something else.
pub(super) const NOT_JSON: Refusal = Refusal::plain(
    415,
    "The body must be JSON: send `Content-Type: application/json`.",
);

/// The answer to a body that was not taken.
pub(super) fn body_fault(fault: BodyFault, too_large: &'static str) -> Refusal {
    match fault {
        BodyFault::TooLarge => Refusal::plain(413, too_large),
        BodyFault::NoRoom => {
            Refusal::busy("Too many large requests at this moment. Try again in a second.")
        }
        BodyFault::TooSlow => Refusal::plain(408, "The body did not come in time."),
        BodyFault::Broken => Refusal::plain(400, "The body could not be read."),
    }
}

fn open_stream(front: &Front, headers: &HeaderMap, caller: &Caller) -> Answered {
    no_modern(headers)?;
    if !accepts_events(headers) {
        return Err(Refusal::plain(
            406,
            "This is an MCP endpoint: clients POST to it. A GET needs `Accept: text/event-stream`.",
        ));
    }
    // An empty id is none (HTML, Server-sent events): what follows an id that is unknown would be a stream that ends at once.
    let heard = field(headers, &LAST_EVENT_ID)
        .text()
        .filter(|id| !id.is_empty());
    let reply = front.server.open_stream(&routing(headers), caller, heard);
    Ok(respond(front, reply, caller))
}

fn end_session(front: &Front, headers: &HeaderMap, caller: &Caller) -> Answered {
    no_modern(headers)?;
    let reply = front.server.end_session(&routing(headers), caller);
    Ok(respond(front, reply, caller))
}

/// Modern revisions have no stream and no session to end (2026-07-28, Transports).
fn no_modern(headers: &HeaderMap) -> Result<(), Refusal> {
    if version(headers).is_some_and(Revision::is_modern_date) {
        return Err(Refusal::plain(405, "This revision of MCP uses POST alone."));
    }
    Ok(())
}

/// A reply of the protocol layer as HTTP carries it.
pub(super) fn respond(front: &Front, reply: Reply, caller: &Caller) -> Response<Body> {
    let mut response = match reply.body {
        ReplyBody::Empty => reply::empty(reply.status),
        ReplyBody::Json(json) => reply::json(reply.status, Bytes::from(json)),
        ReplyBody::Events(events) if events.is_lasting() => {
            reply::lasting_events(Lasting::Events(events, caller.clone()))
        }
        ReplyBody::Events(events) => reply::events(events, Pass::new(&front.guard, caller.clone())),
    };
    let headers = response.headers_mut();
    if let Some(id) = reply.session
        && let Ok(value) = HeaderValue::try_from(id.to_string())
    {
        headers.insert(SESSION, value);
    }
    if let Some(parent) = &reply.trace {
        visit::set_trace(headers, parent);
    }
    if let Some(scope) = reply.needed_scope {
        reply::set_needed_scope(headers, scope);
    }
    if let Some(exceeded) = &reply.exceeded {
        reply::set_retry_after(headers, exceeded.retry_after);
        rate::tell_refused(headers, exceeded);
    } else if matches!(reply.status, 429 | 503) {
        let secs = reply.retry_after_secs.map_or(1, u64::from);
        reply::set_retry_after(headers, Duration::from_secs(secs));
    }
    response
}

impl ParamHeaders for HeaderMap {
    fn field(&self, name: &str) -> Field<'_> {
        HeaderName::from_bytes(name.as_bytes()).map_or(Field::Absent, |name| field(self, &name))
    }
}

fn routing(headers: &HeaderMap) -> Routing<'_> {
    Routing {
        version: field(headers, &VERSION),
        method: field(headers, &METHOD),
        name: field(headers, &NAME),
        session: field(headers, &SESSION),
        params: Some(headers),
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => value.to_str().map_or(Field::Unusable, Field::One),
        (Some(_), Some(_)) => Field::Unusable,
    }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    })
}

/// Whether a body comes in another form than its own.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a client takes a stream.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    accepts(headers).events
}

/// Reads `Accept` leniently: no header means anything, and wildcards count.
fn accepts(headers: &HeaderMap) -> Accepts {
    let mut found = Accepts {
        json: false,
        events: false,
    };
    let mut has_header = false;
    for value in headers.get_all(ACCEPT) {
        has_header = true;
        // Letter by letter what the official clients send.
        if value == "application/json, text/event-stream" {
            (found.json, found.events) = (true, true);
            continue;
        }
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            let is = |other: &str| media.eq_ignore_ascii_case(other);
            found.json |= is("application/json") || is("application/*") || is("*/*");
            found.events |= is("text/event-stream") || is("text/*") || is("*/*");
        }
    }
    if has_header {
        found
    } else {
        Accepts {
            json: true,
            events: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn accept_is_read_leniently_and_never_beyond_what_it_says() {
        for (values, json, events) in [
            (&[][..], true, true),
            (&["application/json, text/event-stream"], true, true),
            (&["application/json", "text/event-stream"], true, true),
            (&["*/*"], true, true),
            (&["application/*;q=0.8"], true, false),
            (&["Application/JSON; charset=utf-8"], true, false),
            (&["text/event-stream"], false, true),
            (&["text/html"], false, false),
            (&["application/json;q=0, text/event-stream"], false, true),
            (&[""], false, false),
        ] {
            assert_eq!(
                accepts(&header(&ACCEPT, values)),
                Accepts { json, events },
                "{values:?}"
            );
        }
    }

    #[test]
    fn only_json_bodies_are_json() {
        for (value, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("APPLICATION/JSON", true),
            ("text/json", false),
            ("application/jsonx", false),
            ("", false),
        ] {
            assert_eq!(
                is_json(&header(&CONTENT_TYPE, &[value])),
                expected,
                "{value}"
            );
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn a_header_that_comes_twice_cannot_be_used() {
        assert_eq!(field(&header(&METHOD, &["a"]), &METHOD), Field::One("a"));
        assert_eq!(
            field(&header(&METHOD, &["a", "a"]), &METHOD),
            Field::Unusable
        );
        assert_eq!(field(&HeaderMap::new(), &METHOD), Field::Absent);
    }
}
