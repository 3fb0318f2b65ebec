//! What the machine tells of itself, in files under one root that can stand elsewhere. A file that is not there is a fact that this board
//! does not tell, and no fault. Reading can block, so it is done apart from the runtime.

mod board;
pub mod disk;
mod memory;
mod process;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::Read as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

pub use board::Power;
pub use memory::{Group, Memory};

use crate::base::clock::UnixMillis;
use crate::base::flight::Flight;
use crate::base::shutdown::Stop;
use crate::config::{Board, Sensors};
use crate::limits::HOST_FILE_MAX_BYTES;

/// Blocking work that takes longer than this is told at once, and waited for.
pub const SLOW: Duration = Duration::from_secs(5);

/// Entries of a folder that are looked at. No board has more sensors.
const ENTRIES_MAX: usize = 64;

/// The machine at one moment. What it does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Memory of the process, bytes.
    pub rss: Option<u64>,
    /// What its unit or container may take, bytes.
    pub limit: Option<u64>,
    /// Memory of the machine, bytes.
    pub total: Option<u64>,
    /// Of it, what can still be had.
    pub available: Option<u64>,
    /// Part of a minute in which everything waited for memory, percent.
    pub pressure: Option<u64>,
    /// Work of all processors since the start of the machine: busy and in all, in ticks.
    pub ticks: Option<(u64, u64)>,
    /// Processor time of the process, ms.
    pub worked: Option<u64>,
    /// Warmest sensor, °C.
    pub temperature: Option<u64>,
    /// How the supply is.
    pub power: Option<Power>,
    /// Wear of the flash, percent of its life.
    pub flash: Option<u64>,
    /// Open files and connections, and how many may be.
    pub descriptors: Option<(u64, u64)>,
    /// Time since the start of the machine, ms.
    pub uptime: Option<u64>,
    /// The wall clock.
    pub wall: Option<UnixMillis>,
    /// Whether somebody sets it.
    pub is_clock_set: Option<bool>,
}

/// Where the files of the machine are, and which of its sensors count.
#[derive(Debug, Clone)]
pub struct Root {
    folder: PathBuf,
    sensors: Option<Sensors>,
}

impl Root {
    /// The machine whose `/proc` and `/sys` are in this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            sensors: None,
        }
    }

    /// The board that it says it is, if it is a known one.
    #[must_use]
    pub fn board(&self) -> Option<Board> {
        board::running(self)
    }

    /// The same machine, of which only these sensors count.
    #[must_use]
    pub fn with_sensors(self, sensors: Option<Sensors>) -> Self {
        Self { sensors, ..self }
    }

    /// Everything that it tells. `clock_file` is there once the clock is set, if its folder is.
    #[must_use]
    pub fn sample(&self, clock_file: Option<&Path>) -> Host {
        let mut host = Host {
            wall: Some(UnixMillis::now()),
            is_clock_set: clock_file
                .filter(|file| file.parent().is_some_and(Path::is_dir))
                .map(Path::exists),
            ..Host::default()
        };
        process::sample(self, &mut host);
        board::sample(self, self.sensors.as_ref(), &mut host);
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The text of a file of the machine, without blanks around it.
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let file = File::open(self.folder.join(path)).ok()?;
        let mut text = String::new();
        let mut file = file.take(HOST_FILE_MAX_BYTES);
        file.read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The entries of a folder whose names begin so.
    fn entries(&self, folder: &str, begin: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.at(folder)) else {
            return Vec::new();
        };
        let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let named = entries.filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(begin))
        });
        named.take(ENTRIES_MAX).collect()
    }
}

/// Does blocking work again and again, apart from the runtime and one piece at a time, and publishes what comes of it. Work that takes
/// longer than [`SLOW`] is told to those who watch, who find its age in `flight`; no second piece begins before it is back.
pub async fn keep<T: Send + Sync + 'static>(
    part: &'static str,
    flight: Flight,
    every: Duration,
    samples: watch::Sender<T>,
    stop: Stop,
    work: impl Fn() -> T + Clone + Send + 'static,
) -> &'static str {
    loop {
        let (under_way, work) = (flight.begin(), work.clone());
        let mut running = spawn_blocking(move || {
            let _under_way = under_way;
            work()
        });
        let mut is_slow = false;
        let done = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return part,
                done = &mut running => break done,
                () = sleep(SLOW), if !is_slow => {
                    is_slow = true;
                    samples.send_modify(|_| ());
                }
            }
        };
        match done {
            Ok(sample) => drop(samples.send_replace(sample)),
            Err(fault) => {
                if let Ok(panic) = fault.try_into_panic() {
                    resume_unwind(panic);
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return part,
            () = sleep(every) => {}
        }
    }
}
