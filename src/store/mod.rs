//! What the box knows of a Core: the mirror in memory, which everybody reads, and the store behind it, which only its writer touches.
//!
//! The Core is the truth, the mirror the authority for reads, and the store what makes a restart warm: changed controls are written in
//! one batch every few seconds, meters never, nothing while nothing changes. A store that is damaged, read-only or full costs the
//! warm restart and is reported; it costs no reading and no start.

mod codec;
mod database;
mod disk;
mod error;
mod generation;
pub mod mirror;
mod open;
mod salvage;
mod schema;
#[cfg(test)]
mod tests;
pub mod view;
mod writer;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::base::life::Beat;

pub use disk::Counters;
pub use error::StoreError;
pub use mirror::Mirror;

use crate::base::flight::Flight;
use disk::{Disk, Found};
use error::Fault;
use writer::Retry;

/// The store of one box. Its owner runs [`Store::run`] as a task and hands the mirrors to everybody else.
#[derive(Debug)]
pub struct Store {
    disk: Disk,
    status: watch::Sender<StoreStatus>,
    retry: Retry,
    /// A round that did not come back from the disk in time.
    hanging: Option<JoinHandle<(Disk, Result<(), Fault>)>>,
    crowded: Arc<Notify>,
    flight: Flight,
    beat: Beat,
}

/// How the store fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why nothing is written at the moment; absent while all is well.
    pub fault: Option<String>,
    /// Why a damaged store was moved aside at this start; absent when it was whole.
    pub quarantined: Option<String>,
    /// Whether it is being made anew at this moment, after it failed.
    pub is_replaced: bool,
    /// When everything owed was last written; absent before the first time.
    pub last_flush: Option<Instant>,
    /// Records that wait to be written.
    pub queue: usize,
    /// Rounds that failed since the process started.
    pub errors: u64,
    /// Stored records that did not read at this start, or were of a version that this program does not know.
    pub dropped: u64,
    /// Bytes of the databases.
    pub bytes: u64,
    /// What is counted over the life of the box.
    pub counters: Counters,
}

/// A store and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// One mirror for each Core asked for, in that order, with the last-known state as stale readings; empty for a Core of which
    /// nothing is known.
    pub mirrors: Vec<Arc<Mirror>>,
}

impl Store {
    /// Opens the store in `dir` for the Cores of these names; ages count from `now`. Blocks for up to 20 s for each damaged database
    /// that hangs, and otherwise for a fraction of a second: call it before the runtime serves, or on a blocking thread.
    ///
    /// # Errors
    ///
    /// Another process uses the folder, or a later version wrote it. A damaged, full, read-only or absent folder is no error: see
    /// [`StoreStatus`].
    pub fn open(dir: &Path, cores: &[&str], now: Instant) -> Result<Opened, StoreError> {
        let found = Disk::open(dir, cores, now)?;
        let Found {
            disk,
            fault,
            quarantined,
            dropped,
        } = found;
        if let Some(reason) = &quarantined {
            tracing::warn!(
                reason,
                "a damaged store was moved aside; what still read of it was kept"
            );
        }
        let mirrors: Vec<_> = disk
            .mirrors()
            .iter()
            .map(|(_, mirror)| Arc::clone(mirror))
            .collect();
        let crowded = Arc::new(Notify::new());
        for mirror in &mirrors {
            mirror.wake_when_crowded(Arc::clone(&crowded));
        }
        let status = StoreStatus {
            fault: fault.as_ref().map(ToString::to_string),
            quarantined,
            dropped,
            bytes: disk.bytes(),
            counters: disk.counters,
            ..StoreStatus::default()
        };
        let mut store = Self {
            disk,
            status: watch::Sender::new(status),
            retry: Retry::default(),
            hanging: None,
            crowded,
            flight: Flight::default(),
            beat: Beat::default(),
        };
        if let Some(fault) = fault {
            store.note_start(&fault, now);
        }
        Ok(Opened { store, mirrors })
    }

    /// A receiver that hears how the store fares.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<StoreStatus> {
        self.status.subscribe()
    }

    /// Tells for how long a batch has been on its way to the disk.
    #[must_use]
    pub fn flight(&self) -> Flight {
        self.flight.clone()
    }
}
