//! Memory, processors, descriptors and the age of the machine: `/proc`.

use std::fs;

use super::{Host, Root};

pub(super) fn sample(root: &Root, host: &mut Host) {
    let kib = |text: &Option<String>, name: &str| field(text.as_deref()?, name)?.checked_mul(1024);
    host.rss = kib(&root.text("proc/self/status"), "VmRSS:");
    let memory = root.text("proc/meminfo");
    host.total = kib(&memory, "MemTotal:");
    host.available = kib(&memory, "MemAvailable:");
    host.limit = root.memory_limit();
    host.pressure = root
        .text("proc/pressure/memory")
        .as_deref()
        .and_then(pressure);
    host.ticks = root.text("proc/stat").as_deref().and_then(ticks);
    host.uptime = root.text("proc/uptime").as_deref().and_then(uptime);
    host.worked = root.text("proc/self/stat").as_deref().and_then(worked);
    let open = fs::read_dir(root.at("proc/self/fd")).ok();
    let limits = root.text("proc/self/limits");
    let most = limits
        .as_deref()
        .and_then(|text| field(text, "Max open files"));
    // The folder itself is open while it is read.
    let open = open.and_then(|open| u64::try_from(open.count().saturating_sub(1)).ok());
    host.descriptors = open.zip(most);
}

/// The first number after a word at the beginning of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `full avg60` as whole percent.
fn pressure(text: &str) -> Option<u64> {
    let (_, full) = text.split_once("full ")?;
    let (_, minute) = full.split_once("avg60=")?;
    minute.split(['.', ' ']).next()?.parse().ok()
}

/// Busy and all ticks: user, nice, system, idle, iowait, irq, softirq, steal. Guests are in user already.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let mut all = 0_u64;
    let mut idle = 0;
    for (index, word) in line.split_whitespace().take(8).enumerate() {
        let ticks: u64 = word.parse().ok()?;
        all = all.saturating_add(ticks);
        if index == 3 || index == 4 {
            idle += ticks;
        }
    }
    Some((all.saturating_sub(idle), all))
}

/// Time in user and kernel mode, of which `/proc` counts hundredths of a second whatever the kernel's own tick is. The name before it may hold
/// anything, brackets and blanks too.
fn worked(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)?.checked_mul(10)
}

/// `12345.67 …` as milliseconds.
fn uptime(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let hundredths: u64 = hundredths.parse().ok()?;
    seconds
        .checked_mul(1_000)?
        .checked_add(hundredths.min(99) * 10)
}
