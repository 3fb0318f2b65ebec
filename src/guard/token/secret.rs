//! The secret that signs this server's tokens: 256 random bits in a small private file beside the keys, made at the first start and
//! again when somebody rotates it. Losing it costs nobody access: it ends the tokens, and keys make new ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::secret::Secret;
use crate::limits::TOKEN_SECRET_MIN_BYTES;

/// Format of the file. A newer one is refused, not guessed at.
const VERSION: u32 = 1;

/// Longest file that is read, bytes.
const FILE_MAX_BYTES: u64 = 4 << 10;

/// Random bytes of a secret: as many as HS256 can use (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// Why the file of the secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file system said no.
    #[error("token secret {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("token secret {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("token secret {} has format {found}, and this version knows format {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The operating system has no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    made: UnixMillis,
    secret: String,
}

/// The file of the secret. Cheap to make; every operation reads the file anew.
#[derive(Debug, Clone)]
pub struct SecretFile {
    path: PathBuf,
}

impl SecretFile {
    /// The file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret; none while there is no file.
    pub(super) fn read(&self) -> Result<Option<Secret>, SecretFileError> {
        let length = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        let damaged = || SecretFileError::Damaged {
            path: self.path.clone(),
        };
        if length > FILE_MAX_BYTES {
            return Err(damaged());
        }
        let text = fs::read(&self.path).map_err(|source| self.io(source))?;
        let contents: Contents = serde_json::from_slice(&text).map_err(|_| damaged())?;
        if contents.version != VERSION {
            return Err(SecretFileError::Newer {
                path: self.path.clone(),
                found: contents.version,
            });
        }
        if contents.secret.len() < TOKEN_SECRET_MIN_BYTES {
            return Err(damaged());
        }
        Ok(Some(Secret::new(&contents.secret)))
    }

    /// Makes another secret in place of the present one: every token ends. A running service notices within a second.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or a newer version of this program wrote it.
    pub fn rotate(&self) -> Result<(), SecretFileError> {
        if let Err(fault @ SecretFileError::Newer { .. }) = self.read() {
            return Err(fault);
        }
        self.make().map(|_| ())
    }

    /// Writes a new secret.
    pub(super) fn make(&self) -> Result<Secret, SecretFileError> {
        let secret = random().map_err(SecretFileError::NoRandomness)?;
        let contents = Contents {
            version: VERSION,
            made: UnixMillis::now(),
            secret: secret.expose().to_owned(),
        };
        let mut text = serde_json::to_vec_pretty(&contents).unwrap_or_default();
        text.push(b'\n');
        file::replace(&self.path, &text).map_err(|source| self.io(source))?;
        Ok(secret)
    }

    fn io(&self, source: io::Error) -> SecretFileError {
        SecretFileError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// A new secret from the operating system's randomness.
pub(super) fn random() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(&URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_private_kept_and_changed_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let file = SecretFile::new(folder.path().join("token-secret.json"));
        assert!(file.read().unwrap().is_none());
        let first = file.make().unwrap();
        assert_eq!(file.read().unwrap(), Some(first.clone()));
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.rotate().unwrap();
        assert_ne!(file.read().unwrap(), Some(first));
    }

    #[test]
    fn a_damaged_file_is_replaced_on_demand_and_a_newer_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = SecretFile::new(folder.path().join("token-secret.json"));
        for text in ["{", r#"{"version":1,"made":1,"secret":"short"}"#] {
            fs::write(file.path(), text).unwrap();
            assert!(matches!(file.read(), Err(SecretFileError::Damaged { .. })));
        }
        file.rotate().unwrap();
        assert!(file.read().unwrap().is_some());
        let newer = r#"{"version":2,"made":1,"secret":"x"}"#;
        fs::write(file.path(), newer).unwrap();
        assert!(file.rotate().is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), newer);
    }
}
