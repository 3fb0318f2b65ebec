//! `/auth/ticket`: a one-use ticket for an event stream that a browser opens.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde_json::json;

use super::Front;
use super::body::Body;
use super::reply::{self, Refused};
use super::route::Route;
use crate::guard::{Caller, TICKET_LIFE, TicketFault};

/// Answers a caller who was let in by a key or a token.
pub(super) fn answer(front: &Front, caller: &Caller) -> Response<Body> {
    match front.guard.ticket(caller) {
        Ok(ticket) => {
            let told = json!({ "ticket": ticket.expose(), "expires_in": TICKET_LIFE.as_secs() });
            reply::json(200, Bytes::from(told.to_string()))
        }
        Err(fault) => {
            let (status, retry_after) = match fault {
                TicketFault::NotByKey => (403, None),
                TicketFault::Busy => (429, Some(TICKET_LIFE)),
                TicketFault::Unavailable => (503, Some(Duration::from_secs(1))),
            };
            reply::refuse(&Refused {
                route: Route::Ticket,
                status,
                message: &fault.to_string(),
                version: None,
                retry_after,
            })
        }
    }
}
