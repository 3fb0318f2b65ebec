//! Everything that touches the disk, as one thing that a blocking thread takes and hands back.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use compact_str::CompactString;
use tokio::time::Instant;

use super::codec::{self, CounterRecord};
use super::database::Database;
use super::error::{Fault, StoreError};
use super::generation::Folder;
use super::mirror::{Debt, Mirror, Restoring};
use super::open::{self, Opened, Reader};
use super::schema::{COUNTERS, FORMAT, Tree};
use crate::base::file::make_private_folder;
use crate::limits::STORE_FILE_MAX_BYTES;

/// The database of what the Core can give back.
const STATE: &str = "state";
/// The database of what it cannot.
const RECORD: &str = "record";

/// What the box counts over its whole life. Kept in the database that no Core can give back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Starts of the process.
    pub starts: u64,
    /// Damaged stores that were moved aside.
    pub quarantines: u64,
}

impl Counters {
    fn named(&mut self) -> [(&'static str, &mut u64); 2] {
        [
            ("starts", &mut self.starts),
            ("quarantines", &mut self.quarantines),
        ]
    }
}

impl Reader for Counters {
    fn record(&mut self, tree: &str, key: &[u8], value: &[u8]) {
        let counters = self.named().into_iter();
        for (_, counter) in counters.filter(|(name, _)| tree == COUNTERS && name.as_bytes() == key)
        {
            *counter = codec::decode(value).map_or(0, |CounterRecord(count)| count);
        }
    }
}

/// Makes mirrors of stored records.
struct Mirrors {
    cores: Vec<(CompactString, Restoring)>,
}

impl Reader for Mirrors {
    fn record(&mut self, tree: &str, key: &[u8], value: &[u8]) {
        let Some((tree, core)) = Tree::named(tree) else {
            return;
        };
        // A Core that is no longer configured is forgotten with the next generation.
        if let Some((_, restoring)) = self.cores.iter_mut().find(|(name, _)| name == core) {
            restoring.record(tree, key, value);
        }
    }
}

/// The two databases and the lock on their folder.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    lock: Option<Arc<File>>,
    mirrors: Vec<(CompactString, Arc<Mirror>)>,
    state: Option<Database>,
    record: Option<Database>,
    pub(super) counters: Counters,
    are_counters_saved: bool,
    /// What the state database has is not what the mirrors think it has.
    needs_rebuild: bool,
    /// Size from which the state is written anew.
    pub(super) max_bytes: u64,
}

/// What came of opening both databases.
pub(super) struct Found {
    pub(super) disk: Disk,
    pub(super) fault: Option<Fault>,
    pub(super) quarantined: Option<String>,
    pub(super) dropped: u64,
}

impl Disk {
    /// Opens what is there, repairs what is damaged, and works without what cannot be had.
    pub(super) fn open(dir: &Path, cores: &[&str], now: Instant) -> Result<Found, StoreError> {
        let lock = lock(dir)?;
        let make = || Mirrors {
            cores: cores
                .iter()
                .map(|core| ((*core).into(), Restoring::new(now)))
                .collect(),
        };
        // Both wait for the disk most of the time: together they take no longer than one.
        let (state, record) = thread::scope(|scope| {
            let record = scope.spawn(|| open_in(dir, RECORD, Counters::default));
            (open_in(dir, STATE, make), record.join())
        });
        let state = state?;
        let record = record.unwrap_or_else(|_panic| {
            Ok(Opened {
                database: Err(Fault::Damaged("opening it panicked".into())),
                reader: Counters::default(),
                quarantined: None,
            })
        })?;
        let restored = state.reader.cores.into_iter();
        let mut dropped = 0;
        let mirrors = restored.map(|(core, restoring)| {
            dropped += restoring.dropped;
            (core, Arc::new(restoring.finish()))
        });
        let mirrors = mirrors.collect();
        let mut counters = record.reader;
        // A record that was left out must not come back under a number that means something else by then.
        let needs_rebuild = dropped > 0 || state.quarantined.is_some();
        let quarantined = state.quarantined.or(record.quarantined);
        counters.starts += 1;
        counters.quarantines += u64::from(quarantined.is_some());
        let mut fault = None;
        let mut keep = |database: Result<Database, Fault>| {
            database.map_err(|reason| fault = Some(reason)).ok()
        };
        let disk = Self {
            dir: dir.to_path_buf(),
            lock,
            mirrors,
            state: keep(state.database),
            record: keep(record.database),
            counters,
            are_counters_saved: false,
            needs_rebuild,
            max_bytes: STORE_FILE_MAX_BYTES,
        };
        Ok(Found {
            disk,
            fault,
            quarantined,
            dropped,
        })
    }

    /// Stands in for one that did not come back from its thread.
    pub(super) fn lost(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            lock: self.lock.clone(),
            mirrors: self.mirrors.clone(),
            state: None,
            record: None,
            counters: self.counters,
            are_counters_saved: false,
            needs_rebuild: true,
            max_bytes: self.max_bytes,
        }
    }

    /// Whether a round would have anything to write.
    pub(super) fn has_work(&self) -> bool {
        !self.are_counters_saved
            || self.needs_rebuild
            || self.debts().any(|debt| debt != Debt::None)
    }

    /// Whether both databases are there.
    pub(super) fn is_whole(&self) -> bool {
        self.state.is_some() && self.record.is_some()
    }

    /// Records that wait to be written.
    pub(super) fn queue(&self) -> usize {
        let waiting = self.mirrors.iter().map(|(_, mirror)| mirror.owed());
        waiting.sum()
    }

    /// The mirrors, by the names of their Cores.
    pub(super) fn mirrors(&self) -> &[(CompactString, Arc<Mirror>)] {
        &self.mirrors
    }

    /// Bytes of both databases.
    pub(super) fn bytes(&self) -> u64 {
        let databases = self.state.iter().chain(&self.record);
        databases.map(Database::bytes).sum()
    }

    fn debts(&self) -> impl Iterator<Item = Debt> {
        self.mirrors.iter().map(|(_, mirror)| mirror.debt())
    }

    /// Writes what is owed. What fails is closed, and made anew by the next round.
    pub(super) fn round(&mut self) -> Result<(), Fault> {
        if self.lock.is_none() {
            self.lock = lock(&self.dir).map_err(|error| Fault::Damaged(error.to_string()))?;
        }
        let state = self.write_state();
        if state.is_err() {
            // Also before a rebuild: what was taken from the mirrors and not written is owed again.
            self.needs_rebuild = true;
            self.state = None;
        }
        let record = self.write_record();
        if record.is_err() {
            self.record = None;
        }
        state.and(record)
    }

    fn write_state(&mut self) -> Result<(), Fault> {
        let is_other = self.debts().any(|debt| debt == Debt::Everything);
        let Some(database) = &mut self.state else {
            return self.rebuild();
        };
        if self.needs_rebuild || is_other {
            return self.rebuild();
        }
        for (core, mirror) in &self.mirrors {
            let owing = mirror.take_owed();
            if owing.everything {
                self.needs_rebuild = true;
                continue;
            }
            let is_whole = mirror.records(&owing, &mut |tree, batch, records| {
                database.write(&tree.of(core), batch, records)
            })?;
            // Another design came in between: it will ask for a rebuild when it has been told.
            self.needs_rebuild |= !is_whole;
        }
        database.sync()?;
        if self.needs_rebuild || database.bytes() > self.max_bytes {
            return self.rebuild();
        }
        Ok(())
    }

    /// Writes everything into the next generation, and lets go of the last one when that is done.
    fn rebuild(&mut self) -> Result<(), Fault> {
        let folder = Folder::make(&self.dir.join(STATE)).map_err(Fault::Disk)?;
        let mirrors = &self.mirrors;
        let made = open::make_generation(&folder, |database| {
            let mut is_whole = true;
            for (core, mirror) in mirrors {
                let owing = mirror.take_everything();
                is_whole &= mirror.records(&owing, &mut |tree, batch, records| {
                    database.write(&tree.of(core), batch, records)
                })?;
            }
            Ok(is_whole)
        });
        let (database, is_whole) = made?;
        self.needs_rebuild = !is_whole;
        self.state = Some(database);
        if let Some(current) = folder.current() {
            folder.keep_only(&current);
        }
        Ok(())
    }

    fn write_record(&mut self) -> Result<(), Fault> {
        if self.are_counters_saved && self.record.is_some() {
            return Ok(());
        }
        if self.record.is_none() {
            let opened = open_in(&self.dir, RECORD, Counters::default);
            let opened = opened.map_err(|error| Fault::Damaged(error.to_string()))?;
            self.counters.quarantines += u64::from(opened.quarantined.is_some());
            self.record = Some(opened.database?);
        }
        let Some(database) = &mut self.record else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for (name, counter) in self.counters.named() {
            codec::encode(&CounterRecord(*counter), &mut bytes)
                .map_err(|error| Fault::Damaged(error.to_string()))?;
            database.put(COUNTERS, name.as_bytes(), &bytes)?;
        }
        database.sync()?;
        self.are_counters_saved = true;
        Ok(())
    }
}

/// Takes the lock on the data folder. Nothing where the folder can be neither made nor written: the box then works from memory.
fn lock(dir: &Path) -> Result<Option<Arc<File>>, StoreError> {
    make_private_folder(dir).ok();
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let Ok(file) = options.open(dir.join("store.lock")) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Arc::new(file))),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_path_buf())),
        // A file system without locks.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn open_in<R: Reader>(
    dir: &Path,
    name: &str,
    make: impl Fn() -> R,
) -> Result<Opened<R>, StoreError> {
    let root = dir.join(name);
    let opened = match Folder::make(&root) {
        Ok(folder) => open::open(&folder, make),
        Err(error) => Ok(Opened {
            database: Err(Fault::Disk(error)),
            reader: make(),
            quarantined: None,
        }),
    };
    opened.map_err(|fault| StoreError::Newer {
        dir: root,
        found: if let Fault::Newer(found) = fault {
            found
        } else {
            FORMAT
        },
        known: FORMAT,
    })
}
