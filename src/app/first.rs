//! The service of a box on its first day: nobody owns it, or it was not told its Core yet. It serves the pages of the setup and signs of
//! life, opens no store and reaches no Core, and makes way for the whole service as soon as all is said.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::setup::{Again, Desk};
use super::{Next, Start, endpoint, keys, server_info, surface, systemd};
use crate::base::life::Beats;
use crate::base::shutdown::Stop;
use crate::guard::Guard;
use crate::http::{Setup, Stage};
use crate::mcp::Server;
use crate::ops::health::{Level, Report, Source};
use crate::ops::watchdog::{self, Vitals};

/// How long the connections of the pages may take to end.
const END_WAIT: Duration = Duration::from_secs(10);

/// Serves until `stop`, or until the box was told everything.
///
/// # Errors
///
/// The claim cannot be used, or a part ended unasked.
pub(super) async fn serve(start: Start, stop: Stop) -> anyhow::Result<Next> {
    let config = start.config;
    let guard = Arc::new(keys::limited(start.guard, &config.rate));
    let again = Again::new(stop.clone());
    let desk = Desk::open(&config, Arc::clone(&guard), start.dial, again.clone())?;
    let desk: Arc<Desk> = Arc::new(desk);
    let setup: Arc<dyn Setup> = Arc::<Desk>::clone(&desk);
    let waiting = Arc::new(Waiting(Arc::clone(&setup)));
    let server = Arc::new(Server::new(&[], server_info())?);
    let front = surface(&config, server, Arc::clone(&guard), waiting).with_setup(setup);
    let front = Arc::new(front);

    let mut beats = Beats::default();
    let mut tasks = JoinSet::new();
    let address = start.listener.local_addr()?;
    let life = beats.life("HTTP acceptor", &stop);
    tasks.spawn(Arc::clone(&front).serve(start.listener, life));
    tracing::info!("Waiting to be set up on {}", endpoint("http", address));
    if let Some((listener, certificates)) = start.secure {
        let address = listener.local_addr()?;
        let life = beats.life("HTTPS acceptor", &stop);
        tasks.spawn(Arc::clone(&certificates).keep(stop.clone()));
        tasks.spawn(front.serve_secure(listener, certificates, life));
        tracing::info!("Waiting to be set up on {}", endpoint("https", address));
    }
    tasks.spawn(Arc::clone(&guard).watch(stop.clone()));
    tasks.spawn(make_way(desk, guard, stop.clone()));
    systemd::ready();
    feed(beats, stop.clone(), &mut tasks);

    let unasked = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        Some(ended) = tasks.join_next() => Some(ended),
    };
    stop.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(END_WAIT, ended).await.is_err() {
        tasks.shutdown().await;
    }
    match unasked {
        Some(part) => anyhow::bail!("the part '{}' ended unasked", part?),
        None if again.is_wished() => Ok(Next::Again),
        None => Ok(Next::Over),
    }
}

/// Waits for keys that come by other ways, such as `rackhand key new`: they too make the box somebody's.
async fn make_way(desk: Arc<Desk>, guard: Arc<Guard>, stop: Stop) -> &'static str {
    let mut changes = guard.changes();
    loop {
        if desk.stage() == Stage::Done {
            desk.make_way();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return "setup",
            heard = changes.changed() => if heard.is_err() {
                stop.cancelled().await;
            },
        }
    }
}

/// Feeds the watchdog while the acceptors turn.
fn feed(beats: Beats, stop: Stop, tasks: &mut JoinSet<&'static str>) {
    let (held, stopped) = mpsc::channel();
    tasks.spawn(async move {
        stop.cancelled().await;
        drop(held);
        "end of the watchdog"
    });
    tasks.spawn_blocking(move || {
        let pause = systemd::watchdog_pause();
        watchdog::keep(&beats, Vitals::default, systemd::feed, pause, &stopped)
    });
}

/// A box that waits for a person.
struct Waiting(Arc<dyn Setup>);

impl Source for Waiting {
    fn report(&self) -> Arc<Report> {
        let mut report = Report::new(Instant::now());
        report.level = Level::Degraded;
        report.not_ready = Some(match self.0.stage() {
            Stage::Unclaimed => "The box is not claimed yet: open /claim.",
            Stage::NoCore => "The box was not told its Core yet: open /setup.",
            Stage::Done => "The service begins.",
        });
        Arc::new(report)
    }

    fn detail(&self) -> Value {
        json!({})
    }
}
