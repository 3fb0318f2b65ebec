//! Why a store cannot be used.

use std::io;
use std::path::PathBuf;

/// Why the folder of the store cannot be opened at all. What is merely damaged is repaired, and what cannot be written now is worked
/// without; neither is an error of [`super::Store::open`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works in the folder.
    #[error("another rackhand uses the data folder {}; stop it, or give this one a folder of its own with --data", .0.display())]
    InUse(PathBuf),
    /// A later version of the program wrote the store.
    #[error("the store in {} has format {found}, and this version reads up to {known}; use the later version, or another data folder", .dir.display())]
    Newer {
        /// Where it is.
        dir: PathBuf,
        /// Its format.
        found: u16,
        /// The latest that this program knows.
        known: u16,
    },
}

/// Why one attempt to open or to write a database failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// What lies there is no whole store.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It was being made when the process ended.
    #[error("the store is damaged: it was never finished")]
    Unfinished,
    /// The disk is full, read-only or forbidden: what lies there may be good.
    #[error("the store cannot be written: {0}")]
    Disk(#[source] io::Error),
    /// A later version wrote it.
    #[error("the store has format {0}")]
    Newer(u16),
    /// The engine did not come back.
    #[error("the store did not answer within {0:?}")]
    Hanging(std::time::Duration),
}

impl Fault {
    /// Sorts an I/O error: a full or forbidden disk says nothing of what lies on it.
    pub(super) fn of_io(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::FileTooLarge
            | Kind::ReadOnlyFilesystem
            | Kind::PermissionDenied
            | Kind::NotFound => Self::Disk(error),
            _ => Self::Damaged(error.to_string()),
        }
    }

    /// Whether the store has to be moved aside.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Unfinished | Self::Hanging(_))
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::of_io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}
