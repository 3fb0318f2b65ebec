//! The first start over HTTP: the claim, then finding, checking and setting the Core, and keys. What is done lies behind [`Setup`]; here it
//! is spoken, and every other route is kept shut for as long as the box is nobody's.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, Request, Response};
use serde::Deserialize;
use serde_json::Value;

use super::Front;
use super::body::{Body, BodyLimits};
use super::endpoint::{self, Refusal};
use super::reply::{self, Refused};
use super::route::Route;
use crate::base::json;
use crate::base::secret::Secret;
use crate::guard::Caller;
use crate::guard::claim::ClaimFault;
use crate::limits::SETUP_MAX_BYTES;

/// The page of every step. It holds nothing of the box: what it shows it asks for with the code or the key that a person types.
const PAGE: &str = include_str!("pages/setup.html");

/// What stands in the page where the number goes that lets its own script run, and no other.
const NONCE: &str = "{nonce}";

/// How far a box is on its way to its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nobody owns it.
    Unclaimed,
    /// Somebody does, and has not told it its Core.
    NoCore,
    /// It does its work.
    Done,
}

impl Stage {
    /// Why a route is shut at this stage, if it is.
    fn shuts(self, route: Route) -> Option<&'static str> {
        match (self, route) {
            (Self::Unclaimed, Route::Live | Route::Claim) | (Self::Done, _) => None,
            (Self::Unclaimed, _) => Some(
                "This box is not claimed yet. Open /claim in a browser and type the code that its console and its label show.",
            ),
            (Self::NoCore, route) => route.is_mcp().then_some(
                "This box was not told its Q-SYS Core yet. Open /setup in a browser, with an admin's key.",
            ),
        }
    }
}

/// One step after the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Listen for Cores on the network.
    Find,
    /// Try a Core, and say what is wrong with the way to it.
    Check,
    /// Take a Core: it is stored, and the service begins anew with it.
    Core,
    /// Make a key, with client configurations that carry it.
    Key,
}

impl Step {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/setup/find" => Some(Self::Find),
            "/setup/check" => Some(Self::Check),
            "/setup/core" => Some(Self::Core),
            "/setup/key" => Some(Self::Key),
            _ => None,
        }
    }
}

/// Why a step was not taken.
#[derive(Debug)]
pub struct StepFault {
    /// The HTTP status.
    pub status: u16,
    /// For the person.
    pub message: String,
}

/// What the box does at its first start.
pub trait Setup: Send + Sync {
    /// How far it is.
    fn stage(&self) -> Stage;

    /// Claims it: the answer has the first key, which is shown this once. `url` is where the person reached the box.
    ///
    /// # Errors
    ///
    /// See [`ClaimFault`].
    fn claim(&self, code: &str, name: &str, url: &str, from: IpAddr) -> Result<Value, ClaimFault>;

    /// Takes a step that an admin asked for, with what they typed as JSON.
    fn step(
        &self,
        step: Step,
        caller: &Caller,
        wish: Bytes,
    ) -> BoxFuture<'_, Result<Value, StepFault>>;
}

/// What a person typed who claims a box.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    code: Secret,
    /// What the first key is for.
    name: String,
    /// Where the page was found.
    #[serde(default)]
    url: String,
}

/// The answer of a route that is shut at this stage.
pub(super) fn shut(
    front: &Front,
    route: Route,
    request: &Request<Incoming>,
) -> Option<Response<Body>> {
    let stage = front.setup.as_ref()?.stage();
    let message = stage.shuts(route)?;
    if route == Route::StatusPage && request.method() == Method::GET {
        let mut response = reply::empty(303);
        let headers = response.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_static("/claim"));
        return Some(response);
    }
    Some(reply::refuse(&Refused {
        route,
        status: 503,
        message,
        version: endpoint::version(request.headers()),
        retry_after: Some(Duration::from_mins(1)),
    }))
}

/// Answers `/claim`, `/setup` and the steps behind it. Where nothing is set up, nothing is there.
pub(super) async fn answer(
    front: &Front,
    route: Route,
    request: Request<Incoming>,
    caller: Option<&Caller>,
    from: IpAddr,
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
    let Some(setup) = &front.setup else {
        return refused(
            404,
            "This service is set up by its configuration file, not by a page.",
            None,
        );
    };
    if request.method() != Method::POST {
        return page();
    }
    let path = request.uri().path().to_owned();
    let Some(_place) = front.setups.take() else {
        return refused(
            429,
            "Two steps of the setup are under way: try again when one is done.",
            Some(Duration::from_secs(5)),
        );
    };
    let body = match body(front, request).await {
        Ok(body) => body,
        Err(refusal) => return refused(refusal.status, refusal.message, refusal.retry_after),
    };
    let Some(step) = Step::of(&path) else {
        return claim(&**setup, &body, from, refused);
    };
    let Some(caller) = caller else {
        return refused(401, "This needs an admin's key.", None);
    };
    match setup.step(step, caller, body).await {
        Ok(value) => reply::json(200, Bytes::from(value.to_string())),
        Err(fault) => refused(fault.status, &fault.message, None),
    }
}

fn claim(
    setup: &dyn Setup,
    body: &[u8],
    from: IpAddr,
    refused: impl Fn(u16, &str, Option<Duration>) -> Response<Body>,
) -> Response<Body> {
    let Ok(wish) = json::object::<Wish>(body) else {
        return refused(
            400,
            "Send JSON such as {\"code\": \"ABCD-2345\", \"name\": \"FOH laptop\"}.",
            None,
        );
    };
    match setup.claim(wish.code.expose(), &wish.name, &wish.url, from) {
        Ok(value) => reply::json(200, Bytes::from(value.to_string())),
        Err(fault) => {
            let (status, wait) = match &fault {
                ClaimFault::Wrong => (403, None),
                ClaimFault::TooOften { wait } => (429, Some(*wait)),
                ClaimFault::Taken => (409, None),
                ClaimFault::Name(_) => (400, None),
                ClaimFault::Storage(_) => (503, Some(Duration::from_secs(5))),
            };
            refused(status, &fault.to_string(), wait)
        }
    }
}

async fn body(front: &Front, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let (head, body) = request.into_parts();
    let limits = BodyLimits {
        each: SETUP_MAX_BYTES,
        all: front.limits.bodies,
        time: front.limits.body_timeout,
    };
    let read = front.bodies.read(body, limits).await.map_err(|fault| {
        endpoint::body_fault(
            fault,
            "The body is too large: at most 16 KiB is taken here.",
        )
    })?;
    // A form of another site could send anything else than this.
    if !endpoint::is_json(&head.headers) {
        return Err(endpoint::NOT_JSON);
    }
    Ok(read.bytes.clone())
}

fn page() -> Response<Body> {
    match getrandom::u64() {
        Ok(number) => {
            let nonce = format!("{number:016x}");
            reply::page_with_script(PAGE.replace(NONCE, &nonce), &nonce)
        }
        Err(_) => reply::text(
            503,
            "There is no randomness yet; try again in a few seconds.\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_that_is_nobodys_answers_its_claim_and_liveness_and_nothing_else() {
        for route in Route::ALL {
            let is_open = matches!(route, Route::Live | Route::Claim);
            assert_eq!(
                Stage::Unclaimed.shuts(route).is_none(),
                is_open,
                "{route:?}"
            );
            assert_eq!(
                Stage::NoCore.shuts(route).is_none(),
                !route.is_mcp(),
                "{route:?}"
            );
            assert!(Stage::Done.shuts(route).is_none());
        }
    }

    #[test]
    fn every_step_has_its_path_and_every_path_its_step() {
        for path in Route::SetupStep.paths() {
            assert!(Step::of(path).is_some(), "{path}");
        }
        assert_eq!(Step::of("/setup"), None);
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere_and_its_script_is_marked() {
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<script nonce={nonce}>").count(), 1);
        assert!(!PAGE.contains("http:") && !PAGE.contains("src="));
    }
}
