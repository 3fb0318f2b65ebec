//! The link to a Core: kept alive for ever, under a circuit breaker, by one task that alone holds the socket.
//!
//! This file is the handle that the rest of the program has: it talks, the task owns. What the Core tells goes up through
//! [`crate::model::change::ChangeSink`]; what the program asks comes down through [`Link`].

pub mod error;
pub mod status;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::CommandError;
pub use status::{BreakerState, LinkState, LinkStatus};

use crate::model::name::{ComponentName, ControlName};
use crate::wire::qrc::{
    ComponentGet, ComponentSet, ComponentState, ControlChange, ControlSet, Method, Named, Request,
    SetItem, SnapshotLoad,
};

/// A handle to the link of one Q-SYS system: one Core, or a redundant pair seen as one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<LinkStatus>,
}

/// What the handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send this to the active Core and hand back the answer.
    Call {
        /// What to send.
        request: Request,
        /// Where the answer goes. A caller who no longer waits loses the answer, not the effect.
        reply: oneshot::Sender<Result<Box<RawValue>, CommandError>>,
    },
    /// Close the breaker and try at once.
    ResetBreaker,
}

impl Link {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        status: watch::Receiver<LinkStatus>,
    ) -> Self {
        Self { commands, status }
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

    /// A receiver that hears every change of [`Link::status`].
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<LinkStatus> {
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
        let (reply, answer) = oneshot::channel();
        self.commands
            .try_send(Command::Call { request, reply })
            .map_err(|_full_or_stopped| CommandError::Busy)?;
        answer.await.unwrap_or(Err(unanswered))
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
        let changes: Vec<ControlChange<'_>> =
            serde_json::from_str(answer.get()).unwrap_or_default();
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
        let changes: Vec<ControlChange<'_>> = read(&answer, method)?;
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
