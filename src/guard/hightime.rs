//! The highest time ever seen: a board without a clock chip wakes up in 1970, and a clock set back must not revive a key that has expired.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use crate::base::clock::UnixMillis;
use crate::base::file;

/// How far the time goes on before it is written down again, milliseconds: at most 24 writes a day, and none while no key expires.
const STEP_MILLIS: u64 = 3_600_000;

/// Longest file that is read, bytes.
const FILE_MAX_BYTES: usize = 64;

/// The highest time ever seen on this box.
#[derive(Debug, Default)]
pub struct HighTime {
    path: Option<PathBuf>,
    highest: AtomicU64,
    written: AtomicU64,
}

impl HighTime {
    /// The time that is kept in this file, which need not exist yet.
    ///
    /// The second answer is what is wrong with the file. Time then counts from what the clock says.
    #[must_use]
    pub fn kept(path: PathBuf) -> (Self, Option<io::Error>) {
        let (millis, fault) = match read(&path) {
            Ok(millis) => (millis, None),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => (0, None),
            Err(fault) => (0, Some(fault)),
        };
        let time = Self {
            path: Some(path),
            highest: AtomicU64::new(millis),
            written: AtomicU64::new(millis),
        };
        (time, fault)
    }

    /// The time by which keys are judged: that of the clock, or the highest before if the clock is behind it.
    pub fn now(&self) -> UnixMillis {
        self.at(UnixMillis::now())
    }

    fn at(&self, wall: UnixMillis) -> UnixMillis {
        let before = self.highest.fetch_max(wall.0, Ordering::Relaxed);
        UnixMillis(before.max(wall.0))
    }

    /// Writes the time down if it went on for long enough. Blocks.
    ///
    /// # Errors
    ///
    /// Those of the file system; it is tried again with the next step.
    pub fn keep(&self) -> io::Result<()> {
        let highest = self.highest.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let Some(path) = &self.path else {
            return Ok(());
        };
        if highest < written.saturating_add(STEP_MILLIS) {
            return Ok(());
        }
        // Whatever comes of it: a disk that is full is not asked several times a second.
        self.written.store(highest, Ordering::Relaxed);
        file::replace(path, format!("{highest}\n").as_bytes())
    }
}

fn read(path: &PathBuf) -> io::Result<u64> {
    let text = fs::read(path)?;
    let text = text.get(..text.len().min(FILE_MAX_BYTES));
    let text = std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    text.trim().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} does not hold a time", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_and_a_boot_in_1970_do_not_turn_time_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("highest-time");
        let (time, fault) = HighTime::kept(path.clone());
        assert!(fault.is_none());
        let day = 86_400_000;
        assert_eq!(time.at(UnixMillis(100 * day)), UnixMillis(100 * day));
        assert_eq!(time.at(UnixMillis(3 * day)), UnixMillis(100 * day));
        time.keep().unwrap();
        let (later, _) = HighTime::kept(path);
        assert_eq!(later.at(UnixMillis(5)), UnixMillis(100 * day));
        assert_eq!(later.at(UnixMillis(101 * day)), UnixMillis(101 * day));
    }

    #[test]
    fn time_is_written_down_once_an_hour_and_not_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("highest-time");
        let (time, _) = HighTime::kept(path.clone());
        let mut writes = 0;
        for minute in 0..600_u64 {
            time.at(UnixMillis(1_000_000_000_000 + minute * 60_000));
            let before = fs::read(&path).ok();
            time.keep().unwrap();
            writes += usize::from(fs::read(&path).ok() != before);
        }
        assert_eq!(writes, 10);
    }

    #[test]
    fn a_file_that_holds_no_time_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("highest-time");
        for text in ["", "soon", "-5", &"9".repeat(80)] {
            fs::write(&path, text).unwrap();
            let (time, fault) = HighTime::kept(path.clone());
            assert!(fault.is_some(), "{text}");
            assert_eq!(time.at(UnixMillis(7)), UnixMillis(7));
        }
    }
}
