//! Delays between attempts: exponential with full jitter, pure.

use std::time::Duration;

/// How long to wait before the next of an endless row of attempts.
///
/// Full jitter: the delay is drawn evenly from `0..=ceiling`, and the ceiling doubles from `first` to `max`. Drawing from the
/// whole range spreads forty boxes that lost the same Core at the same moment better than jitter around a centre does.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// A row of delays whose ceiling starts at `first` and never passes `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max: max.max(first),
            failures: 0,
        }
    }

    /// The next delay. `unit` is a random number in `0.0..=1.0`, drawn by the caller so that this stays pure.
    pub fn next_delay(&mut self, unit: f64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(unit.clamp(0.0, 1.0))
    }

    /// The longest that the next delay can be.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// Starts over at the first delay.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// An even random number in `0.0..1.0` from the operating system.
///
/// Zero when the system has no randomness to give: an attempt without jitter is better than none.
#[must_use]
pub fn random_unit() -> f64 {
    let bits = getrandom::u32().unwrap_or(0);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_never_leaves_its_range(first_ms in 0_u64..5_000, max_ms in 0_u64..60_000, units in prop::collection::vec(0.0_f64..=1.0, 0..80)) {
            let first = Duration::from_millis(first_ms);
            let max = Duration::from_millis(max_ms).max(first);
            let mut backoff = Backoff::new(first, max);
            let mut last_ceiling = Duration::ZERO;
            for unit in units {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= last_ceiling && ceiling <= max);
                prop_assert!(backoff.next_delay(unit) <= ceiling);
                last_ceiling = ceiling;
            }
        }
    }

    #[test]
    fn the_ceiling_doubles_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        let seen: Vec<_> = (0..9)
            .map(|_| backoff.next_delay(1.0).as_millis())
            .collect();
        assert_eq!(
            seen,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        backoff.reset();
        assert_eq!(backoff.next_delay(1.0).as_millis(), 250);
    }
}
