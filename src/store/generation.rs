//! The folder of one database: generations of it, of which `CURRENT` names the one that counts.
//!
//! ```text
//! state/CURRENT         "gen-000007"
//! state/gen-000007/     the database
//! state/OPENING         how many starts in a row did not get through opening it, and how often the power went meanwhile; gone while all is well
//! state/quarantine/     the last one that was damaged, for inspection
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::file::make_private_folder;

/// Largest damaged store that is kept for inspection, bytes.
const QUARANTINE_MAX_BYTES: u64 = 64 << 20;

const CURRENT: &str = "CURRENT";
const OPENING: &str = "OPENING";
const QUARANTINE: &str = "quarantine";

/// The folder of one database. Knows names and order, nothing of sled.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Takes over or makes the folder, for its owner alone.
    pub(super) fn make(root: &Path) -> io::Result<Self> {
        private_dir(root)?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// Where a generation lies.
    pub(super) fn dir(&self, generation: &str) -> PathBuf {
        self.root.join(generation)
    }

    /// The generation that counts: the one that `CURRENT` names, or where that is lost the last one there is.
    pub(super) fn current(&self) -> Option<String> {
        let named = fs::read_to_string(self.root.join(CURRENT)).ok();
        let named = named.filter(|name| number(name).is_some() && self.dir(name).is_dir());
        named.or_else(|| self.generations().pop())
    }

    /// Whether `CURRENT` names a generation that is there.
    pub(super) fn is_named(&self, generation: &str) -> bool {
        fs::read_to_string(self.root.join(CURRENT)).is_ok_and(|name| name == generation)
    }

    /// Whether a generation was ever finished: that is when `CURRENT` is first written.
    pub(super) fn has_named(&self) -> bool {
        fs::symlink_metadata(self.root.join(CURRENT)).is_ok()
    }

    /// All generations, oldest first.
    fn generations(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| number(name).is_some()).collect();
        names.sort_unstable();
        names
    }

    /// The name of a generation that does not exist yet.
    pub(super) fn next(&self) -> String {
        let last = self.generations().pop();
        let last = last.and_then(|name| number(&name)).unwrap_or(0);
        format!("gen-{:06}", last.saturating_add(1) % 1_000_000)
    }

    /// Makes `generation` the one that counts, for good: when this returns, a power cut changes nothing of it.
    pub(super) fn switch(&self, generation: &str) -> io::Result<()> {
        let new = self.root.join("CURRENT.new");
        write_private(&new, generation.as_bytes())?;
        File::open(self.dir(generation))?.sync_all()?;
        fs::rename(&new, self.root.join(CURRENT))?;
        File::open(&self.root)?.sync_all()
    }

    /// Deletes every generation but this one.
    pub(super) fn keep_only(&self, generation: &str) {
        for name in self.generations() {
            if name != generation {
                fs::remove_dir_all(self.dir(&name)).ok();
            }
        }
    }

    /// Moves a generation aside in place of the last one that was. One that is too large to keep is deleted.
    pub(super) fn quarantine(&self, generation: &str) -> io::Result<()> {
        let dir = self.dir(generation);
        if !dir.exists() {
            return Ok(());
        }
        let aside = self.root.join(QUARANTINE);
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        if bytes(&dir) > QUARANTINE_MAX_BYTES {
            fs::remove_dir_all(&dir)?;
        } else {
            fs::rename(&dir, &aside)?;
        }
        File::open(&self.root)?.sync_all()
    }

    /// Notes that the database is about to be opened; returns who noted that before and did not get through.
    pub(super) fn opening(&self) -> io::Result<Deaths> {
        let path = self.root.join(OPENING);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let deaths = Deaths::read(&before, &boot());
        write_private(&path, deaths.with_this_start(&boot()).as_bytes())?;
        File::open(&self.root)?.sync_all()?;
        Ok(deaths)
    }

    /// Notes that opening is over, so that a power cut hours later does not count as a death of this start.
    pub(super) fn opened(&self) {
        fs::remove_file(self.root.join(OPENING)).ok();
        if let Ok(root) = File::open(&self.root) {
            root.sync_all().ok();
        }
    }
}

/// Starts in a row that noted that they open the database and did not get through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Deaths {
    /// Since the machine was last started: most likely, the database killed them.
    pub(super) processes: u32,
    /// Earlier lives of the machine that ended so: most likely, the power went.
    pub(super) machines: u32,
}

impl Deaths {
    /// Reads what the start before has noted. What is not there, or half written, counts nothing; a note of no machine is of this one.
    fn read(note: &str, boot: &str) -> Self {
        let mut words = note.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let (processes, machines) = (number(), number());
        if words.next().is_none_or(|noted| noted == boot) {
            Self {
                processes,
                machines,
            }
        } else {
            Self {
                processes: 0,
                machines: u32::saturating_add(machines, 1),
            }
        }
    }

    /// The note of this start, which counts as one that did not get through until it is gone.
    fn with_this_start(self, boot: &str) -> String {
        let processes = self.processes.saturating_add(1);
        format!("{processes} {} {boot}", self.machines)
    }
}

/// What the kernel calls the time since the machine was started; empty where it does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Makes a folder, with those above it, for its owner alone; takes it from all others if it was there.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    make_private_folder(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// `gen-` and six digits, nothing else: the name comes from a file that may be damaged, and folders are deleted by it.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("gen-")?;
    let is_plain = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => bytes(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_that_goes_while_a_store_is_opened_is_no_death_of_the_process() {
        let (mut deaths, mut note) = (Deaths::default(), String::new());
        for boot in ["a", "a", "b", "c", "c"] {
            deaths = Deaths::read(&note, boot);
            note = deaths.with_this_start(boot);
        }
        let expected = Deaths {
            processes: 1,
            machines: 2,
        };
        assert_eq!(deaths, expected);
        // As an earlier version noted it, where the kernel has no name for its life, and as a power cut leaves it.
        let of_processes = |processes| Deaths {
            processes,
            machines: 0,
        };
        assert_eq!(Deaths::read("2", "c"), of_processes(2));
        let note = of_processes(1).with_this_start("");
        assert_eq!(Deaths::read(&note, ""), of_processes(2));
        assert_eq!(Deaths::read("\0\0\0", "c"), Deaths::default());
    }
}
