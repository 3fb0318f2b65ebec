//! Memory: of the process, of the control groups that it is in, and of the machine.

use std::iter::successors;

use super::Root;
use super::process::field;

/// A limit of a control group of version 1 from which on it is none: it is written as the largest page count.
const NO_LIMIT: u64 = 1 << 60;

/// Control groups within each other that are looked at, from the innermost out.
const GROUPS_MAX: usize = 16;

/// A control group with a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// What cannot be taken from it without harm, bytes: everything but pages of files that are on disk as well and that nothing runs
    /// from.
    pub used: u64,
    /// What it may take, bytes.
    pub most: u64,
    /// How often it was at its limit.
    pub hits: u64,
    /// Processes of it that the kernel ended for want of memory.
    pub killed: u64,
}

/// Memory at one moment. What the machine does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the process, bytes.
    pub rss: Option<u64>,
    /// The control group that has the least room left, in proportion.
    pub group: Option<Group>,
    /// Part of the last ten seconds in which everything in the group of the process waited for memory, percent.
    pub stalled: Option<u64>,
    /// The same of the whole machine.
    pub machine_stalled: Option<u64>,
    /// Memory of the machine, bytes.
    pub total: Option<u64>,
    /// Of it, what can still be had.
    pub available: Option<u64>,
}

/// One version of control groups.
struct Version {
    mount: &'static str,
    /// The controller by which its line in `/proc/self/cgroup` is known.
    controller: &'static str,
    limits: &'static [&'static str],
    usage: &'static str,
    /// Pages of files that could go, and of those the ones that are mapped.
    files: [&'static str; 2],
    mapped: &'static str,
}

const TWO: Version = Version {
    mount: "sys/fs/cgroup",
    controller: "",
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    files: ["inactive_file ", "active_file "],
    mapped: "file_mapped ",
};

const ONE: Version = Version {
    mount: "sys/fs/cgroup/memory",
    controller: "memory",
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    files: ["total_inactive_file ", "total_active_file "],
    mapped: "total_mapped_file ",
};

impl Root {
    /// Memory now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let kib = |text: &Option<String>, name: &str| {
            field(text.as_deref()?, name).and_then(|kib| kib.checked_mul(1024))
        };
        let machine = self.text("proc/meminfo");
        let groups = self.text("proc/self/cgroup").unwrap_or_default();
        let (two, one) = (TWO.folders(&groups), ONE.folders(&groups));
        let found = [(&TWO, &two), (&ONE, &one)]
            .into_iter()
            .flat_map(|(version, folders)| folders.iter().map(move |folder| (version, folder)))
            .filter_map(|(version, folder)| self.group(version, folder));
        Memory {
            rss: kib(&self.text("proc/self/status"), "VmRSS:"),
            group: found
                .max_by_key(|group| u128::from(group.used) * 1_000 / u128::from(group.most.max(1))),
            stalled: two
                .first()
                .and_then(|folder| self.text(format!("{folder}/memory.pressure")))
                .as_deref()
                .and_then(stalled),
            machine_stalled: self
                .text("proc/pressure/memory")
                .as_deref()
                .and_then(stalled),
            total: kib(&machine, "MemTotal:"),
            available: kib(&machine, "MemAvailable:"),
        }
    }

    /// The least of what the control groups of the process may take.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let groups = self.text("proc/self/cgroup").unwrap_or_default();
        let limits = [TWO, ONE].into_iter().flat_map(|version| {
            let folders = version.folders(&groups);
            folders
                .into_iter()
                .filter_map(move |folder| self.limit(&version, &folder))
        });
        limits.min()
    }

    fn limit(&self, version: &Version, folder: &str) -> Option<u64> {
        let limits = version.limits.iter();
        let told = limits.filter_map(|file| self.number(format!("{folder}/{file}")));
        told.min().filter(|limit| *limit < NO_LIMIT)
    }

    fn group(&self, version: &Version, folder: &str) -> Option<Group> {
        let most = self.limit(version, folder)?;
        let usage = self.number(format!("{folder}/{}", version.usage))?;
        let parts = self
            .text(format!("{folder}/memory.stat"))
            .unwrap_or_default();
        let part = |name| field(&parts, name).unwrap_or(0);
        let files: u64 = version.files.into_iter().map(part).sum();
        let count = |file: &str, name: &str| {
            let text = self.text(format!("{folder}/{file}"))?;
            field(&text, name)
        };
        let hits = count("memory.events", "max ")
            .or_else(|| self.number(format!("{folder}/memory.failcnt")));
        let killed = count("memory.events", "oom_kill ")
            .or_else(|| count("memory.oom_control", "oom_kill "));
        Some(Group {
            used: usage.saturating_sub(files.saturating_sub(part(version.mapped))),
            most,
            hits: hits.unwrap_or(0),
            killed: killed.unwrap_or(0),
        })
    }
}

impl Version {
    /// The folders of the groups that the process is in, the innermost first. In a container that sees no other groups than its own, the
    /// last of them is its own, whatever the name says.
    fn folders(&self, groups: &str) -> Vec<String> {
        let mut lines = groups
            .lines()
            .filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let path = lines
            .find_map(|(names, path)| {
                let is_it = names.split(',').any(|name| name == self.controller);
                is_it.then_some(path.trim_matches('/'))
            })
            .unwrap_or_default();
        let paths = successors(Some(path), |path| outer(path));
        let folders = paths.map(|path| {
            format!("{}/{path}", self.mount)
                .trim_end_matches('/')
                .to_owned()
        });
        folders.take(GROUPS_MAX).collect()
    }
}

/// The group around the one of this path.
fn outer(path: &str) -> Option<&str> {
    let outer = path.rsplit_once('/').map_or("", |(outer, _)| outer);
    (!path.is_empty()).then_some(outer)
}

/// `full avg10` as whole percent.
fn stalled(text: &str) -> Option<u64> {
    let (_, full) = text.split_once("full ")?;
    let (_, while_ago) = full.split_once("avg10=")?;
    while_ago.split(['.', ' ']).next()?.parse().ok()
}
