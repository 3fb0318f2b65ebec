//! The task that keeps the trail on disk: it hands lines to a blocking thread a few milliseconds after they were noted, or at once where
//! somebody waits for that, syncs them together, and lets nothing wait for a disk that is full or hangs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::disk::{Disk, Written};
use super::entry::{Entry, Kind};
use super::forward::Forwarder;
use super::{Audit, Progress, Waiting};
use crate::base::shutdown::Stop;
use crate::limits::{AUDIT_ACTIONS_KEPT, AUDIT_SYNC_SECS};

/// Longest that a round may take before its thread counts as hanging.
const ROUND_LIMIT: Duration = Duration::from_secs(10);

/// Longest that the last round may hold up the end of the process.
const LAST_ROUND_LIMIT: Duration = Duration::from_secs(2);

/// Rest after a round that failed: doubled each time, between these bounds.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How long lines are gathered before they are handed to the disk together, unless somebody waits for them. A thread that is woken for
/// each line takes the processor from the very write that the line is about.
const GATHER: Duration = Duration::from_millis(5);

const MINUTE: Duration = Duration::from_mins(1);

/// What a round's thread gives back.
type Back = (Disk, Vec<Entry>, Written, std::io::Result<()>);

/// Keeps the trail on disk. Its owner runs [`Keeper::run`] as a task.
#[derive(Debug)]
pub struct Keeper {
    audit: Audit,
    /// Absent while a thread has it.
    disk: Option<Disk>,
    /// A round that did not come back in time, and the places of its entries.
    hanging: Option<(JoinHandle<Back>, Vec<u64>)>,
    /// Rounds that failed in a row.
    failures: u32,
    retry_at: Option<Instant>,
    /// When what was written is to be synced.
    sync_at: Option<Instant>,
    has_restored: bool,
    forwarder: Option<Forwarder>,
}

impl Keeper {
    pub(super) fn new(audit: Audit, disk: Disk, forwarder: Option<Forwarder>) -> Self {
        Self {
            audit,
            disk: Some(disk),
            hanging: None,
            failures: 0,
            retry_at: None,
            sync_at: None,
            has_restored: false,
            forwarder,
        }
    }

    /// Writes what is noted, until `stop`; then once more, with a line that says that the end was in good order.
    pub async fn run(mut self, stop: Stop) -> &'static str {
        match self.forwarder.take() {
            None => self.keep(stop).await,
            Some(forwarder) => {
                tokio::select! {
                    biased;
                    () = forwarder.run() => "audit forwarder",
                    name = self.keep(stop) => name,
                }
            }
        }
    }

    async fn keep(mut self, stop: Stop) -> &'static str {
        let mut minute = interval_at(Instant::now() + MINUTE, MINUTE);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let audit = self.audit.clone();
        // When what was noted is handed to the disk.
        let mut hand_over_at = None;
        loop {
            let is_well = self.retry_at.is_none();
            let due = [self.sync_at, self.retry_at, hand_over_at];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = audit.0.hurry.notified(), if is_well => {}
                () = audit.0.wake.notified(), if is_well && hand_over_at.is_none() => {
                    hand_over_at = Some(Instant::now() + GATHER);
                    continue;
                }
                () = until(due) => {}
                _ = minute.tick() => {
                    audit.look_at_clock();
                    audit.close_minute();
                    if !is_well {
                        continue;
                    }
                }
            }
            hand_over_at = None;
            let is_sync = self.sync_at.is_some_and(|at| at <= Instant::now());
            self.round(is_sync, ROUND_LIMIT).await;
        }
        audit.close_minute();
        audit.note(Kind::Stop, None, &json!({}));
        self.round(true, LAST_ROUND_LIMIT).await;
        "audit trail"
    }

    /// One round: whatever waits, and a sync if it is time.
    async fn round(&mut self, is_sync: bool, limit: Duration) {
        if let Some((handle, places)) = self.hanging.take() {
            if handle.is_finished() {
                let back = handle.await;
                self.came_back(back, &places, false);
            } else {
                // One thread is lost to this disk already; a second one would hang as well.
                self.hanging = Some((handle, places));
                self.failed("the disk does not answer");
                return;
            }
        }
        let Some(mut disk) = self.disk.take() else {
            return;
        };
        let (batch, places) = self.take();
        if batch.is_empty() && !is_sync && self.has_restored {
            self.disk = Some(disk);
            return;
        }
        let audit = self.audit.clone();
        let is_restoring = !self.has_restored;
        let mut work = tokio::task::spawn_blocking(move || {
            let is_clock_good = audit.look_at_clock();
            if is_restoring {
                let before = disk.newest(AUDIT_ACTIONS_KEPT);
                audit.compare_with(&before, &batch);
                audit.0.state.lock().rings.restore(before);
            }
            let mut written = Written::default();
            let outcome = disk.round(&batch, is_clock_good, is_sync, &mut written);
            (disk, batch, written, outcome)
        });
        self.has_restored = true;
        match timeout(limit, &mut work).await {
            Ok(back) => self.came_back(back, &places, is_sync),
            Err(_elapsed) => {
                self.hanging = Some((work, places));
                self.failed("the disk does not answer");
            }
        }
    }

    /// Takes what waits, with a line about what found no room.
    fn take(&self) -> (Vec<Entry>, Vec<u64>) {
        let mut state = self.audit.0.state.lock();
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            let gap = self
                .audit
                .entry(Kind::Gap)
                .with_detail(&json!({"lost": lost}));
            let order = state.place();
            state.waiting.push_back(Waiting { order, entry: gap });
            self.audit.0.status.lock().lost += lost;
        }
        state.in_flight = state.waiting.len();
        let taken = std::mem::take(&mut state.waiting);
        let taken = taken.into_iter().map(|one| (one.entry, one.order));
        taken.unzip()
    }

    fn came_back(
        &mut self,
        back: Result<Back, tokio::task::JoinError>,
        places: &[u64],
        is_synced: bool,
    ) {
        let (disk, batch, written, outcome) = match back {
            Ok(back) => back,
            Err(panic) => {
                // A fault of the program: it goes on where it would have gone on without the thread.
                if panic.is_panic() {
                    std::panic::resume_unwind(panic.into_panic());
                }
                return;
            }
        };
        let shared = &self.audit.0;
        if let Some(floor) = written.floor {
            shared.floor.fetch_max(floor.0, Ordering::Relaxed);
        }
        let through = written
            .entries
            .checked_sub(1)
            .and_then(|last| places.get(last))
            .map(|place| place + 1);
        {
            let mut state = shared.state.lock();
            state.in_flight = 0;
            let rest = places.iter().zip(batch).skip(written.entries);
            let rest: Vec<_> = rest
                .map(|(order, entry)| Waiting {
                    order: *order,
                    entry,
                })
                .collect();
            for one in rest.into_iter().rev() {
                state.waiting.push_front(one);
            }
        }
        let now = Instant::now();
        {
            let mut status = shared.status.lock();
            status.bytes = disk.total;
            status.written += u64::try_from(written.entries).unwrap_or(0);
            if outcome.is_ok() {
                status.fault = None;
                if is_synced {
                    status.last_sync = Some(now);
                }
            }
        }
        self.disk = Some(disk);
        if is_synced && outcome.is_ok() {
            self.sync_at = None;
        } else if written.entries > 0 {
            self.sync_at
                .get_or_insert(now + Duration::from_secs(AUDIT_SYNC_SECS));
        }
        match outcome {
            Ok(()) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("the audit trail is written to disk again");
                }
                self.retry_at = None;
                self.tell(through, false);
            }
            Err(error) => {
                self.tell(through, true);
                self.failed(&error.to_string());
            }
        }
    }

    fn failed(&mut self, why: &str) {
        let (first, longest) = RETRY_AFTER;
        let rest = first
            .saturating_mul(1 << self.failures.min(10))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + rest);
        self.sync_at = None;
        self.tell(None, true);
        let mut status = self.audit.0.status.lock();
        status.errors += 1;
        if status.fault.is_none() {
            tracing::error!(
                why,
                "the audit trail cannot be written to disk; it is kept in memory"
            );
        }
        status.fault = Some(why.to_owned());
    }

    fn tell(&self, through: Option<u64>, is_faulty: bool) {
        self.audit.0.progress.send_modify(|progress| {
            *progress = Progress {
                through: through.unwrap_or(0).max(progress.through),
                is_faulty,
            };
        });
    }
}

/// Never, without a moment.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
