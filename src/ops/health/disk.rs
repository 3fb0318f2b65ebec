//! The disks: room, and whether they answer.

use super::{Complaints, Facts, Finding, Level, graded};
use crate::config::HealthConfig;
use crate::ops::host::SLOW;
use crate::ops::host::disk::Fill;

pub(super) fn disk(facts: &Facts, config: &HealthConfig, was: Level) -> Finding {
    let mut complaints = Complaints::default();
    if facts.disk_silent.is_some_and(|silent| silent > SLOW) {
        complaints.add(
            Level::Unhealthy,
            "The disk with the data folder does not answer. The box serves from memory; look at the card or disk, it may be dying.",
        );
    }
    let grade = |fill: Fill| graded(fill.percent, config.disk, was);
    let mut full = |fill: Option<Fill>, what: &str, most: Level, advice: &str| {
        let level = fill.map_or(Level::Healthy, grade).min(most);
        if let (Some(fill), true) = (fill, level != Level::Healthy) {
            let (percent, free) = (fill.percent, fill.free >> 20);
            complaints.add(
                level,
                &format!("The disk with {what} is {percent} % full, {free} MiB are free. {advice}"),
            );
        }
    };
    let disks = &facts.disks;
    full(
        disks.data,
        "the data folder",
        Level::Unhealthy,
        "Make room; on a full disk nothing is stored.",
    );
    if disks.temporary != disks.data {
        full(
            disks.temporary,
            "temporary files",
            Level::Degraded,
            "Make room.",
        );
    }
    if let Some(fault) = &disks.fault {
        complaints.degraded(&format!("The data folder cannot be written: {fault}."));
    }
    complaints.finding()
}
