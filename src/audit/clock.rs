//! Whether the wall clock can be believed: a small board has no clock chip, and starts anywhere until the network tells it the time.

use std::path::{Path, PathBuf};

use crate::base::clock::UnixMillis;

/// 2026-01-01: before that no version of this program was made.
const EARLIEST: UnixMillis = UnixMillis(1_767_225_600_000);

/// How to know.
#[derive(Debug)]
pub(super) struct SystemClock {
    /// A file that is there once the clock is synchronised; none if the clock is believed as it is.
    sign: Option<PathBuf>,
}

impl SystemClock {
    pub(super) fn new(sign: Option<&Path>) -> Self {
        Self {
            sign: sign.map(Path::to_path_buf),
        }
    }

    /// A clock that is believed as long as it is plausible.
    pub(super) const fn trusted() -> Self {
        Self { sign: None }
    }

    /// Whether it can be believed now. A look at a file in memory, not on disk.
    pub(super) fn is_good(&self) -> bool {
        UnixMillis::now() >= EARLIEST && self.sign.as_ref().is_none_or(|sign| sign.exists())
    }
}
