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

/// Stands for a pin that is lost: no certificate has it.
const LOST: &str = "lost";

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
    /// Pins were lost with a damaged file: a Core without one is not trusted at first sight, until a person accepts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_lost_pins: bool,
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
    #[error("identity file {} is damaged: accept each Core's certificate again with `rackhand core trust`", path.display())]
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
    /// The identity file of a data folder; it need not exist yet. One that cannot be used keeps nobody from starting: until it is
    /// mended no certificate is trusted, and what was seen before is served as stale.
    pub(super) fn open(data: &Path) -> Self {
        Self {
            path: data.join("identity.json"),
            writing: Mutex::new(()),
        }
    }

    /// The pinned fingerprint of a Core, lower-case hex; [`LOST`] if there was one that is lost.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be used: then nothing is trusted.
    pub(super) fn pin_of(&self, address: &str) -> Result<Option<String>, IdentityError> {
        let mut contents = self.read()?;
        let lost = contents.has_lost_pins.then(|| LOST.to_owned());
        Ok(contents.pins.remove(address).or(lost))
    }

    /// Pins a fingerprint for a Core. A damaged file is moved aside for it, and the pins of all others count as lost.
    ///
    /// # Errors
    ///
    /// The file cannot be read or replaced; the old pin holds then.
    pub(super) fn set_pin(&self, address: &str, fingerprint: &str) -> Result<(), IdentityError> {
        let _one_at_a_time = self.writing.lock();
        let mut contents = match self.read() {
            Err(IdentityError::Damaged { path }) => {
                fs::rename(&path, path.with_extension("json.damaged"))
                    .map_err(|source| self.io(source))?;
                Contents {
                    has_lost_pins: true,
                    ..Contents::default()
                }
            }
            read => read?,
        };
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
    /// A file that cannot be used yields a pin that no certificate has: nothing is trusted then.
    fn pinned(&self, address: &str) -> Option<String> {
        self.pin_of(address).unwrap_or_else(|fault| {
            tracing::error!("{fault}. Until then no certificate is trusted");
            Some(LOST.to_owned())
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
        let (ours, theirs) = (Identity::open(folder.path()), Identity::open(folder.path()));
        assert_eq!(ours.pin_of("core").unwrap(), None);
        ours.set_pin("core", "AB12").unwrap();
        theirs.set_pin("other", "cd34").unwrap();
        assert_eq!(ours.pin_of("core").unwrap().as_deref(), Some("ab12"));
        assert_eq!(ours.pin_of("other").unwrap().as_deref(), Some("cd34"));
    }

    #[test]
    fn a_damaged_file_trusts_nothing_until_a_person_accepts_each_core_again() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::open(folder.path());
        fs::write(folder.path().join("identity.json"), "{").unwrap();
        assert!(matches!(
            identity.pin_of("core"),
            Err(IdentityError::Damaged { .. })
        ));
        assert_eq!(identity.pinned("core").as_deref(), Some(LOST));
        identity.set_pin("core", "ab").unwrap();
        assert_eq!(identity.pinned("core").as_deref(), Some("ab"));
        assert_eq!(identity.pinned("other").as_deref(), Some(LOST));
        identity.set_pin("other", "cd").unwrap();
        assert_eq!(identity.pinned("other").as_deref(), Some("cd"));
        assert!(folder.path().join("identity.json.damaged").exists());
    }

    #[test]
    fn a_newer_file_trusts_nothing_and_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::open(folder.path());
        fs::write(folder.path().join("identity.json"), r#"{"version":2}"#).unwrap();
        assert_eq!(identity.pinned("core").as_deref(), Some(LOST));
        assert!(identity.set_pin("core", "ab").is_err());
        assert!(matches!(
            identity.pin_of("core"),
            Err(IdentityError::Newer { found: 2, .. })
        ));
    }
}
