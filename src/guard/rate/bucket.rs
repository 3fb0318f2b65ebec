//! Token buckets as one number each: the moment at which the bucket is full again. Spending moves it on, time passes by itself, and
//! nothing has to be refilled. Pure: time is an argument, in nanoseconds since some beginning.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::rate::Rate;

/// Nanoseconds since the beginning.
pub(super) type Nanos = u64;

/// What is left after spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Units that may still come at once.
    pub(super) units: u32,
    /// Time until the bucket is full again.
    pub(super) full_in: Duration,
}

/// Spends from a bucket that is full at `full_at`: when it is full then, and what is left or how long to wait. More units than a full
/// bucket has are as many as it has, or they could never be spent. A moment further away than an empty bucket needs, left by a slower
/// rate or a clock that was set, counts as an empty bucket from now on.
pub(super) fn spend(
    full_at: Nanos,
    rate: Rate,
    units: u32,
    now: Nanos,
) -> (Nanos, Result<Left, Duration>) {
    let interval = nanos(rate.interval()).max(1);
    let depth = interval.saturating_mul(rate.burst.into());
    let empty = now.saturating_add(depth);
    let cost = interval.saturating_mul(units.min(rate.burst).into());
    let before = full_at.clamp(now, empty);
    let after = before.saturating_add(cost);
    if after > empty {
        return (before, Err(Duration::from_nanos(after - empty)));
    }
    let left = Left {
        units: u32::try_from((empty - after) / interval).unwrap_or(u32::MAX),
        full_in: Duration::from_nanos(after - now),
    };
    (after, Ok(left))
}

pub(super) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A bucket that many spend from at once, without a lock.
#[derive(Debug)]
pub(super) struct Bucket {
    full_at: AtomicU64,
    /// Both numbers of the rate in one word, so that nobody sees one without the other.
    rate: AtomicU64,
}

impl Bucket {
    pub(super) fn full(rate: Rate) -> Self {
        Self {
            full_at: AtomicU64::new(0),
            rate: AtomicU64::new(packed(rate)),
        }
    }

    pub(super) fn rate(&self) -> Rate {
        let packed = self.rate.load(Ordering::Relaxed);
        let half = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Rate::new(half(packed >> 32), half(packed & u64::from(u32::MAX)))
    }

    /// Another rate from now on. What was spent stays spent, as far as the new rate goes back.
    pub(super) fn set_rate(&self, rate: Rate, now: Nanos) {
        self.rate.store(packed(rate), Ordering::Relaxed);
        let empty = now.saturating_add(nanos(rate.refill()));
        self.full_at.fetch_min(empty, Ordering::Relaxed);
    }

    pub(super) fn spend(&self, units: u32, now: Nanos) -> Result<Left, Duration> {
        let rate = self.rate();
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let (next, outcome) = spend(full_at, rate, units, now);
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return outcome,
                Err(other) => full_at = other,
            }
        }
    }
}

fn packed(rate: Rate) -> u64 {
    (u64::from(rate.per_minute) << 32) | u64::from(rate.burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::full(Rate::new(300, 60));
        let now = 5 * SECOND;
        for spent in 1..=60 {
            let left = bucket.spend(1, now).unwrap();
            assert_eq!(left.units, 60 - spent);
            assert_eq!(left.full_in, Duration::from_millis(200) * spent);
        }
        assert_eq!(bucket.spend(1, now), Err(Duration::from_millis(200)));
        // Nothing is spent by asking in vain.
        assert_eq!(bucket.spend(1, now), Err(Duration::from_millis(200)));
        assert_eq!(bucket.spend(3, now), Err(Duration::from_millis(600)));
        assert!(bucket.spend(1, now + SECOND / 5).is_ok());
        assert!(bucket.spend(1, now + SECOND / 5).is_err());
        assert_eq!(bucket.spend(1, now + 60 * SECOND).unwrap().units, 59);
    }

    #[test]
    fn over_an_hour_no_more_comes_through_than_the_rate_and_one_burst() {
        let bucket = Bucket::full(Rate::new(10, 10));
        let tries = (0..3_600 * 7).map(|number| number * SECOND / 7);
        let through = tries.filter(|now| bucket.spend(1, *now).is_ok()).count();
        assert!((600..=610).contains(&through), "{through}");
    }

    #[test]
    fn what_weighs_more_than_a_full_bucket_takes_all_of_it() {
        let bucket = Bucket::full(Rate::new(60, 10));
        assert_eq!(bucket.spend(32, 0).unwrap().units, 0);
        assert_eq!(bucket.spend(32, 0), Err(Duration::from_secs(10)));
        assert!(bucket.spend(32, 10 * SECOND).is_ok());
    }

    #[test]
    fn a_clock_that_jumps_back_locks_nobody_out_for_longer_than_an_empty_bucket() {
        let bucket = Bucket::full(Rate::new(60, 10));
        assert!(bucket.spend(10, 1_000_000 * SECOND).is_ok());
        assert_eq!(bucket.spend(1, SECOND), Err(Duration::from_secs(1)));
        assert!(bucket.spend(1, 2 * SECOND).is_ok());
        assert!(bucket.spend(1, u64::MAX).is_ok());
        assert_eq!(bucket.spend(1, 3 * SECOND), Err(Duration::from_secs(1)));
        assert!(bucket.spend(1, 4 * SECOND).is_ok());
    }

    #[test]
    fn another_rate_counts_from_its_first_moment_on() {
        let bucket = Bucket::full(Rate::new(10, 10));
        assert!(bucket.spend(10, 0).is_ok());
        bucket.set_rate(Rate::new(10_000, 200), 0);
        // The bucket is empty still, but of the new size: a minute of the old rate is not owed any more.
        assert_eq!(bucket.spend(1, 0), Err(Duration::from_millis(6)));
        assert!(bucket.spend(100, SECOND).is_ok());
        bucket.set_rate(Rate::new(10, 10), SECOND);
        assert!(bucket.spend(1, SECOND).unwrap().units < 10);
    }

    #[test]
    fn threads_that_spend_at_once_get_no_more_than_there_is() {
        let bucket = Bucket::full(Rate::new(1, 1_000));
        let spend = || (0..1_000).filter(|_| bucket.spend(1, 7).is_ok()).count();
        let got: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(spend));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(got, 1_000);
    }
}
