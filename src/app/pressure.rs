//! Looks at memory, and gives things up in order when it runs short.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::parts::Parts;
use crate::audit::Audit;
use crate::base::shutdown::Stop;
use crate::config::{Config, HealthConfig};
use crate::http::Front;
use crate::limits::PRESSURE_IDLE_CONNECTION;
use crate::mcp::Server;
use crate::ops::host::{Memory, Root};
use crate::ops::pressure::{Gauge, GivenUp, Look, Pressure, Step, Strain, Told};
use crate::service::qsys::QsysService;

/// Those who have something to give.
pub(super) struct Givers {
    server: Arc<Server>,
    front: Arc<Front>,
    qsys: Arc<QsysService>,
    audit: Audit,
}

impl Givers {
    pub(super) fn new(
        server: &Arc<Server>,
        front: &Arc<Front>,
        qsys: Arc<QsysService>,
        audit: Audit,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            front: Arc::clone(front),
            qsys,
            audit,
        }
    }

    /// Gives something up. How many.
    fn give_up(&self, step: Step) -> usize {
        match step {
            Step::History => {
                self.server.forget_streams()
                    + self.audit.shorten()
                    + self.front.guard().forget_checked()
            }
            Step::Watches => self.qsys.end_watches(),
            Step::Streams => {
                self.server.thin_out_streams() + self.front.cut_idle(PRESSURE_IDLE_CONNECTION)
            }
        }
    }
}

/// Starts what looks.
pub(super) fn begin(givers: Givers, gauge: Gauge, config: &Config, parts: &mut Parts) {
    let stop = parts.stop_http.clone();
    let looking = keep(givers, gauge, config.health.clone(), stop);
    parts.http.spawn(looking);
}

/// Looks, the sooner the less room there is, until `stop`.
async fn keep(givers: Givers, gauge: Gauge, config: HealthConfig, stop: Stop) -> &'static str {
    let root = Root::new(&config.root);
    let mut pressure = Pressure::default();
    let mut given_up = GivenUp::default();
    let mut memory = Memory::default();
    loop {
        let again = root.clone();
        // The kernel can take its time over these files.
        let looking = spawn_blocking(move || again.memory());
        tokio::select! {
            biased;
            () = stop.cancelled() => return "memory",
            // A look that failed tells nothing new.
            looked = looking => memory = looked.unwrap_or(memory),
        }
        let look = pressure.look(&memory, &config, Instant::now());
        if look.strain > look.was {
            tracing::warn!("Memory is {}. {}", look.strain, pressure.reason());
        }
        if let Some((step, is_first)) = look.step {
            let count = givers.give_up(step);
            pressure.gave(count);
            tell_of(step, is_first, count);
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            match step {
                Step::History => given_up.history += count,
                Step::Watches => given_up.watches += count,
                Step::Streams => given_up.streams += count,
            }
        }
        tell_of_ease(look, &given_up);
        gauge.tell(Told {
            strain: look.strain,
            reason: pressure.reason().to_owned(),
            given_up,
            group: memory.group,
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return "memory",
            () = sleep(pressure.pause(&memory, &config)) => {}
        }
    }
}

/// Each step is told once in each shortage.
fn tell_of(step: Step, is_first: bool, count: usize) {
    if !is_first {
        return;
    }
    match step {
        Step::History => tracing::warn!(
            count,
            "To free memory, streams that are over, the older audit trail in memory and checked tokens were forgotten"
        ),
        Step::Watches => tracing::warn!(
            count,
            "To free memory, all watches were ended; their owners are told when they ask"
        ),
        Step::Streams => tracing::warn!(
            count,
            "To free memory, clients on idle streams and connections are asked to come back later"
        ),
    }
}

fn tell_of_ease(look: Look, given_up: &GivenUp) {
    if look.strain >= look.was {
        return;
    }
    if look.strain == Strain::Calm {
        tracing::info!(
            history = given_up.history,
            watches = given_up.watches,
            streams = given_up.streams,
            "There is enough memory again; so much was given up since the service started"
        );
    } else {
        tracing::info!("Memory is {} now, no longer {}.", look.strain, look.was);
    }
}
