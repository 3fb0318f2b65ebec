//! The wall clock: whether somebody sets it, and whether it jumps.

use super::{Complaints, Facts, Finding, Level};
use crate::base::clock::UnixMillis;
use crate::config::HealthConfig;

/// 2026-01-01: before that no version of this program was made.
pub const EARLIEST: UnixMillis = UnixMillis(1_767_225_600_000);

/// For how long a jump is told, ms.
const TOLD_FOR: u64 = 600_000;

pub(super) fn clock(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    let mut complaints = Complaints::default();
    if facts.host.wall.is_some_and(|wall| wall < EARLIEST) {
        complaints.degraded(
            "The clock is not set: times on record are wrong, and tokens cannot be checked. Give the box a time server.",
        );
    } else if facts.host.is_clock_set == Some(false) {
        complaints.degraded(
            "Nobody sets the clock: look whether the box reaches its time server. Times on record say so.",
        );
    }
    if let Some(seconds) = facts.jump {
        complaints.degraded(&format!(
            "The clock jumped by {seconds} s a while ago: times on record before and after do not fit together."
        ));
    }
    complaints.finding()
}

/// Looks for jumps: differences between the wall clock and the time since the machine started.
#[derive(Debug, Clone, Default)]
pub struct ClockWatch {
    /// Wall clock minus uptime at the last look, and whether the clock was set by then.
    before: Option<(i64, bool)>,
    /// Seconds, and when in uptime.
    jump: Option<(i64, u64)>,
}

impl ClockWatch {
    /// Takes in a look, and answers the last jump of at least `worth` seconds while it is told. Who sets a clock for the first time makes it
    /// jump, and that is as it should be.
    pub fn look(&mut self, wall: UnixMillis, uptime: u64, is_set: bool, worth: u64) -> Option<i64> {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let is_set = is_set && wall >= EARLIEST;
        let offset = signed(wall.0).saturating_sub(signed(uptime));
        if let Some((before, was_set)) = self.before.replace((offset, is_set)) {
            let moved = offset.saturating_sub(before);
            if was_set && moved.unsigned_abs() >= worth.saturating_mul(1_000) {
                self.jump = Some((moved / 1_000, uptime));
            }
        }
        let told = self
            .jump
            .filter(|(_, at)| uptime.saturating_sub(*at) < TOLD_FOR);
        told.map(|(seconds, _)| seconds)
    }
}
