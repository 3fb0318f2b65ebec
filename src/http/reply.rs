//! Responses: static header values, refusals in the words of the route, CORS.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONNECTION,
    CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::lasting::{Lasting, Pass};
use super::route::Route;
use super::sse::{Source, Sse};
use super::trail::Lines;
use crate::base::shutdown::Stop;
use crate::guard::Scope;
use crate::mcp::{Code, EventStream, Revision, error_json};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LINES: HeaderValue = HeaderValue::from_static("application/jsonl");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PEM: HeaderValue = HeaderValue::from_static("application/x-pem-file");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// What is wrong with a request that no handler has seen.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) route: Route,
    pub(super) status: u16,
    pub(super) message: &'a str,
    /// The peer's version header: it decides which codes it knows.
    pub(super) version: Option<&'a str>,
    pub(super) retry_after: Option<Duration>,
}

fn plain(status: u16, content_type: HeaderValue, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    // These, those of the rate, and the ids of the request: once grown, and not twice.
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(super) fn json(status: u16, body: Bytes) -> Response<Body> {
    plain(status, JSON, body)
}

/// Lines of the audit trail as they are read from disk.
pub(super) fn lines(lines: Lines) -> Response<Body> {
    let mut response = plain(200, LINES, Bytes::new());
    *response.body_mut() = Body::Lines(Box::new(lines));
    response
}

pub(super) fn text(status: u16, body: &'static str) -> Response<Body> {
    plain(status, TEXT, Bytes::from_static(body.as_bytes()))
}

/// A page of numbers.
pub(super) fn numbers(kind: &'static str, page: String) -> Response<Body> {
    plain(200, HeaderValue::from_static(kind), Bytes::from(page))
}

/// A certificate, for a person who saves it.
pub(super) fn pem(text: Bytes) -> Response<Body> {
    let mut response = plain(200, PEM, text);
    response.headers_mut().insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static(r#"attachment; filename="rackhand-ca.pem""#),
    );
    response
}

pub(super) fn html(page: String) -> Response<Body> {
    let mut response = plain(200, HTML, Bytes::from(page));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// A page with a script of its own, which speaks with this server alone.
pub(super) fn page_with_script(page: String, nonce: &str) -> Response<Body> {
    let mut response = html(page);
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

pub(super) fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Events of a call, whose answer is waited for when the server stops.
pub(super) fn events(stream: EventStream, pass: Pass) -> Response<Body> {
    let events = Sse::new(Source::Events(stream), pass, Stop::new());
    event_response(Body::Events(Box::new(events)))
}

/// Events on a stream that lasts.
pub(super) fn lasting_events(lasting: Lasting) -> Response<Body> {
    event_response(Body::Lasting(lasting))
}

fn event_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    // Proxies that buffer would hold events back.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    response
}

/// Refuses: JSON-RPC on the MCP endpoint, a plain sentence in JSON elsewhere.
pub(super) fn refuse(refused: &Refused<'_>) -> Response<Body> {
    let body = if refused.route.is_mcp() {
        let data = refused.retry_after.map_or(
            Value::Null,
            |wait| json!({"retryAfterMs": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)}),
        );
        error_json(
            Code::of_refusal(refused.status, refused.version),
            refused.message,
            &data,
            None,
        )
    } else {
        json!({"error": refused.message}).to_string().into_bytes()
    };
    let mut response = json(refused.status, Bytes::from(body));
    let headers = response.headers_mut();
    match refused.status {
        401 => {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Bearer realm="rackhand", error="invalid_token""#),
            );
        }
        426 => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        405 => {
            let is_modern = refused.version.is_some_and(Revision::is_modern_date);
            let allow = match refused.route {
                Route::Mcp if is_modern => "POST",
                route => route.allow(),
            };
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        _ => {}
    }
    if let Some(wait) = refused.retry_after {
        set_retry_after(headers, wait);
    }
    response
}

/// Says that nothing more is read on this connection (HTTP/1.1).
pub(super) fn close(response: &mut Response<Body>) {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}

pub(super) fn set_retry_after(headers: &mut HeaderMap, wait: Duration) {
    // Rounded up: who comes back a moment too early is refused once more.
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
        headers.insert(RETRY_AFTER, value);
    }
}

/// Says which scope was lacking (RFC 6750, section 3.1).
pub(super) fn set_needed_scope(headers: &mut HeaderMap, scope: Scope) {
    let challenge = format!(
        r#"Bearer realm="rackhand", error="insufficient_scope", scope="{}""#,
        scope.as_str()
    );
    if let Ok(value) = HeaderValue::try_from(challenge) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
}

/// Lets a page of an allowed origin read the response.
pub(super) fn allow_origin(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "mcp-session-id, www-authenticate, x-request-id, traceparent, retry-after, ratelimit, ratelimit-policy",
        ),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Answers a browser that asks beforehand what it may send.
pub(super) fn preflight() -> Response<Body> {
    let mut response = empty(204);
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET, DELETE"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, accept, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id, x-api-key, x-mcp-key, x-request-id, traceparent, tracestate",
        ),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
