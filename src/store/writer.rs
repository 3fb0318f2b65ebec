//! The store's writer: a task that wakes every few seconds, has one blocking thread write what changed, and says how it went.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Store;
use super::error::Fault;
use crate::base::life::Life;
use crate::limits::STORE_INTERVAL;

/// Longest that one round may take before its thread counts as hanging and is left behind.
const ROUND_LIMIT: Duration = Duration::from_secs(30);

/// Longest that the last round may hold up the end of the process.
const LAST_ROUND_LIMIT: Duration = Duration::from_secs(3);

/// Rest after a store could not be made anew either: doubled each time, between these bounds. To write everything anew wears the
/// flash, and a disk that is full or dying is not helped by haste.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));

/// When a store that failed is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Retry {
    failures: u32,
    at: Option<Instant>,
}

impl Retry {
    /// Whether a round may begin.
    fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// Once at once, then more and more seldom.
    fn failed(&mut self, now: Instant) {
        let (first, longest) = RETRY_AFTER;
        let rest = match self.failures {
            0 => Duration::ZERO,
            again => first.saturating_mul(1 << (again - 1).min(10)).min(longest),
        };
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now + rest);
    }
}

impl Store {
    /// Writes what changes, until its life is stopped; then once more, within three seconds.
    pub async fn run(mut self, life: impl Into<Life>) -> &'static str {
        let Life { stop, beat } = life.into();
        self.beat = beat.clone();
        let mut tick = interval(STORE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let crowded = std::sync::Arc::clone(&self.crowded);
        loop {
            let is_healthy = self.retry.at.is_none();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                never = beat.answer() => match never {},
                () = crowded.notified(), if is_healthy => {}
                _ = tick.tick() => {}
            }
            self.round(ROUND_LIMIT).await;
        }
        self.round(LAST_ROUND_LIMIT).await;
        "store writer"
    }

    /// Writes what is owed, if anything is and the disk is not being given a rest.
    pub(super) async fn round(&mut self, limit: Duration) {
        let now = Instant::now();
        let is_needed = self.disk.has_work() || !self.disk.is_whole();
        if !is_needed || !self.retry.is_due(now) {
            self.report(None);
            return;
        }
        if self
            .hanging
            .as_ref()
            .is_some_and(|work| !work.is_finished())
        {
            // One thread is lost to this disk already; a second one would hang as well.
            self.report(Some(Err(Fault::Hanging(limit))));
            return;
        }
        self.hanging = None;
        let is_replaced = self.retry.failures > 0 && !self.disk.is_whole();
        self.status.send_if_modified(|status| {
            status.is_replaced = is_replaced;
            is_replaced
        });
        let spare = self.disk.lost();
        let mut disk = std::mem::replace(&mut self.disk, spare);
        let under_way = self.flight.begin();
        let mut work = tokio::task::spawn_blocking(move || {
            let _under_way = under_way;
            let written = disk.round();
            (disk, written)
        });
        // A disk that is slow does not make a writer that is stuck.
        let beat = self.beat.clone();
        let waited = async {
            tokio::select! {
                never = beat.answer() => match never {},
                waited = timeout(limit, &mut work) => waited,
            }
        };
        let written = match waited.await {
            Ok(Ok((disk, written))) => {
                self.disk = disk;
                written
            }
            Ok(Err(panic)) => Err(Fault::Damaged(panic.to_string())),
            Err(_elapsed) => {
                self.hanging = Some(work);
                Err(Fault::Hanging(limit))
            }
        };
        self.report(Some(written));
    }

    fn report(&mut self, written: Option<Result<(), Fault>>) {
        let now = Instant::now();
        let mut status = self.status.borrow().clone();
        status.is_replaced = false;
        match written {
            None => {}
            Some(Ok(())) => {
                if self.retry != Retry::default() {
                    tracing::info!("the store takes writes again");
                }
                self.retry = Retry::default();
                status.last_flush = Some(now);
                status.fault = None;
            }
            Some(Err(fault)) => {
                if self.retry.failures < 2 {
                    tracing::error!(%fault, "the store failed; serving from memory");
                }
                self.retry.failed(now);
                status.errors += 1;
                status.fault = Some(fault.to_string());
            }
        }
        status.queue = self.disk.queue();
        status.bytes = self.disk.bytes();
        status.counters = self.disk.counters;
        self.status.send_if_modified(|shown| {
            let is_news = *shown != status;
            *shown = status;
            is_news
        });
    }
}

impl Store {
    /// What could not be had at the start is tried again in the first round, and then seldom.
    pub(super) fn note_start(&mut self, fault: &Fault, now: Instant) {
        tracing::error!(%fault, "the store cannot be used; serving from memory");
        self.retry.failed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_failed_is_tried_at_once_then_after_half_a_minute_and_never_later_than_ten() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        let rests: Vec<_> = (0..40)
            .map(|_| {
                retry.failed(now);
                retry.at.unwrap().duration_since(now).as_secs()
            })
            .collect();
        assert_eq!(rests[..7], [0, 30, 60, 120, 240, 480, 600]);
        assert!(rests[7..].iter().all(|rest| *rest == 600));
        assert!(!retry.is_due(now) && retry.is_due(now + RETRY_AFTER.1));
    }
}
