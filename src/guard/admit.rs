//! The decision who comes in: credential, lookup, expiry, network, throttle.

mod bearer;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::header::HeaderMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::door::{Door, Shown};
use super::hightime::HighTime;
use super::key::{self, Form};
use super::keyfile::{self, KeyFile, KeyFileError, KeyRecord, NewKey, Stamp};
use super::open::Open;
use super::rate::Rates;
use super::refusal::Refusal;
use super::table::{Changes, Table};
use super::throttle::Throttle;
use super::ticket::{TicketFault, Tickets};
use super::witness::Witness;
use super::{Caller, CredentialId, token};
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::base::shutdown::Stop;

use bearer::Bearers;
pub use bearer::{MintFault, Wish};

/// How often the key file is looked at: a revoked key is shut out within about this time.
const LOOK_EVERY: Duration = Duration::from_millis(750);

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

/// Decides who may come in. Shared by all transports.
#[derive(Debug)]
pub struct Guard {
    pub(super) table: RwLock<Arc<Table>>,
    /// Keys that the file does not change: of the environment, or all there are.
    pub(super) given: Vec<KeyRecord>,
    pub(super) file: Option<(KeyFile, Mutex<Stamp>)>,
    throttle: Mutex<Throttle>,
    bearers: Bearers,
    /// Nothing is counted without.
    pub(super) rates: Option<Arc<Rates>>,
    tickets: Tickets,
    /// Who comes in without a credential.
    open: Open,
    pub(super) time: HighTime,
    /// Told when a key may have ended.
    changes: watch::Sender<()>,
    /// Hears of changes of keys.
    witness: OnceLock<Arc<dyn Witness>>,
}

impl Guard {
    /// A guard over these keys.
    ///
    /// # Errors
    /// The key file cannot be read. [`Guard::over`] goes on without.
    pub fn new(source: KeySource) -> Result<Self, KeyFileError> {
        match source {
            KeySource::Memory(keys) => Ok(Self::of(None, Vec::new()).with_keys(keys)),
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
        (Self::of(Some((file, Mutex::new(stamp))), keys), fault)
    }

    fn of(file: Option<(KeyFile, Mutex<Stamp>)>, kept: Vec<KeyRecord>) -> Self {
        Self {
            table: RwLock::new(Arc::new(Table::of(&[], kept))),
            given: Vec::new(),
            file,
            throttle: Mutex::new(Throttle::default()),
            bearers: Bearers::default(),
            rates: None,
            tickets: Tickets::default(),
            open: Open::default(),
            time: HighTime::default(),
            changes: watch::Sender::default(),
            witness: OnceLock::new(),
        }
    }

    /// Forgets which tokens were checked: each is checked once again. How many.
    #[must_use]
    pub fn forget_checked(&self) -> usize {
        self.bearers.forget_checked()
    }

    /// The guard with these keys too, which stand for as long as the process. One of a name that the file has takes its place.
    #[must_use]
    pub fn with_keys(self, given: Vec<KeyRecord>) -> Self {
        let kept = self.file.as_ref().map(|(file, _)| file.list());
        let table = Table::of(&given, kept.and_then(Result::ok).unwrap_or_default());
        Self {
            table: RwLock::new(Arc::new(table)),
            given,
            ..self
        }
    }

    /// The guard with those who come in without a credential.
    #[must_use]
    pub fn with_open(self, open: Open) -> Self {
        Self { open, ..self }
    }

    /// Whether somebody there reads the numbers of the box without a credential.
    #[must_use]
    pub fn takes_scraper(&self, peer: IpAddr) -> bool {
        self.open.scrapers.iter().any(|network| network.has(peer))
    }

    /// The guard with the time by which keys are judged.
    #[must_use]
    pub fn with_time(self, time: HighTime) -> Self {
        Self { time, ..self }
    }

    /// From now on `witness` hears of changes of keys. The first one stays.
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        let _first_stays = self.witness.set(witness);
    }

    /// Whether any key exists.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.table.read().is_empty()
    }

    /// Lets a request in that shows its credential in headers, or says why not.
    ///
    /// # Errors
    /// As [`Guard::admit_at`].
    pub fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Refusal> {
        self.admit_at(&Door {
            headers,
            query: None,
            takes_ticket: false,
            speaks_mcp: false,
            peer,
        })
    }

    /// Lets a request in, or says why not. A right key always comes in, however many wrong ones came from its address, as long
    /// as it has the form of our own keys, which nobody guesses.
    ///
    /// # Errors
    /// The refusal, to be told to the client.
    pub fn admit_at(&self, door: &Door<'_>) -> Result<Caller, Refusal> {
        let table = Arc::clone(&self.table.read());
        let has_nothing = table.is_empty() && self.provider().is_none();
        match door.shown()? {
            Shown::Nothing => self.admit_open(door).ok_or(if has_nothing {
                Refusal::NoKeys
            } else {
                Refusal::Missing
            }),
            _ if has_nothing => Err(Refusal::NoKeys),
            Shown::Ticket(ticket) => self.admit_ticket(ticket, door.peer),
            Shown::Key(key) if token::is_token(key) => self.admit_token(&table, key, door.peer),
            Shown::Key(key) => self.admit_key(&table, key, door.peer),
        }
    }

    fn admit_key(&self, table: &Table, key: &str, peer: IpAddr) -> Result<Caller, Refusal> {
        let found = table.find(key);
        // Asked last where it can be: it takes a hash of its own.
        let is_own = || key::form(key) == Form::Own;
        // Whether or not the key is right: an address that rests learns nothing about keys that could be guessed.
        if let Some(retry_after) = self.rest(peer)
            && !is_own()
        {
            return Err(Refusal::Throttled { retry_after });
        }
        let refusal = match found {
            Some(holder) if !holder.is_at_home(peer) => {
                if is_own() {
                    tracing::warn!(%peer, key = %holder.caller.name, "a key was used from outside its networks");
                    return Err(Refusal::Elsewhere);
                }
                Refusal::Unknown
            }
            Some(holder) if holder.is_in_force(self.time.now()) => {
                return Ok(Caller {
                    address: Some(peer.to_canonical()),
                    ..holder.caller.clone()
                });
            }
            Some(_) => Refusal::Expired,
            None if key::form(key) == Form::Damaged => Refusal::Damaged,
            None => Refusal::Unknown,
        };
        self.fails(peer, refusal)
    }

    fn admit_open(&self, door: &Door<'_>) -> Option<Caller> {
        let caller = self.open.admit(door)?;
        Some(Caller {
            purse: self.purse_of_open(&caller),
            ..caller
        })
    }

    /// A ticket has the rights of its key, as long as that has them.
    fn admit_ticket(&self, ticket: &str, peer: IpAddr) -> Result<Caller, Refusal> {
        let caller = self
            .tickets
            .take(ticket, Instant::now())
            .map(|caller| Caller {
                address: Some(peer.to_canonical()),
                ..caller
            });
        match caller.filter(|caller| self.is_in_force(caller)) {
            Some(caller) => Ok(caller),
            None => self.fails(peer, Refusal::Ticket),
        }
    }

    /// Notes a failed login.
    fn fails(&self, peer: IpAddr, refusal: Refusal) -> Result<Caller, Refusal> {
        if let Some(retry_after) = self.rest(peer) {
            return Err(Refusal::Throttled { retry_after });
        }
        self.throttle.lock().failed(peer, Instant::now());
        self.log_failed(peer, &refusal);
        Err(refusal)
    }

    fn log_failed(&self, peer: IpAddr, refusal: &Refusal) {
        if self.throttle.lock().is_logged(Instant::now()) {
            tracing::warn!(%peer, reason = ?refusal, "a login failed");
        }
    }

    /// Whether MCP's `ping` is answered to anybody.
    #[must_use]
    pub const fn answers_ping(&self) -> bool {
        self.open.answers_ping
    }

    /// A ticket for one event stream, with the rights of a caller.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ticket(&self, caller: &Caller) -> Result<Secret, TicketFault> {
        self.tickets.make(caller, Instant::now())
    }

    /// Reads the key file again if it changed. Answers whether it did.
    ///
    /// # Errors
    /// The file cannot be read; the keys known before stay in force.
    pub fn reload_if_changed(&self) -> Result<bool, KeyFileError> {
        let Some((file, seen)) = &self.file else {
            return Ok(false);
        };
        self.read_if_changed(seen, || file.stamp(), || file.list())
    }

    /// One reading at a time, or one from before a change could come in behind the one from after it, and a revoked key with it. One
    /// that failed counts as none, so that the next look tries again.
    fn read_if_changed(
        &self,
        seen: &Mutex<Stamp>,
        stamp: impl FnOnce() -> Stamp,
        read: impl FnOnce() -> Result<Vec<KeyRecord>, KeyFileError>,
    ) -> Result<bool, KeyFileError> {
        let mut seen = seen.lock();
        let stamp = stamp();
        if *seen == stamp {
            return Ok(false);
        }
        let is_another = self.take_in(read()?);
        *seen = stamp;
        Ok(is_another)
    }

    /// Reads the key file again, changed or not, and says in the log what changed. Answers whether anything did.
    ///
    /// # Errors
    /// The file cannot be read; the keys known before stay in force.
    pub fn reload(&self) -> Result<bool, KeyFileError> {
        let Some((file, seen)) = &self.file else {
            return Ok(false);
        };
        let mut seen = seen.lock();
        let stamp = file.stamp();
        let is_another = self.take_in(file.list()?);
        *seen = stamp;
        Ok(is_another)
    }

    /// Puts these keys of the file in force, and says what changed. Answers whether anything did.
    fn take_in(&self, kept: Vec<KeyRecord>) -> bool {
        let mut table = Table::of(&self.given, kept);
        if let Some(rates) = &self.rates {
            table.fund(&self.table.read(), rates);
        }
        let table = Arc::new(table);
        let Changes {
            added,
            changed,
            gone,
        } = table.changes_since(&self.table.read());
        let is_same = added.is_empty() && changed.is_empty() && gone.is_empty();
        tracing::info!(
            keys = table.len(),
            ?added,
            ?changed,
            ?gone,
            "the keys were read again"
        );
        if let Some(witness) = self.witness.get().filter(|_| !is_same) {
            witness.keys_changed(&added, &changed, &gone);
        }
        *self.table.write() = table;
        self.changes.send_replace(());
        !is_same
    }

    /// Reads everything that can change again: the secret of tokens and the keys. Blocks.
    ///
    /// # Errors
    /// As [`Guard::reload`].
    pub fn read_again(&self) -> Result<bool, KeyFileError> {
        self.reload_secret_if_changed();
        self.reload()
    }

    /// Tells when keys may have ended: what stays open on the strength of a key then asks [`Guard::is_in_force`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether a caller that was let in would be let in again with the same rights.
    #[must_use]
    pub fn is_in_force(&self, caller: &Caller) -> bool {
        match &caller.credential {
            CredentialId::Token(token) => self.is_token_in_force(caller, token),
            CredentialId::Outside(token) => self.is_outside_in_force(token),
            CredentialId::Key(key) => {
                let table = Arc::clone(&self.table.read());
                table.holder_of(*key).is_some_and(|holder| {
                    holder.has_the_rights_of(caller) && holder.is_in_force(self.time.now())
                })
            }
            // What opened them stands in the configuration, for as long as the process.
            CredentialId::Loopback | CredentialId::Anonymous => true,
            CredentialId::Local => false,
        }
    }

    /// Tells of keys whose time was over between two looks.
    fn tell_of_expiry(&self, before: UnixMillis, now: UnixMillis) {
        let table = Arc::clone(&self.table.read());
        let mut ends = table.holders().filter_map(|holder| holder.expires);
        if ends.any(|end| before < end && end <= now) {
            self.changes.send_replace(());
        }
    }

    /// Watches the key file and the ends of keys until `stop`; the owner of the guard spawns this once.
    pub async fn watch(self: Arc<Self>, stop: Stop) -> &'static str {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let mut before = self.time.now();
        let mut last_fault = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return "key file watcher",
                _ = tick.tick() => {}
            }
            let now = self.time.now();
            self.tell_of_expiry(std::mem::replace(&mut before, now), now);
            self.tell_of_token_ends();
            if self.file.is_none() && !self.bearers.has_file() {
                continue;
            }
            let guard = Arc::clone(&self);
            // A dying card can hold a look at a file for seconds, and no runtime worker should wait for it.
            let look = tokio::task::spawn_blocking(move || guard.look()).await;
            let fault = look
                .ok()
                .and_then(Result::err)
                .map(|fault| format!("{:#}", anyhow::Error::from(fault)));
            // Said once, not with each look.
            if let Some(error) = fault.as_ref().filter(|_| fault != last_fault) {
                tracing::error!(%error, "the changed key file cannot be read, the keys known before stay in force");
            }
            last_fault = fault;
        }
    }

    fn look(&self) -> Result<bool, KeyFileError> {
        self.reload_secret_if_changed();
        let has_ends = {
            let table = self.table.read();
            table.holders().any(|holder| holder.expires.is_some())
        };
        if has_ends && let Err(error) = self.time.keep() {
            tracing::warn!(%error, "the time by which keys are judged cannot be written down");
        }
        self.reload_if_changed()
    }

    fn rest(&self, peer: IpAddr) -> Option<Duration> {
        self.throttle.lock().rest(peer, Instant::now())
    }
}
