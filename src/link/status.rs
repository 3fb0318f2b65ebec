//! Where a link stands, as everybody else sees it.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::qrc::EngineStatus;

/// The state of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// Dialling.
    Connecting,
    /// Connected; the Core has not said yet that its engine is there.
    AwaitEngineStatus,
    /// Logging on.
    LoggingOn,
    /// Learning the design.
    Enumerating,
    /// Registering change groups and waiting for the first full poll.
    Subscribing,
    /// Everything known is fresh, commands pass.
    Live,
    /// The Core is the standby of a pair: it is kept connected, but not used.
    Standby,
    /// Waiting before the next attempt, the breaker's rest included.
    Backoff,
    /// The Core refused key, PIN or the pinned certificate: tried again seldom, or only after a person decided.
    Refused,
}

impl LinkState {
    /// The state as one lower-case word with underscores, stable for answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::AwaitEngineStatus => "await_engine_status",
            Self::LoggingOn => "logging_on",
            Self::Enumerating => "enumerating",
            Self::Subscribing => "subscribing",
            Self::Live => "live",
            Self::Standby => "standby",
            Self::Backoff => "backoff",
            Self::Refused => "refused",
        }
    }
}

/// The breaker, in the classic words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Lets everything pass.
    Closed,
    /// Refuses everything.
    Open,
    /// Lets one trial pass.
    HalfOpen,
}

impl BreakerState {
    /// The state as one lower-case word with underscores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Everything about a link that others may want to know. Of a redundant pair this is the active Core's link, and `peers` has both.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkStatus {
    /// Where the Core is, as configured: host and port, no credentials.
    pub address: String,
    /// The state.
    pub state: LinkState,
    /// Since when.
    pub since: Instant,
    /// The breaker.
    pub breaker: BreakerState,
    /// When the next attempt begins, in [`LinkState::Backoff`] and [`LinkState::Refused`].
    pub retry_at: Option<Instant>,
    /// The last engine status seen, also while the link is down.
    pub engine: Option<EngineStatus>,
    /// Last frame of any kind from the Core.
    pub last_inbound: Option<Instant>,
    /// Last round trip of a poll or probe.
    pub round_trip: Option<Duration>,
    /// Live links lost since the process started.
    pub drops: u64,
    /// Attempts to connect since the process started.
    pub attempts: u64,
    /// Attempts that came to nothing, and links that ended before they had lasted, since the process started.
    pub failures: u64,
    /// Frames that could not be read since the process started.
    pub garbage_frames: u64,
    /// Times that the breaker opened since the process started.
    pub breaker_opened: u64,
    /// Change groups registered on the present connection.
    pub change_groups: usize,
    /// Why the last attempt or link ended, in words for a person; empty before the first end.
    pub last_fault: String,
    /// SHA-256 of the certificate that the Core shows, in hex, when it differs from the pinned one and a person must decide.
    pub untrusted_fingerprint: Option<String>,
    /// Components whose answer was too large, which are not asked again in this design.
    pub oversize_components: Vec<String>,
    /// Components of the design whose controls the Core does not tell, each with the reason: `Main Mixer: boom (-32603)`.
    pub unlisted_components: Vec<String>,
    /// Both links of a redundant pair, the active one included; empty for a single Core.
    pub peers: Vec<Self>,
}

impl LinkStatus {
    /// A link that has not begun.
    #[must_use]
    pub fn new(address: String, now: Instant) -> Self {
        Self {
            address,
            state: LinkState::Connecting,
            since: now,
            breaker: BreakerState::Closed,
            retry_at: None,
            engine: None,
            last_inbound: None,
            round_trip: None,
            drops: 0,
            attempts: 0,
            failures: 0,
            garbage_frames: 0,
            breaker_opened: 0,
            change_groups: 0,
            last_fault: String::new(),
            untrusted_fingerprint: None,
            oversize_components: Vec::new(),
            unlisted_components: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Whether nobody who waits for a change would care for the difference. Signs of life and round trips change all the time.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.address == other.address
            && self.state == other.state
            && self.since == other.since
            && self.breaker == other.breaker
            && self.retry_at == other.retry_at
            && self.engine == other.engine
            && self.drops == other.drops
            && self.attempts == other.attempts
            && self.garbage_frames == other.garbage_frames
            && self.breaker_opened == other.breaker_opened
            && self.change_groups == other.change_groups
            && self.last_fault == other.last_fault
            && self.untrusted_fingerprint == other.untrusted_fingerprint
            && self.oversize_components == other.oversize_components
    }

    /// Takes over what changes all the time.
    pub(crate) const fn follow(&mut self, other: &Self) {
        self.last_inbound = other.last_inbound;
        self.round_trip = other.round_trip;
    }
}
