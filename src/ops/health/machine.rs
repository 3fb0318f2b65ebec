//! The machine: load, temperature, supply, flash.

use super::{Facts, Finding, Level, graded, only_degraded};
use crate::config::HealthConfig;

pub(super) fn cpu(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let Some(load) = facts.cpu else {
        return Finding::UNTOLD;
    };
    match graded(load, only_degraded(config.cpu), was) {
        Level::Healthy => Finding::WELL,
        level => Finding::ill(
            level,
            format!(
                "The machine has been {load} % busy for three looks in a row: look what else runs on it."
            ),
        ),
    }
}

pub(super) fn temperature(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let Some(degrees) = facts.host.temperature else {
        return Finding::UNTOLD;
    };
    match graded(degrees, config.temperature, was) {
        Level::Healthy => Finding::WELL,
        level => Finding::ill(
            level,
            format!("The machine is {degrees} °C warm: give it air, and look at the rack's fans."),
        ),
    }
}

pub(super) fn power(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    match facts.host.power {
        None => Finding::UNTOLD,
        Some(power) if power.is_low => Finding::ill(
            Level::Degraded,
            "The supply voltage is too low: another supply or a shorter cable. Writes to the card may be lost.",
        ),
        Some(power) if power.is_throttled => Finding::ill(
            Level::Degraded,
            "The board slows itself down for heat or want of voltage: give it air, or another supply.",
        ),
        Some(_) => Finding::WELL,
    }
}

/// Worn flash still works, so it is no more than degraded.
pub(super) fn flash(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let Some(worn) = facts.host.flash else {
        return Finding::UNTOLD;
    };
    match graded(worn, only_degraded(config.flash), was) {
        Level::Healthy => Finding::WELL,
        level => Finding::ill(
            level,
            format!(
                "{worn} % of the flash's life are used: plan to replace the board or its storage."
            ),
        ),
    }
}
