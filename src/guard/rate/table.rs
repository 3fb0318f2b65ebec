//! Buckets of those whom the guard has no record of, in a table of bounded size, pure.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;

use super::bucket::{self, Left, Nanos};
use crate::base::rate::Rate;
use crate::limits::RATED_MAX;

/// Buckets by whose they are. One that is not in the table is full. Each is spent from at one rate only.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    full_at: HashMap<K, Nanos>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self {
            full_at: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Buckets<K> {
    pub(super) fn spend(
        &mut self,
        whose: K,
        rate: Rate,
        units: u32,
        now: Nanos,
    ) -> Result<Left, Duration> {
        if let Some(full_at) = self.full_at.get_mut(&whose) {
            let (next, outcome) = bucket::spend(*full_at, rate, units, now);
            *full_at = next;
            return outcome;
        }
        if self.full_at.len() >= RATED_MAX {
            self.make_room(now);
        }
        let (next, outcome) = bucket::spend(0, rate, units, now);
        self.full_at.insert(whose, next);
        outcome
    }

    /// Forgets the buckets that are full, which changes nothing, and if there are few of these, the eighth that is fullest: a flood of
    /// addresses pushes its own buckets out, and never that of somebody who spends a lot. An eighth at once, since looking for them
    /// takes as long for one.
    fn make_room(&mut self, now: Nanos) {
        let mut moments: Vec<Nanos> = self.full_at.values().copied().collect();
        let eighth = moments.len() / 8;
        if eighth < moments.len() {
            let (_, fullest, _) = moments.select_nth_unstable(eighth);
            let until = now.max(*fullest);
            self.full_at.retain(|_, full_at| *full_at > until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Nanos = 1_000_000;

    #[test]
    fn each_has_a_bucket_of_its_own() {
        let (mut buckets, rate) = (Buckets::default(), Rate::new(60, 2));
        for _ in 0..2 {
            assert!(buckets.spend(1, rate, 1, 0).is_ok());
        }
        assert_eq!(buckets.spend(1, rate, 1, 0), Err(Duration::from_secs(1)));
        assert!(buckets.spend(2, rate, 1, 0).is_ok());
    }

    #[test]
    fn a_flood_stays_within_the_table_and_does_not_fill_an_empty_bucket() {
        let rate = Rate::new(300, 60);
        for step in [0, 1_000, MILLI] {
            let mut buckets = Buckets::default();
            let greedy = u32::MAX;
            let mut now = 0;
            assert!(buckets.spend(greedy, rate, 60, now).is_ok());
            for number in 0..100_000 {
                now += step;
                assert!(buckets.spend(number, rate, 1, now).is_ok(), "{number}");
                assert!(buckets.full_at.len() <= RATED_MAX);
                if now < 12_000 * MILLI {
                    assert!(buckets.full_at.contains_key(&greedy), "{step} {number}");
                }
            }
            let capacity = buckets.full_at.capacity();
            assert!(capacity <= 4 * RATED_MAX, "{capacity}");
        }
    }
}
