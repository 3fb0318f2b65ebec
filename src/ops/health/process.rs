//! The process itself: memory, event loop, open files, tasks, and the certificate that it shows.

use std::time::Duration;

use super::{Complaints, Facts, Finding, Level, graded, only_degraded};
use crate::config::HealthConfig;
use crate::limits::{
    ATTENDED_MAX, CONNECTIONS_MAX, HTTP2_CONNECTIONS_MAX, HTTP2_STREAMS_MAX, MEMORY_BUDGET_BYTES,
    STREAMS_MAX, TASKS_MAX, WEBSOCKETS_MAX,
};
use crate::ops::pressure::{GivenUp, Strain};

/// Tasks that clients and parts can account for.
const TASKS_ALIVE_MAX: usize = CONNECTIONS_MAX
    + STREAMS_MAX
    + WEBSOCKETS_MAX
    + HTTP2_CONNECTIONS_MAX * HTTP2_STREAMS_MAX
    + ATTENDED_MAX
    + TASKS_MAX
    + 1_024;

pub(super) fn memory(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let host = &facts.host;
    let mut complaints = Complaints::default();
    let budget = u64::try_from(MEMORY_BUDGET_BYTES).unwrap_or(u64::MAX);
    // Not all that the process sees is its group's: pages of a file belong to whoever read them first.
    let group = facts.pressure.group;
    let most = host.limit.filter(|_| group.is_none());
    let own = host
        .rss
        .map(|rss| (rss, most.map_or(budget, |most| most.min(budget))));
    let of_group = group.map(|group| (group.used, group.most));
    for (rss, most) in own.into_iter().chain(of_group) {
        let percent = percent(rss, most);
        let level = graded(percent, config.memory, was);
        if level != Level::Healthy {
            let (rss, most) = (rss >> 20, most >> 20);
            complaints.add(
                level,
                &format!(
                    "The service takes {rss} MiB of {most} MiB that it may. Fewer clients, streams and watches take less; a start anew frees it."
                ),
            );
        }
    }
    if let (Some(total), Some(available)) = (host.total, host.available) {
        let left = u128::from(available) * 1_000 / u128::from(total.max(1));
        let least = u128::from(config.memory_left) * 10;
        let was_short = was != Level::Healthy && left * 15 < least * 16;
        if left < least || was_short {
            complaints.degraded(&format!(
                "The machine has {} MiB of memory left for everybody: look for what else runs on it.",
                available >> 20
            ));
        }
    }
    let pressure = &facts.pressure;
    match pressure.strain {
        Strain::Calm => {}
        Strain::Tight => complaints.degraded(&format!(
            "Memory is tight: {} What is only convenient is given up.",
            pressure.reason
        )),
        Strain::Critical => {
            let GivenUp {
                watches, streams, ..
            } = pressure.given_up;
            complaints.add(
                Level::Unhealthy,
                &format!(
                    "Memory is critical: {} No streams, watches and tasks are begun; {watches} watches and {streams} idle streams were ended since the start. Fewer clients, or more memory, end this.",
                    pressure.reason
                ),
            );
        }
    }
    complaints.finding()
}

pub(super) fn event_loop(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let mut complaints = Complaints::default();
    let late = graded(millis(facts.lag.p99), config.lag, was);
    if late != Level::Healthy {
        complaints.add(
            late,
            &format!(
                "One thing in a hundred is done {} ms late or more: the machine is too busy.",
                millis(facts.lag.p99)
            ),
        );
    }
    let stuck = millis(facts.stuck);
    // No band: work that ended holds nothing any more.
    let level = graded(stuck, config.stuck, Level::Healthy);
    if level != Level::Healthy {
        complaints.add(
            level,
            &format!(
                "One piece of work has held a thread of the service for {} s.",
                stuck / 1_000
            ),
        );
    } else if millis(facts.lag.held) >= config.stuck.unhealthy {
        complaints.degraded(&format!(
            "One piece of work held a thread of the service for {} s within the last minutes.",
            facts.lag.held.as_secs()
        ));
    }
    complaints.finding()
}

pub(super) fn descriptors(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let Some((open, most)) = facts.host.descriptors else {
        return Finding::UNTOLD;
    };
    let level = graded(percent(open, most), config.descriptors, was);
    if level == Level::Healthy {
        return Finding::WELL;
    }
    Finding::ill(
        level,
        format!(
            "{open} of {most} files and connections are open: raise LimitNOFILE of the unit, or lower listen.connections-max."
        ),
    )
}

pub(super) fn tasks(facts: &Facts, _: &HealthConfig, was: Level) -> Finding {
    let figure = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let steps = only_degraded(figure(TASKS_ALIVE_MAX));
    match graded(figure(facts.tasks), steps, was) {
        Level::Healthy => Finding::WELL,
        level => Finding::ill(
            level,
            "More tasks are alive than clients can account for: tell those who make rackhand.",
        ),
    }
}

pub(super) fn certificate(facts: &Facts, config: &HealthConfig, _: Level) -> Finding {
    match facts.certificate_days {
        None => Finding::well("There is no port with TLS, or the clock is not set."),
        Some(days) if days < 0 => Finding::ill(
            Level::Unhealthy,
            "The certificate that clients see has ended, and they refuse it: renew the site's files, or look why the box cannot write its own.",
        ),
        Some(days) if days.unsigned_abs() < config.certificate_days => Finding::ill(
            Level::Degraded,
            format!("The certificate that clients see ends in {days} days: renew it."),
        ),
        Some(_) => Finding::WELL,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Rounded up, so that the least use of nothing is too much.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).div_ceil(whole.max(1))
}
