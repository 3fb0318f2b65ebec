//! What the box must not forget even if its databases are lost: the pinned certificates of its Cores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::base::file;
use crate::link::pin::FingerprintStore;

/// Format of the file. A newer one is refused, not guessed at.
const VERSION: u32 = 1;

/// Longest file that is read, bytes: room for every Core of a box many times over.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// The identity file of a data folder: small, private, replaced whole.
///
/// It is read anew at each question, which are rare, so that `rackhand core trust` in another process is seen at once.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    writing: Mutex<()>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// SHA-256 of the certificate, hex, by the Core's address as configured.
    #[serde(default)]
    pins: BTreeMap<String, String>,
}

/// Why the identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    /// The file system said no.
    #[error("identity file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("identity file {} is damaged: move it away and accept the Cores' certificates again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version of this program.
    #[error("identity file {} has format {found}, this program reads up to {VERSION}: update it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl Identity {
    /// The identity file of a data folder; it need not exist yet.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be used: then nothing may be trusted.
    pub(super) fn open(data: &Path) -> Result<Self, IdentityError> {
        let identity = Self {
            path: data.join("identity.json"),
            writing: Mutex::new(()),
        };
        identity.read()?;
        Ok(identity)
    }

    /// The pinned fingerprint of a Core, lower-case hex.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be used: then nothing is trusted.
    pub(super) fn pin_of(&self, address: &str) -> Result<Option<String>, IdentityError> {
        Ok(self.read()?.pins.remove(address))
    }

    /// Pins a fingerprint for a Core.
    ///
    /// # Errors
    ///
    /// The file cannot be read or replaced; the old pin holds then.
    pub(super) fn set_pin(&self, address: &str, fingerprint: &str) -> Result<(), IdentityError> {
        let _one_at_a_time = self.writing.lock();
        let mut contents = self.read()?;
        contents.version = VERSION;
        contents
            .pins
            .insert(address.to_owned(), fingerprint.to_ascii_lowercase());
        let text = serde_json::to_vec_pretty(&contents).unwrap_or_default();
        file::replace(&self.path, &text).map_err(|source| self.io(source))
    }

    fn read(&self) -> Result<Contents, IdentityError> {
        let length = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(source) => return Err(self.io(source)),
        };
        let damaged = || IdentityError::Damaged {
            path: self.path.clone(),
        };
        if length > FILE_MAX_BYTES {
            return Err(damaged());
        }
        let text = fs::read(&self.path).map_err(|source| self.io(source))?;
        let contents: Contents = serde_json::from_slice(&text).map_err(|_| damaged())?;
        if contents.version > VERSION {
            return Err(IdentityError::Newer {
                path: self.path.clone(),
                found: contents.version,
            });
        }
        Ok(contents)
    }

    fn io(&self, source: io::Error) -> IdentityError {
        IdentityError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl FingerprintStore for Identity {
    /// A file that became unreadable while the process ran yields a pin that no certificate has: nothing is trusted then.
    fn pinned(&self, address: &str) -> Option<String> {
        self.pin_of(address).unwrap_or_else(|fault| {
            tracing::error!("{fault}: no certificate is trusted until it is mended");
            Some("unreadable".to_owned())
        })
    }

    fn pin(&self, address: &str, fingerprint: &str) -> io::Result<()> {
        self.set_pin(address, fingerprint).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_kept_and_seen_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (
            Identity::open(folder.path()).unwrap(),
            Identity::open(folder.path()).unwrap(),
        );
        assert_eq!(ours.pin_of("core").unwrap(), None);
        ours.set_pin("core", "AB12").unwrap();
        theirs.set_pin("other", "cd34").unwrap();
        assert_eq!(ours.pin_of("core").unwrap().as_deref(), Some("ab12"));
        assert_eq!(ours.pin_of("other").unwrap().as_deref(), Some("cd34"));
    }

    #[test]
    fn a_damaged_or_newer_file_trusts_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::open(folder.path()).unwrap();
        fs::write(folder.path().join("identity.json"), "{").unwrap();
        assert!(matches!(
            identity.pin_of("core"),
            Err(IdentityError::Damaged { .. })
        ));
        assert!(identity.set_pin("core", "ab").is_err());
        fs::write(folder.path().join("identity.json"), r#"{"version":2}"#).unwrap();
        assert!(matches!(
            identity.pin_of("core"),
            Err(IdentityError::Newer { found: 2, .. })
        ));
    }
}
