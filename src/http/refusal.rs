//! What is said to those who are not let in, or not far enough.

use std::time::Duration;

use hyper::Response;
use hyper::header::HeaderMap;

use super::body::Body;
use super::endpoint;
use super::reply::{self, Refused};
use super::route::{Access, Route};
use crate::guard::token::TokenFault;
use crate::guard::{Caller, CredentialId, Refusal, Scope};

pub(super) fn refuse(
    route: Route,
    headers: &HeaderMap,
    status: u16,
    message: &str,
) -> Response<Body> {
    reply::refuse(&Refused {
        route,
        status,
        message,
        version: endpoint::version(headers),
        retry_after: None,
    })
}

pub(super) fn turn_away(route: Route, headers: &HeaderMap, refusal: &Refusal) -> Response<Body> {
    let (status, retry_after) = match refusal {
        Refusal::Throttled { retry_after } => (429, Some(*retry_after)),
        Refusal::KeyInUrl => (400, None),
        Refusal::Elsewhere | Refusal::Token(TokenFault::Elsewhere | TokenFault::NoRole) => {
            (403, None)
        }
        Refusal::Token(TokenFault::NoProviderKeys | TokenFault::ClockUnset) => {
            (503, Some(Duration::from_mins(1)))
        }
        Refusal::NoKeys
        | Refusal::Missing
        | Refusal::Unreadable
        | Refusal::Damaged
        | Refusal::Unknown
        | Refusal::Expired
        | Refusal::Ticket
        | Refusal::Token(_) => (401, None),
    };
    reply::refuse(&Refused {
        route,
        status,
        message: &refusal.to_string(),
        version: endpoint::version(headers),
        retry_after,
    })
}

/// What is said to a caller whose credential is of the wrong kind for a route.
pub(super) fn wrong_kind(route: Route, caller: &Caller) -> Option<&'static str> {
    match (route.access(), caller.credential) {
        (Access::KeyAlone, CredentialId::Key(_)) | (Access::TokenAlone, CredentialId::Token(_)) => {
            None
        }
        (Access::KeyAlone, _) => Some(
            "This needs an API key, not a token. A token is changed for a new one at /auth/refresh.",
        ),
        (Access::TokenAlone, _) => Some("This needs a token. An API key makes one at /auth/token."),
        (Access::KeyOrScraper(_), _) if !caller.reach.is_everything() => Some(
            "These numbers count everything, and this key is bound to certain components. A key without such a bound is told.",
        ),
        _ => None,
    }
}

pub(super) fn lacks_scope(route: Route, headers: &HeaderMap, scope: Scope) -> Response<Body> {
    let message = format!("This needs an API key with the scope {}.", scope.as_str());
    let mut response = refuse(route, headers, 403, &message);
    reply::set_needed_scope(response.headers_mut(), scope);
    response
}
