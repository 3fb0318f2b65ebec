//! How well the box is: pure verdicts over facts that others gather. Nothing here reads a file or a clock.
//!
//! Each check is one function; a [`Board`] keeps what they came to, since when, and when it was last well. A check that became worse gets
//! better only when its figure is a sixteenth below the number that made it worse, so that a figure at the edge makes no noise.

mod board;
mod clock;
mod design;
mod disk;
mod growth;
mod machine;
mod process;
mod report;
mod saved;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use board::Board;
pub use clock::{ClockWatch, EARLIEST};
pub use design::Drops;
pub use growth::Growth;
pub use report::{Change, Report, Source, Standing};

use crate::audit::AuditStatus;
use crate::base::text::for_log;
use crate::config::{HealthConfig, Steps};
use crate::limits::HEALTH_REASON_MAX_BYTES;
use crate::link::LinkStatus;
use crate::ops::host::Host;
use crate::ops::host::disk::Disks;
use crate::ops::pressure::Told;
use crate::ops::pulse::Lag;
use crate::store::StoreStatus;
use crate::store::view::MirrorStatus;

/// How well something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is as it should be.
    #[default]
    Healthy,
    /// It works, but something is missing or will be.
    Degraded,
    /// It cannot do its work, or not for long.
    Unhealthy,
}

impl Level {
    /// `HEALTHY`, `DEGRADED` or `UNHEALTHY`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How well it is.
    pub level: Level,
    /// What is wrong and what to do, in plain words.
    pub reason: Cow<'static, str>,
}

impl Finding {
    const WELL: Self = Self::well("All is well.");
    const UNTOLD: Self = Self::well("This machine does not tell.");

    const fn well(reason: &'static str) -> Self {
        Self {
            level: Level::Healthy,
            reason: Cow::Borrowed(reason),
        }
    }

    fn ill(level: Level, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            level,
            reason: reason.into(),
        }
    }
}

/// Several things that are wrong at once: as ill as the worst of them.
#[derive(Debug, Default)]
struct Complaints {
    level: Level,
    text: String,
}

impl Complaints {
    fn add(&mut self, level: Level, text: &str) {
        self.level = self.level.max(level);
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        // Names and faults may hold anything.
        self.text.push_str(&for_log(text));
    }

    fn degraded(&mut self, text: &str) {
        self.add(Level::Degraded, text);
    }

    fn finding(mut self) -> Finding {
        if self.level == Level::Healthy {
            return Finding::WELL;
        }
        if self.text.len() > HEALTH_REASON_MAX_BYTES {
            let end = self.text.floor_char_boundary(HEALTH_REASON_MAX_BYTES - 4);
            self.text.truncate(end);
            self.text.push('…');
        }
        Finding::ill(self.level, self.text)
    }
}

/// The level of a figure: up at each step, and down again a sixteenth below it.
fn graded(figure: u64, steps: Steps, was: Level) -> Level {
    let reaches = |step: u64, level: Level| {
        figure >= step || (was >= level && figure.saturating_mul(16) >= step.saturating_mul(15))
    };
    if reaches(steps.unhealthy, Level::Unhealthy) {
        Level::Unhealthy
    } else if reaches(steps.degraded, Level::Degraded) {
        Level::Degraded
    } else {
        Level::Healthy
    }
}

/// The steps of something that never makes the box unable to work.
const fn only_degraded(degraded: u64) -> Steps {
    Steps {
        degraded,
        unhealthy: u64::MAX,
    }
}

/// Everything that checks look at, at one moment. What is not known is absent and never ill.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Each Q-SYS system.
    pub cores: Vec<CoreFacts>,
    /// Safety rules that fit no control of the running design.
    pub idle_rules: Arc<[String]>,
    /// The store.
    pub store: StoreStatus,
    /// Time since everything owed was written.
    pub flushed: Option<Duration>,
    /// The audit trail.
    pub audit: AuditStatus,
    /// The disks at the last look that came back.
    pub disks: Disks,
    /// For how long the disk has not answered a look or a batch of the store that is under way.
    pub disk_silent: Option<Duration>,
    /// The machine at the last look that came back.
    pub host: Host,
    /// Least load of the last three looks, percent.
    pub cpu: Option<u64>,
    /// Growth of memory, KiB an hour.
    pub growth: Option<u64>,
    /// Last jump of the wall clock that is worth a word, seconds.
    pub jump: Option<i64>,
    /// How short memory is, and what was given up for it.
    pub pressure: Told,
    /// How late the runtime is.
    pub lag: Lag,
    /// For how long one of its workers is held.
    pub stuck: Duration,
    /// Tasks that are alive.
    pub tasks: usize,
    /// Days to the end of the certificate that clients see; negative after it.
    pub certificate_days: Option<i64>,
}

/// One Q-SYS system.
#[derive(Debug, Clone)]
pub struct CoreFacts {
    /// Its name here.
    pub name: String,
    /// The link to it.
    pub link: LinkStatus,
    /// Time since its last sign of life.
    pub silent: Option<Duration>,
    /// Links lost within the last hour, as far as they are counted.
    pub drops: u64,
    /// What is known of it.
    pub mirror: MirrorStatus,
}

/// A check.
#[derive(Debug)]
pub struct Check {
    /// Its name in answers and URIs.
    pub name: &'static str,
    /// Whether its reason may name what not everybody may know of.
    pub tells_names: bool,
    judge: fn(&Facts, &HealthConfig, Level) -> Finding,
}

const fn check(name: &'static str, judge: fn(&Facts, &HealthConfig, Level) -> Finding) -> Check {
    Check {
        name,
        tells_names: false,
        judge,
    }
}

const fn naming(name: &'static str, judge: fn(&Facts, &HealthConfig, Level) -> Finding) -> Check {
    Check {
        name,
        tells_names: true,
        judge,
    }
}

/// Every check, in the order in which they are shown.
pub const CHECKS: [Check; 17] = [
    naming("link", design::link),
    naming("mirror", design::mirror),
    naming("rules", design::rules),
    check("store", saved::store),
    check("audit", saved::audit),
    check("disk", disk::disk),
    check("memory", process::memory),
    check("event_loop", process::event_loop),
    check("descriptors", process::descriptors),
    check("tasks", process::tasks),
    check("cpu", machine::cpu),
    check("temperature", machine::temperature),
    check("power", machine::power),
    check("flash", machine::flash),
    check("clock", clock::clock),
    check("certificate", process::certificate),
    check("memory_growth", growth::growth),
];
