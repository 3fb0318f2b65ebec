//! Link, mirror and rules: what concerns a Core and its design.

use std::time::Duration;

use tokio::time::Instant;

use super::{Complaints, Facts, Finding, Level, graded, only_degraded};
use crate::config::HealthConfig;
use crate::limits::{CONTROLS_MAX, HEALTH_NAMES_SHOWN};
use crate::link::{BreakerState, LinkState};

/// Time without a sign of life, or without a complete poll, that is too long on a live link: three times what makes a probe.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Part of the mirror's places from which on a larger design may not fit, percent.
const FILL_MAX: usize = 90;

/// An unreachable Core is degraded, never more: the box serves what it knows, and says how old it is.
pub(super) fn link(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let mut complaints = Complaints::default();
    for core in &facts.cores {
        let (name, link) = (&core.name, &core.link);
        if link.state != LinkState::Live {
            let breaker = match link.breaker {
                BreakerState::Open => " The breaker is open: the Core is left alone for a while.",
                BreakerState::Closed | BreakerState::HalfOpen => "",
            };
            let advice = match link.state {
                LinkState::Refused => "A person must look at key, PIN or certificate.",
                LinkState::Backoff => "Look at the Core's power, network and address.",
                _ => "It should be live within a minute.",
            };
            let (state, fault) = (link.state.as_str(), &link.last_fault);
            complaints.degraded(&format!(
                "The link to {name} is {state}: {fault}{breaker} {advice}"
            ));
        } else if core.silent.is_some_and(|silent| silent > SILENCE_MAX) {
            complaints.degraded(&format!("The link to {name} is live, but nothing comes."));
        }
        if graded(core.drops, only_degraded(config.drops), was) != Level::Healthy {
            complaints.degraded(&format!(
                "The link to {name} was lost again and again within an hour: look at the network between."
            ));
        }
    }
    complaints.finding()
}

pub(super) fn mirror(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    let mut complaints = Complaints::default();
    for core in &facts.cores {
        let (name, mirror) = (&core.name, &core.mirror);
        if mirror.refused > 0 {
            complaints.degraded(&format!(
                "Components and controls of {name} that are not mirrored: {}. Make fewer of them visible to external control.",
                mirror.refused
            ));
        } else if mirror.controls * 100 > CONTROLS_MAX * FILL_MAX {
            complaints.degraded(&format!(
                "The design of {name} takes {} of {CONTROLS_MAX} places: a larger one may not fit.",
                mirror.controls
            ));
        }
        if !core.link.unlisted_components.is_empty() {
            complaints.degraded(&format!(
                "The Core {name} does not tell the controls of some components: {}",
                some(&core.link.unlisted_components)
            ));
        }
        if !core.link.oversize_components.is_empty() {
            complaints.degraded(&format!(
                "Components of {name} that are too large to mirror: {}",
                some(&core.link.oversize_components)
            ));
        }
        let is_live = core.link.state == LinkState::Live;
        if is_live && mirror.confirmed.is_some_and(|age| age > SILENCE_MAX) {
            complaints.degraded(&format!(
                "What is known of {name} is old, although the link is live."
            ));
        }
    }
    complaints.finding()
}

pub(super) fn rules(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    let mut complaints = Complaints::default();
    if !facts.idle_rules.is_empty() {
        complaints.degraded(&format!(
            "Safety rules that fit no control of the running design, so that they hold nothing: {}.",
            some(&facts.idle_rules)
        ));
    }
    complaints.finding()
}

/// The first few names.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(HEALTH_NAMES_SHOWN);
    let mut text = shown.map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > HEALTH_NAMES_SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Counts the links that were lost within the last hour, up to eight.
#[derive(Debug, Clone, Default)]
pub struct Drops {
    last: u64,
    at: heapless::Deque<Instant, 8>,
}

impl Drops {
    /// Takes in how many were lost in all, and answers how many of them within an hour.
    pub fn count(&mut self, all: u64, now: Instant) -> u64 {
        let fresh = all.saturating_sub(self.last).min(8);
        self.last = all;
        for _ in 0..fresh {
            if self.at.is_full() {
                self.at.pop_front();
            }
            // There is room now.
            let _kept = self.at.push_back(now);
        }
        let hour = Duration::from_hours(1);
        while self
            .at
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > hour)
        {
            self.at.pop_front();
        }
        u64::try_from(self.at.len()).unwrap_or(u64::MAX)
    }
}
