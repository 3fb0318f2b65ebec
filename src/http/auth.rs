//! `/auth/token` and `/auth/refresh`: a key, or a token that is still good, for a new short-lived token (answers as in RFC 6749,
//! section 5.1).

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Deserialize;
use serde_json::json;

use super::Front;
use super::body::{Body, BodyLimits};
use super::endpoint::{self, Refusal};
use super::reply::{self, Refused};
use super::route::Route;
use crate::guard::token::Minted;
use crate::guard::{Caller, MintFault, Scope, Scopes, Wish};
use crate::limits::WISH_MAX_BYTES;

/// What is asked for; nothing of it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Longest life, seconds.
    #[serde(default)]
    expires_in: Option<u32>,
    /// Scopes, with blanks between them.
    #[serde(default)]
    scope: Option<String>,
}

impl Asked {
    fn wish(&self) -> Result<Wish, String> {
        if self.expires_in == Some(0) {
            return Err("`expires_in` is at least 1 second.".to_owned());
        }
        let scopes = self.scope.as_deref().map(scopes_of).transpose()?;
        Ok(Wish {
            life: self.expires_in.map(|secs| Duration::from_secs(secs.into())),
            scopes,
        })
    }
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
    serde_json::from_slice(&body.bytes).map_err(|_| {
        Refusal::plain(
            400,
            "The body is optional, and otherwise JSON such as {\"expires_in\": 600, \"scope\": \"read\"}.",
        )
    })
}

fn told(minted: &Minted) -> String {
    let scopes: Vec<&str> = minted.scopes.iter().map(Scope::as_str).collect();
    json!({
        "access_token": minted.token.expose(),
        "token_type": "Bearer",
        "expires_in": minted.life.as_secs(),
        "scope": scopes.join(" "),
        "role": minted.role.as_str(),
        "refresh_expires_in": (minted.life + minted.left).as_secs(),
    })
    .to_string()
}
