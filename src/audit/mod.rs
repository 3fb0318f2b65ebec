//! The audit trail: who did what, when, from where, and what came of it.
//!
//! Actions (writes, logins, changes of keys and configuration) get a line each, in memory and on disk; reads and refusals a place in
//! memory, and one summed line per caller and minute on disk. Whoever notes something never waits for the disk: lines go into a queue, and
//! the [`Keeper`], a task, has a blocking thread write them within milliseconds and sync them every two seconds. Lines on disk form a hash chain over
//! all segments. Nothing here knows who may come in or what a tool is.

mod chain;
mod clock;
mod disk;
mod entry;
mod export;
mod forward;
mod keeper;
mod logins;
mod recent;
mod redact;
mod ring;
mod sums;
#[cfg(test)]
mod tests;
mod verify;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use entry::{Entry, Kind};
pub use export::Export;
pub use keeper::Keeper;
pub use recent::{Found, Query};
pub use redact::tells_of_secret;
pub use verify::{Fault, FaultKind, Report, Verifier};
pub use writing::{NotOnDisk, Writing};

use self::clock::SystemClock;
use self::disk::{Disk, Keep};
use self::forward::Outbox;
use self::logins::{Logins, Use};
use self::ring::Rings;
use self::sums::Sums;
use crate::base::clock::UnixMillis;
use crate::base::trace::Traces;
use crate::config::AuditConfig;
use crate::limits::{AUDIT_ACTIONS_KEPT, AUDIT_KEPT_WHEN_SHORT, AUDIT_WAITING_MAX};
use crate::telemetry::switches::Detail;

/// The folder of the trail within the folder of the store.
pub const FOLDER: &str = "audit";

/// Who acts, and by which request.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// Name of the caller.
    pub caller: &'a Arc<str>,
    /// Where the caller is, if that is over a network.
    pub address: Option<IpAddr>,
    /// Correlation id of the request.
    pub request: &'a CompactString,
}

/// A request that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// Who asked, if a credential said so.
    pub caller: Option<&'a Arc<str>>,
    /// From where.
    pub address: Option<IpAddr>,
    /// Correlation id of the request, if it has one.
    pub request: Option<&'a str>,
    /// The tool or right that was asked for, if it is known.
    pub what: Option<&'a str>,
    /// Why, as a word of this program.
    pub reason: &'static str,
}

/// The trail, as everybody sees it who notes or reads something. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something waits for the disk.
    wake: Notify,
    /// Somebody waits for the disk.
    hurry: Notify,
    /// How far the disk has come.
    progress: watch::Sender<Progress>,
    status: Mutex<AuditStatus>,
    traces: Traces,
    /// Whether the arguments of reads are kept.
    detail: Arc<Detail>,
    is_required: bool,
    clock: SystemClock,
    is_clock_good: AtomicBool,
    /// No stamp is below this one, milliseconds.
    floor: AtomicU64,
    /// The folder of the segments, if there is a disk at all.
    folder: Option<PathBuf>,
    /// The way to other receivers, if there are any.
    outbox: Option<Outbox>,
}

/// The segment files of a trail, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn segment_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let all = disk::segments(folder)?;
    Ok(all.into_iter().map(|one| one.path).collect())
}

/// A short digest by which two texts can be told apart.
#[must_use]
pub fn digest(text: &[u8]) -> String {
    let mut digest = chain::hex(&chain::next(&chain::GENESIS, text));
    digest.truncate(16);
    digest
}

#[derive(Debug, Default)]
struct State {
    /// Place of the next entry among all of this run; those from before lie below.
    next: u64,
    rings: Rings,
    waiting: VecDeque<Waiting>,
    /// Entries in the hands of the disk.
    in_flight: usize,
    /// Lines that found no room, since the last line that said so.
    lost: u64,
    sums: Sums,
    logins: Logins,
}

/// A line that waits for the disk.
#[derive(Debug)]
struct Waiting {
    order: u64,
    entry: Entry,
}

/// How far the disk has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Everything below this place is in the hands of the system.
    through: u64,
    /// The disk takes nothing at the moment.
    is_faulty: bool,
}

/// How the trail fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditStatus {
    /// Why nothing reaches the disk at the moment; absent while all is well.
    pub fault: Option<String>,
    /// Lines that wait for the disk.
    pub waiting: u64,
    /// Lines that found no room to wait, since the process started.
    pub lost: u64,
    /// Lines on disk, since the process started.
    pub written: u64,
    /// Rounds that failed, since the process started.
    pub errors: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// When everything written was last made safe from a power cut.
    pub last_sync: Option<Instant>,
    /// Lines that another receiver did not take, since the process started.
    pub dropped: u64,
    /// Whether the clock was synchronised at the last look.
    pub is_clock_good: bool,
}

impl Default for Audit {
    /// A trail in memory alone.
    fn default() -> Self {
        Self::with(&AuditConfig::default(), SystemClock::trusted(), None, None)
    }
}

impl Audit {
    /// The trail in the folder of the store, and the task that keeps it on disk. Nothing is read or written before that runs.
    #[must_use]
    pub fn new(config: &AuditConfig, store: &Path) -> (Self, Keeper) {
        let folder = store.join(FOLDER);
        let clock = SystemClock::new(config.clock_file.as_deref());
        let (outbox, forwarder) = forward::open(config).unzip();
        let audit = Self::with(config, clock, Some(folder.clone()), outbox);
        let keep = Keep {
            bytes: config.bytes_max,
            age: config.age_max,
        };
        let keeper = Keeper::new(audit.clone(), Disk::new(folder, keep), forwarder);
        (audit, keeper)
    }

    fn with(
        config: &AuditConfig,
        clock: SystemClock,
        folder: Option<PathBuf>,
        outbox: Option<Outbox>,
    ) -> Self {
        let is_clock_good = clock.is_good();
        // Room below for what was on disk before.
        let next = u64::try_from(AUDIT_ACTIONS_KEPT).unwrap_or(u64::MAX) + 1;
        let state = State {
            next,
            ..State::default()
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            wake: Notify::new(),
            hurry: Notify::new(),
            progress: watch::Sender::default(),
            status: Mutex::default(),
            traces: Traces::default(),
            detail: Arc::default(),
            is_required: config.required && folder.is_some(),
            clock,
            is_clock_good: AtomicBool::new(is_clock_good),
            floor: AtomicU64::new(0),
            folder,
            outbox,
        }))
    }

    /// Begins an export of what is on disk; `None` for a trail in memory alone. Reads from disk: for blocking threads.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn export(&self, since: Option<UnixMillis>) -> io::Result<Option<Export>> {
        let folder = self.0.folder.as_deref();
        folder
            .map(|folder| Export::begin(folder, since))
            .transpose()
    }

    /// Whether a write has to be refused whose intent cannot be put on disk.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.is_required
    }

    /// Notes that a call which changes something is about to be carried out.
    #[must_use]
    pub fn begin(
        &self,
        actor: Actor<'_>,
        tool: &str,
        core: Option<CompactString>,
        arguments: &Value,
    ) -> Writing {
        let mut entry = self.entry(Kind::Intent);
        entry.write = Some(self.0.traces.unique());
        entry.caller = Some(Arc::clone(actor.caller));
        entry.address = actor.address;
        entry.request = Some(actor.request.clone());
        entry.tool = Some(tool.into());
        entry.core = core;
        entry.arguments = redact::arguments(arguments);
        let order = self.act(entry.clone());
        Writing::new(self.clone(), order, entry)
    }

    /// Whether the arguments of calls that read are kept, too.
    #[must_use]
    pub fn detail(&self) -> &Arc<Detail> {
        &self.0.detail
    }

    /// What is to be kept of the arguments of a call that is about to read.
    #[must_use]
    pub fn arguments_of_read(&self, arguments: &Value) -> Option<Arc<RawValue>> {
        let detail = &self.0.detail;
        if !detail.is_on() {
            return None;
        }
        let kept = detail.meter.time(|| redact::arguments(arguments));
        detail
            .meter
            .made(kept.as_ref().map_or(0, |kept| kept.get().len()));
        kept
    }

    /// Notes a call that reads.
    pub fn read(
        &self,
        actor: Actor<'_>,
        tool: &str,
        arguments: Option<Arc<RawValue>>,
        outcome: &'static str,
        lasted: Duration,
    ) {
        let mut entry = self.entry(Kind::Read);
        entry.arguments = arguments;
        entry.caller = Some(Arc::clone(actor.caller));
        entry.address = actor.address;
        entry.request = Some(actor.request.clone());
        entry.tool = Some(tool.into());
        entry.outcome = Some(CompactString::const_new(outcome));
        entry.took_ms = u64::try_from(lasted.as_millis()).ok();
        let mut state = self.0.state.lock();
        state.sums.read(actor.caller, actor.address);
        state.look(entry);
    }

    /// Notes a request that was refused.
    pub fn refused(&self, refused: &Refused<'_>) {
        let mut entry = self.entry(Kind::Refused);
        entry.caller = refused.caller.cloned();
        entry.address = refused.address;
        entry.request = refused.request.map(CompactString::from);
        entry.tool = refused.what.map(CompactString::from);
        entry.outcome = Some(CompactString::const_new(refused.reason));
        let mut state = self.0.state.lock();
        state
            .sums
            .refused(refused.caller, refused.address, refused.reason);
        state.look(entry);
    }

    /// Notes that a credential was used: the first time from an address in a while is a login.
    pub fn used(&self, caller: &Arc<str>, address: Option<IpAddr>, request: Option<&str>) {
        let mut state = self.0.state.lock();
        let what = state.logins.of(caller, address, Instant::now());
        if what == Use::Known {
            return;
        }
        let mut entry = self.entry(Kind::Login);
        entry.caller = Some(Arc::clone(caller));
        entry.address = address;
        entry.request = request.map(CompactString::from);
        if what == Use::Login {
            drop(state);
            self.act(entry);
        } else {
            state.sums.login(caller, address);
            let order = state.place();
            state.rings.push(order, Arc::new(entry));
        }
    }

    /// Notes something else that deserves a line: a start, a stop, a change of keys or configuration.
    pub fn note(&self, kind: Kind, caller: Option<&Arc<str>>, detail: &Value) {
        let mut entry = self.entry(kind).with_detail(detail);
        entry.caller = caller.cloned();
        self.act(entry);
    }

    /// Notes whether the configuration is another one than at the start before.
    fn compare_with(&self, before: &[Entry], batch: &[Entry]) {
        let start = |entries: &[Entry]| {
            let start = entries.iter().rfind(|entry| entry.kind == Kind::Start);
            start.and_then(|entry| entry.detail().get("configuration").cloned())
        };
        if let (Some(was), Some(is)) = (start(before), start(batch))
            && was != is
        {
            self.note(Kind::Config, None, &json!({"was": was, "is": is}));
        }
    }

    /// How the trail fares.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        let (waiting, lost) = {
            let state = self.0.state.lock();
            (state.waiting.len() + state.in_flight, state.lost)
        };
        let mut status = self.0.status.lock().clone();
        status.waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        status.lost += lost;
        status.dropped = self.0.outbox.as_ref().map_or(0, Outbox::dropped);
        status
    }

    /// Forgets all but the newest entries in memory. What was an action is still on disk. How many.
    #[must_use]
    pub fn shorten(&self) -> usize {
        self.0.state.lock().rings.shorten(AUDIT_KEPT_WHEN_SHORT)
    }

    /// What is in memory, newest first.
    #[must_use]
    pub fn recent(&self, query: &Query<'_>) -> Found {
        query.look(&self.0.state.lock().rings)
    }

    /// An entry with a stamp of now.
    fn entry(&self, kind: Kind) -> Entry {
        let now = UnixMillis::now();
        let floor = UnixMillis(self.0.floor.load(Ordering::Relaxed));
        Entry {
            unsynchronised: !self.0.is_clock_good.load(Ordering::Relaxed),
            clock_said: (now < floor).then_some(now),
            ..Entry::new(kind, now.max(floor))
        }
    }

    /// Keeps an entry in memory and hands it to the disk. Answers its place.
    fn act(&self, entry: Entry) -> u64 {
        let order = {
            let mut state = self.0.state.lock();
            let order = state.place();
            state.rings.push(order, Arc::new(entry.clone()));
            self.0.hand_over(&mut state, order, entry);
            order
        };
        self.0.wake.notify_one();
        order
    }

    /// The minute is over: its sums become lines.
    fn close_minute(&self) {
        let at = self.entry(Kind::Reads);
        let mut state = self.0.state.lock();
        state.logins.minute();
        for mut line in state.sums.close(at.at) {
            line.unsynchronised = at.unsynchronised;
            line.clock_said = at.clock_said;
            let order = state.place();
            self.0.hand_over(&mut state, order, line);
        }
    }

    /// Looks whether the clock is synchronised.
    fn look_at_clock(&self) -> bool {
        let is_good = self.0.clock.is_good();
        self.0.is_clock_good.store(is_good, Ordering::Relaxed);
        self.0.status.lock().is_clock_good = is_good;
        is_good
    }
}

impl State {
    fn place(&mut self) -> u64 {
        let order = self.next;
        self.next += 1;
        order
    }

    fn look(&mut self, entry: Entry) {
        let order = self.place();
        self.rings.push(order, Arc::new(entry));
    }
}

impl Shared {
    /// Hands a line to the disk and to other receivers, where there are any.
    fn hand_over(&self, state: &mut State, order: u64, entry: Entry) {
        if let Some(outbox) = &self.outbox {
            outbox.put(Arc::new(entry.clone()));
        }
        if self.folder.is_none() {
            return;
        }
        if state.waiting.len() + state.in_flight >= AUDIT_WAITING_MAX {
            state.lost += 1;
        } else {
            state.waiting.push_back(Waiting { order, entry });
        }
    }
}
