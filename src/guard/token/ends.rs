//! When tokens end on whose strength something may be open: so that streams are looked at then, and not all the time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// Ends are told together in steps of this: a stream outlives its token by up to as much.
const STEP: Duration = Duration::from_secs(10);

/// The coming ends, each rounded up to a step. At most as many as steps in the longest life of a token.
#[derive(Debug)]
pub(in crate::guard) struct Ends {
    origin: Instant,
    steps: BTreeSet<u64>,
}

impl Ends {
    pub(in crate::guard) const fn new(origin: Instant) -> Self {
        Self {
            origin,
            steps: BTreeSet::new(),
        }
    }

    /// Notes that a token ends at a moment.
    pub(in crate::guard) fn note(&mut self, end: Instant) {
        let since = end.saturating_duration_since(self.origin);
        self.steps.insert(since.as_secs() / STEP.as_secs() + 1);
    }

    /// Forgets the ends that have come, and answers whether there were any.
    pub(in crate::guard) fn came(&mut self, now: Instant) -> bool {
        let step = now.saturating_duration_since(self.origin).as_secs() / STEP.as_secs();
        let coming = self.steps.split_off(&(step + 1));
        !std::mem::replace(&mut self.steps, coming).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_and_soon_after_it_came() {
        let origin = Instant::now();
        let mut ends = Ends::new(origin);
        let at = |secs| origin + Duration::from_secs(secs);
        for end in [60, 61, 95] {
            ends.note(at(end));
        }
        assert_eq!(ends.steps.len(), 2);
        let told: Vec<u64> = (0..200).filter(|secs| ends.came(at(*secs))).collect();
        assert_eq!(told, [70, 100]);
    }
}
