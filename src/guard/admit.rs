//! The decision who comes in: credential from the headers, hash, lookup, expiry, throttle.

mod bearer;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio::time::Instant;

use super::key::{self, Form, KeyHash};
use super::keyfile::{self, KeyFile, KeyFileError, KeyRecord, NewKey, Stamp};
use super::throttle::Throttle;
use super::token::{self, TokenFault};
use super::{Caller, CredentialId, KeyId, Reach, Scopes};
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::base::shutdown::Stop;
use crate::limits::{KEY_MAX_BYTES, TOKEN_MAX_BYTES};

use bearer::Bearers;
pub use bearer::{MintFault, Wish};

/// How often the key file is looked at: a revoked key is shut out within about this time.
const LOOK_EVERY: Duration = Duration::from_millis(750);

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_MCP_KEY: HeaderName = HeaderName::from_static("x-mcp-key");

/// Why somebody is not let in. Says what to do, never which keys exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key exists yet, so nobody can come in.
    #[error(
        "No API key exists on this server yet. Make one on the server with `rackhand key new --name NAME --role ROLE`."
    )]
    NoKeys,
    /// The request carries no credential.
    #[error(
        "This server needs an API key. Send it as the header `Authorization: Bearer KEY`. A key is made on the server with `rackhand key new`."
    )]
    Missing,
    /// The request carries two different credentials, or one that cannot be read.
    #[error(
        "The credential cannot be read. Send one API key, as the header `Authorization: Bearer KEY`."
    )]
    Unreadable,
    /// The key was copied incompletely.
    #[error(
        "The API key is damaged: a letter is missing, added or wrong. Copy it again as a whole; it begins with `rh_` and has 52 characters."
    )]
    Damaged,
    /// Nobody has this key.
    #[error(
        "The API key is not known here. It may have been revoked, or belong to another server. Make a new one on the server with `rackhand key new`."
    )]
    Unknown,
    /// The key has ended.
    #[error("The API key has expired. Make a new one on the server with `rackhand key new`.")]
    Expired,
    /// The bearer token is not taken.
    #[error(transparent)]
    Token(TokenFault),
    /// Too many wrong keys came from this address.
    #[error("Too many logins with a wrong API key came from this address. Try again in {} s.", retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Where the keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// A file, read again whenever it changes.
    File(KeyFile),
    /// Keys that live as long as the process: for the demo and for tests.
    Memory(Vec<KeyRecord>),
}

impl KeySource {
    /// Keys given in memory. Each may be of any form; at least 16 characters are wise.
    #[must_use]
    pub fn memory(keys: &[(NewKey, Secret)]) -> Self {
        Self::Memory(
            keys.iter()
                .map(|(new, key)| keyfile::record(new, key))
                .collect(),
        )
    }
}

#[derive(Debug)]
struct Holder {
    caller: Caller,
    expires: Option<UnixMillis>,
}

impl Holder {
    fn is_in_force(&self, now: UnixMillis) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    fn has_the_rights_of(&self, caller: &Caller) -> bool {
        let Caller {
            name,
            role,
            scopes,
            reach,
            credential,
            address: _,
        } = caller;
        let own = &self.caller;
        own.credential == *credential
            && own.name == *name
            && own.role == *role
            && own.scopes == *scopes
            && own.reach == *reach
    }
}

type Table = HashMap<KeyHash, Holder>;

/// Decides who may come in. Shared by all transports.
#[derive(Debug)]
pub struct Guard {
    table: RwLock<Arc<Table>>,
    file: Option<(KeyFile, Mutex<Stamp>)>,
    throttle: Mutex<Throttle>,
    bearers: Bearers,
    /// Told when a key may have ended.
    changes: watch::Sender<()>,
}

impl Guard {
    /// A guard over these keys.
    ///
    /// # Errors
    /// The key file cannot be read. [`Guard::over`] goes on without.
    pub fn new(source: KeySource) -> Result<Self, KeyFileError> {
        match source {
            KeySource::Memory(keys) => Ok(Self {
                table: RwLock::new(Arc::new(table(keys))),
                file: None,
                throttle: Mutex::new(Throttle::default()),
                bearers: Bearers::default(),
                changes: watch::Sender::default(),
            }),
            KeySource::File(file) => match Self::over(file) {
                (guard, None) => Ok(guard),
                (_, Some(fault)) => Err(fault),
            },
        }
    }

    /// A guard over a key file that lets nobody in while the file cannot be read, and looks at it again when it changes. A box whose key
    /// file is damaged keeps its link and its probes.
    #[must_use]
    pub fn over(file: KeyFile) -> (Self, Option<KeyFileError>) {
        let stamp = file.stamp();
        let (keys, fault) = match file.list() {
            Ok(keys) => (keys, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let guard = Self {
            table: RwLock::new(Arc::new(table(keys))),
            file: Some((file, Mutex::new(stamp))),
            throttle: Mutex::new(Throttle::default()),
            bearers: Bearers::default(),
            changes: watch::Sender::default(),
        };
        (guard, fault)
    }

    /// Whether any key exists.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.table.read().is_empty()
    }

    /// Lets a request in, or says why not. A right key always comes in, however many wrong ones came from its address, as long
    /// as it has the form of our own keys, which nobody guesses.
    ///
    /// # Errors
    /// The refusal, to be told to the client.
    pub fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Refusal> {
        let table = Arc::clone(&self.table.read());
        if table.is_empty() && self.provider().is_none() {
            return Err(Refusal::NoKeys);
        }
        let key = credential(headers)?;
        if token::is_token(key) {
            return self.admit_token(&table, key, peer);
        }
        let found = find(&table, key);
        // Whether or not the key is right: an address that rests learns nothing about keys that could be guessed.
        if let Some(retry_after) = self.rest(peer)
            && key::form(key) != Form::Own
        {
            return Err(Refusal::Throttled { retry_after });
        }
        let refusal = match found {
            Some(holder) if holder.is_in_force(UnixMillis::now()) => {
                return Ok(Caller {
                    address: Some(peer.to_canonical()),
                    ..holder.caller.clone()
                });
            }
            Some(_) => Refusal::Expired,
            None if key::form(key) == Form::Damaged => Refusal::Damaged,
            None => Refusal::Unknown,
        };
        if let Some(retry_after) = self.rest(peer) {
            return Err(Refusal::Throttled { retry_after });
        }
        self.throttle.lock().failed(peer, Instant::now());
        tracing::warn!(%peer, reason = ?refusal, "a login failed");
        Err(refusal)
    }

    /// Reads the key file again if it changed. Answers whether it did.
    ///
    /// # Errors
    /// The file cannot be read; the keys known before stay in force.
    pub fn reload_if_changed(&self) -> Result<bool, KeyFileError> {
        let Some((file, seen)) = &self.file else {
            return Ok(false);
        };
        let stamp = file.stamp();
        if std::mem::replace(&mut *seen.lock(), stamp) == stamp {
            return Ok(false);
        }
        let keys = table(file.list()?);
        tracing::info!(keys = keys.len(), "the keys were read again");
        *self.table.write() = Arc::new(keys);
        self.changes.send_replace(());
        Ok(true)
    }

    /// Tells when keys may have ended: what stays open on the strength of a key then asks [`Guard::is_in_force`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether a caller that was let in would be let in again with the same rights.
    #[must_use]
    pub fn is_in_force(&self, caller: &Caller) -> bool {
        if let CredentialId::Token(token) = &caller.credential {
            return self.is_token_in_force(caller, token);
        }
        if let CredentialId::Outside(token) = &caller.credential {
            return self.is_outside_in_force(token);
        }
        let now = UnixMillis::now();
        let table = Arc::clone(&self.table.read());
        table
            .values()
            .any(|holder| holder.has_the_rights_of(caller) && holder.is_in_force(now))
    }

    /// Tells of keys whose time was over between two looks.
    fn tell_of_expiry(&self, before: UnixMillis, now: UnixMillis) {
        let table = Arc::clone(&self.table.read());
        let mut ends = table.values().filter_map(|holder| holder.expires);
        if ends.any(|end| before < end && end <= now) {
            self.changes.send_replace(());
        }
    }

    /// Watches the key file and the ends of keys until `stop`; the owner of the guard spawns this once.
    pub async fn watch(self: Arc<Self>, stop: Stop) -> &'static str {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let mut before = UnixMillis::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return "key file watcher",
                _ = tick.tick() => {}
            }
            let now = UnixMillis::now();
            self.tell_of_expiry(std::mem::replace(&mut before, now), now);
            self.tell_of_token_ends();
            if self.file.is_none() && !self.bearers.has_file() {
                continue;
            }
            let guard = Arc::clone(&self);
            // A dying card can hold a look at a file for seconds, and no runtime worker should wait for it.
            let look = tokio::task::spawn_blocking(move || {
                guard.reload_secret_if_changed();
                guard.reload_if_changed()
            })
            .await;
            if let Ok(Err(error)) = look {
                tracing::error!(%error, "the changed key file cannot be read, the keys known before stay in force");
            }
        }
    }

    fn rest(&self, peer: IpAddr) -> Option<Duration> {
        self.throttle.lock().rest(peer, Instant::now())
    }
}

fn table(keys: Vec<KeyRecord>) -> Table {
    keys.into_iter()
        .map(|record| {
            let scopes = record
                .scopes
                .map_or_else(|| record.role.scopes(), |scopes| Scopes::of(&scopes));
            let caller = Caller {
                name: record.name.into(),
                role: record.role,
                scopes,
                reach: Reach::everything(),
                credential: CredentialId::Key(KeyId::of(&record.sha256)),
                address: None,
            };
            let expires = record.expires;
            (record.sha256, Holder { caller, expires })
        })
        .collect()
}

/// Looks a key up by its hash, whose bits a client cannot steer, and compares the whole hash in constant time.
fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Holder> {
    let hash = key::hash(key);
    let (known, holder) = table.get_key_value(&hash)?;
    bool::from(known.ct_eq(&hash)).then_some(holder)
}

/// The one credential of a request: `Authorization: Bearer` or `ApiKey`, `X-API-Key`, `X-MCP-Key`.
fn credential(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut found: Option<&str> = None;
    for (name, value) in [AUTHORIZATION, X_API_KEY, X_MCP_KEY]
        .iter()
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
    {
        let text = value.to_str().map_err(|_| Refusal::Unreadable)?;
        let key = if name == AUTHORIZATION {
            let (scheme, key) = text.trim().split_once(' ').ok_or(Refusal::Unreadable)?;
            if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("apikey") {
                return Err(Refusal::Unreadable);
            }
            key.trim()
        } else {
            text.trim()
        };
        // Some bridges send the same key twice under two names; two different ones are a riddle that is not solved by guessing.
        let at_most = if token::is_token(key) {
            TOKEN_MAX_BYTES
        } else {
            KEY_MAX_BYTES
        };
        if key.is_empty() || key.len() > at_most || found.is_some_and(|other| other != key) {
            return Err(Refusal::Unreadable);
        }
        found = Some(key);
    }
    found.ok_or(Refusal::Missing)
}

#[cfg(test)]
mod tests {
    use super::super::{Role, Scope};
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 20));

    fn new(name: &str) -> NewKey {
        NewKey {
            name: name.to_owned(),
            role: Role::Operator,
            scopes: None,
            expires: None,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn guard(keys: &[(NewKey, Secret)]) -> Guard {
        Guard::new(KeySource::memory(keys)).unwrap()
    }

    #[test]
    fn every_accepted_header_lets_the_same_caller_in() {
        let key = key::generate().unwrap();
        let guard = guard(&[(new("desk"), key.clone())]);
        let text = key.expose();
        for pair in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", format!("bearer  {text} ")),
            ("authorization", format!("ApiKey {text}")),
            ("x-api-key", text.to_owned()),
            ("x-mcp-key", text.to_owned()),
        ] {
            let caller = guard.admit(&headers(&[(pair.0, &pair.1)]), PEER).unwrap();
            assert_eq!(&*caller.name, "desk");
            assert!(caller.scopes.has(Scope::Operate) && !caller.scopes.has(Scope::Admin));
        }
    }

    #[test]
    fn without_any_key_nobody_comes_in() {
        let refusal = guard(&[]).admit(&headers(&[("x-api-key", "anything at all")]), PEER);
        assert_eq!(refusal, Err(Refusal::NoKeys));
    }

    #[test]
    fn what_a_key_opened_is_in_force_as_long_as_the_key_and_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFile::new(folder.path().join("keys.json"));
        let secret = keys.create(&new("desk")).unwrap();
        let same = KeyFile::new(folder.path().join("keys.json"));
        let guard = Guard::new(KeySource::File(same)).unwrap();
        let caller = guard
            .admit(&headers(&[("x-api-key", secret.expose())]), PEER)
            .unwrap();
        let mut changes = guard.changes();
        changes.mark_unchanged();
        assert!(guard.is_in_force(&caller));
        let stronger = Caller {
            scopes: Role::Admin.scopes(),
            ..caller.clone()
        };
        assert!(!guard.is_in_force(&stronger));
        keys.revoke("desk").unwrap();
        assert!(guard.reload_if_changed().unwrap());
        assert!(changes.has_changed().unwrap() && !guard.is_in_force(&caller));
    }

    #[test]
    fn the_end_of_a_key_is_told_once() {
        let mut ending = new("desk");
        ending.expires = Some(UnixMillis(1000));
        let guard = guard(&[(ending, key::generate().unwrap())]);
        let mut changes = guard.changes();
        changes.mark_unchanged();
        for (before, now, is_told) in [(0, 999, false), (999, 1000, true), (1000, 2000, false)] {
            guard.tell_of_expiry(UnixMillis(before), UnixMillis(now));
            assert_eq!(changes.has_changed().unwrap(), is_told, "{now}");
            changes.mark_unchanged();
        }
    }

    #[test]
    fn each_wrong_credential_is_told_what_is_wrong_with_it() {
        let key = key::generate().unwrap();
        let text = key.expose();
        let expired = key::generate().unwrap();
        let past = NewKey {
            expires: Some(UnixMillis(1)),
            ..new("old")
        };
        let guard = guard(&[(new("desk"), key.clone()), (past, expired.clone())]);
        let other = key::generate().unwrap();
        for (pairs, refusal) in [
            (vec![], Refusal::Missing),
            (
                vec![("authorization", "Basic eHg6eHg=")],
                Refusal::Unreadable,
            ),
            (vec![("authorization", text)], Refusal::Unreadable),
            (
                vec![("x-api-key", text), ("x-mcp-key", "other")],
                Refusal::Unreadable,
            ),
            (vec![("x-api-key", "")], Refusal::Unreadable),
            (vec![("x-api-key", &text[..40])], Refusal::Damaged),
            (vec![("x-api-key", other.expose())], Refusal::Unknown),
            (vec![("x-api-key", expired.expose())], Refusal::Expired),
        ] {
            assert_eq!(guard.admit(&headers(&pairs), PEER), Err(refusal));
        }
        assert!(
            guard
                .admit(&headers(&[("x-api-key", text), ("x-mcp-key", text)]), PEER)
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_guesses_rests_but_does_not_lock_the_right_key_out() {
        let key = key::generate().unwrap();
        let guard = guard(&[
            (new("desk"), key.clone()),
            (new("weak"), Secret::new("chosen-by-hand-1")),
        ]);
        let wrong = headers(&[("x-api-key", "guess guess guess")]);
        let weak = headers(&[("x-api-key", "chosen-by-hand-1")]);
        for _ in 0..5 {
            assert_eq!(guard.admit(&wrong, PEER), Err(Refusal::Unknown));
        }
        assert!(matches!(
            guard.admit(&wrong, PEER),
            Err(Refusal::Throttled { .. })
        ));
        assert!(matches!(
            guard.admit(&weak, PEER),
            Err(Refusal::Throttled { .. })
        ));
        assert!(
            guard
                .admit(&headers(&[("x-api-key", key.expose())]), PEER)
                .is_ok()
        );
        assert!(guard.admit(&weak, IpAddr::from([10, 0, 0, 1])).is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(guard.admit(&weak, PEER).is_ok());
    }

    #[test]
    fn a_revoked_key_is_shut_out_after_the_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let guard = Guard::new(KeySource::File(file.clone())).unwrap();
        assert!(!guard.has_keys());
        let key = file.create(&new("desk")).unwrap();
        let sent = headers(&[("x-api-key", key.expose())]);
        assert!(guard.reload_if_changed().unwrap());
        assert!(guard.admit(&sent, PEER).is_ok());
        assert!(!guard.reload_if_changed().unwrap());
        file.revoke("desk").unwrap();
        assert!(guard.reload_if_changed().unwrap());
        assert_eq!(guard.admit(&sent, PEER), Err(Refusal::NoKeys));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_guard_notices_a_changed_file_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let guard = Arc::new(Guard::new(KeySource::File(file.clone())).unwrap());
        let stop = Stop::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Arc::clone(&guard).watch(stop.clone()));
        file.create(&new("desk")).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(guard.has_keys());
        file.revoke("desk").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!guard.has_keys());
        stop.cancel();
        assert_eq!(
            tasks.join_next().await.unwrap().unwrap(),
            "key file watcher"
        );
    }

    #[test]
    fn a_damaged_file_leaves_the_keys_known_before_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let key = file.create(&new("desk")).unwrap();
        let guard = Guard::new(KeySource::File(file.clone())).unwrap();
        std::fs::write(file.path(), "{").unwrap();
        assert!(guard.reload_if_changed().is_err());
        assert!(
            guard
                .admit(&headers(&[("x-api-key", key.expose())]), PEER)
                .is_ok()
        );
    }
}
