//! Arrays of messages in one body: a duty of the one revision that has them (2025-03-26, Transports), refused in all others.

use serde_json::value::RawValue;

use super::error::Fault;
use super::schema::{Kind, Message};
use super::{Post, Reply, ReplyBody, Server, invalid};
use crate::limits::BATCH_MAX;

/// Whether a body is an array.
pub(super) fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Answers an array with an array: one response for each request in it, in their order, one after the other.
pub(super) async fn answer(server: &Server, post: &Post<'_>) -> Result<Reply, Fault> {
    let routing = post.routing.unwrap_or_default();
    let messages: Vec<&RawValue> = serde_json::from_slice(post.body)
        .map_err(|_| Fault::malformed(super::schema::Malformed::NotJson))?;
    // A body without a session cannot be of the revision that has batches.
    let has_batches =
        routing.session.text().is_some() && server.session(&routing, post.caller)?.1.has_batches();
    if !has_batches {
        return Err(invalid(
            "An array of messages is not taken in this revision; send one message per request.",
        ));
    }
    if messages.is_empty() {
        return Err(invalid("The array of messages is empty."));
    }
    if messages.len() > BATCH_MAX {
        return Err(invalid(
            "The array has too many messages: at most 32 are taken.",
        ));
    }
    let mut out = Vec::with_capacity(1024);
    for raw in messages {
        if let Some(answer) = answer_one(server, post, raw).await {
            out.push(if out.is_empty() { b'[' } else { b',' });
            out.extend_from_slice(&answer);
        }
    }
    if out.is_empty() {
        return Ok(Reply::empty(202));
    }
    out.push(b']');
    Ok(Reply::json(out))
}

/// The response to one message of a batch; nothing for a notification or a response.
async fn answer_one(server: &Server, post: &Post<'_>, raw: &RawValue) -> Option<Vec<u8>> {
    let message = match Message::parse(raw.get().as_bytes()) {
        Ok(message) => message,
        Err(malformed) => return Some(Fault::malformed(malformed).to_json(None)),
    };
    let Kind::Request(id) = message.kind else {
        return None;
    };
    if message.method == "initialize" {
        return Some(invalid("`initialize` must not be part of an array.").to_json(Some(id)));
    }
    match server.dispatch(post, &message).await {
        Ok(Reply {
            body: ReplyBody::Json(json),
            ..
        }) => Some(json),
        // Streams belong to revisions without batches.
        Ok(_) => Some(invalid("This method cannot be part of an array.").to_json(Some(id))),
        Err(fault) => Some(fault.to_json(Some(id))),
    }
}
