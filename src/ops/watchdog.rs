//! Tells the service manager that the process turns, and keeps silent when it does not, so that it is started anew.

use std::convert::Infallible;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::base::life::Beats;
use crate::limits::{DISK_DEAD_AFTER, WORKER_STUCK_AFTER};

/// What tells, beside the loops, whether the process turns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vitals {
    /// For how long a worker of the runtime has been busy with one thing.
    pub worker_stuck: Duration,
    /// For how long the disk has had something to write without an answer.
    pub disk_busy: Duration,
}

/// Why the process does not turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    silent: Vec<&'static str>,
    blocks_worker: bool,
    is_disk_dead: bool,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons = Vec::new();
        if !self.silent.is_empty() {
            reasons.push(format!("no answer from: {}", self.silent.join(", ")));
        }
        if self.blocks_worker {
            reasons.push("a worker of the runtime is stuck".to_owned());
        }
        if self.is_disk_dead {
            let secs = DISK_DEAD_AFTER.as_secs();
            reasons.push(format!("the disk has not answered for {secs} s"));
        }
        f.write_str(&reasons.join("; "))
    }
}

/// Whether all turns, by what answered since the last look.
///
/// # Errors
///
/// Something does not turn.
pub fn look(beats: &Beats, vitals: Vitals) -> Result<(), Stuck> {
    let stuck = Stuck {
        silent: beats.silent().collect(),
        blocks_worker: vitals.worker_stuck > WORKER_STUCK_AFTER,
        is_disk_dead: vitals.disk_busy > DISK_DEAD_AFTER,
    };
    if stuck.silent.is_empty() && !stuck.blocks_worker && !stuck.is_disk_dead {
        Ok(())
    } else {
        Err(stuck)
    }
}

/// Looks at every `pause` until the other end of `stop` is gone, and calls `feed` when all turns. What was asked at one look is to be
/// answered by the next, so a loop that is stuck is found out after two pauses at the latest.
///
/// Blocks: it has a thread of its own. On the runtime it would be stuck with it: a worker that is held can be the one that minds the timers
/// of all others.
pub fn keep(
    beats: &Beats,
    vitals: impl Fn() -> Vitals,
    feed: impl Fn(),
    pause: Duration,
    stop: &Receiver<Infallible>,
) -> &'static str {
    let mut before = Ok(());
    loop {
        let found = look(beats, vitals());
        match &found {
            Ok(()) => feed(),
            Err(stuck) if found != before => {
                tracing::error!("The watchdog is not fed: {stuck}.");
            }
            Err(_) => {}
        }
        if found.is_ok() && before.is_err() {
            tracing::info!("The watchdog is fed again: all loops answer.");
        }
        before = found;
        beats.ask();
        match stop.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return "watchdog",
            Ok(never) => match never {},
        }
    }
}
