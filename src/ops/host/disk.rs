//! Whether the disk with the data has room and answers. To ask wears no flash: as long as all is well a sync of a file in which nothing
//! changed makes the device answer, and only now and then something is written.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The file that is synced, in the data folder.
pub const PROBE_FILE: &str = "health.probe";

/// Looks between two that write: about once an hour.
const LOOKS_PER_WRITE: u32 = 60;

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Used part of what this user can use, percent, rounded up.
    pub percent: u64,
    /// What this user can still write, bytes.
    pub free: u64,
}

/// The disks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disks {
    /// The one with the data folder.
    pub data: Option<Fill>,
    /// The one with temporary files.
    pub temporary: Option<Fill>,
    /// Why nothing can be written to the data folder.
    pub fault: Option<String>,
}

/// What is asked of the disks.
#[derive(Debug, Clone)]
pub struct Probe {
    data: PathBuf,
    temporary: PathBuf,
    looks: Arc<AtomicU32>,
}

impl Probe {
    /// Asks the disks of these two folders.
    #[must_use]
    pub fn new(data: &Path, temporary: PathBuf) -> Self {
        Self {
            data: data.to_path_buf(),
            temporary,
            looks: Arc::default(),
        }
    }

    /// Asks. Blocks for as long as the disk does.
    #[must_use]
    pub fn ask(&self) -> Disks {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let answered = self.touch(look.is_multiple_of(LOOKS_PER_WRITE));
        if answered.is_err() {
            // Until it is mended each look writes.
            self.looks.store(0, Ordering::Relaxed);
        }
        Disks {
            data: fill(&self.data),
            temporary: fill(&self.temporary),
            fault: answered.err().map(|fault| fault.to_string()),
        }
    }

    fn touch(&self, writes: bool) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.data.join(PROBE_FILE))?;
        if writes {
            file.write_all(&[b'.'; 512])?;
        }
        file.sync_all()
    }
}

fn fill(folder: &Path) -> Option<Fill> {
    let disk = fs2::statvfs(folder).ok()?;
    let free = disk.available_space();
    let used = disk.total_space().saturating_sub(disk.free_space());
    let all = used.saturating_add(free);
    let percent = u128::from(used) * 100;
    let percent = percent.div_ceil(u128::from(all).max(1));
    Some(Fill {
        percent: u64::try_from(percent).unwrap_or(100),
        free,
    })
}
