//! Why a command could not be carried out. The other face, why a connection could not be made, is `ConnectError` in `dial.rs`.

use std::time::Duration;

use crate::wire::qrc::Method;

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
