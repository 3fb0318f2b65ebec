//! Bearer tokens: short-lived, signed, and never worth more than the key behind them.
//!
//! The algorithm in a token's head decides who may have made it, and each maker has its own: HS256 is this server, with its secret;
//! RS256, ES256 and EdDSA are the identity provider, with its public keys. No key is ever used for another algorithm than its own.

mod backend;
mod checked;
mod ends;
mod fetch;
mod key_set;
mod outside;
mod own;
mod secret;

use serde::Deserialize;

pub(super) use ends::Ends;
pub use fetch::KeySetSource;
use jsonwebtoken::Algorithm;
pub(super) use outside::Outside;
pub use outside::{OUTSIDE_PREFIX, Provider, ProviderRules};
pub use own::{Minted, TokenTimes, Tokens};
pub(super) use own::{Own, Subject};
pub use secret::{SecretFile, SecretFileError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use tokio::time::Instant;

use crate::base::clock::UnixMillis;
use crate::base::json;
use crate::limits::{TOKEN_HEAD_MAX_BYTES, TOKEN_MAX_BYTES};

/// What is wrong with a token. Says what to do, never what a right one would look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is no token, or not whole.
    #[error(
        "The bearer token cannot be read. Copy it again as a whole, or get a new one from /auth/token with an API key."
    )]
    Unreadable,
    /// It is signed in a way that nobody here uses.
    #[error(
        "The bearer token is signed in a way that this server does not take. Get one from /auth/token with an API key."
    )]
    Algorithm,
    /// Somebody else made it, or the secret was changed since.
    #[error(
        "The bearer token was not made by this server, or all tokens were ended since. Get a new one from /auth/token with an API key."
    )]
    Foreign,
    /// Its time is over.
    #[error(
        "The bearer token has expired. Get a new one from /auth/token with an API key; while a token is good, /auth/refresh changes it for a new one."
    )]
    Expired,
    /// Its time has not come.
    #[error(
        "The bearer token is not valid yet by the clock of this server. Check the clocks, or get a new token from /auth/token with an API key."
    )]
    Early,
    /// Its key is bound to other networks.
    #[error(
        "The API key that made this bearer token may not be used from this address: it is bound to certain networks."
    )]
    Elsewhere,
    /// The identity provider does not have the key that signed it.
    #[error(
        "The key that signed this bearer token is not known at the identity provider. If it is new there, try again in a minute."
    )]
    UnknownKey,
    /// The keys of the identity provider are not known.
    #[error(
        "The keys of the identity provider could not be read, so this bearer token cannot be checked. Try again in a minute; API keys work."
    )]
    NoProviderKeys,
    /// Somebody else than the identity provider says that it made it.
    #[error("The bearer token is from another issuer than this server's identity provider.")]
    Issuer,
    /// It is for somebody else.
    #[error(
        "The bearer token is for another audience than this server. Ask the identity provider for one with this server as resource."
    )]
    Audience,
    /// It does not say whose it is.
    #[error("The bearer token does not say whose it is, in the claim that this server reads.")]
    Name,
    /// Nothing in it gives a role.
    #[error(
        "The bearer token is good, but gives no role on this server. The list `roles` under [identity-provider] says what does."
    )]
    NoRole,
    /// The clock of this server is not set.
    #[error(
        "The clock of this server is not set, so that it cannot tell whether this bearer token is current. API keys work."
    )]
    ClockUnset,
    /// The key that made it is gone.
    #[error(
        "The API key that made this bearer token was revoked or has expired. Get a new token from /auth/token with a key that is in force."
    )]
    KeyEnded,
}

impl TokenFault {
    /// The reason as a word, for the record.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "UNREADABLE_TOKEN",
            Self::Algorithm => "TOKEN_ALGORITHM",
            Self::Foreign => "FOREIGN_TOKEN",
            Self::Expired => "EXPIRED_TOKEN",
            Self::Early => "EARLY_TOKEN",
            Self::Elsewhere => "TOKEN_FROM_ELSEWHERE",
            Self::UnknownKey => "TOKEN_OF_UNKNOWN_KEY",
            Self::NoProviderKeys => "NO_PROVIDER_KEYS",
            Self::Issuer => "TOKEN_ISSUER",
            Self::Audience => "TOKEN_AUDIENCE",
            Self::Name => "TOKEN_WITHOUT_NAME",
            Self::NoRole => "TOKEN_WITHOUT_ROLE",
            Self::ClockUnset => "CLOCK_UNSET",
            Self::KeyEnded => "TOKEN_OF_ENDED_KEY",
        }
    }

    /// Whether whoever sends it may be guessing. What was once a good token is no guess.
    pub(super) const fn is_guess(self) -> bool {
        match self {
            Self::Unreadable | Self::Algorithm | Self::Foreign | Self::UnknownKey => true,
            Self::Expired
            | Self::Early
            | Self::Elsewhere
            | Self::KeyEnded
            | Self::NoProviderKeys
            | Self::Issuer
            | Self::Audience
            | Self::Name
            | Self::NoRole
            | Self::ClockUnset => false,
        }
    }
}

/// Whether a credential is a token and not a key: the three parts of a signed JWT, of which the first is JSON.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The head of a token, as far as it decides anything. What else stands there is not looked at: a key, or the address of one, that a
/// token brings along is nobody's.
#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// What the wall clock says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wall {
    /// Now: two machines can agree on nothing else.
    pub(super) now: UnixMillis,
    /// At the most, ever: a clock that is set back makes no token of our own young again.
    pub(super) highest: UnixMillis,
}

/// A token that is good by itself.
#[derive(Debug)]
pub(super) enum Read {
    /// Of this server.
    Own(Own),
    /// Of the identity provider.
    Outside(Outside),
}

/// Reads a token: the head says who must have made it, and then nobody else's key is tried.
pub(super) fn read(
    token: &str,
    tokens: &Tokens,
    provider: Option<&Provider>,
    now: Instant,
    wall: Wall,
) -> Result<Read, TokenFault> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenFault::Unreadable);
    }
    if let Some(said) = tokens.said(token) {
        return tokens.judge(said, now, wall.highest).map(Read::Own);
    }
    if let Some(said) = provider.and_then(|provider| provider.said(token, now)) {
        return Provider::judge(said, now, wall.now).map(Read::Outside);
    }
    let head = head(token)?;
    let algorithm = match (head.alg.as_str(), provider) {
        ("HS256", _) => return tokens.read(token, now, wall.highest).map(Read::Own),
        ("RS256", Some(provider)) => (Algorithm::RS256, provider),
        ("ES256", Some(provider)) => (Algorithm::ES256, provider),
        ("EdDSA", Some(provider)) => (Algorithm::EdDSA, provider),
        _ => return Err(TokenFault::Algorithm),
    };
    let (algorithm, provider) = algorithm;
    let read = provider.read(token, &head, algorithm, now, wall.now);
    read.map(Read::Outside)
}

fn head(token: &str) -> Result<Head, TokenFault> {
    let head = token.split('.').next().unwrap_or_default();
    if head.len() > TOKEN_HEAD_MAX_BYTES {
        return Err(TokenFault::Unreadable);
    }
    let head = URL_SAFE_NO_PAD
        .decode(head)
        .map_err(|_| TokenFault::Unreadable)?;
    let head: Head = json::object(&head).map_err(|_| TokenFault::Unreadable)?;
    // RFC 7515, section 4.1.11: what must be understood, and is not, is refused.
    if head.crit.is_some() {
        return Err(TokenFault::Algorithm);
    }
    Ok(head)
}
