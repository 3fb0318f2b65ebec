//! What clients of a stream are told before the server stops, or when it is short of memory, so that they come back by themselves, and not all
//! at one moment.

use std::time::Duration;

use bytes::Bytes;

use crate::base::backoff::random_unit;
use crate::limits::{
    RECONNECT_MAX_SECS, RECONNECT_MIN_SECS, RECONNECT_SHORT_MAX_SECS, RECONNECT_SHORT_MIN_SECS,
};

/// Why a stream ends although its client wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The server stops.
    Stops,
    /// Memory is short, and nothing is under way on this stream.
    Short,
}

impl Why {
    /// When one client should come back: anywhere within the range, drawn for each.
    fn reconnect_after(self) -> Duration {
        let (least, most) = match self {
            Self::Stops => (RECONNECT_MIN_SECS, RECONNECT_MAX_SECS),
            Self::Short => (
                u64::from(RECONNECT_SHORT_MIN_SECS),
                u64::from(RECONNECT_SHORT_MAX_SECS),
            ),
        };
        Duration::from_secs(least) + Duration::from_secs(most - least).mul_f64(random_unit())
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Stops => "",
            Self::Short => r#","reason":"The box is short of memory.""#,
        }
    }

    /// The event `shutdown_pending`. Its `retry` is the same for those who only know that.
    pub(super) fn event(self) -> Bytes {
        let (after, reason) = (self.reconnect_after(), self.reason());
        let (millis, secs) = (after.as_millis(), after.as_secs_f64());
        Bytes::from(format!(
            "event: shutdown_pending\nretry: {millis}\ndata: {{\"reconnect_after\":{secs:.1}{reason}}}\n\n"
        ))
    }

    /// The same as a notification, for those whose messages are no events.
    pub(super) fn notification(self) -> String {
        let (secs, reason) = (self.reconnect_after().as_secs_f64(), self.reason());
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/shutdown_pending","params":{{"reconnect_after":{secs:.1}{reason}}}}}"#
        )
    }
}
