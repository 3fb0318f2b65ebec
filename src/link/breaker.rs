//! The circuit breaker: when to leave a failing Core alone, and when to try it again. Pure: time and chance are arguments.
//!
//! A failure is an attempt that does not become live, or a link lost soon after it did. A success is an answered request on the one
//! trial link.

use std::time::Duration;

use tokio::time::Instant;

use super::status::BreakerState;

/// Time between two reachability probes while the breaker is open, before jitter of ±20 %.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Longest rest while the Core can be connected to but no trial succeeds, as while it boots: one attempt in ten seconds is no burden,
/// and a Core that is ready is live again within fifteen.
const FUTILE_REST_MAX: Duration = Duration::from_secs(10);

/// What may happen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// An attempt, like any other.
    Go,
    /// One attempt, on which the breaker's state depends.
    Trial,
    /// Only a cheap look whether the Core can be reached.
    Probe,
    /// Nothing before this moment.
    Wait(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, probe_at: Instant },
    HalfOpen { successes: u32 },
}

/// The breaker of one Core.
#[derive(Debug, Clone)]
pub struct Breaker {
    failures_to_open: u32,
    successes_to_close: u32,
    open_max: Duration,
    state: State,
    /// Trials that failed although a probe had found the Core: it boots slowly, so probes prove nothing for a while.
    futile_trials: u32,
    opened: u64,
}

impl Breaker {
    /// A closed breaker: so many failures in a row open it, so many successes close it from half-open, and it rests no longer than this.
    #[must_use]
    pub fn new(failures_to_open: u32, successes_to_close: u32, open_max: Duration) -> Self {
        Self {
            failures_to_open,
            successes_to_close,
            open_max,
            state: State::Closed { failures: 0 },
            futile_trials: 0,
            opened: 0,
        }
    }

    /// Whether an attempt may start at `now`. Once the rest is over, exactly one may, as the trial.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go,
            State::HalfOpen { .. } => Admission::Trial,
            State::Open { until, .. } if now >= until => {
                self.state = State::HalfOpen { successes: 0 };
                Admission::Trial
            }
            State::Open { probe_at, .. } if now >= probe_at => Admission::Probe,
            State::Open { until, probe_at } => Admission::Wait(until.min(probe_at)),
        }
    }

    /// A probe found the Core, which ends the rest, or did not. `unit` is a random number in `0.0..=1.0`.
    pub fn probed(&mut self, now: Instant, reachable: bool, unit: f64) {
        let State::Open { until, .. } = self.state else {
            return;
        };
        self.state = if reachable {
            State::HalfOpen { successes: 0 }
        } else {
            // It is gone for good reason: when it can be reached again, that is news.
            self.futile_trials = 0;
            State::Open {
                until,
                probe_at: now + jittered(PROBE_EVERY, unit),
            }
        };
    }

    /// A request on the link was answered.
    pub fn succeeded(&mut self) {
        if let State::HalfOpen { successes } = self.state {
            let successes = successes + 1;
            if successes >= self.successes_to_close {
                self.reset();
            } else {
                self.state = State::HalfOpen { successes };
            }
        }
    }

    /// An attempt failed, or a link did not last. `reached` tells whether the Core could be connected to at all.
    pub fn failed(&mut self, now: Instant, reached: bool, unit: f64) {
        match self.state {
            State::Closed { failures } if failures + 1 < self.failures_to_open => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
            }
            State::Closed { .. } => self.open(now, jittered(PROBE_EVERY, unit)),
            State::HalfOpen { .. } if reached => {
                let rest = PROBE_EVERY.saturating_mul(1_u32 << self.futile_trials.min(16));
                self.futile_trials += 1;
                self.open(now, rest.min(FUTILE_REST_MAX).min(self.open_max));
            }
            State::HalfOpen { .. } => {
                self.futile_trials = 0;
                self.open(now, jittered(PROBE_EVERY, unit));
            }
            State::Open { .. } => {}
        }
    }

    /// The link is live and has lasted: failures before it no longer count.
    pub fn lasted(&mut self) {
        if let State::Closed { failures } = &mut self.state {
            *failures = 0;
        }
    }

    /// Closes the breaker, whatever it was.
    pub fn reset(&mut self) {
        self.state = State::Closed { failures: 0 };
        self.futile_trials = 0;
    }

    fn open(&mut self, now: Instant, first_probe: Duration) {
        self.opened += 1;
        self.state = State::Open {
            until: now + self.open_max,
            probe_at: now + first_probe,
        };
    }

    /// The state that others are shown.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When the present rest ends at the latest.
    #[must_use]
    pub const fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Times that it opened since the process started; going back from half-open to open counts.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }
}

/// A duration moved by up to 20 % to either side, so that many boxes do not act at once.
pub(crate) fn jittered(duration: Duration, unit: f64) -> Duration {
    duration.mul_f64(0.8 + 0.4 * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(5, 3, MINUTE), Instant::now())
    }

    fn opened_at(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(5, 3, MINUTE);
        for _ in 0..5 {
            breaker.failed(now, true, 0.5);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_lasting_link_between_them_does_not() {
        let (mut breaker, now) = breaker();
        for _ in 0..4 {
            breaker.failed(now, false, 0.5);
        }
        breaker.lasted();
        breaker.failed(now, false, 0.5);
        assert_eq!(breaker.admit(now), Admission::Go);
        for _ in 0..4 {
            breaker.failed(now, false, 0.5);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit(now), Admission::Wait(now + PROBE_EVERY));
        assert_eq!(breaker.open_until(), Some(now + MINUTE));
    }

    #[test]
    fn three_answered_requests_on_the_trial_close_it_and_two_do_not() {
        let now = Instant::now();
        let mut breaker = opened_at(now);
        assert_eq!(breaker.admit(now + MINUTE), Admission::Trial);
        breaker.succeeded();
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_finds_the_core_ends_the_rest_early() {
        let now = Instant::now();
        let mut breaker = opened_at(now);
        let later = now + PROBE_EVERY;
        assert_eq!(breaker.admit(later), Admission::Probe);
        breaker.probed(later, false, 0.0);
        assert_eq!(
            breaker.admit(later),
            Admission::Wait(later + Duration::from_secs(4))
        );
        breaker.probed(later + PROBE_EVERY, true, 0.0);
        assert_eq!(breaker.admit(later + PROBE_EVERY), Admission::Trial);
    }

    #[test]
    fn while_a_core_that_can_be_reached_fails_its_trials_the_rest_doubles_from_five_to_ten_seconds()
    {
        let mut now = Instant::now();
        let mut breaker = opened_at(now);
        now += PROBE_EVERY;
        breaker.probed(now, true, 0.5);
        let mut rests = Vec::new();
        for _ in 0..6 {
            breaker.failed(now, true, 0.5);
            let Admission::Wait(until) = breaker.admit(now) else {
                panic!("a failed trial must rest");
            };
            rests.push((until - now).as_secs());
            now = until;
            if breaker.admit(now) == Admission::Probe {
                breaker.probed(now, true, 0.5);
            }
        }
        assert_eq!(rests, [5, 10, 10, 10, 10, 10]);
    }

    #[test]
    fn a_core_that_went_away_meanwhile_is_probed_every_five_seconds_again() {
        let now = Instant::now();
        let mut breaker = opened_at(now);
        for _ in 0..4 {
            breaker.probed(now, true, 0.5);
            breaker.failed(now, true, 0.5);
        }
        breaker.probed(now, false, 0.5);
        breaker.probed(now, true, 0.5);
        breaker.failed(now, true, 0.5);
        assert_eq!(breaker.admit(now), Admission::Wait(now + PROBE_EVERY));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Admit,
        Probed(bool),
        Succeeded,
        Failed(bool),
        Lasted,
        Reset,
        Pass(u64),
    }

    fn ops() -> impl Strategy<Value = Op> {
        prop_oneof![
            Just(Op::Admit),
            any::<bool>().prop_map(Op::Probed),
            Just(Op::Succeeded),
            any::<bool>().prop_map(Op::Failed),
            Just(Op::Lasted),
            Just(Op::Reset),
            (0_u64..90_000).prop_map(Op::Pass),
        ]
    }

    proptest! {
        #[test]
        fn it_never_rests_longer_than_a_minute_and_opens_only_after_five_failures(ops in prop::collection::vec((ops(), 0.0_f64..=1.0), 0..200)) {
            let (mut breaker, mut now) = breaker();
            let mut failures = 0;
            for (op, unit) in ops {
                let before = breaker.state();
                match op {
                    Op::Admit => {
                        if let Admission::Wait(until) = breaker.admit(now) {
                            prop_assert!(until > now && until <= now + MINUTE);
                        }
                    }
                    Op::Probed(reachable) => breaker.probed(now, reachable, unit),
                    Op::Succeeded => breaker.succeeded(),
                    Op::Failed(reached) => {
                        failures += 1;
                        breaker.failed(now, reached, unit);
                    }
                    Op::Lasted => { breaker.lasted(); failures = 0; }
                    Op::Reset => { breaker.reset(); failures = 0; }
                    Op::Pass(millis) => now += Duration::from_millis(millis),
                }
                if before == BreakerState::Closed && breaker.state() == BreakerState::Open {
                    prop_assert!(failures >= 5);
                }
                if breaker.state() == BreakerState::Closed && before != BreakerState::Closed { failures = 0; }
                prop_assert!(breaker.open_until().is_none_or(|until| until <= now + MINUTE));
            }
        }
    }
}
