//! `/metrics` and `/metrics.json`: the numbers of the box, in the form that is asked for.

use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, Response};

use super::Front;
use super::body::Body;
use super::reply;
use crate::mcp::Load;
use crate::telemetry::metrics::{Fact, Facts, json, names, plain};

const OPEN_METRICS: &str = "application/openmetrics-text";

pub(super) fn answer<B>(front: &Front, request: &Request<B>) -> Response<Body> {
    let Ok(page) = front.server.metrics().page(front) else {
        return reply::text(500, "The numbers could not be written.\n");
    };
    if request.uri().path() == "/metrics.json" {
        return reply::json(200, Bytes::from(json(&page).to_string()));
    }
    let accepts = request.headers().get_all(ACCEPT).iter();
    let mut accepts = accepts.filter_map(|value| value.to_str().ok());
    if accepts.any(|value| value.contains(OPEN_METRICS)) {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        reply::numbers(kind, page)
    } else {
        reply::numbers("text/plain; version=0.0.4; charset=utf-8", plain(&page))
    }
}

/// What the surface and the protocol hold, and what the other parts tell.
impl Facts for Front {
    fn facts(&self) -> Vec<Fact> {
        let Load {
            sessions,
            streams,
            call_bytes,
            subscription_bytes,
            kept_bytes,
            task_bytes,
            ..
        } = self.server.load();
        let mut facts = vec![Fact::new(&names::SESSIONS, &[], sessions)];
        for (transport, count) in [
            ("http", self.seats.taken()),
            ("http2", self.multiplexed.taken()),
            ("stream", streams),
            ("websocket", self.websockets.taken()),
        ] {
            let labels = [("transport", transport)];
            facts.push(Fact::new(&names::CONNECTIONS, &labels, count));
        }
        for (what, bytes) in [
            ("calls", call_bytes),
            ("subscriptions", subscription_bytes),
            ("resumable streams", kept_bytes),
            ("tasks", task_bytes),
        ] {
            facts.push(Fact::new(&names::HELD_BYTES, &[("for", what)], bytes));
        }
        facts.extend(self.facts.iter().flat_map(|others| others.facts()));
        facts
    }
}
