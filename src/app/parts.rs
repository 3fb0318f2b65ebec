//! The supervisor: all tasks of the process, and the order in which they end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::systemd;
use crate::base::life::Beats;
use crate::base::shutdown::{Ending, Stop};
use crate::store::StoreStatus;

/// How long links may take to close their connections, and the store to write what is owed, when the process stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How long each group may take when there is hurry.
const HURRIED_WAIT: Duration = Duration::from_secs(1);

/// The time of clients, within the whole time in which the service stops.
pub(super) fn drain(stop_within: Duration) -> Duration {
    stop_within.saturating_sub(2 * STOP_WAIT)
}

/// The running tasks, in the three groups that stop one after the other.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) http: JoinSet<&'static str>,
    pub(super) links: JoinSet<&'static str>,
    pub(super) store: JoinSet<&'static str>,
    pub(super) stop_http: Stop,
    pub(super) stop_links: Stop,
    pub(super) stop_store: Stop,
    /// What asks the loops among them whether they turn.
    pub(super) beats: Beats,
}

impl Parts {
    /// Waits for `stop` or for the first task that ends unasked, then stops all: no new requests and calls finished, links closed,
    /// store written.
    pub(super) async fn supervise(
        mut self,
        ending: &Ending,
        store_status: &watch::Receiver<StoreStatus>,
        stop_within: Duration,
    ) -> anyhow::Result<()> {
        let unasked = tokio::select! {
            biased;
            () = ending.stop.cancelled() => None,
            Some(ended) = self.http.join_next() => Some(name(ended)),
            Some(ended) = self.links.join_next() => Some(name(ended)),
            Some(ended) = self.store.join_next() => Some(name(ended)),
        };
        if let Some(part) = &unasked {
            tracing::error!(
                "The part '{part}' ended unasked: the process stops, to be started anew."
            );
        }
        systemd::stopping(stop_within);
        // The surface cuts its connections by itself; a second more tells whether it hangs.
        let drain = drain(stop_within) + Duration::from_secs(1);
        let hurry = &ending.hurry;
        end("clients", &self.stop_http, hurry, self.http, drain).await;
        end("links", &self.stop_links, hurry, self.links, STOP_WAIT).await;
        end("store", &self.stop_store, hurry, self.store, STOP_WAIT).await;
        match unasked {
            None => {
                match store_status.borrow().fault.as_ref() {
                    None => tracing::info!(
                        "Stopped: all connections are closed, and what was learnt is stored."
                    ),
                    Some(fault) => tracing::warn!(
                        "Stopped: all connections are closed, but what was learnt is not stored: {fault}"
                    ),
                }
                Ok(())
            }
            Some(part) => anyhow::bail!("the part '{part}' ended unasked"),
        }
    }
}

fn name(ended: Result<&'static str, JoinError>) -> String {
    match ended {
        Ok(part) => part.to_owned(),
        Err(fault) => format!("a task that panicked ({fault})"),
    }
}

/// Stops a group and waits for it, for no longer than `wait`, or a second if there is hurry.
async fn end(
    group: &str,
    stop: &Stop,
    hurry: &Stop,
    mut tasks: JoinSet<&'static str>,
    wait: Duration,
) {
    stop.cancel();
    let began = Instant::now();
    let hurried = async {
        hurry.cancelled().await;
        sleep(HURRIED_WAIT).await;
    };
    let is_late = tokio::select! {
        biased;
        () = async { while tasks.join_next().await.is_some() {} } => false,
        () = sleep(wait) => true,
        () = hurried => true,
    };
    if is_late {
        tracing::warn!(
            "{group}: {} tasks did not end within {} s and are cut",
            tasks.len(),
            began.elapsed().as_secs()
        );
        tasks.shutdown().await;
    }
}
