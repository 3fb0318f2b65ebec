//! What is known of a request once it is understood, its parameters aside.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::Fault;
use super::offers::Offers;
use super::outlet::Hears;
use super::peer::Peer;
use super::revision::Revision;
use super::schema::{Message, Method};
use super::trail::Trail;
use crate::service::Abilities;

/// What is known of a request once it is understood, its parameters aside.
#[derive(Debug)]
pub(super) struct Heading<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) revision: Revision,
    pub(super) method: Method,
    /// What the client says it can be asked.
    pub(super) abilities: Abilities,
    /// What it wants to hear before the answer.
    pub(super) hears: Hears,
    /// Its session, in revisions that have them.
    pub(super) peer: Option<Arc<Peer>>,
    /// Its ids.
    pub(super) trail: Trail,
}

impl Heading<'_> {
    /// The same on its own.
    pub(super) fn into_owned(self) -> Heading<'static> {
        Heading {
            id: Cow::Owned(self.id.into_owned()),
            revision: self.revision,
            method: self.method,
            abilities: self.abilities,
            hears: self.hears,
            peer: self.peer,
            trail: self.trail,
        }
    }
}

/// A request of a session.
pub(super) fn legacy_heading<'a>(
    id: &'a str,
    message: &Message<'_>,
    peer: &Arc<Peer>,
    offers: Offers,
    trail: Trail,
) -> Result<Heading<'a>, Fault> {
    let revision = peer.revision();
    let method = Method::parse(&message.method)
        .filter(|method| revision.has(*method) && offers.has(*method))
        .ok_or_else(|| Fault::method_not_found(&message.method, false))?;
    Ok(Heading {
        id: Cow::Borrowed(id),
        revision,
        method,
        abilities: peer.abilities(),
        hears: Hears::of(&message.meta, revision)?,
        peer: Some(Arc::clone(peer)),
        trail,
    })
}
