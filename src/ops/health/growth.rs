//! Suspicion of a leak: memory that grows for hours, whatever it does in between.

use std::time::Duration;

use tokio::time::Instant;

use super::{Facts, Finding, Level, graded, only_degraded};
use crate::config::HealthConfig;
use crate::limits::MEMORY_SAMPLES_KEPT;

/// Between two samples.
const EVERY: Duration = Duration::from_mins(10);

/// After the start everything grows: caches fill, designs are learnt.
const WARM_UP: Duration = Duration::from_hours(1);

/// Pairs of samples.
const PAIRS: usize = MEMORY_SAMPLES_KEPT * (MEMORY_SAMPLES_KEPT - 1) / 2;

pub(super) fn growth(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let Some(slope) = facts.growth else {
        return Finding::well("Not known before the box has run for seven hours.");
    };
    match graded(slope, only_degraded(config.leak), was) {
        Level::Healthy => Finding::WELL,
        level => Finding::ill(
            level,
            format!(
                "Memory has grown by about {slope} KiB an hour for six hours: keep the detail of health for those who make rackhand, and start anew when it suits."
            ),
        ),
    }
}

/// Samples of memory over the last hours.
#[derive(Debug, Clone, Default)]
pub struct Growth {
    begin: Option<Instant>,
    /// When, in steps of ten minutes, and KiB.
    samples: heapless::Deque<(i64, i64), MEMORY_SAMPLES_KEPT>,
}

impl Growth {
    /// Takes in a sample, bytes. One in ten minutes is kept.
    pub fn sample(&mut self, now: Instant, bytes: u64) {
        let begin = *self.begin.get_or_insert(now);
        let age = now.saturating_duration_since(begin);
        let step = i64::try_from(age.as_secs() / EVERY.as_secs()).unwrap_or(i64::MAX);
        let is_known = self.samples.back().is_some_and(|(last, _)| *last >= step);
        if age < WARM_UP || is_known {
            return;
        }
        if self.samples.is_full() {
            self.samples.pop_front();
        }
        let kib = i64::try_from(bytes >> 10).unwrap_or(i64::MAX);
        // There is room now.
        let _kept = self.samples.push_back((step, kib));
    }

    /// KiB an hour: the median of the slopes between all pairs of samples (Theil and Sen), which no single peak moves. Nothing before six
    /// hours are known, and zero for memory that shrinks.
    #[must_use]
    pub fn slope(&self) -> Option<u64> {
        if !self.samples.is_full() {
            return None;
        }
        let mut slopes: heapless::Vec<i64, PAIRS> = heapless::Vec::new();
        let steps_an_hour = 6;
        for (index, (when, kib)) in self.samples.iter().enumerate() {
            for (later, more) in self.samples.iter().skip(index + 1) {
                let slope = (more - kib).saturating_mul(steps_an_hour) / (later - when).max(1);
                // There is room for every pair.
                let _kept = slopes.push(slope);
            }
        }
        slopes.sort_unstable();
        let median = slopes.get(slopes.len() / 2)?;
        Some(u64::try_from(*median).unwrap_or(0))
    }
}
