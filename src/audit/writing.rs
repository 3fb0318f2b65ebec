//! A write between its intent and its outcome.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use tokio::time::{Instant, timeout};

use super::Audit;
use super::entry::{Entry, Kind};

/// How long a write waits for its intent to be on disk, where that is required.
const ON_DISK_WAIT: Duration = Duration::from_secs(2);

/// The outcome of a write whose call ended without one.
pub(super) const UNKNOWN: &str = "UNKNOWN";

/// The intent could not be put on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written to disk")]
pub struct NotOnDisk;

/// A write that is on record as about to be carried out. Dropped without [`Writing::end`], its outcome is on record as unknown.
pub struct Writing {
    audit: Audit,
    order: u64,
    entry: Option<Entry>,
    began: Instant,
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writing").field(&self.order).finish()
    }
}

impl Writing {
    pub(super) fn new(audit: Audit, order: u64, entry: Entry) -> Self {
        Self {
            audit,
            order,
            entry: Some(entry),
            began: Instant::now(),
        }
    }

    /// Waits until the intent is in the hands of the system: from then on the end of the process does not lose it.
    ///
    /// # Errors
    /// The disk takes nothing, or not within two seconds.
    pub async fn on_disk(&self) -> Result<(), NotOnDisk> {
        let mut progress = self.audit.0.progress.subscribe();
        self.audit.0.hurry.notify_one();
        let written = progress.wait_for(|now| now.through > self.order || now.is_faulty);
        match timeout(ON_DISK_WAIT, written).await {
            Ok(Ok(now)) if now.through > self.order => Ok(()),
            Ok(_) | Err(_) => Err(NotOnDisk),
        }
    }

    /// Notes the outcome.
    pub fn end(mut self, outcome: &'static str) {
        self.note(outcome);
    }

    fn note(&mut self, outcome: &'static str) {
        let Some(intent) = self.entry.take() else {
            return;
        };
        let now = self.audit.entry(Kind::Write);
        let done = Entry {
            at: now.at,
            unsynchronised: now.unsynchronised,
            clock_said: now.clock_said,
            kind: Kind::Write,
            arguments: None,
            outcome: Some(CompactString::const_new(outcome)),
            took_ms: u64::try_from(self.began.elapsed().as_millis()).ok(),
            ..intent.clone()
        };
        let shared = &self.audit.0;
        {
            let mut state = shared.state.lock();
            // In memory the two are one: begun then, and ended so.
            let whole = Entry {
                at: intent.at,
                unsynchronised: intent.unsynchronised,
                clock_said: intent.clock_said,
                arguments: intent.arguments,
                ..done.clone()
            };
            state.rings.replace(self.order, Arc::new(whole));
            let order = state.place();
            shared.hand_over(&mut state, order, done);
        }
        shared.wake.notify_one();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.note(UNKNOWN);
    }
}
