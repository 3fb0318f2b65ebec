//! `rackhand doctor` and the check on the page of the first start: what is wrong on the way to a Core and with the box itself, in words,
//! each with what to do about it.
//!
//! The Core is tried with a real link that keeps nothing, so that nothing can be well here and not there.

use std::fmt::{self, Write as _};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::identity::Identity;
use super::{certificate, keys, secrets};
use crate::base::file;
use crate::base::shutdown::Stop;
use crate::base::text::for_log;
use crate::config::{Config, CoreConfig};
use crate::limits::{CHECK_PORT_TIME, CHECK_TIME};
use crate::link::config::LinkConfig;
use crate::link::pin::FingerprintStore;
use crate::link::{self, CoreAddress, Dial, LinkState, LinkStatus, TlsTrust, Transport};
use crate::model::change::ChangeSink;
use crate::wire::qrc::{ComponentFacts, ControlChange, ControlFacts, EngineState, EngineStatus};

/// How a check turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Good,
    /// The box works, and somebody should look.
    Warning,
    /// The box does not do its work like that.
    Fault,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: &'static str,
    /// How it turned out.
    pub level: Outcome,
    /// What was seen.
    pub said: String,
    /// What to do; empty where nothing is to be done.
    pub next: String,
}

/// All checks, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(Vec<Check>);

impl Report {
    fn note(
        &mut self,
        what: &'static str,
        level: Outcome,
        said: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.0.push(Check {
            what,
            level,
            said: said.into(),
            next: next.into(),
        });
    }

    fn good(&mut self, what: &'static str, said: impl Into<String>) {
        self.note(what, Outcome::Good, said, "");
    }

    /// Whether nothing keeps the box from its work.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|check| check.level != Outcome::Fault)
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.0 {
            let sign = match check.level {
                Outcome::Good => "good   ",
                Outcome::Warning => "warning",
                Outcome::Fault => "FAULT  ",
            };
            // What a Core says of itself must not steer a terminal.
            writeln!(f, "{sign}  {:<12} {}", check.what, for_log(&check.said))?;
            if !check.next.is_empty() {
                writeln!(f, "{:22}→ {}", "", for_log(&check.next))?;
            }
        }
        Ok(())
    }
}

/// Checks everything that a configuration names. What is wrong with its text was told before.
pub async fn examine(config: &Config, dial: &Arc<dyn Dial>) -> Report {
    let mut report = Report::default();
    examine_box(config, &mut report);
    if config.cores.is_empty() {
        report.note(
            "core",
            Outcome::Fault,
            "No Core is configured yet.",
            "Tell it at /setup, with `rackhand setup`, or as [[core]] in the configuration.",
        );
    }
    let identity = Arc::new(Identity::open(&config.store.path));
    for core in &config.cores {
        examine_core(core, config, &identity, dial, &mut report).await;
    }
    report
}

/// Checks the box without its Cores.
pub(super) fn box_alone(config: &Config) -> Report {
    let mut report = Report::default();
    examine_box(config, &mut report);
    report
}

fn examine_box(config: &Config, report: &mut Report) {
    let data = &config.store.path;
    let probe = data.join("doctor-probe");
    let written = file::make_private_folder(data)
        .and_then(|()| file::replace(&probe, b"probe"))
        .and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => report.good("data", format!("{} can be written.", data.display())),
        Err(fault) => report.note(
            "data",
            Outcome::Fault,
            format!("{} cannot be written: {fault}.", data.display()),
            "Run this as the service's user, or mend the folder's owner, or the full disk.",
        ),
    }
    match keys::key_file(data).list() {
        Ok(list) if list.is_empty() && config.access.keys.is_none() => report.note(
            "keys",
            Outcome::Warning,
            "There is no key yet: nobody can ask the box anything.",
            "Claim it at /claim, or run `rackhand key new`.",
        ),
        Ok(list) => report.good("keys", format!("{} key(s) can come in.", list.len())),
        Err(fault) => report.note(
            "keys",
            Outcome::Fault,
            format!("{:#}.", anyhow::Error::from(fault)),
            "Put back a copy of the file, or remove it and make new keys.",
        ),
    }
    match certificate::check_dates(config) {
        Ok(()) => report.good("certificate", "Its dates are good."),
        Err(fault) => report.note(
            "certificate",
            Outcome::Warning,
            fault.to_string(),
            "Look at the clock, then at the files that [listen.tls] names.",
        ),
    }
    let clock = &config.audit.clock_file;
    if clock.as_ref().is_some_and(|file| !file.exists()) {
        report.note(
            "clock",
            Outcome::Warning,
            "The clock is not synchronised: records say so, and certificates may look as if they had not begun.",
            "Tell the box a time server (NTP) that it reaches.",
        );
    }
}

/// One Core of a configuration.
async fn examine_core(
    core: &CoreConfig,
    config: &Config,
    identity: &Arc<Identity>,
    dial: &Arc<dyn Dial>,
    report: &mut Report,
) {
    match secrets::link_config(core, config, identity) {
        Ok(link) => examine_link(link, dial, report).await,
        Err(fault) => report.note(
            "secrets",
            Outcome::Fault,
            format!("{fault:#}."),
            "Mend the file that the configuration names.",
        ),
    }
}

/// The way to a Core: its name, its ports, its certificate, its log-on, its design.
pub(super) async fn examine_link(
    mut config: LinkConfig,
    dial: &Arc<dyn Dial>,
    report: &mut Report,
) {
    let mut reached = false;
    for address in &config.addresses {
        reached |= is_known(address, report).await
            && answers(address, config.transport, &**dial, report).await;
    }
    if !reached {
        return;
    }
    let seen = Arc::new(Seen::default());
    if let TlsTrust::Pin(pins) = &config.trust {
        config.trust = TlsTrust::Pin(Arc::new(Looking {
            pins: Arc::clone(pins),
            seen: Arc::clone(&seen),
        }));
    }
    let stop = Stop::new();
    let mut tasks = JoinSet::new();
    let sink: Arc<dyn ChangeSink> = Arc::<Seen>::clone(&seen);
    let link = link::spawn(config, Arc::clone(dial), sink, stop.clone(), &mut tasks);
    let mut status = link.watch_status();
    let is_over = |status: &LinkStatus| {
        matches!(
            status.state,
            LinkState::Live | LinkState::Standby | LinkState::Refused
        ) || status.failures >= 2
    };
    let is_in_time = timeout(CHECK_TIME, status.wait_for(is_over)).await.is_ok();
    tracing::debug!(is_in_time, "a Core was tried");
    let last = link.status();
    stop.cancel();
    tasks.join_all().await;
    judge(&last, &seen, report);
}

/// Whether the name of a Core leads to an address.
async fn is_known(address: &CoreAddress, report: &mut Report) -> bool {
    if address.host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let found = timeout(
        CHECK_PORT_TIME,
        tokio::net::lookup_host((address.host.as_str(), 443)),
    )
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if let Ok(Some(first)) = found.map(|mut found| found.next()) {
        report.good("name", format!("{} is {}.", address.host, first.ip()));
        return true;
    }
    report.note(
        "name",
        Outcome::Fault,
        format!("Nobody knows the name {}.", address.host),
        "Type the Core's address instead, or mend the name server; names that end in .local need mDNS on this network.",
    );
    false
}

/// Whether any port of a Core answers.
async fn answers(
    address: &CoreAddress,
    transport: Transport,
    dial: &dyn Dial,
    report: &mut Report,
) -> bool {
    let usual: &[u16] = match transport {
        Transport::Auto => &[443, 80, 1710],
        Transport::Wss => &[443],
        Transport::Ws => &[80],
        Transport::Tcp => &[1710],
    };
    let ports: Vec<u16> = address
        .port
        .map_or_else(|| usual.to_vec(), |port| vec![port]);
    let (mut open, mut faults) = (Vec::new(), Vec::new());
    for port in ports {
        let dialled = dial.dial(address.host.clone(), port);
        match timeout(CHECK_PORT_TIME, dialled).await {
            Ok(Ok(_connection)) => open.push(port.to_string()),
            Ok(Err(fault)) => faults.push((port, fault.kind())),
            Err(_) => faults.push((port, io::ErrorKind::TimedOut)),
        }
    }
    if !open.is_empty() {
        report.good(
            "reach",
            format!("{} answers on port {}.", address.host, open.join(", ")),
        );
        return true;
    }
    let mut said = format!("{} does not answer:", address.host);
    for (port, kind) in &faults {
        // Writing to a string never fails.
        let _ = write!(said, " port {port}: {kind};");
    }
    let is_refused = faults
        .iter()
        .any(|(_, kind)| *kind == io::ErrorKind::ConnectionRefused);
    let next = if is_refused {
        "Something is there and takes no connection: is it a Core, does it still boot, and is external control over the network enabled in Core Manager?"
    } else {
        "Look at cable, VLAN and address: this box and the Core have to reach each other on the Core's control network (LAN A or B)."
    };
    report.note("reach", Outcome::Fault, said.trim_end_matches(';'), next);
    false
}

/// What the link came to.
fn judge(status: &LinkStatus, seen: &Seen, report: &mut Report) {
    if let Some(fingerprint) = seen.fingerprint.lock().as_deref() {
        report.good(
            "trust",
            format!(
                "The Core's certificate is sha256:{fingerprint}; the box keeps to it from now on."
            ),
        );
    }
    if let Some(fingerprint) = &status.untrusted_fingerprint {
        report.note(
            "trust",
            Outcome::Fault,
            format!("The Core shows another certificate than before, sha256:{fingerprint}."),
            "If the Core was replaced or reset, accept it with `rackhand core trust`; if not, somebody may pose as the Core.",
        );
    }
    match status.state {
        LinkState::Live => report.good("link", "The Core lets the box in and tells it everything."),
        LinkState::Standby => report.note(
            "link",
            Outcome::Warning,
            "This is the Core of a redundant pair that stands by.",
            "Name both Cores: the box uses the one that is active.",
        ),
        LinkState::Refused => report.note(
            "link",
            Outcome::Fault,
            format!("The Core lets nobody in like this: {}.", status.last_fault),
            "Look at user, PIN and access key in Q-SYS Administrator and Core Manager.",
        ),
        other => {
            let idle = status
                .engine
                .as_ref()
                .is_some_and(|engine| engine.state == EngineState::Idle);
            let next = if idle {
                "No design runs on the Core: start one in Q-SYS Designer."
            } else {
                "If the Core was just started, try again in a minute; else see the section Link of the documentation."
            };
            let fault = if status.last_fault.is_empty() {
                "there was not enough time"
            } else {
                &status.last_fault
            };
            report.note(
                "link",
                Outcome::Fault,
                format!("It came no further than {}: {fault}.", other.as_str()),
                next,
            );
        }
    }
    if status.state == LinkState::Live {
        judge_design(status.engine.as_ref(), seen, report);
        if !status.unlisted_components.is_empty() {
            report.note(
                "components",
                Outcome::Warning,
                format!(
                    "Of {} component(s) the Core does not tell the controls: {}.",
                    status.unlisted_components.len(),
                    status.unlisted_components.join(", ")
                ),
                "Load the design anew if it was just changed.",
            );
        }
    }
}

fn judge_design(engine: Option<&EngineStatus>, seen: &Seen, report: &mut Report) {
    let (components, controls) = (
        seen.components.load(Ordering::Relaxed),
        seen.controls.load(Ordering::Relaxed),
    );
    let design = engine.map_or("", |engine| engine.design_name.as_str());
    if components == 0 {
        report.note(
            "design",
            Outcome::Fault,
            format!("Design \"{design}\" shows no component."),
            "In Designer, give each component a Code Name and set its Script Access to External or All, then load the design to the Core.",
        );
    } else {
        report.good(
            "design",
            format!("\"{design}\": {components} component(s), {controls} control(s) are visible."),
        );
    }
    if engine.is_some_and(|engine| engine.is_emulator) {
        report.note(
            "emulator",
            Outcome::Warning,
            "This is Designer's emulator, not a Core.",
            "",
        );
    }
}

/// Counts what a Core tells, and keeps nothing of it.
#[derive(Debug, Default)]
struct Seen {
    components: AtomicUsize,
    controls: AtomicUsize,
    /// The certificate that was seen for the first time.
    fingerprint: Mutex<Option<String>>,
}

impl ChangeSink for Seen {
    fn design_began(&self, _: &EngineStatus, _: Instant) {
        self.components.store(0, Ordering::Relaxed);
        self.controls.store(0, Ordering::Relaxed);
    }

    fn component(&self, _: &ComponentFacts, controls: &[ControlFacts<'_>], _: Instant) {
        self.components.fetch_add(1, Ordering::Relaxed);
        self.controls.fetch_add(controls.len(), Ordering::Relaxed);
    }

    fn named_control(&self, _: &str, _: Instant) {
        self.controls.fetch_add(1, Ordering::Relaxed);
    }

    fn design_ended(&self, _: Instant) {}
    fn values(&self, _: &[ControlChange<'_>], _: Instant) {}
    fn confirmed(&self, _: Instant) {}
    fn went_stale(&self, _: Instant) {}
}

/// Pins that are read and never written: a check decides nothing.
#[derive(Debug)]
struct Looking {
    pins: Arc<dyn FingerprintStore>,
    seen: Arc<Seen>,
}

impl FingerprintStore for Looking {
    fn pinned(&self, address: &str) -> Option<String> {
        self.pins.pinned(address)
    }

    fn pin(&self, _: &str, fingerprint: &str) -> io::Result<()> {
        *self.seen.fingerprint.lock() = Some(fingerprint.to_owned());
        Ok(())
    }
}
