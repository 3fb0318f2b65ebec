//! `rackhand backup`, `restore` and `support`: what a box is, packed into one file. A backup has its secrets and makes another board this box;
//! a support bundle has none and goes to whoever helps.

mod backup;
mod support;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

pub use backup::{backup, restore};
pub use support::support;

/// A file that must not be there yet, for its owner alone.
fn fresh(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    made.with_context(|| format!("could not make {}", path.display()))
}

/// The head of one file in an archive.
fn head(bytes: u64, secs: u64) -> tar::Header {
    let mut head = tar::Header::new_ustar();
    head.set_size(bytes);
    head.set_mode(0o600);
    head.set_mtime(secs);
    head
}

/// The same for a text, which fits into memory.
fn head_of(text: &[u8], secs: u64) -> tar::Header {
    head(u64::try_from(text.len()).unwrap_or(u64::MAX), secs)
}

/// Whether a file is not there.
fn is_absent(fault: &io::Error) -> bool {
    fault.kind() == io::ErrorKind::NotFound
}
