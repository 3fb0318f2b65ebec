//! The circuit breaker, through any sequence of attempts, probes and pauses.

use std::time::Duration;

use bolero::TypeGenerator;
use rackhand::link::BreakerState;
use rackhand::link::breaker::{Admission, Breaker, PROBE_EVERY};
use tokio::time::Instant;

const OPEN_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Op {
    Admit,
    Probed(bool, u8),
    Succeeded,
    Failed(bool, u8),
    Lasted,
    Reset,
    Passes(u16),
}

/// Thresholds and what happens under them.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Case {
    failures: u8,
    successes: u8,
    ops: Vec<Op>,
}

/// What the breaker promises, counted the simple way.
#[derive(Debug)]
struct Counts {
    failures: u32,
    successes: u32,
    opened: u64,
    opened_at: Option<Instant>,
}

/// It opens after exactly so many failures in a row, rests no longer than it may, and closes after exactly so many successes.
pub(crate) fn holds(case: &Case) {
    let to_open = u32::from(case.failures % 6) + 1;
    let to_close = u32::from(case.successes % 4) + 1;
    let mut breaker = Breaker::new(to_open, to_close, OPEN_MAX);
    let mut now = Instant::now();
    let mut counts = Counts {
        failures: 0,
        successes: 0,
        opened: 0,
        opened_at: None,
    };
    for op in &case.ops {
        let before = breaker.state();
        match op {
            Op::Admit => admitted(&mut breaker, &mut counts, now),
            Op::Probed(reachable, unit) => {
                breaker.probed(now, *reachable, unit_of(*unit));
                let trial = before == BreakerState::Open && *reachable;
                assert_eq!(
                    breaker.state(),
                    if trial {
                        BreakerState::HalfOpen
                    } else {
                        before
                    }
                );
                counts.successes = if trial { 0 } else { counts.successes };
            }
            Op::Succeeded => {
                breaker.succeeded();
                if before == BreakerState::HalfOpen {
                    counts.successes += 1;
                    let closes = counts.successes == to_close;
                    assert_eq!(
                        breaker.state(),
                        if closes {
                            BreakerState::Closed
                        } else {
                            BreakerState::HalfOpen
                        }
                    );
                    counts.failures = 0;
                } else {
                    assert_eq!(breaker.state(), before);
                }
            }
            Op::Failed(reached, unit) => {
                breaker.failed(now, *reached, unit_of(*unit));
                counts.failures += u32::from(before == BreakerState::Closed);
                let opens = match before {
                    BreakerState::Closed => counts.failures == to_open,
                    BreakerState::HalfOpen => true,
                    BreakerState::Open => false,
                };
                if opens {
                    counts.opened += 1;
                    counts.opened_at = Some(now);
                }
                assert_eq!(
                    breaker.state(),
                    if opens { BreakerState::Open } else { before }
                );
            }
            Op::Lasted => {
                breaker.lasted();
                counts.failures = 0;
                assert_eq!(breaker.state(), before);
            }
            Op::Reset => {
                breaker.reset();
                counts.failures = 0;
                assert_eq!(breaker.state(), BreakerState::Closed);
            }
            Op::Passes(millis) => now += Duration::from_millis(u64::from(*millis)),
        }
        assert_eq!(breaker.opened(), counts.opened);
        assert_eq!(
            breaker.open_until().is_some(),
            breaker.state() == BreakerState::Open
        );
    }
}

fn admitted(breaker: &mut Breaker, counts: &mut Counts, now: Instant) {
    let before = breaker.state();
    let admission = breaker.admit(now);
    let rested = counts.opened_at.map_or(Duration::MAX, |at| now - at);
    match (before, admission) {
        (BreakerState::Closed, Admission::Go) | (BreakerState::HalfOpen, Admission::Trial) => {}
        (BreakerState::Open, Admission::Trial) => {
            assert!(rested >= OPEN_MAX, "a trial after {rested:?} only");
            counts.successes = 0;
        }
        (BreakerState::Open, Admission::Probe) => {
            assert!(
                rested < OPEN_MAX && rested >= PROBE_EVERY.mul_f64(0.8),
                "a probe after {rested:?}"
            );
        }
        (BreakerState::Open, Admission::Wait(until)) => {
            assert!(
                until > now && until - now <= OPEN_MAX.checked_sub(rested).unwrap(),
                "it waits too long"
            );
            let then = breaker.clone().admit(until);
            assert!(!matches!(then, Admission::Wait(_)), "the wait does not end");
        }
        (state, admission) => panic!("{admission:?} while {state:?}"),
    }
}

fn unit_of(number: u8) -> f64 {
    f64::from(number) / 255.0
}
