//! What clients are told of how often they may ask: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers, version
//! 10), and with a refusal also the three fields of earlier drafts that most clients read.

use std::time::Duration;

use hyper::Response;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use itoa::Buffer;

use super::body::Body;
use super::reply::{self, Refused};
use super::route::Route;
use crate::base::rate::Rate;
use crate::guard::{Allowance, Exceeded, Whose};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Refuses a request before its body is read.
pub(super) fn refuse(route: Route, version: Option<&str>, exceeded: &Exceeded) -> Response<Body> {
    let mut response = reply::refuse(&Refused {
        route,
        status: 429,
        message: &exceeded.to_string(),
        version,
        retry_after: Some(exceeded.retry_after),
    });
    tell_refused(response.headers_mut(), exceeded);
    response
}

/// What goes with a refusal: nothing is left, and something will be after the time to wait.
pub(super) fn tell_refused(headers: &mut HeaderMap, exceeded: &Exceeded) {
    let name = name(exceeded.whose);
    let mut wait = Buffer::new();
    let wait = wait.format(exceeded.retry_after_secs());
    set_policy(headers, name, exceeded.rate);
    set(headers, RATE_LIMIT, &["\"", name, "\";r=0;t=", wait]);
    set(headers, LIMIT, &[Buffer::new().format(exceeded.rate.burst)]);
    set(headers, REMAINING, &["0"]);
    set(headers, RESET, &[wait]);
}

/// What goes with an answer.
pub(super) fn tell(headers: &mut HeaderMap, allowance: &Allowance) {
    let name = name(allowance.whose);
    set_policy(headers, name, allowance.rate);
    let (mut left, mut full_in) = (Buffer::new(), Buffer::new());
    let left = left.format(allowance.left);
    let full_in = full_in.format(secs(allowance.full_in));
    set(
        headers,
        RATE_LIMIT,
        &["\"", name, "\";r=", left, ";t=", full_in],
    );
}

/// The name of a policy.
const fn name(whose: Whose) -> &'static str {
    match whose {
        Whose::Key => "key",
        Whose::Person => "person",
        Whose::Address => "address",
        Whose::All => "all",
    }
}

/// A full bucket, and the time in which an empty one becomes full.
fn set_policy(headers: &mut HeaderMap, name: &str, rate: Rate) {
    let (mut burst, mut window) = (Buffer::new(), Buffer::new());
    let burst = burst.format(rate.burst);
    let window = window.format(secs(rate.refill()));
    set(
        headers,
        RATE_LIMIT_POLICY,
        &["\"", name, "\";q=", burst, ";w=", window],
    );
}

/// Whole seconds, rounded up: the fields have no fractions.
fn secs(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn set(headers: &mut HeaderMap, name: HeaderName, parts: &[&str]) {
    if let Ok(value) = HeaderValue::try_from(parts.concat()) {
        headers.insert(name, value);
    }
}
