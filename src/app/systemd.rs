//! What is said to the service manager, and the sockets that it hands over. Without one, nothing is said and nothing handed over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::base::shutdown::Stop;
use crate::limits::{INHERITED_MAX, WATCHDOG_PAUSE};
use crate::ops::health::Report;

/// What the service manager waits longer than the service means to take before it kills it.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Sockets that were open before this process, so that no client is turned away while it starts.
///
/// They stay open for as long as this is there: the service can begin anew within one process.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes what the service manager handed over. Called once, before there are threads: it also forgets the variables that tell of it.
    ///
    /// # Errors
    ///
    /// What was handed over is no socket that listens on TCP.
    pub fn take() -> anyhow::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..handed.len().min(INHERITED_MAX) {
            let taken = handed.take_tcp_listener(at);
            let Some(socket) = taken.context("the socket unit hands over something else than a TCP socket: ListenStream= with an address and a port is meant")? else {
                continue;
            };
            socket.set_nonblocking(true)?;
            sockets.push((socket.local_addr()?, socket));
        }
        Ok(Self(sockets))
    }

    /// Holds that the socket for the port without TLS reaches no further than the configuration lets that port.
    ///
    /// # Errors
    ///
    /// It serves the LAN, and the configuration only this machine.
    pub(super) fn check_plain(&self, wanted: SocketAddr) -> anyhow::Result<()> {
        let on_port = |address: &SocketAddr| address.port() == wanted.port();
        let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let mut wider = self
            .0
            .iter()
            .filter(|(address, _)| on_port(address) && !is_local(*address));
        match wider.next() {
            Some((address, _)) if is_local(wanted) => anyhow::bail!(
                "the socket unit hands over {address}, which the LAN reaches, but without TLS only this machine is served: write ListenStream={wanted} there"
            ),
            _ => Ok(()),
        }
    }

    /// The socket for this address: one with its port.
    pub(super) fn for_address(&self, wanted: SocketAddr) -> io::Result<Option<TcpListener>> {
        let mut fitting = self.0.iter();
        let found = fitting.find(|(address, _)| address.port() == wanted.port());
        found.map(|(_, socket)| socket.try_clone()).transpose()
    }

    /// Closes the sockets that nobody wanted, and says which.
    pub(super) fn close_others(&mut self, wanted: &[SocketAddr]) {
        self.0.retain(|(address, _)| {
            let is_wanted = wanted.iter().any(|wanted| wanted.port() == address.port());
            if !is_wanted {
                tracing::warn!(
                    "The socket unit hands over {address}, but no `address` in the configuration has that port: it is closed."
                );
            }
            is_wanted
        });
    }
}

/// All is ready: the sockets listen and the store is open.
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// Keeps one line in words for `systemctl status`, until `stop`.
pub(super) async fn tell_status(
    mut reports: watch::Receiver<Arc<Report>>,
    stop: Stop,
) -> &'static str {
    loop {
        let report = Arc::clone(&reports.borrow_and_update());
        let readiness = report.not_ready.unwrap_or("Ready.");
        let line = format!("{}: {readiness} {}", report.level, report.summary(true));
        say(&[NotifyState::Status(&line)]);
        tokio::select! {
            biased;
            () = stop.cancelled() => return "status line",
            changed = reports.changed() => if changed.is_err() {
                stop.cancelled().await;
            },
        }
    }
}

/// Stopping began, and will be over within this time.
pub(super) fn stopping(within: Duration) {
    let micros = u32::try_from((within + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
    say(&[
        NotifyState::Stopping,
        NotifyState::Status("Stopping: requests under way are answered."),
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// All turns.
pub(super) fn feed() {
    say(&[NotifyState::Watchdog]);
}

/// Rest between two looks of the watchdog: three in the time that the service manager gives.
pub(super) fn watchdog_pause() -> Duration {
    sd_notify::watchdog_enabled().map_or(WATCHDOG_PAUSE, |time| time / 3)
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log_once(&error);
    }
}

/// A service manager that does not listen will not begin to.
fn log_once(error: &io::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| tracing::warn!(%error, "the service manager does not take messages"));
}
