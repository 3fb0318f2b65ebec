//! One sled database in one folder, used the way that was measured to be safe: no background flusher, small batches with a flush as
//! brake, and a sync of its own after every flush, for sled's flush does not reach the device.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sled::Batch;

use super::error::Fault;

/// Memory that sled may keep pages in, bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// Records after which the database is flushed. This, and not the size of the cache, bounds the memory that sled takes when
/// writes outrun the disk.
const RECORDS_PER_FLUSH: usize = 1_024;

/// Dropped, it stops sled; that can take a moment, and on a broken disk longer.
#[derive(Debug)]
pub(super) struct Database {
    sled: sled::Db,
    file: File,
    dir: PathBuf,
    unflushed: usize,
    is_dirty: bool,
    /// Whether what sled wrote beside its log when it opened is on the device.
    is_settled: bool,
}

impl Database {
    /// Opens what lies in `dir`, or makes an empty database there. May panic or hang on a damaged one: see [`super::guard`].
    pub(super) fn open(dir: &Path) -> Result<Self, Fault> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let sled = config.open()?;
        let file = File::open(dir.join("db")).map_err(Fault::of_io)?;
        tighten(dir);
        Ok(Self {
            sled,
            file,
            dir: dir.to_path_buf(),
            unflushed: 0,
            is_dirty: false,
            is_settled: false,
        })
    }

    /// Removes what a power cut can have halved of what sled keeps beside its log, where sled has refused to open by it.
    ///
    /// The settings, which it does not sync: opening writes them anew, and they are the same in every database. And a snapshot that it
    /// was writing, which it takes for the newest one: the one before, if there was one, goes only after that. A whole one is needed,
    /// though, for sled may have cleared what it stands for before its final name was safe: so this is for what was refused alone.
    pub(super) fn forget_halves(dir: &Path) {
        fs::remove_file(dir.join("conf")).ok();
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        for path in paths.filter(|path| path.extension().is_some_and(|kind| kind == "generating")) {
            fs::remove_file(path).ok();
        }
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of the trees, in order.
    pub(super) fn trees(&self) -> Vec<String> {
        let names = self.sled.tree_names().into_iter();
        let mut names: Vec<String> = names
            .filter_map(|name| String::from_utf8(name.to_vec()).ok())
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn tree(&self, name: &str) -> Result<sled::Tree, Fault> {
        Ok(self.sled.open_tree(name)?)
    }

    /// Writes `records` records at once. They survive a crash only after [`Self::sync`].
    pub(super) fn write(&mut self, tree: &str, batch: Batch, records: usize) -> Result<(), Fault> {
        self.tree(tree)?.apply_batch(batch)?;
        self.is_dirty = true;
        self.unflushed += records;
        if self.unflushed >= RECORDS_PER_FLUSH {
            self.sled.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Writes one record.
    pub(super) fn put(&mut self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.insert(key, value);
        self.write(tree, batch, 1)
    }

    /// Returns when everything written is on the device.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        if self.is_dirty {
            self.sled.flush()?;
            self.file.sync_all().map_err(Fault::of_io)?;
            if !self.is_settled {
                settle(&self.dir).map_err(Fault::of_io)?;
                self.is_settled = true;
            }
            tighten(&self.dir);
        }
        self.unflushed = 0;
        self.is_dirty = false;
        Ok(())
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.sled.size_on_disk().unwrap_or(0)
    }
}

/// Returns when the files beside the log, and the names of all, are on the device: sled syncs neither.
fn settle(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() && !path.ends_with("db") {
            File::open(path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Takes the files of a folder from everybody but their owner. The folder itself keeps others out already, so that a failure here
/// costs nothing.
fn tighten(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(facts) = entry.metadata() else {
            continue;
        };
        if facts.is_file() && facts.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600)).ok();
        }
    }
}
