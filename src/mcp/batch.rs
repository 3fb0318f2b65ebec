//! Arrays of messages in one body: a duty of the one revision that has them (2025-03-26, Transports), refused in all others.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::attend::{self, Outcome, Work};
use super::error::Fault;
use super::heading::legacy_heading;
use super::outlet::Outlet;
use super::peer::Peer;
use super::schema::{Kind, Malformed, Message, Meta};
use super::trail::Trail;
use super::{Post, Reply, Server, invalid};
use crate::guard::Caller;
use crate::limits::BATCH_MAX;

/// Whether a body is an array.
pub(super) fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Answers an array with an array: one response for each request in it, in their order, one after the other.
pub(super) async fn answer(server: &Arc<Server>, post: &Post<'_>) -> Result<Reply, Fault> {
    let count = split(post.body)?.len();
    let routing = post.routing.unwrap_or_default();
    // A body without a session cannot be of the revision that has batches.
    let peer = match routing.session.text() {
        Some(_) => Some(server.session(&routing, post.caller)?.1),
        None => None,
    };
    let trail = Trail::of(server, post.trace, &Meta::default());
    let peer = admit(server, peer, count, post.caller, &trail)?;
    server.attend(post, Work::Batch(peer, trail)).await
}

/// Whether the session takes an array of this length. Each message counts; the first was paid for with the body.
fn admit(
    server: &Server,
    peer: Option<Arc<Peer>>,
    count: usize,
    caller: &Caller,
    trail: &Trail,
) -> Result<Arc<Peer>, Fault> {
    let Some(peer) = peer.filter(|peer| peer.revision().has_batches()) else {
        return Err(invalid(
            "An array of messages is not taken in this revision; send one message per request.",
        ));
    };
    match count {
        0 => Err(invalid("The array of messages is empty.")),
        1..=BATCH_MAX => {
            let more = u32::try_from(count - 1).unwrap_or(u32::MAX);
            let paid = caller.purse.spend(more);
            paid.map_err(|exceeded| {
                server.note_too_often(caller, trail);
                Fault::too_often(&exceeded, false)
            })?;
            Ok(peer)
        }
        _ => Err(invalid(
            "The array has too many messages: at most 32 are taken.",
        )),
    }
}

/// An array on a connection that has a session or none.
pub(super) fn work(
    server: &Server,
    body: &[u8],
    peer: Option<Arc<Peer>>,
    trail: Trail,
    caller: &Caller,
) -> Result<Work, Fault> {
    let count = split(body)?.len();
    admit(server, peer, count, caller, &trail).map(|peer| Work::Batch(peer, trail))
}

fn split(body: &[u8]) -> Result<Vec<&RawValue>, Fault> {
    serde_json::from_slice(body).map_err(|_| Fault::malformed(Malformed::NotJson))
}

/// Carries out an array that was let in.
pub(super) async fn carry_out(
    server: &Arc<Server>,
    (peer, trail): (&Arc<Peer>, &Trail),
    body: &[u8],
    caller: &Caller,
    outlet: &Outlet,
) -> Outcome {
    let messages = match split(body) {
        Ok(messages) => messages,
        Err(fault) => return Outcome::Fault(fault, None),
    };
    let mut out = Vec::with_capacity(1024);
    for raw in messages {
        if let Some(answer) = one(server, (peer, trail), raw, caller, outlet).await {
            out.push(if out.is_empty() { b'[' } else { b',' });
            out.extend_from_slice(&answer);
        }
    }
    if out.is_empty() {
        return Outcome::Nothing;
    }
    out.push(b']');
    Outcome::Done(out)
}

/// The response to one message of an array; nothing for a notification or a response.
async fn one(
    server: &Arc<Server>,
    (peer, trail): (&Arc<Peer>, &Trail),
    raw: &RawValue,
    caller: &Caller,
    outlet: &Outlet,
) -> Option<Vec<u8>> {
    let message = match Message::parse(raw.get().as_bytes()) {
        Ok(message) => message,
        Err(malformed) => return Some(Fault::malformed(malformed).to_json(None)),
    };
    let Kind::Request(id) = message.kind else {
        super::take_notice(peer, &message);
        return None;
    };
    if message.method == "initialize" {
        return Some(invalid("`initialize` must not be part of an array.").to_json(Some(id)));
    }
    let prepared = legacy_heading(
        id,
        &message,
        peer,
        server.offers,
        trail.of_part(server, &message.meta),
    )
    .and_then(|heading| attend::runs(&heading).map(|running| (heading, running)));
    let (heading, running) = match prepared {
        Ok(prepared) => prepared,
        Err(fault) => return Some(fault.to_json(Some(id))),
    };
    attend::carry_out(server, &message, &heading, caller, outlet, running.as_ref())
        .await
        .into_message()
}
