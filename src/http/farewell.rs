//! What clients of a stream are told before the server stops, so that they come back by themselves, and not all at one moment.

use std::time::Duration;

use bytes::Bytes;

use crate::base::backoff::random_unit;
use crate::limits::{RECONNECT_MAX_SECS, RECONNECT_MIN_SECS};

/// When one client should come back: anywhere within the range, drawn for each.
fn reconnect_after() -> Duration {
    let range = RECONNECT_MAX_SECS - RECONNECT_MIN_SECS;
    Duration::from_secs(RECONNECT_MIN_SECS) + Duration::from_secs(range).mul_f64(random_unit())
}

/// The event `shutdown_pending`. Its `retry` is the same for those who only know that.
pub(super) fn event() -> Bytes {
    let after = reconnect_after();
    let (millis, secs) = (after.as_millis(), after.as_secs_f64());
    Bytes::from(format!(
        "event: shutdown_pending\nretry: {millis}\ndata: {{\"reconnect_after\":{secs:.1}}}\n\n"
    ))
}

/// The same as a notification, for those whose messages are no events.
pub(super) fn notification() -> String {
    let secs = reconnect_after().as_secs_f64();
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/shutdown_pending","params":{{"reconnect_after":{secs:.1}}}}}"#
    )
}
