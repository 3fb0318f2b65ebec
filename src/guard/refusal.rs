//! Why somebody is not let in.

use std::time::Duration;

use super::token::TokenFault;

/// Why somebody is not let in. Says what to do, never which keys exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key exists yet, so nobody can come in.
    #[error(
        "No API key exists on this server yet. Make one on the server with `rackhand key new --name NAME --role ROLE`."
    )]
    NoKeys,
    /// The request carries no credential.
    #[error(
        "This server needs an API key. Send it as the header `Authorization: Bearer KEY`. A key is made on the server with `rackhand key new`."
    )]
    Missing,
    /// The request carries two different credentials, or one that cannot be read.
    #[error(
        "The credential cannot be read. Send one API key, as the header `Authorization: Bearer KEY`."
    )]
    Unreadable,
    /// The key was copied incompletely.
    #[error(
        "The API key is damaged: a letter is missing, added or wrong. Copy it again as a whole; it begins with `rh_` and has 52 characters."
    )]
    Damaged,
    /// Nobody has this key.
    #[error(
        "The API key is not known here. It may have been revoked, or belong to another server. Make a new one on the server with `rackhand key new`."
    )]
    Unknown,
    /// The key has ended.
    #[error("The API key has expired. Make a new one on the server with `rackhand key new`.")]
    Expired,
    /// The key is right, and bound to other networks. Told to who has it: nobody guesses a key of ours, and for all others it is
    /// [`Refusal::Unknown`].
    #[error(
        "This API key may not be used from this address: it is bound to certain networks. Use it from one of them, or make a key for this network on the server with `rackhand key new --network`."
    )]
    Elsewhere,
    /// A key stands in the URL.
    #[error(
        "An API key does not belong in a URL, where it ends up in logs and histories: take it as known to others, revoke it, and send the next one as the header `Authorization: Bearer KEY`. A browser that cannot send headers opens event streams with a one-use ticket from POST /auth/ticket."
    )]
    KeyInUrl,
    /// The ticket was used, is too old, or never was.
    #[error(
        "The ticket is not good: each opens one event stream, within 60 s. Get another with POST /auth/ticket and an API key."
    )]
    Ticket,
    /// The bearer token is not taken.
    #[error(transparent)]
    Token(TokenFault),
    /// Too many wrong keys came from this address.
    #[error("Too many logins with a wrong API key came from this address. Try again in {} s.", retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
}

impl Refusal {
    /// The reason as a word, for the record.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoKeys => "NO_KEYS",
            Self::Missing => "NO_CREDENTIAL",
            Self::Unreadable => "UNREADABLE_CREDENTIAL",
            Self::Damaged => "DAMAGED_KEY",
            Self::Unknown => "UNKNOWN_KEY",
            Self::Expired => "EXPIRED_KEY",
            Self::Elsewhere => "KEY_FROM_ELSEWHERE",
            Self::KeyInUrl => "KEY_IN_URL",
            Self::Ticket => "BAD_TICKET",
            Self::Token(fault) => fault.word(),
            Self::Throttled { .. } => "THROTTLED",
        }
    }
}
