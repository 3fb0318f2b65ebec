//! What is answered to anybody on the MCP endpoint: `ping`, and nothing else.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Front;
use super::body::{Body, BodyLimits};
use super::reply;
use crate::base::json;
use crate::limits::{PING_MAX_BYTES, PING_TIMEOUT_SECS};

#[derive(Deserialize)]
struct Ping<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
}

impl Ping<'_> {
    /// An id is a text or a number; the text is as it stood.
    fn id(&self) -> Option<&str> {
        let id = self.id.get();
        let is_id =
            id.starts_with(['"', '-']) || id.starts_with(|first: char| first.is_ascii_digit());
        (self.jsonrpc == "2.0" && self.method == "ping" && is_id).then_some(id)
    }
}

/// The answer to a `ping` of somebody who was not let in; nothing for any other request.
pub(super) async fn ping(front: &Front, request: Request<Incoming>) -> Option<Response<Body>> {
    let limits = BodyLimits {
        each: PING_MAX_BYTES,
        all: front.limits.bodies,
        time: Duration::from_secs(PING_TIMEOUT_SECS),
    };
    // Not a place among the requests: strangers who send half a body would keep out those who have a key.
    let _place = front.pings.take()?;
    let body = front.bodies.read(request.into_body(), limits).await.ok()?;
    let ping: Ping<'_> = json::object(&body.bytes).ok()?;
    let id = ping.id()?;
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    Some(reply::json(200, Bytes::from(answer)))
}
