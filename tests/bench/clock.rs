//! What a process has used, read from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time of all living threads of a process.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        total += scheduled(&task?.path().join("schedstat"))?;
    }
    Ok(total)
}

/// CPU time of the calling thread.
pub(crate) fn own_cpu() -> Result<Duration> {
    scheduled(Path::new("/proc/thread-self/schedstat"))
}

fn scheduled(file: &Path) -> Result<Duration> {
    let text = fs::read_to_string(file)?;
    let nanos = text
        .split_whitespace()
        .next()
        .context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Memory of a process that is in RAM, bytes, counted exactly.
pub(crate) fn rss_of(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(field(&text, "Rss:")? * 1024)
}

/// Bytes that a process has caused to be written to disks.
pub(crate) fn written_by(pid: u32) -> Result<u64> {
    field(
        &fs::read_to_string(format!("/proc/{pid}/io"))?,
        "write_bytes:",
    )
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name} in /proc"))?;
    let number = line.trim().trim_end_matches("kB").trim();
    Ok(number.parse()?)
}
