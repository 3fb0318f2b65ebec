//! `/auth/token` and `/auth/refresh`: a key, or a token that is still good, for a new short-lived token (answers as in RFC 6749,
//! section 5.1).

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::{Deserialize, Deserializer};

use super::Front;
use super::body::{Body, BodyLimits};
use super::endpoint::{self, Refusal};
use super::reply::{self, Refused};
use super::route::Route;
use crate::base::json;
use crate::guard::token::Minted;
use crate::guard::{Caller, MintFault, Scope, Scopes, Wish};
use crate::limits::WISH_MAX_BYTES;

/// What is asked for; nothing of it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Longest life, whole seconds; JSON knows no whole numbers apart from others.
    #[serde(default, deserialize_with = "given")]
    expires_in: Option<f64>,
    /// Scopes, with blanks between them.
    #[serde(default, deserialize_with = "given")]
    scope: Option<String>,
}

/// What is there has to be what it should: `null` is no way to leave it out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Asked {
    fn wish(&self) -> Result<Wish, String> {
        let life = self.expires_in.map(life_of).transpose()?;
        let scopes = self.scope.as_deref().map(scopes_of).transpose()?;
        Ok(Wish { life, scopes })
    }
}

fn life_of(secs: f64) -> Result<Duration, String> {
    let is_whole = secs >= 1.0 && secs <= f64::from(u32::MAX) && secs.fract() == 0.0;
    is_whole
        .then(|| Duration::from_secs_f64(secs))
        .ok_or_else(|| {
            format!(
                "`expires_in` is a whole number of seconds, from 1 second to {}.",
                u32::MAX
            )
        })
}

fn scopes_of(text: &str) -> Result<Scopes, String> {
    let words = text.split_ascii_whitespace();
    let scopes: Option<Vec<Scope>> = words
        .map(|word| Scope::ALL.into_iter().find(|scope| scope.as_str() == word))
        .collect();
    scopes
        .filter(|scopes| !scopes.is_empty())
        .map(|scopes| Scopes::of(&scopes))
        .ok_or_else(|| {
            let known = Scope::ALL.map(Scope::as_str).join(", ");
            format!("`scope` is one or more of {known}, with blanks between them.")
        })
}

/// Answers either path, for a caller whose credential fits it.
pub(super) async fn answer(
    front: &Front,
    route: Route,
    request: Request<Incoming>,
    caller: &Caller,
) -> Response<Body> {
    let refused = |status, message: &str, retry_after| {
        reply::refuse(&Refused {
            route,
            status,
            message,
            version: None,
            retry_after,
        })
    };
    let asked = match asked(front, request).await {
        Ok(asked) => asked,
        Err(refusal) => return refused(refusal.status, refusal.message, refusal.retry_after),
    };
    let wish = match asked.wish() {
        Ok(wish) => wish,
        Err(problem) => return refused(400, &problem, None),
    };
    match front.guard.mint(caller, &wish) {
        Ok(minted) => reply::json(200, Bytes::from(told(&minted))),
        Err(fault) => {
            let (status, retry_after) = match fault {
                MintFault::NotByKey | MintFault::ChainOver => (403, None),
                MintFault::Lacks(_) => (400, None),
                MintFault::Unavailable => (503, Some(Duration::from_secs(1))),
            };
            refused(status, &fault.to_string(), retry_after)
        }
    }
}

async fn asked(front: &Front, request: Request<Incoming>) -> Result<Asked, Refusal> {
    let (head, body) = request.into_parts();
    let limits = BodyLimits {
        each: WISH_MAX_BYTES,
        all: front.limits.bodies,
        time: front.limits.body_timeout,
    };
    let body = front.bodies.read(body, limits).await;
    let body = body.map_err(|fault| {
        endpoint::body_fault(fault, "The body is too large: at most 4 KiB is taken here.")
    })?;
    if body.bytes.is_empty() {
        return Ok(Asked::default());
    }
    if !endpoint::is_json(&head.headers) {
        return Err(endpoint::NOT_JSON);
    }
    json::object(&body.bytes).map_err(|_| {
        Refusal::plain(
            400,
            "The body is optional, and otherwise JSON such as {\"expires_in\": 600, \"scope\": \"read\"}.",
        )
    })
}

fn told(minted: &Minted) -> String {
    let scopes: Vec<&str> = minted.scopes.iter().map(Scope::as_str).collect();
    serde_json::json!({
        "access_token": minted.token.expose(),
        "token_type": "Bearer",
        "expires_in": minted.life.as_secs(),
        "scope": scopes.join(" "),
        "role": minted.role.as_str(),
        "refresh_expires_in": (minted.life + minted.left).as_secs(),
    })
    .to_string()
}
