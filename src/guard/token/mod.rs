//! Bearer tokens: short-lived, signed, and never worth more than the key behind them.
//!
//! The algorithm in a token's head decides who may have made it, and each maker has its own: HS256 is this server, with its secret;
//! RS256, ES256 and `EdDSA` are the identity provider, with its public keys. No key is ever used for another algorithm than its own.

mod backend;
mod ends;
mod own;
mod secret;

use serde::Deserialize;

pub(super) use ends::Ends;
pub(super) use own::Subject;
pub use own::{Minted, TokenTimes, Tokens};
pub use secret::{SecretFile, SecretFileError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
            Self::KeyEnded => "TOKEN_OF_ENDED_KEY",
        }
    }

    /// Whether whoever sends it may be guessing. What was once a good token is no guess.
    pub(super) const fn is_guess(self) -> bool {
        match self {
            Self::Unreadable | Self::Algorithm | Self::Foreign => true,
            Self::Expired | Self::Early | Self::Elsewhere | Self::KeyEnded => false,
        }
    }
}

/// Whether a credential is a token and not a key: the three parts of a signed JWT, of which the first is JSON.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Who must have made a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// This server.
    Own,
}

/// The head of a token, as far as it decides anything. What else stands there is not looked at: a key, or the address of one, that a
/// token brings along is nobody's.
#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// Reads who must have made a token.
pub(super) fn maker(token: &str) -> Result<Maker, TokenFault> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenFault::Unreadable);
    }
    let head = token.split('.').next().unwrap_or_default();
    if head.len() > TOKEN_HEAD_MAX_BYTES {
        return Err(TokenFault::Unreadable);
    }
    let head = URL_SAFE_NO_PAD
        .decode(head)
        .map_err(|_| TokenFault::Unreadable)?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| TokenFault::Unreadable)?;
    // RFC 7515, section 4.1.11: what must be understood, and is not, is refused.
    if head.crit.is_some() {
        return Err(TokenFault::Algorithm);
    }
    match head.alg.as_str() {
        "HS256" => Ok(Maker::Own),
        _ => Err(TokenFault::Algorithm),
    }
}
