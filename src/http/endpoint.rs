//! `/mcp`: from an HTTP request to the protocol layer and back.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};

use super::Front;
use super::body::{Body, BodyFault, BodyLimits};
use super::reply::{self, Refused};
use super::route::Route;
use crate::guard::Caller;
use crate::mcp::{Field, ParamHeaders, Post, Reply, ReplyBody, Revision, Routing};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// What a client takes as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accepts {
    json: bool,
    events: bool,
}

/// A refusal at this endpoint.
type Refusal = (u16, &'static str, Option<Duration>);

/// The peer's version header, if it is one text.
pub(super) fn version(headers: &HeaderMap) -> Option<&str> {
    field(headers, &VERSION).text()
}

/// Answers a request whose caller was let in and whose verb exists here.
pub(super) async fn answer(
    front: &Front,
    request: Request<Incoming>,
    caller: &Caller,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let result = match head.method {
        Method::POST => post(front, headers, body, caller).await,
        Method::GET => open_stream(front, headers, caller),
        _ => end_session(front, headers, caller),
    };
    result.map_or_else(
        |(status, message, retry_after)| {
            reply::refuse(&Refused {
                route: Route::Mcp,
                status,
                message,
                version: version(headers),
                retry_after,
            })
        },
        respond,
    )
}

async fn post(
    front: &Front,
    headers: &HeaderMap,
    body: Incoming,
    caller: &Caller,
) -> Result<Reply, Refusal> {
    if !is_json(headers) {
        return Err((
            415,
            "The body must be JSON: send `Content-Type: application/json`.",
            None,
        ));
    }
    let accepted = accepts(headers);
    if !accepted.json {
        return Err((
            406,
            "Send `Accept: application/json, text/event-stream`.",
            None,
        ));
    }
    let _slot = front.request_slot().ok_or((
        503,
        "Too many requests are being answered at this moment. Try again in a second.",
        Some(Duration::from_secs(1)),
    ))?;
    let limits = BodyLimits {
        each: front.limits.body,
        all: front.limits.bodies,
        time: front.limits.body_timeout,
    };
    let body = front
        .bodies
        .read(body, limits)
        .await
        .map_err(|fault| match fault {
            BodyFault::TooLarge => (413, "The body is too large: at most 1 MiB is taken.", None),
            BodyFault::NoRoom => (
                503,
                "Too many large requests at this moment. Try again in a second.",
                Some(Duration::from_secs(1)),
            ),
            BodyFault::TooSlow => (408, "The body did not come in time.", None),
            BodyFault::Broken => (400, "The body could not be read.", None),
        })?;
    let post = Post {
        body: &body.bytes,
        routing: Some(routing(headers)),
        caller,
        accepts_events: accepted.events,
    };
    Ok(front.server.post(post).await)
}

fn open_stream(front: &Front, headers: &HeaderMap, caller: &Caller) -> Result<Reply, Refusal> {
    no_modern(headers)?;
    if !accepts(headers).events {
        return Err((
            406,
            "This is an MCP endpoint: clients POST to it. A GET needs `Accept: text/event-stream`.",
            None,
        ));
    }
    Ok(front.server.open_stream(&routing(headers), caller))
}

fn end_session(front: &Front, headers: &HeaderMap, caller: &Caller) -> Result<Reply, Refusal> {
    no_modern(headers)?;
    Ok(front.server.end_session(&routing(headers), caller))
}

/// Modern revisions have no stream and no session to end (2026-07-28, Transports).
fn no_modern(headers: &HeaderMap) -> Result<(), Refusal> {
    if version(headers).is_some_and(Revision::is_modern_date) {
        return Err((405, "This revision of MCP uses POST alone.", None));
    }
    Ok(())
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = match reply.body {
        ReplyBody::Empty => reply::empty(reply.status),
        ReplyBody::Json(json) => reply::json(reply.status, Bytes::from(json)),
        ReplyBody::Events(events) => reply::events(events),
    };
    let headers = response.headers_mut();
    if let Some(id) = reply.session
        && let Ok(value) = HeaderValue::try_from(id.to_string())
    {
        headers.insert(SESSION, value);
    }
    if let Some(scope) = reply.needed_scope {
        reply::set_needed_scope(headers, scope);
    }
    if matches!(reply.status, 429 | 503) {
        reply::set_retry_after(headers, Duration::from_secs(1));
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

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    })
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
