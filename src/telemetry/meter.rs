//! What something costs, measured while it runs: every sixteenth time is timed, since looking at the clock costs something itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Of so many times, one is timed.
const TIMED_OF: u64 = 16;

/// Counts how often something is done, and how long it takes. Meant for work that never waits.
#[derive(Debug, Default)]
pub struct Meter {
    times: AtomicU64,
    timed: AtomicU64,
    nanos: AtomicU64,
    bytes: AtomicU64,
}

/// What a [`Meter`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// How often it was done, since the process started.
    pub times: u64,
    /// How often that was timed.
    pub timed: u64,
    /// How long it took in the middle; absent where nothing was timed.
    pub each: Option<Duration>,
    /// How long all of it took, reckoned from the times that were timed.
    pub all: Duration,
    /// Bytes that came of it.
    pub bytes: u64,
}

impl Meter {
    /// Does it.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self
            .times
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(TIMED_OF)
        {
            return work();
        }
        let began = Instant::now();
        let done = work();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.timed.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// So many bytes came of it.
    pub fn made(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What it cost so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let all = self.times.load(Ordering::Relaxed);
        let timed = self.timed.load(Ordering::Relaxed);
        let each = self.nanos.load(Ordering::Relaxed).checked_div(timed);
        Cost {
            times: all,
            timed,
            each: each.map(Duration::from_nanos),
            all: Duration::from_nanos(each.unwrap_or(0).saturating_mul(all)),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_sixteenth_time_is_timed_and_stands_for_the_others() {
        let meter = Meter::default();
        assert_eq!(meter.cost(), Cost::default());
        // The clock moves by itself only where a test moves it, so what is timed takes what is put on it by hand.
        for _ in 0..32 {
            meter.time(|| meter.nanos.fetch_add(7, Ordering::Relaxed));
        }
        meter.made(5);
        let cost = meter.cost();
        assert_eq!((cost.times, cost.timed, cost.bytes), (32, 2, 5));
        assert_eq!(cost.each, Some(Duration::from_nanos(7 * 32 / 2)));
        assert_eq!(cost.all, Duration::from_nanos(7 * 32 / 2 * 32));
    }
}
