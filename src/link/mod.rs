//! The link to a Core: kept alive for ever, under a circuit breaker, by one task that alone holds the socket.
//!
//! This file is the handle that the rest of the program has: it talks, the task owns. What the Core tells goes up through
//! [`crate::model::change::ChangeSink`]; what the program asks comes down through [`Link`].

pub mod breaker;
pub mod config;
mod connection;
pub mod dial;
mod driver;
pub mod error;
pub mod find;
mod groups;
pub mod mixer;
mod peer;
mod pending;
pub mod pin;
mod reply;
pub mod session;
pub mod status;
mod talk;
mod watch;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch as watched};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::{CoreAddress, Credentials, LinkConfig, TlsTrust, Transport};
pub use connection::Cut;
pub use dial::{Dial, NetDial};
pub use error::{CommandError, ConnectError};
pub use mixer::{MixerSet, Ramped};
pub use reply::Reply;
pub use status::{BreakerState, LinkState, LinkStatus};
pub use watch::FastWatch;

use crate::base::life::Life;
use crate::limits::COMMANDS_MAX;
use crate::model::change::ChangeSink;
use crate::model::name::{ComponentName, ControlName, ControlRef};
use crate::telemetry::spans;
use crate::wire::qrc::{
    ComponentGet, ComponentSet, ComponentState, ControlChange, ControlSet, Method, Named, Request,
    SetItem, SnapshotLoad, States,
};

/// A handle to the link of one Q-SYS system: one Core, or a redundant pair seen as one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    status: watched::Receiver<LinkStatus>,
    watched: Arc<watch::Watched>,
}

/// Starts the link of one system: one Core, or both Cores of a redundant pair. The task ends when its life is stopped, or when every handle is gone.
pub fn spawn(
    config: LinkConfig,
    dial: Arc<dyn Dial>,
    sink: Arc<dyn ChangeSink>,
    life: impl Into<Life>,
    tasks: &mut JoinSet<&'static str>,
) -> Link {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let watched = Arc::new(watch::Watched::default());
    let parts = (inbox, Arc::clone(&watched));
    let (driver, status) = driver::Driver::new(config, dial, sink, life.into(), parts);
    tasks.spawn(async move {
        driver.run().await;
        "link"
    });
    Link {
        commands,
        status,
        watched,
    }
}

/// What the handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send this to the active Core and hand back the answer.
    Call {
        /// What to send.
        request: Request,
        /// Where the answer goes. A caller who no longer waits loses the answer, not the effect.
        reply: Reply,
        /// When. A command that had to wait for too long is not sent any more.
        asked: Instant,
    },
    /// Close the breaker and try at once.
    ResetBreaker,
    /// A person accepts this certificate.
    Trust {
        /// SHA-256, hex.
        fingerprint: String,
    },
}

impl Link {
    /// A handle whose task is a test.
    #[cfg(test)]
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        status: watched::Receiver<LinkStatus>,
    ) -> Self {
        Self {
            commands,
            status,
            watched: Arc::default(),
        }
    }

    /// What is to be polled fast now.
    #[cfg(test)]
    pub(crate) fn watched_fast(&self) -> std::collections::BTreeSet<ControlRef> {
        self.watched.wanted()
    }

    /// Where the link stands now.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        self.status.borrow().clone()
    }

    /// The state alone, without copying the rest.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.status.borrow().state
    }

    /// A receiver that hears every change of [`Link::status`], but for signs of life and round trips. What it lends must not be kept
    /// over an await: the link's task waits for it.
    #[must_use]
    pub fn watch_status(&self) -> watched::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Sends one request to the active Core.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]; a full queue is an honest "busy", a lost answer to a write an honest "unknown".
    pub async fn call(&self, request: Request) -> Result<Box<RawValue>, CommandError> {
        let method = request.method();
        let unanswered = if request.changes_the_room() {
            CommandError::OutcomeUnknown { method }
        } else {
            CommandError::NoAnswer { method }
        };
        let span = spans::command(method.as_str());
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.try_send(Command::Call {
            request,
            reply: Reply::new(reply, &span),
            asked: Instant::now(),
        });
        let answer = match sent {
            Ok(()) => answer.await.unwrap_or(Err(unanswered)),
            Err(_full_or_stopped) => Err(CommandError::Busy),
        };
        if let Err(fault) = &answer {
            reply::note(&span, fault);
        }
        answer
    }

    /// Writes controls of a component in one request and returns their states as the Core then reports them.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn set_component(
        &self,
        component: &ComponentName,
        controls: Vec<SetItem>,
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        let request = Request::ComponentSet(ComponentSet {
            name: component.to_string(),
            controls,
            response_values: Some(true),
        });
        let answer = self.call(request).await?;
        // Without values (`true`, or a list of unknown controls) the write was still accepted: there is nothing to read back.
        let changes: States<'_> = serde_json::from_str(answer.get()).unwrap_or_default();
        let changes = changes.items;
        Ok(changes.into_iter().map(ControlChange::into_owned).collect())
    }

    /// Writes one named control and returns its state, if the Core answers with one.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn set_named(
        &self,
        set: ControlSet,
    ) -> Result<Option<ControlChange<'static>>, CommandError> {
        let answer = self.call(Request::ControlSet(set)).await?;
        Ok(serde_json::from_str::<ControlChange<'_>>(answer.get())
            .ok()
            .map(ControlChange::into_owned))
    }

    /// Reads controls of a component from the Core itself, choices and other run-time fields included.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn read_component(
        &self,
        component: &ComponentName,
        controls: &[ControlName],
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        let controls = controls
            .iter()
            .map(|control| Named {
                name: control.to_string(),
            })
            .collect();
        let request = Request::ComponentGet(ComponentGet {
            name: component.to_string(),
            controls,
        });
        let method = request.method();
        let answer = self.call(request).await?;
        let state: ComponentState<'_> = read(&answer, method)?;
        Ok(state
            .controls
            .into_iter()
            .map(ControlChange::into_owned)
            .collect())
    }

    /// Reads named controls from the Core itself.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn read_named(
        &self,
        names: &[ControlName],
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        let request = Request::ControlGet(names.iter().map(ToString::to_string).collect());
        let method = request.method();
        let answer = self.call(request).await?;
        let changes: States<'_> = read(&answer, method)?;
        let changes = changes.items;
        Ok(changes.into_iter().map(ControlChange::into_owned).collect())
    }

    /// Recalls snapshot `number` (from 1) of a bank, over `ramp_secs` seconds.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn load_snapshot(
        &self,
        bank: &str,
        number: u32,
        ramp_secs: Option<f64>,
    ) -> Result<(), CommandError> {
        let request = SnapshotLoad {
            name: bank.to_owned(),
            bank: number,
            ramp: ramp_secs,
        };
        self.call(Request::SnapshotLoad(request)).await.map(drop)
    }

    /// Sets gains, mutes and the like of a mixer, on many channels at once.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub async fn mixer(&self, mixer: &ComponentName, set: MixerSet) -> Result<(), CommandError> {
        self.call(set.request(mixer)).await.map(drop)
    }

    /// Has these controls polled fast until the guard is dropped, through reconnections too. Names that the design does not have
    /// cost nothing.
    ///
    /// # Errors
    ///
    /// [`CommandError::Busy`] when with these more than [`crate::limits::FAST_CONTROLS_MAX`] controls would be watched.
    pub fn watch_fast(&self, controls: Vec<ControlRef>) -> Result<FastWatch, CommandError> {
        self.watched.add(controls).ok_or(CommandError::Busy)
    }

    /// Accepts the certificate of [`LinkStatus::untrusted_fingerprint`], and tries at once. Any other fingerprint has no effect.
    ///
    /// # Errors
    ///
    /// [`CommandError::Busy`] when the link's queue is full.
    pub fn trust(&self, fingerprint: &str) -> Result<(), CommandError> {
        let fingerprint = fingerprint.to_owned();
        self.commands
            .try_send(Command::Trust { fingerprint })
            .map_err(|_full_or_stopped| CommandError::Busy)
    }

    /// Closes the breaker and tries the Core at once, whatever the link was waiting for. Without effect on a live link.
    ///
    /// # Errors
    ///
    /// [`CommandError::Busy`] when the link's queue is full.
    pub fn reset_breaker(&self) -> Result<(), CommandError> {
        self.commands
            .try_send(Command::ResetBreaker)
            .map_err(|_full_or_stopped| CommandError::Busy)
    }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a RawValue, method: Method) -> Result<T, CommandError> {
    serde_json::from_str(answer.get()).map_err(|fault| CommandError::Unreadable {
        method,
        fault: fault.to_string(),
    })
}
