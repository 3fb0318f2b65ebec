//! Which requests are traced: a part of them, those whose callers ask for it, and never more than a box and its collector bear.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::trace::Trace;
use crate::limits::{SPANS_AT_ONCE_MAX, SPANS_PER_SECOND_MAX, SPANS_RESERVED};

/// A part of all, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(1_000_000);

    /// So many percent; beyond 0 to 100 the nearer of the two.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number was brought into the range of its type"
    )]
    pub fn of_percent(percent: f64) -> Self {
        // What is no number is nothing.
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// Decides, and keeps count.
#[derive(Debug)]
pub(super) struct Sampler {
    /// In millionths.
    share: AtomicU32,
    follows_callers: AtomicBool,
    room: Mutex<Room>,
}

/// What may be built yet: refilled evenly.
#[derive(Debug)]
struct Room {
    spans: u32,
    since: Option<Instant>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            share: AtomicU32::new(0),
            follows_callers: AtomicBool::new(false),
            room: Mutex::new(Room {
                spans: SPANS_AT_ONCE_MAX,
                since: None,
            }),
        }
    }
}

impl Sampler {
    pub(super) fn set_share(&self, share: Share) {
        self.share.store(share.0, Ordering::Relaxed);
    }

    pub(super) fn share(&self) -> Share {
        Share(self.share.load(Ordering::Relaxed))
    }

    pub(super) fn set_follows_callers(&self, follows: bool) {
        self.follows_callers.store(follows, Ordering::Relaxed);
    }

    /// Whether a message is traced: as its sender says, where those are heeded and it is part of a trace of theirs; else by its trace's
    /// number, so that all who take the same part of all traces take the same ones.
    pub(super) fn takes(&self, trace: &Trace) -> bool {
        let is_wanted = if trace.caused_by.is_some() && self.follows_callers.load(Ordering::Relaxed)
        {
            trace.parent.is_sampled()
        } else {
            let number = u64::try_from(trace.parent.trace() & u128::from(u64::MAX));
            let share = u64::from(self.share.load(Ordering::Relaxed));
            number.unwrap_or(u64::MAX) >> 1 < (1 << 63) / 1_000_000 * share
        };
        is_wanted && self.has_room(Instant::now())
    }

    /// Whether a request finds room for itself and some of what it causes.
    fn has_room(&self, now: Instant) -> bool {
        let mut room = self.room.lock();
        room.refill(now);
        room.spans >= SPANS_RESERVED
    }

    /// Takes the room for one span.
    pub(super) fn take(&self) -> bool {
        let mut room = self.room.lock();
        room.refill(Instant::now());
        let taken = room.spans.checked_sub(1);
        room.spans = taken.unwrap_or(0);
        taken.is_some()
    }
}

impl Room {
    fn refill(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let each = Duration::from_secs(1) / SPANS_PER_SECOND_MAX;
        let passed = now.saturating_duration_since(since);
        let more = passed.as_nanos() / each.as_nanos().max(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > 0 {
            self.spans = self.spans.saturating_add(more).min(SPANS_AT_ONCE_MAX);
            self.since = if self.spans == SPANS_AT_ONCE_MAX {
                Some(now)
            } else {
                since.checked_add(each * more)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::trace::Traces;

    const FLAGGED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNFLAGGED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn sampler(percent: f64, follows: bool) -> Sampler {
        let sampler = Sampler::default();
        sampler.set_share(Share::of_percent(percent));
        sampler.set_follows_callers(follows);
        sampler
    }

    #[test]
    fn a_share_is_taken_of_the_traces_that_begin_here() {
        let traces = Traces::default();
        for (percent, least, most) in [(0.0, 0, 0), (100.0, 10_000, 10_000), (5.0, 350, 650)] {
            let sampler = sampler(percent, true);
            let taken = (0..10_000).filter(|_| sampler.takes(&traces.of(None, None)));
            let taken = taken.count();
            assert!((least..=most).contains(&taken), "{percent} %: {taken}");
        }
    }

    #[test]
    fn callers_are_heeded_only_where_they_are_to_be() {
        let traces = Traces::default();
        let (flagged, unflagged) = (
            traces.of(None, Some(FLAGGED)),
            traces.of(None, Some(UNFLAGGED)),
        );
        let heeds = sampler(0.0, true);
        assert!(heeds.takes(&flagged) && !heeds.takes(&unflagged));
        let all = sampler(100.0, true);
        assert!(all.takes(&flagged) && !all.takes(&unflagged));
        let own = sampler(0.0, false);
        assert!(!own.takes(&flagged));
        assert!(sampler(100.0, false).takes(&unflagged));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_wants_everything_traced_gets_no_more_than_the_bound() {
        let (sampler, traces) = (sampler(0.0, true), Traces::default());
        let mut spans = 0;
        let flood = |spans: &mut u32| {
            while sampler.takes(&traces.of(None, Some(FLAGGED))) {
                assert!(sampler.take());
                *spans += 1;
            }
        };
        flood(&mut spans);
        assert_eq!(spans, SPANS_AT_ONCE_MAX - SPANS_RESERVED + 1);
        spans = 0;
        tokio::time::sleep(Duration::from_secs(1)).await;
        flood(&mut spans);
        assert_eq!(spans, SPANS_PER_SECOND_MAX);
        // What a request that was let in still causes finds the reserve, and then nothing.
        let rest = std::iter::repeat_with(|| sampler.take()).take_while(|taken| *taken);
        assert_eq!(rest.count(), usize::try_from(SPANS_RESERVED - 1).unwrap());
    }

    #[test]
    fn percent_come_back() {
        for (percent, shown) in [(1.0, 1.0), (0.01, 0.01), (150.0, 100.0), (-3.0, 0.0)] {
            assert!((Share::of_percent(percent).percent() - shown).abs() < 1e-9);
        }
        assert_eq!(Share::of_percent(f64::NAN), Share::NONE);
        assert_eq!(Share::of_percent(100.0), Share::ALL);
    }
}
