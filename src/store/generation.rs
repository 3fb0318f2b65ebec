//! The folder of one database: generations of it, of which `CURRENT` names the one that counts.
//!
//! ```text
//! state/CURRENT         "gen-000007"
//! state/gen-000007/     the database
//! state/OPENING         how many starts in a row did not get through opening it; gone while all is well
//! state/quarantine/     the last one that was damaged, for inspection
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

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

    /// Notes that the database is about to be opened; returns how many starts before this one noted it and did not get through.
    pub(super) fn opening(&self) -> io::Result<u32> {
        let path = self.root.join(OPENING);
        let before = fs::read_to_string(&path).ok();
        let before = before
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        write_private(&path, u32::saturating_add(before, 1).to_string().as_bytes())?;
        File::open(&self.root)?.sync_all()?;
        Ok(before)
    }

    /// Notes that opening is over.
    pub(super) fn opened(&self) {
        fs::remove_file(self.root.join(OPENING)).ok();
    }
}

/// Makes a folder, with those above it, for its owner alone; takes it from all others if it was there.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
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
