//! How often something may happen.

use std::time::Duration;

/// A pace that may be kept up for ever, and how much may come at once on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units a minute, at least 1.
    pub per_minute: u32,
    /// Units at once after a rest, at least 1.
    pub burst: u32,
}

impl Rate {
    /// This many a minute, this many at once; zero counts as one.
    #[must_use]
    pub const fn new(per_minute: u32, burst: u32) -> Self {
        const fn one_or_more(number: u32) -> u32 {
            if number == 0 { 1 } else { number }
        }
        Self {
            per_minute: one_or_more(per_minute),
            burst: one_or_more(burst),
        }
    }

    /// Time in which one unit comes back.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_mins(1) / self.per_minute.max(1)
    }

    /// Time in which everything comes back that may come at once.
    #[must_use]
    pub fn refill(self) -> Duration {
        self.interval().saturating_mul(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_tells_how_long_it_takes_to_come_back() {
        let rate = Rate::new(300, 60);
        assert_eq!(rate.interval(), Duration::from_millis(200));
        assert_eq!(rate.refill(), Duration::from_secs(12));
        assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
    }
}
