//! The claim: a box that nobody owns yet shows a code, and whoever types it gets the first key. Once claimed, it is never claimable again,
//! not even when every key was revoked: only its data folder being emptied brings a new code.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::throttle::Throttle;
use crate::base::file;
use crate::base::json;
use crate::base::secret::Secret;
use crate::limits::CLAIM_FILE_MAX_BYTES;

/// Letters and digits that nobody takes for another one.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters of a code: 40 bits, which is enough where every address has to rest between its tries.
const LETTERS: usize = 8;

/// Format of the file. A newer one keeps the box from being claimed.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// The code, until it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Why a claim is refused.
#[derive(Debug, thiserror::Error)]
pub enum ClaimFault {
    /// The code is another one.
    #[error(
        "This is not the code of this box. It stands on its console and its label, eight letters and digits."
    )]
    Wrong,
    /// The address was wrong too often.
    #[error("That was wrong too often: try again in {} s.", wait.as_secs().max(1))]
    TooOften {
        /// How long it has to rest.
        wait: std::time::Duration,
    },
    /// Somebody was faster.
    #[error(
        "This box is claimed already. Whoever has an admin's key makes further ones; without any, a factory reset makes it claimable again."
    )]
    Taken,
    /// The name is none.
    #[error("{0}")]
    Name(String),
    /// The disk says no.
    #[error("The key cannot be stored: {0}. Nothing was claimed.")]
    Storage(String),
}

/// The claim of one box.
pub struct Claim {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// None once it is claimed.
    code: Option<Secret>,
    throttle: Throttle,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Claim {
    /// The claim of this data folder. A code is made when there is none yet, and kept over restarts: a label shows it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or is not what this program writes: then nobody can claim the box.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join("claim.json");
        let code = match read(&path)? {
            Some(contents) => contents.code,
            None => Some(make(&path)?),
        };
        let state = State {
            code: code.map(|code| Secret::new(&code)),
            throttle: Throttle::default(),
        };
        Ok(Self {
            path,
            state: Mutex::new(state),
        })
    }

    /// The code as it is shown, in two groups; none once it was used.
    #[must_use]
    pub fn code(&self) -> Option<Secret> {
        let state = self.state.lock();
        let code = state.code.as_ref()?.expose();
        let (first, second) = code.split_at_checked(LETTERS / 2)?;
        Some(Secret::new(&format!("{first}-{second}")))
    }

    /// Takes the box with its code: `first_key` makes the first key, and only if it does is the code used up.
    ///
    /// # Errors
    ///
    /// See [`ClaimFault`].
    pub fn take<K>(
        &self,
        typed: &str,
        from: IpAddr,
        now: Instant,
        first_key: impl FnOnce() -> Result<K, ClaimFault>,
    ) -> Result<K, ClaimFault> {
        // Held to the end: of two who know the code only one gets the box.
        let mut state = self.state.lock();
        let code = state.code.clone().ok_or(ClaimFault::Taken)?;
        if let Some(wait) = state.throttle.rest(from, now) {
            return Err(ClaimFault::TooOften { wait });
        }
        if code != Secret::new(&normal(typed)) {
            state.throttle.failed(from, now);
            return Err(ClaimFault::Wrong);
        }
        let key = first_key()?;
        state.code = None;
        drop(state);
        // If this fails the keys themselves say that the box is somebody's.
        if let Err(error) = close(&self.path) {
            tracing::warn!(%error, "the claim code cannot be crossed out, but it is of no use any more");
        }
        Ok(key)
    }

    /// Notes that the box is somebody's by other means.
    pub fn end(&self) {
        self.state.lock().code = None;
        if let Err(error) = close(&self.path) {
            tracing::warn!(%error, "the claim code cannot be crossed out, but it is of no use any more");
        }
    }
}

/// The code as it is compared: as people type it, in small letters, with blanks, and with the letters that look like digits.
fn normal(typed: &str) -> String {
    typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(LETTERS + 1)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

fn read(path: &Path) -> io::Result<Option<Contents>> {
    let facts = match fs::metadata(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        facts => facts?,
    };
    let damaged = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} {what}", path.display()),
        )
    };
    if facts.len() > CLAIM_FILE_MAX_BYTES {
        return Err(damaged("is too long to be the claim of this box"));
    }
    let contents: Contents = json::object(&fs::read(path)?).map_err(|_| damaged("is damaged"))?;
    if contents.version > VERSION {
        return Err(damaged("was written by a newer version of this program"));
    }
    Ok(Some(contents))
}

fn make(path: &Path) -> io::Result<String> {
    let mut random = [0; LETTERS];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let code: String = random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
        .map(|letter| char::from(*letter))
        .collect();
    write(path, Some(code.clone()))?;
    Ok(code)
}

fn close(path: &Path) -> io::Result<()> {
    write(path, None)
}

fn write(path: &Path, code: Option<String>) -> io::Result<()> {
    let contents = Contents {
        version: VERSION,
        code,
    };
    let text = serde_json::to_vec_pretty(&contents).unwrap_or_default();
    file::replace(path, &text)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 5, 7));
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 5, 8));

    fn shown(claim: &Claim) -> String {
        claim.code().unwrap().expose().to_owned()
    }

    #[test]
    fn the_code_is_the_same_after_a_restart_and_is_taken_as_people_type_it() {
        let folder = tempfile::tempdir().unwrap();
        let code = shown(&Claim::open(folder.path()).unwrap());
        let claim = Claim::open(folder.path()).unwrap();
        assert_eq!(shown(&claim), code);
        let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
        assert_eq!(
            claim.take(&typed, FROM, Instant::now(), || Ok(7)).unwrap(),
            7
        );
    }

    #[test]
    fn once_claimed_it_is_claimed_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::open(folder.path()).unwrap();
        let code = shown(&claim);
        claim.take(&code, FROM, Instant::now(), || Ok(())).unwrap();
        for claim in [claim, Claim::open(folder.path()).unwrap()] {
            assert!(claim.code().is_none());
            let again = claim.take(&code, FROM, Instant::now(), || Ok(()));
            assert!(matches!(again, Err(ClaimFault::Taken)));
        }
    }

    #[test]
    fn a_key_that_cannot_be_made_leaves_the_box_claimable() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::open(folder.path()).unwrap();
        let code = shown(&claim);
        let full = || Err::<(), _>(ClaimFault::Storage("disk full".to_owned()));
        assert!(claim.take(&code, FROM, Instant::now(), full).is_err());
        assert!(claim.take(&code, FROM, Instant::now(), || Ok(())).is_ok());
    }

    #[test]
    fn who_guesses_has_to_rest_and_others_have_not() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::open(folder.path()).unwrap();
        let (code, now) = (shown(&claim), Instant::now());
        let mut refused = 0;
        for _ in 0..1000 {
            match claim.take("2222-2222", FROM, now, || Ok(())) {
                Err(ClaimFault::Wrong) => refused += 1,
                Err(ClaimFault::TooOften { wait }) => assert!(wait <= Duration::from_mins(1)),
                other => panic!("{other:?}"),
            }
        }
        assert!(refused < 10, "{refused} tries at one moment");
        assert!(claim.take(&code, FROM, now, || Ok(())).is_err());
        assert!(claim.take(&code, ELSEWHERE, now, || Ok(())).is_ok());
    }

    #[test]
    fn a_damaged_or_newer_claim_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["{", "[]", "[1]", r#"{"version":2,"code":"22222222"}"#, ""] {
            fs::write(folder.path().join("claim.json"), text).unwrap();
            assert!(Claim::open(folder.path()).is_err(), "{text}");
        }
    }

    #[test]
    fn codes_that_are_made_differ_and_none_is_shown_by_debug() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let claims = folders
            .each_ref()
            .map(|folder| Claim::open(folder.path()).unwrap());
        assert_ne!(shown(&claims[0]), shown(&claims[1]));
        let bare = shown(&claims[0]).replace('-', "");
        assert!(!format!("{:?}", claims[0]).contains(&bare));
    }
}
