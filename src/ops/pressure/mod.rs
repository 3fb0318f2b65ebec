//! What the box does when memory runs short: a pure verdict over what the kernel tells, and the order in which things are given up, the
//! dearest last. The link to a Core and writes under way are never given up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::HealthConfig;
use crate::limits::{
    MEMORY_BUDGET_BYTES, PRESSURE_EASES_AFTER, PRESSURE_LOOK_MAX, PRESSURE_LOOK_MIN,
    PRESSURE_PACE_BYTES, PRESSURE_SETTLES_AFTER, PRESSURE_STEP_PAUSE, PRESSURE_TIGHT_PAUSE,
};
use crate::ops::host::Memory;

/// Part of ten seconds in which everything waits for memory, percent, from which on it is tight, and critical.
const STALLED: [u64; 2] = [10, 40];

/// The same of the whole machine, which others may keep busy: never more than tight.
const MACHINE_STALLED: u64 = 20;

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strain {
    /// There is enough.
    #[default]
    Calm,
    /// There will not be enough for long: what is only convenient goes.
    Tight,
    /// The kernel would end the process soon: watches and idle streams go, and no new ones come.
    Critical,
}

impl Strain {
    /// `calm`, `tight` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Tight => "tight",
            Self::Critical => "critical",
        }
    }

    const fn lower(self) -> Self {
        match self {
            Self::Calm | Self::Tight => Self::Calm,
            Self::Critical => Self::Tight,
        }
    }
}

impl fmt::Display for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is given up, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// What is kept for convenience: streams that ended and could be read again, the older part of the audit trail in memory, checked
    /// tokens.
    History,
    /// Watches, whose owners are told when they ask.
    Watches,
    /// Streams and connections on which nothing is under way, the longest idle first.
    Streams,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How short memory is now.
    pub strain: Strain,
    /// How short it was.
    pub was: Strain,
    /// What is to be given up now, and whether it is the first time since memory was enough.
    pub step: Option<(Step, bool)>,
}

/// How short memory is, and what was given up since it became so.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    strain: Strain,
    /// In plain words.
    reason: String,
    /// Since when the figures are better than the strain says.
    eases_since: Option<Instant>,
    /// What was given up last, and when.
    last: Option<(Step, Instant)>,
    /// The furthest step since memory was enough.
    furthest: Option<Step>,
    /// The last step gave nothing.
    gave_nothing: bool,
    /// The highest percentage in this shortage, and when it was reached.
    highest: Option<(u64, Instant)>,
    /// What is in use and cannot be given up, percent: what was freed but stays with the process, which takes it again before it asks the
    /// kernel for more.
    floor: Option<u64>,
}

impl Pressure {
    /// Why memory is short; empty while it is not.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Takes in what the kernel tells now. The strain rises at once, and falls by one when all figures have been a sixteenth below what made it
    /// rise for [`PRESSURE_EASES_AFTER`].
    pub fn look(&mut self, memory: &Memory, config: &HealthConfig, now: Instant) -> Look {
        let was = self.strain;
        self.settle(memory, config, now);
        // Above what is settled there is no room for a band.
        let band = if self.floor.is_some() {
            Strain::Calm
        } else {
            was
        };
        let (seen, reason) = judge(memory, self.steps(config), config, band);
        if seen >= was {
            self.strain = seen;
            self.eases_since = None;
        } else {
            let since = *self.eases_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= PRESSURE_EASES_AFTER {
                self.strain = was.lower().max(seen);
                self.eases_since = Some(now);
            }
        }
        if seen == self.strain {
            self.reason = reason;
        }
        if self.strain == Strain::Calm {
            *self = Self {
                floor: self.floor,
                ..Self::default()
            };
        }
        // What only has to prove that it lasts gives nothing more up.
        let step = (seen == self.strain).then(|| self.step(now)).flatten();
        Look {
            strain: self.strain,
            was,
            step: step.map(|step| {
                let is_first = self.furthest < Some(step);
                self.furthest = self.furthest.max(Some(step));
                self.last = Some((step, now));
                (step, is_first)
            }),
        }
    }

    /// What the last step gave.
    pub fn gave(&mut self, count: usize) {
        self.gave_nothing = count == 0;
    }

    /// Where memory is tight, and where critical, percent: as configured, or in the room above what cannot be given up.
    fn steps(&self, config: &HealthConfig) -> [u64; 2] {
        let least = [config.tight, config.critical];
        match self.floor {
            None => least,
            Some(floor) => {
                let room = 100_u64.saturating_sub(floor);
                let [tight, critical] = least;
                [
                    tight.max(floor + (room / 4).max(1)),
                    critical.max(floor + (room / 2).max(2)),
                ]
            }
        }
    }

    /// Finds out what cannot be given up: what is in use although there is nothing left to give, and does not grow for
    /// [`PRESSURE_SETTLES_AFTER`]. It is forgotten when less is in use than is tight. Half of the way from critical to all is never taken for
    /// settled.
    fn settle(&mut self, memory: &Memory, config: &HealthConfig, now: Instant) {
        let parts = parts(memory).into_iter().flatten();
        let percent = parts.map(Part::percent).max().unwrap_or(0);
        if percent * 16 < config.tight * 15 {
            self.floor = None;
        }
        if self.strain == Strain::Calm {
            return;
        }
        let most = config.critical + 100_u64.saturating_sub(config.critical) / 2;
        match self.highest {
            Some((highest, since)) if percent <= highest => {
                let is_settled = now.saturating_duration_since(since) >= PRESSURE_SETTLES_AFTER;
                if is_settled && self.gave_nothing && percent <= most {
                    self.floor = Some(percent);
                }
            }
            Some(_) | None => self.highest = Some((percent, now)),
        }
    }

    fn step(&self, now: Instant) -> Option<Step> {
        let rested = |pause: Duration| {
            self.last
                .is_none_or(|(_, at)| now.saturating_duration_since(at) >= pause)
        };
        match (self.strain, self.last) {
            (Strain::Calm, _) => None,
            (Strain::Tight, _) => rested(PRESSURE_TIGHT_PAUSE).then_some(Step::History),
            (Strain::Critical, None) => Some(Step::History),
            (Strain::Critical, Some((last, _))) => {
                rested(PRESSURE_STEP_PAUSE).then_some(match last {
                    Step::History => Step::Watches,
                    Step::Watches | Step::Streams => Step::Streams,
                })
            }
        }
    }

    /// Until the next look: the less room there is, the sooner.
    #[must_use]
    pub fn pause(&self, memory: &Memory, config: &HealthConfig) -> Duration {
        let parts = parts(memory).into_iter().flatten();
        let rooms = parts.map(|part| {
            let critical = part.whole.saturating_mul(config.critical) / 100;
            critical.saturating_sub(part.part)
        });
        let room = rooms.chain(memory.available).min().unwrap_or(u64::MAX);
        let millis = room.saturating_mul(1_000) / PRESSURE_PACE_BYTES;
        Duration::from_millis(millis).clamp(PRESSURE_LOOK_MIN, PRESSURE_LOOK_MAX)
    }
}

/// A part of a whole, bytes.
#[derive(Debug, Clone, Copy)]
struct Part {
    part: u64,
    whole: u64,
}

impl Part {
    fn percent(self) -> u64 {
        self.part.saturating_mul(100) / self.whole.max(1)
    }
}

/// What the group of the process takes of its limit, and the process of its budget.
fn parts(memory: &Memory) -> [Option<Part>; 2] {
    let budget = u64::try_from(MEMORY_BUDGET_BYTES).unwrap_or(u64::MAX);
    [
        memory.group.map(|group| Part {
            part: group.used,
            whole: group.most,
        }),
        memory.rss.map(|rss| Part {
            part: rss,
            whole: budget,
        }),
    ]
}

/// How short memory is by the worst of all figures, and why.
fn judge(memory: &Memory, steps: [u64; 2], config: &HealthConfig, was: Strain) -> (Strain, String) {
    let mut worst = (Strain::Calm, String::new());
    let mut grade = |figure: u64, steps: [u64; 2], reason: &dyn Fn() -> String| {
        let strain = graded(figure, steps, was);
        if strain > worst.0 {
            worst = (strain, reason());
        }
    };
    let [group, budget] = parts(memory);
    for (part, of) in [
        (group, "its unit or container may take"),
        (budget, "all its limits add up to"),
    ] {
        if let Some(part) = part {
            grade(part.percent(), steps, &|| {
                let (part, whole) = (part.part >> 20, part.whole >> 20);
                format!("{part} MiB of the {whole} MiB that {of} are in use.")
            });
        }
    }
    if let (Some(total), Some(available)) = (memory.total, memory.available) {
        // In thousandths of what is gone, so that more is worse.
        let gone = 1_000_u64.saturating_sub(available.saturating_mul(1_000) / total.max(1));
        let left = config.memory_left.saturating_mul(10);
        if left > 0 {
            let steps = [1_001 - left, 1_001 - left / 2];
            let strain = if gone >= steps[1] {
                2
            } else {
                u64::from(gone >= steps[0])
            };
            grade(strain, [1, 2], &|| {
                let available = available >> 20;
                format!("The machine has {available} MiB left for everybody.")
            });
        }
    }
    if let Some(stalled) = memory.stalled {
        grade(stalled, STALLED, &|| {
            format!("Everything in the service waits for memory {stalled} % of the time.")
        });
    }
    if let Some(stalled) = memory.machine_stalled {
        grade(stalled, [MACHINE_STALLED, u64::MAX], &|| {
            format!("Everything on this machine waits for memory {stalled} % of the time.")
        });
    }
    worst
}

/// Up at each step, and down again a sixteenth below it.
fn graded(figure: u64, [tight, critical]: [u64; 2], was: Strain) -> Strain {
    let reaches = |step: u64, strain: Strain| {
        figure >= step || (was >= strain && figure.saturating_mul(16) >= step.saturating_mul(15))
    };
    if reaches(critical, Strain::Critical) {
        Strain::Critical
    } else if reaches(tight, Strain::Tight) {
        Strain::Tight
    } else {
        Strain::Calm
    }
}

/// What was given up since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Streams that ended and could be read again, entries of the audit trail in memory, checked tokens.
    pub history: u64,
    /// Watches.
    pub watches: u64,
    /// Streams and connections.
    pub streams: u64,
}

/// How short memory is, as everybody sees it who takes some.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    told: watch::Sender<Told>,
    refused: AtomicU64,
}

/// What a [`Gauge`] shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// How short memory is.
    pub strain: Strain,
    /// Why, in plain words; empty while it is enough.
    pub reason: String,
    /// What was given up since the process started.
    pub given_up: GivenUp,
    /// The control group with the least room, at the last change.
    pub group: Option<super::host::Group>,
}

impl Gauge {
    /// Whether what lasts is refused now. Whoever asks refuses if it is, which is counted.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let refuses = self.0.told.borrow().strain == Strain::Critical;
        if refuses {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    /// What was refused since the process started.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// What it shows.
    #[must_use]
    pub fn told(&self) -> Told {
        self.0.told.borrow().clone()
    }

    /// Hears of every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Told> {
        self.0.told.subscribe()
    }

    /// Shows something else. Those who watch hear of it when the strain or what was given up differs.
    pub fn tell(&self, told: Told) {
        self.0.told.send_if_modified(|before| {
            let is_news = before.strain != told.strain || before.given_up != told.given_up;
            *before = told;
            is_news
        });
    }
}

#[cfg(test)]
mod tests;
