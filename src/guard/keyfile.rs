//! The file of keys: names, roles, hashes. Mode 0600, replaced atomically, shared by the running service and the command line.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key::{self, KeyHash};
use super::network::Network;
use super::token::OUTSIDE_PREFIX;
use super::{Reach, Role, Scope};
use crate::base::clock::UnixMillis;
use crate::base::file;
use crate::base::secret::Secret;
use crate::limits::{KEY_FILE_MAX_BYTES, KEY_NETWORKS_MAX, KEYS_MAX, REACH_TEXT_MAX_BYTES};

/// Format of the file. A newer one is refused, not guessed at.
const VERSION: u32 = 1;

/// A day, milliseconds.
const DAY_MILLIS: u64 = 86_400_000;

/// What stands between the name of a key that was rotated and its last day.
const UNTIL: &str = " until ";

/// Longest name of a key, characters.
const KEY_NAME_MAX: usize = 64;

/// One key as it is kept: everything but the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Whose key it is; unique in the file.
    pub name: String,
    /// The role it gives.
    pub role: Role,
    /// Scopes instead of those of the role, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    /// When it was made.
    pub created: UnixMillis,
    /// When it ends; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
    /// Patterns of components that bound it; none is no bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Networks from which it may be used; none is from everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// SHA-256 of the key.
    #[serde(with = "hex")]
    pub sha256: KeyHash,
}

impl KeyRecord {
    /// Bytes of all its patterns of components.
    pub(super) fn pattern_bytes(&self) -> usize {
        self.components.iter().map(String::len).sum()
    }
}

/// What a new key shall be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose key it is: 1 to 64 printable characters.
    pub name: String,
    /// The role it gives.
    pub role: Role,
    /// Scopes instead of those of the role.
    pub scopes: Option<Vec<Scope>>,
    /// When it ends.
    pub expires: Option<UnixMillis>,
    /// Patterns of components that bound it.
    pub components: Vec<String>,
    /// Networks from which it may be used.
    pub networks: Vec<Network>,
}

impl NewKey {
    /// A key for ever, for everything, from everywhere.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            scopes: None,
            expires: None,
            components: Vec::new(),
            networks: Vec::new(),
        }
    }
}

/// A key that took the place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The new key, seen this once.
    pub key: Secret,
    /// Its role.
    pub role: Role,
    /// The name under which the old key goes on; nothing if it has ended.
    pub old: Option<String>,
}

/// Why the key file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("key file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("key file {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it does not parse.
        #[source]
        source: serde_json::Error,
    },
    /// The file was written by a newer version.
    #[error("key file {} has format {found}, and this version knows format {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The name is taken.
    #[error("there is a key named {0:?} already; revoke it first, or choose another name")]
    NameTaken(String),
    /// The name cannot be used.
    #[error(
        "a key's name has 1 to {KEY_NAME_MAX} printable characters, without blanks around it, and begins with neither a bracket nor {OUTSIDE_PREFIX:?}; not {0:?}"
    )]
    BadName(String),
    /// The patterns of components cannot be used.
    #[error("{0}")]
    BadComponents(String),
    /// Too many networks.
    #[error("a key is bound to at most {KEY_NETWORKS_MAX} networks")]
    TooManyNetworks,
    /// No such key.
    #[error("there is no key named {0:?}")]
    Unknown(String),
    /// The file is full.
    #[error("the key file holds {KEYS_MAX} keys, and that is the most; revoke one first")]
    Full,
    /// The patterns of all keys together are too long.
    #[error(
        "the patterns of components of all keys together have at most {REACH_TEXT_MAX_BYTES} bytes: use fewer or shorter ones, or revoke a key that has many"
    )]
    TooManyPatterns,
    /// The file would be, or is, longer than what is read of it.
    #[error(
        "key file {} has room for {KEY_FILE_MAX_BYTES} bytes, and this is more: use shorter names and fewer networks, or revoke keys",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The operating system has no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    keys: Vec<KeyRecord>,
}

/// The file of keys. Cheap to make; every operation reads the file anew.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp(Option<(u64, u64, i64, i64)>);

impl Stamp {
    /// The state of a file now.
    pub(super) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(fs::metadata(path).ok().map(|meta| {
            // The inode tells two replacements within one tick of the file system's clock apart.
            (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
        }))
    }
}

impl KeyFile {
    /// The file at `path`, which need not exist yet: then it holds no keys.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, in the order in which they were made. A missing file has none.
    ///
    /// # Errors
    /// The file cannot be read or is not what this program writes.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(KEY_FILE_MAX_BYTES + 1).read_to_string(&mut text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error),
        }
        .map_err(|source| self.io(source))?;
        if is_too_long(text.len()) {
            return Err(self.too_long());
        }
        let contents: Contents =
            serde_json::from_str(&text).map_err(|source| KeyFileError::Damaged {
                path: self.path.clone(),
                source,
            })?;
        if contents.version != VERSION {
            return Err(KeyFileError::Newer {
                path: self.path.clone(),
                found: contents.version,
            });
        }
        Ok(contents.keys)
    }

    /// Makes a key and keeps its hash. The answer is the only time that the key itself is seen.
    ///
    /// # Errors
    /// The name is taken or unfit, the file is full or cannot be read or written.
    pub fn create(&self, new: &NewKey) -> Result<Secret, KeyFileError> {
        let key = key::generate().map_err(KeyFileError::NoRandomness)?;
        self.insert(new, &key)?;
        Ok(key)
    }

    /// Keeps the hash of a key that somebody else chose.
    ///
    /// # Errors
    /// As [`KeyFile::create`].
    pub fn insert(&self, new: &NewKey, key: &Secret) -> Result<(), KeyFileError> {
        check(new)?;
        self.change(|keys| {
            if keys.iter().any(|record| record.name == new.name) {
                return Err(KeyFileError::NameTaken(new.name.clone()));
            }
            if keys.len() >= KEYS_MAX {
                return Err(KeyFileError::Full);
            }
            keys.push(record(new, key));
            Ok(())
        })
    }

    /// Takes a key away. A running service notices within a second.
    ///
    /// # Errors
    /// There is no such key, or the file cannot be read or written.
    pub fn revoke(&self, name: &str) -> Result<(), KeyFileError> {
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|record| record.name != name);
            if keys.len() == before {
                return Err(KeyFileError::Unknown(name.to_owned()));
            }
            Ok(())
        })
    }

    /// Makes a key with the name and the rights of another. That one goes on under a name with its last day, for `keep_days` from `now`,
    /// which is the time by which keys are judged.
    ///
    /// # Errors
    /// There is no such key, it was rotated with the same last day already, or the file is full or cannot be read or written.
    pub fn rotate(
        &self,
        name: &str,
        keep_days: u16,
        now: UnixMillis,
    ) -> Result<Rotated, KeyFileError> {
        let key = key::generate().map_err(KeyFileError::NoRandomness)?;
        let mut rotated = None;
        self.change(|keys| {
            let before = keys.iter().find(|record| record.name == name).cloned();
            let before = before.ok_or_else(|| KeyFileError::Unknown(name.to_owned()))?;
            keys.retain(|record| record.name != name);
            let mut old = None;
            if keep_days > 0 {
                let end = UnixMillis(now.0.saturating_add(u64::from(keep_days) * DAY_MILLIS));
                // A key that ends sooner anyway still does.
                let end = before.expires.map_or(end, |own| own.min(end));
                let kept = KeyRecord {
                    name: format!("{name}{UNTIL}{}", end.last_day()),
                    expires: Some(end),
                    ..before.clone()
                };
                if keys.iter().any(|record| record.name == kept.name) {
                    return Err(KeyFileError::NameTaken(kept.name));
                }
                old = Some(kept.name.clone());
                keys.push(kept);
            }
            if keys.len() >= KEYS_MAX {
                return Err(KeyFileError::Full);
            }
            rotated = Some((old, before.role));
            keys.push(KeyRecord {
                created: UnixMillis::now(),
                sha256: key::hash(key.expose()),
                ..before
            });
            Ok(())
        })?;
        let (old, role) = rotated.ok_or_else(|| KeyFileError::Unknown(name.to_owned()))?;
        Ok(Rotated { key, role, old })
    }

    /// The state of the file now, without reading it.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.path)
    }

    /// Reads, changes and replaces the file, alone: two command lines at once do not lose a key.
    fn change(
        &self,
        edit: impl FnOnce(&mut Vec<KeyRecord>) -> Result<(), KeyFileError>,
    ) -> Result<(), KeyFileError> {
        let lock =
            file::open_lock(&self.path.with_extension("lock")).map_err(|source| self.io(source))?;
        lock.lock().map_err(|source| self.io(source))?;
        let mut keys = self.list()?;
        edit(&mut keys)?;
        if keys.iter().map(KeyRecord::pattern_bytes).sum::<usize>() > REACH_TEXT_MAX_BYTES {
            return Err(KeyFileError::TooManyPatterns);
        }
        self.replace(keys)
    }

    fn replace(&self, keys: Vec<KeyRecord>) -> Result<(), KeyFileError> {
        let contents = Contents {
            version: VERSION,
            keys,
        };
        let mut text =
            serde_json::to_vec_pretty(&contents).map_err(|fault| self.io(fault.into()))?;
        text.push(b'\n');
        // What is longer could not be read again, and nobody would come in any more.
        if is_too_long(text.len()) {
            return Err(self.too_long());
        }
        file::replace(&self.path, &text).map_err(|source| self.io(source))
    }

    fn too_long(&self) -> KeyFileError {
        KeyFileError::TooLong {
            path: self.path.clone(),
        }
    }

    fn io(&self, source: io::Error) -> KeyFileError {
        KeyFileError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Whether a name can be a key's. Names in round brackets are those of callers without a key.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=KEY_NAME_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && name.trim() == name
        && !name.starts_with('(')
        && !name.starts_with(OUTSIDE_PREFIX)
}

/// Whether a key of this name now may be the one that was called so before: the same, or one that was rotated since.
pub(super) fn is_same_or_rotated(before: &str, now: &str) -> bool {
    let rest = now.strip_prefix(before);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(UNTIL))
}

/// Whether a key can be made so.
fn check(new: &NewKey) -> Result<(), KeyFileError> {
    if !is_name(&new.name) || new.name.starts_with(OUTSIDE_PREFIX) {
        return Err(KeyFileError::BadName(new.name.clone()));
    }
    if new.networks.len() > KEY_NETWORKS_MAX {
        return Err(KeyFileError::TooManyNetworks);
    }
    Reach::new(&new.components)
        .map(drop)
        .map_err(KeyFileError::BadComponents)
}

/// The record of a key.
pub(super) fn record(new: &NewKey, key: &Secret) -> KeyRecord {
    KeyRecord {
        name: new.name.clone(),
        role: new.role,
        scopes: new.scopes.clone(),
        created: UnixMillis::now(),
        expires: new.expires,
        components: new.components.clone(),
        networks: new.networks.clone(),
        sha256: key::hash(key.expose()),
    }
}

fn is_too_long(bytes: usize) -> bool {
    u64::try_from(bytes).map_or(true, |bytes| bytes > KEY_FILE_MAX_BYTES)
}

/// Hashes as hexadecimal text.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::KeyHash;
    use crate::base::text::hex;

    pub(super) fn serialize<S: Serializer>(
        hash: &KeyHash,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(hash).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeyHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("a hash has 64 hexadecimal digits");
        let digits = text
            .chars()
            .map(|letter| {
                letter
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(wrong)?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        KeyHash::try_from(bytes)
            .ok()
            .filter(|_| rest.is_empty())
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests;
