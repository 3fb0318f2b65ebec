//! When the box counts as ill: the section `[health]`.

use std::path::PathBuf;
use std::time::Duration;

use super::problems::Section;

/// Section `[health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// Where `/proc` and `/sys` are.
    pub root: PathBuf,
    /// Between two looks.
    pub every: Duration,
    /// Fill of disks, percent.
    pub disk: Steps,
    /// Memory of the process, percent of what it may take.
    pub memory: Steps,
    /// Memory in use from which on what is only convenient is given up, percent of what the process may take.
    pub tight: u64,
    /// The same for watches and idle streams.
    pub critical: u64,
    /// Memory that the machine has left, percent.
    pub memory_left: u64,
    /// Growth that is called a leak, KiB an hour.
    pub leak: u64,
    /// Lateness of the event loop, ms.
    pub lag: Steps,
    /// Time for which one piece of work holds a thread of the runtime, ms.
    pub stuck: Steps,
    /// Load of the machine, percent.
    pub cpu: u64,
    /// Warmest sensor, °C.
    pub temperature: Steps,
    /// Wear of the flash, percent of its life.
    pub flash: u64,
    /// Days before the end of the certificate.
    pub certificate_days: u64,
    /// Open files, percent of what the process may open.
    pub descriptors: Steps,
    /// Jump of the wall clock, seconds.
    pub clock_jump: u64,
    /// Links lost within an hour.
    pub drops: u64,
}

/// From where on something is degraded, and from where on unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Degraded from here on.
    pub degraded: u64,
    /// Unhealthy from here on.
    pub unhealthy: u64,
}

pub(super) fn read(mut section: Section<'_>) -> HealthConfig {
    let section = &mut section;
    let [tight, critical] = pressure(section);
    HealthConfig {
        root: section.text("root").into(),
        every: Duration::from_secs(section.whole("every-secs", 1..=3_600)),
        disk: steps(section, "disk", "-percent", 100),
        memory: steps(section, "memory", "-percent", 100),
        tight,
        critical,
        memory_left: section.whole("memory-left-percent", 0..=50),
        leak: section.whole("leak-kib-per-hour", 64..=1_048_576),
        lag: steps(section, "loop", "-millis", 60_000),
        stuck: steps(section, "stuck", "-millis", 600_000),
        cpu: section.whole("cpu-degraded-percent", 1..=100),
        temperature: steps(section, "temperature", "", 150),
        flash: section.whole("flash-degraded-percent", 10..=100),
        certificate_days: section.whole("certificate-days", 1..=365),
        descriptors: steps(section, "descriptors", "-percent", 100),
        clock_jump: section.whole("clock-jump-secs", 1..=86_400),
        drops: section.whole("drops-per-hour", 1..=8),
    }
}

fn pressure(section: &mut Section<'_>) -> [u64; 2] {
    let (low, high) = ("memory-tight-percent", "memory-critical-percent");
    let [tight, critical] = [low, high].map(|key| section.whole(key, 1..=100));
    if tight > critical {
        section.fault(high, format!("{critical} is less than `{low}`, {tight}"));
    }
    [tight, critical]
}

fn steps(section: &mut Section<'_>, what: &str, unit: &str, most: u64) -> Steps {
    let (low, high) = (
        format!("{what}-degraded{unit}"),
        format!("{what}-unhealthy{unit}"),
    );
    let steps = Steps {
        degraded: section.whole(&low, 1..=most),
        unhealthy: section.whole(&high, 1..=most),
    };
    if steps.degraded > steps.unhealthy {
        section.fault(
            &high,
            format!(
                "{} is less than `{low}`, {}",
                steps.unhealthy, steps.degraded
            ),
        );
    }
    steps
}
