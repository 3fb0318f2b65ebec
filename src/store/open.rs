//! Opening a database that may be damaged: in a thread of its own, under a time limit, and never with the loss of what still reads.
//!
//! sled may refuse a damaged file, panic on it, or show the damage only when the page is read. So everything is read once at the start;
//! what does not pass is moved aside, and a fresh database gets every record that still reads.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sled::{Batch, IVec};

use super::database::Database;
use super::error::Fault;
use super::generation::{Deaths, Folder, private_dir};
use super::salvage::salvage;
use super::schema::{FORMAT, FORMAT_KEY, GENERATION, META, PROBE};
use crate::limits::STORE_FILE_MAX_BYTES;

/// Longest that one step of opening may take. A store of 50,000 controls opens in a tenth of a second, on the slowest board in two.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// Starts in a row that may die while opening before the store counts as damaged without another look.
const DEATHS_MAX: u32 = 2;

/// The same for starts that ended with the power, or with the whole machine: that is seldom the fault of the store, and a supply that
/// fails again and again must not cost it.
const MACHINE_DEATHS_MAX: u32 = 10;

/// How often, and how long apart, a lock is tried that an earlier handle of this process may still hold for a moment.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Records copied at once out of a damaged store.
const RECORDS_PER_BATCH: usize = 256;

/// Hears every record of a database once, tree after tree, each in the order of its keys.
pub(super) trait Reader: Send + 'static {
    /// One record.
    fn record(&mut self, tree: &str, key: &[u8], value: &[u8]);
}

/// What came of opening.
#[derive(Debug)]
pub(super) struct Opened<R> {
    /// The database, or why there is none to write to.
    pub(super) database: Result<Database, Fault>,
    /// Has heard everything that reads.
    pub(super) reader: R,
    /// Why a damaged store was moved aside, if one was.
    pub(super) quarantined: Option<String>,
}

/// Opens the database of `folder`, whatever state it is in. `make` gives a reader that has heard nothing.
///
/// # Errors
///
/// [`Fault::Newer`] only: everything else is repaired, or reported in [`Opened::database`].
pub(super) fn open<R: Reader>(folder: &Folder, make: impl Fn() -> R) -> Result<Opened<R>, Fault> {
    let without = |fault| Opened {
        database: Err(fault),
        reader: read_elsewhere(folder, make()).unwrap_or_else(&make),
        quarantined: None,
    };
    let deaths = match folder.opening() {
        Ok(deaths) => deaths,
        // On a full disk the store still reads.
        Err(error) if is_full(&error) => Deaths::default(),
        Err(error) => return Ok(without(Fault::Disk(error))),
    };
    let Some(current) = folder.current() else {
        folder.opened();
        return Ok(replace(folder, None, make, None));
    };
    let is_hopeless = deaths.processes >= DEATHS_MAX || deaths.machines >= MACHINE_DEATHS_MAX;
    let looked = if is_hopeless {
        Err(Fault::Damaged(format!(
            "{} starts in a row did not get through opening it",
            deaths.processes.saturating_add(deaths.machines)
        )))
    } else {
        let (dir, name, reader) = (folder.dir(&current), current.clone(), make());
        guarded(move || look(&dir, &name, reader))
    };
    folder.opened();
    let (reason, broken) = match looked {
        Ok(Look::Sound(database, reader)) => {
            if !folder.is_named(&current) {
                folder.switch(&current).ok();
            }
            folder.keep_only(&current);
            return Ok(Opened {
                database: Ok(*database),
                reader,
                quarantined: None,
            });
        }
        Ok(Look::Readable(fault, reader)) => {
            return Ok(Opened {
                database: Err(fault),
                reader,
                quarantined: None,
            });
        }
        Ok(Look::Broken(fault, broken)) => (fault, broken),
        Err(fault) => (fault, None),
    };
    match reason {
        Fault::Newer(_) => Err(reason),
        // The first start of all was cut short: nothing is lost.
        fault if fault.is_damage() && never_counted(folder, &current, &fault) => {
            let opened = replace(folder, None, make, broken);
            if let Ok(database) = &opened.database {
                keep_only(folder, database);
            }
            Ok(opened)
        }
        fault if fault.is_damage() => Ok(replace(folder, Some((current, fault)), make, broken)),
        fault => Ok(without(fault)),
    }
}

/// Whether nothing was ever said to be in a damaged database: it is one whose making was cut short, and no other one took its place before.
fn never_counted(folder: &Folder, current: &str, fault: &Fault) -> bool {
    match fault {
        Fault::Unfinished => !folder.is_named(current),
        _ => !folder.has_named(),
    }
}

/// Whether there is no room for more, by the disk, by a quota, or by a limit on the size of files.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge
    )
}

/// What a look at a database shows.
enum Look<R> {
    /// All of it reads, and it takes a write.
    Sound(Box<Database>, R),
    /// All of it reads, but it takes no write.
    Readable(Fault, R),
    /// It is damaged, or cannot be looked at. What could be opened is handed back.
    Broken(Fault, Option<Box<Database>>),
}

fn look<R: Reader>(dir: &Path, name: &str, mut reader: R) -> Look<R> {
    if !dir.join("db").is_file() {
        // sled would make an empty store of it and call that fine.
        return Look::Broken(Fault::Damaged("its file is missing".into()), None);
    }
    let mut opened = open_patiently(dir);
    if matches!(opened, Err(Fault::Damaged(_))) {
        Database::forget_halves(dir);
        opened = open_patiently(dir);
    }
    let mut database = match opened {
        Ok(database) => Box::new(database),
        Err(fault) => return Look::Broken(fault, None),
    };
    let scanned = catching(|| scan(&database, name, &mut reader));
    if let Err(fault) = scanned.and_then(|scanned| scanned) {
        return Look::Broken(fault, Some(database));
    }
    match catching(|| probe(&mut database)).and_then(|probed| probed) {
        Ok(()) => Look::Sound(database, reader),
        Err(fault) if fault.is_damage() => Look::Broken(fault, Some(database)),
        Err(fault) => Look::Readable(fault, reader),
    }
}

/// Reads a store that cannot be opened where it lies, for sled writes when it opens: a copy of it on another file system, if
/// there is one that takes it.
fn read_elsewhere<R: Reader>(folder: &Folder, reader: R) -> Option<R> {
    let name = folder.current()?;
    let (from, scratch) = (folder.dir(&name), Scratch::new()?);
    let read = guarded(move || {
        let to = scratch.0.join(&name);
        copy(&from, &to).ok()?;
        match look(&to, &name, reader) {
            Look::Sound(_, reader) | Look::Readable(_, reader) => Some(reader),
            Look::Broken(..) => None,
        }
    });
    read.ok().flatten()
}

/// Tells the scratch folders of one process apart.
static SCRATCHES: AtomicU32 = AtomicU32::new(0);

/// A folder for one copy, gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Option<Self> {
        let dir = std::env::temp_dir().join(format!(
            "rackhand-{}-{}",
            std::process::id(),
            SCRATCHES.fetch_add(1, Ordering::Relaxed)
        ));
        // Never a folder that somebody else has put there.
        fs::DirBuilder::new().mode(0o700).create(&dir).ok()?;
        Some(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Copies the files of a folder, as long as they are no more than a store may have.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    private_dir(to)?;
    let mut room = STORE_FILE_MAX_BYTES;
    for entry in fs::read_dir(from)?.flatten() {
        let facts = entry.metadata()?;
        if facts.is_file() && facts.len() <= room {
            room -= fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn open_patiently(dir: &Path) -> Result<Database, Fault> {
    for _ in 1..LOCK_TRIES {
        match Database::open(dir) {
            // No other process: that one would hold the lock of the data folder.
            Err(Fault::Damaged(reason)) if reason.contains("could not acquire lock") => {
                thread::park_timeout(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
    Database::open(dir)
}

fn scan<R: Reader>(database: &Database, name: &str, reader: &mut R) -> Result<(), Fault> {
    let meta = database.tree(META)?;
    let format = meta.get(FORMAT_KEY)?;
    let format = format.and_then(|format| super::schema::id(&format));
    match format {
        Some(format) if format > FORMAT => return Err(Fault::Newer(format)),
        Some(_) => {}
        None => return Err(Fault::Unfinished),
    }
    if meta.get(GENERATION)?.as_deref() != Some(name.as_bytes()) {
        return Err(Fault::Unfinished);
    }
    for tree in database.trees() {
        for record in &database.tree(&tree)? {
            let (key, value) = record?;
            reader.record(&tree, &key, &value);
        }
    }
    Ok(())
}

fn probe(database: &mut Database) -> Result<(), Fault> {
    database.put(META, PROBE, b"?")?;
    let mut batch = Batch::default();
    batch.remove(PROBE);
    database.write(META, batch, 1)?;
    database.sync()
}

/// Puts a fresh generation in the place of a damaged one, or of none.
fn replace<R: Reader>(
    folder: &Folder,
    damaged: Option<(String, Fault)>,
    make: impl Fn() -> R,
    broken: Option<Box<Database>>,
) -> Opened<R> {
    let quarantined = damaged.as_ref().map(|(_, fault)| fault.to_string());
    let reader = make();
    let filled = fresh(folder, move |database| {
        let mut reader = reader;
        if let Some(broken) = &broken {
            rescue(broken, database, &mut reader)?;
        }
        // Dropped here, under the guard: a damaged sled may not stop.
        drop(broken);
        Ok(reader)
    });
    let filled = match filled {
        // What hangs or panics while it is rescued is given up.
        Err(fault) if fault.is_damage() => {
            let reader = make();
            fresh(folder, move |_| Ok(reader))
        }
        filled => filled,
    };
    let (database, reader) = match filled {
        Ok((database, reader)) => (Ok(database), reader),
        Err(fault) => (Err(fault), make()),
    };
    if let (Ok(database), Some((damaged, _))) = (&database, damaged) {
        folder.quarantine(&damaged).ok();
        keep_only(folder, database);
    }
    Opened {
        database,
        reader,
        quarantined,
    }
}

fn keep_only(folder: &Folder, database: &Database) {
    let name = database.dir().file_name().and_then(|name| name.to_str());
    if let Some(name) = name {
        folder.keep_only(name);
    }
}

/// Makes the next generation, lets `fill` write into it, and makes it the current one.
fn fresh<T: Send + 'static>(
    folder: &Folder,
    fill: impl FnOnce(&mut Database) -> Result<T, Fault> + Send + 'static,
) -> Result<(Database, T), Fault> {
    let folder = folder.clone();
    guarded(move || make_generation(&folder, fill))?
}

/// As [`fresh`], in the caller's own thread. What fails leaves nothing behind.
pub(super) fn make_generation<T>(
    folder: &Folder,
    fill: impl FnOnce(&mut Database) -> Result<T, Fault>,
) -> Result<(Database, T), Fault> {
    let name = folder.next();
    let dir = folder.dir(&name);
    let made = (|| {
        private_dir(&dir).map_err(Fault::Disk)?;
        let mut database = Database::open(&dir)?;
        let filled = fill(&mut database)?;
        database.put(META, FORMAT_KEY, &super::schema::key(FORMAT))?;
        database.sync()?;
        database.put(META, GENERATION, name.as_bytes())?;
        database.sync()?;
        folder.switch(&name).map_err(Fault::Disk)?;
        Ok((database, filled))
    })();
    if made.is_err() {
        fs::remove_dir_all(&dir).ok();
    }
    made
}

/// Copies every record of a damaged database that still reads.
fn rescue<R: Reader>(broken: &Database, into: &mut Database, reader: &mut R) -> Result<(), Fault> {
    let trees = catching(|| broken.trees()).unwrap_or_default();
    for name in trees.iter().filter(|name| *name != META) {
        let Ok(Ok(tree)) = catching(|| broken.tree(name)) else {
            continue;
        };
        let records: Vec<(IVec, IVec)> = salvage(&tree).into_iter().collect();
        for records in records.chunks(RECORDS_PER_BATCH) {
            let mut batch = Batch::default();
            for (key, value) in records {
                reader.record(name, key, value);
                batch.insert(key, value);
            }
            into.write(name, batch, records.len())?;
        }
    }
    Ok(())
}

/// Runs `work` and takes a panic in it for damage.
pub(super) fn catching<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Fault::Damaged(format!(
            "the engine panicked: {}",
            text.unwrap_or("without a word")
        ))
    })
}

/// Runs `work` in a thread of its own, where it may panic or hang. A hanging thread is left behind.
fn guarded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let (tell, hear) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("store-guard".into());
    let started = thread.spawn(move || {
        // Nobody waits any more when this took too long.
        tell.send(catching(work)).ok();
    });
    started.map_err(Fault::Disk)?;
    let heard = hear.recv_timeout(STEP_LIMIT);
    heard.unwrap_or(Err(Fault::Hanging(STEP_LIMIT)))
}
