//! The link's two faces of failure: why a connection could not be made, and why a command could not be carried out.

use std::path::PathBuf;
use std::time::Duration;

use crate::wire::qrc::Method;

/// Why no connection to the Core could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The network or the Core turned the connection down.
    #[error("the Core cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing at all answers at the Core's address.
    #[error("nothing answers at the Core's address")]
    Silent,
    /// A step after connecting took too long.
    #[error("no answer while {step}, for {waited:?}")]
    TimedOut {
        /// Which one.
        step: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// TLS could not be agreed on.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The certificate is not signed by the configured authority, or names another host.
    #[error("the Core's certificate is not valid here: {0}")]
    Certificate(String),
    /// The certificate is another one than the pinned one.
    #[error("the Core shows another certificate than the trusted one: SHA-256 {fingerprint}")]
    Untrusted {
        /// SHA-256 of the new one, lower-case hex.
        fingerprint: String,
    },
    /// The authority's file cannot be used.
    #[error("the certificate file {} cannot be used: {fault}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The Core answered the upgrade with an HTTP status; 404 where the WebSocket service is off.
    #[error(
        "the Core refused the WebSocket with HTTP status {status}; is Remote WebSocket Control enabled in Core Manager?"
    )]
    Upgrade {
        /// The status.
        status: u16,
    },
    /// The upgrade failed in another way.
    #[error("the WebSocket could not be opened: {0}")]
    Handshake(String),
}

impl ConnectError {
    /// Whether trying again soon is of no use: a person, or a long pause, has to come first.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Certificate(_)
                | Self::Untrusted { .. }
                | Self::CaFile { .. }
                | Self::Upgrade { status: 401 | 403 }
        )
    }

    /// Whether something at the Core's address answered.
    #[must_use]
    pub const fn has_reached(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_) | Self::Silent | Self::CaFile { .. }
        )
    }
}

/// Why the Core did not do what was asked, or why that cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too many commands wait already; nothing was sent.
    #[error("too many commands are already waiting for the Core")]
    Busy,
    /// There is no live link; nothing was sent.
    #[error("the link to the Core is down, next attempt in {retry_in:?}")]
    Down {
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// The breaker keeps attempts away from a Core that fails; nothing was sent.
    #[error("the circuit breaker is open for another {retry_in:?}")]
    BreakerOpen {
        /// Until the breaker lets one attempt pass.
        retry_in: Duration,
    },
    /// Every reachable Core is a standby; nothing was sent, or the Core answered -32604.
    #[error("the Core is on standby")]
    Standby,
    /// The Core answered with an error.
    #[error("the Core refused {}: {message} ({code})", method.as_str())]
    Refused {
        /// What was asked.
        method: Method,
        /// A code of [`crate::wire::qrc::code`] or [`crate::wire::jsonrpc::code`].
        code: i64,
        /// The Core's words: data, not instruction.
        message: String,
    },
    /// The Core answered something that could not be read.
    #[error("the Core's answer to {} made no sense: {fault}", method.as_str())]
    Unreadable {
        /// What was asked.
        method: Method,
        /// What was wrong with it.
        fault: String,
    },
    /// A read got no answer: it may be asked again.
    #[error("the Core did not answer {}", method.as_str())]
    NoAnswer {
        /// What was asked.
        method: Method,
    },
    /// A write was sent and its answer was lost: it may have been carried out, and must not be sent again.
    #[error("the answer to {} was lost: it may have been carried out", method.as_str())]
    OutcomeUnknown {
        /// What was asked.
        method: Method,
    },
}

impl CommandError {
    /// The kind of it in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Busy => "BUSY",
            Self::Down { .. } => "LINK_DOWN",
            Self::BreakerOpen { .. } => "BREAKER_OPEN",
            Self::Standby => "CORE_STANDBY",
            Self::Refused { .. } => "REFUSED",
            Self::Unreadable { .. } => "UNREADABLE",
            Self::NoAnswer { .. } => "NO_ANSWER",
            Self::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
        }
    }

    /// Whether nothing was sent, so that asking again cannot do a thing twice.
    #[must_use]
    pub const fn was_not_sent(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Down { .. } | Self::BreakerOpen { .. }
        )
    }

    /// How long to wait before asking again makes sense.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Down { retry_in } | Self::BreakerOpen { retry_in } => Some(*retry_in),
            Self::Busy => Some(Duration::from_secs(1)),
            Self::Standby
            | Self::Refused { .. }
            | Self::Unreadable { .. }
            | Self::NoAnswer { .. }
            | Self::OutcomeUnknown { .. } => None,
        }
    }
}
