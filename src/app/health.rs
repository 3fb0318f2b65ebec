//! Gathers what the box knows of itself, has it judged, says what changed, and tells whoever asks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::audit::Audit;
use crate::base::clock::UnixMillis;
use crate::base::flight::Flight;
use crate::base::life::Life;
use crate::base::shutdown::Stop;
use crate::config::{Config, HealthConfig};
use crate::link::Link;
#[cfg(test)]
use crate::link::LinkStatus;
use crate::ops::health::{
    Board, ClockWatch, CoreFacts, Drops, EARLIEST, Facts, Growth, Report, Source,
};
use crate::ops::host::disk::{Disks, Fill, Probe};
use crate::ops::host::{Host, Root, SLOW, keep};
use crate::ops::pressure::Gauge;
use crate::ops::pulse::{Lag, Pulse};
use crate::ops::watchdog::Vitals;
use crate::safety::Policy;
use crate::service::qsys::{System, clean};
use crate::store::{Mirror, StoreStatus};
use crate::tls::Certificates;

/// Why no requests should come any more.
const STOPPING: &str = "The service is stopping.";

/// Links, mirrors, store, machine: how well they are.
#[derive(Debug)]
pub(super) struct Health {
    cores: Vec<Watched>,
    policy: Arc<Policy>,
    store: watch::Receiver<StoreStatus>,
    store_flight: Flight,
    audit: Audit,
    config: HealthConfig,
    pulse: Pulse,
    gauge: Gauge,
    host: watch::Sender<Host>,
    disks: watch::Sender<Disks>,
    disk_flight: Flight,
    certificates: OnceLock<Arc<Certificates>>,
    memory: Mutex<Memory>,
    published: watch::Sender<Arc<Report>>,
    stop: Stop,
}

#[derive(Debug)]
struct Watched {
    name: String,
    link: Link,
    mirror: Arc<Mirror>,
}

/// What is remembered from one look to the next.
#[derive(Debug)]
struct Memory {
    board: Board,
    drops: Vec<Drops>,
    growth: Growth,
    clock: ClockWatch,
    jump: Option<i64>,
    /// Ticks at the last sample, and the load of the last three.
    ticks: Option<(u64, u64)>,
    loads: heapless::Deque<u64, 3>,
    /// Processor time of the process and uptime at the last sample, ms; and what came of the last two, hundredths of a percent of one core.
    worked: Option<(u64, u64)>,
    own_load: Option<u64>,
    /// The sample that was taken in last.
    sampled: Option<UnixMillis>,
}

/// The box itself at one moment.
pub(super) struct Seen {
    pub(super) report: Arc<Report>,
    pub(super) host: Host,
    pub(super) lag: Lag,
    /// Hundredths of a percent of one core.
    pub(super) own_load: Option<u64>,
}

/// What health looks at.
pub(super) struct Parts<'a> {
    pub(super) cores: &'a [System],
    pub(super) policy: Arc<Policy>,
    pub(super) store: watch::Receiver<StoreStatus>,
    pub(super) store_flight: Flight,
    pub(super) audit: Audit,
    pub(super) pulse: Pulse,
    pub(super) gauge: Gauge,
    pub(super) stop: Stop,
}

impl Health {
    pub(super) fn new(config: &Config, parts: Parts<'_>) -> Arc<Self> {
        let now = Instant::now();
        let cores = parts.cores.iter().map(|core| Watched {
            name: core.name.to_string(),
            link: core.link.clone(),
            mirror: Arc::clone(&core.mirror),
        });
        let board = Board::new(now);
        Arc::new(Self {
            policy: parts.policy,
            store: parts.store,
            store_flight: parts.store_flight,
            audit: parts.audit,
            config: config.health.clone(),
            pulse: parts.pulse,
            gauge: parts.gauge,
            host: watch::Sender::default(),
            disks: watch::Sender::default(),
            disk_flight: Flight::default(),
            certificates: OnceLock::new(),
            published: watch::Sender::new(board.report()),
            memory: Mutex::new(Memory {
                board,
                drops: vec![Drops::default(); parts.cores.len()],
                growth: Growth::default(),
                clock: ClockWatch::default(),
                jump: None,
                ticks: None,
                loads: heapless::Deque::new(),
                worked: None,
                own_load: None,
                sampled: None,
            }),
            stop: parts.stop,
            cores: cores.collect(),
        })
    }

    /// The status of the first link, for whoever holds it up.
    #[cfg(test)]
    pub(super) fn link(&self) -> watch::Receiver<LinkStatus> {
        self.cores.first().unwrap().link.watch_status()
    }

    /// Whoever holds this holds up every look.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop {
        self.memory.lock()
    }

    /// Hears of every report that differs.
    pub(super) fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.published.subscribe()
    }

    /// Starts what samples, and what looks once in a while and whenever something changes.
    pub(super) fn spawn(
        self: &Arc<Self>,
        config: &Config,
        tasks: &mut JoinSet<&'static str>,
        life: Life,
    ) {
        let stop = &life.stop;
        let every = self.config.every;
        let (root, clock_file) = (self.machine(config), config.audit.clock_file.clone());
        tasks.spawn(keep(
            "machine sampler",
            Flight::default(),
            every,
            self.host.clone(),
            stop.clone(),
            move || root.sample(clock_file.as_deref()),
        ));
        let probe = Probe::new(&config.store.path, std::env::temp_dir());
        tasks.spawn(keep(
            "disk probe",
            self.disk_flight.clone(),
            every,
            self.disks.clone(),
            stop.clone(),
            move || probe.ask(),
        ));
        tasks.spawn(Arc::clone(self).watch(life));
    }

    /// The machine, with the sensors of its board.
    fn machine(&self, config: &Config) -> Root {
        let sensors = config.board.as_ref().map(|board| board.sensors.clone());
        Root::new(&self.config.root).with_sensors(sensors)
    }

    /// The certificate that clients see, of the first port with TLS.
    pub(super) fn set_certificates(&self, certificates: &Arc<Certificates>) {
        let _first = self.certificates.set(Arc::clone(certificates));
    }

    /// For how long the disk has not answered a look or a batch of the store that is under way.
    fn disk_silent(&self, now: Instant) -> Option<Duration> {
        let flights = [&self.disk_flight, &self.store_flight];
        flights.iter().filter_map(|flight| flight.age(now)).max()
    }

    /// What tells, beside the loops, whether the process turns.
    pub(super) fn vitals(&self) -> Vitals {
        Vitals {
            worker_stuck: self.pulse.stuck_for(),
            disk_busy: self.disk_silent(Instant::now()).unwrap_or_default(),
        }
    }

    /// What monitoring is told of the box itself.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            report: self.look(),
            host: self.host.borrow().clone(),
            lag: self.pulse.lag(),
            own_load: self.memory.lock().own_load,
        }
    }

    async fn watch(self: Arc<Self>, life: Life) -> &'static str {
        let Life { stop, beat } = life;
        let mut links: Vec<_> = self
            .cores
            .iter()
            .map(|core| core.link.watch_status())
            .collect();
        let (mut store, mut host) = (self.store.clone(), self.host.subscribe());
        let (mut disks, mut stuck) = (self.disks.subscribe(), self.pulse.watch());
        let mut gauge = self.gauge.watch();
        loop {
            self.look();
            let links = links.iter_mut().map(|link| link.changed().boxed());
            let is_told = self.published.borrow().not_ready == Some(STOPPING);
            // What is watched lives as long as this does; a link that is gone takes the process with it.
            tokio::select! {
                biased;
                () = stop.cancelled() => return "health",
                never = beat.answer() => match never {},
                () = self.stop.cancelled(), if !is_told => {}
                (changed, ..) = async { select_all(links).await } => if changed.is_err() {
                    sleep(Duration::from_secs(1)).await;
                },
                changed = store.changed() => if changed.is_err() {
                    sleep(Duration::from_secs(1)).await;
                },
                _ = host.changed() => {}
                _ = disks.changed() => {}
                _ = stuck.changed() => {}
                _ = gauge.changed() => {}
                // A batch of the store that takes too long tells nobody.
                () = sleep(self.config.every.min(SLOW)) => {}
            }
        }
    }

    /// Looks at everything now.
    fn look(&self) -> Arc<Report> {
        let (now, wall) = (Instant::now(), UnixMillis::now());
        let mut memory = self.memory.lock();
        let facts = self.facts(&mut memory, now, wall);
        let not_ready = self.not_ready(&facts);
        let changes = memory
            .board
            .judge(&facts, not_ready, &self.config, now, wall);
        let report = memory.board.report();
        self.published.send_if_modified(|told| {
            let is_news = !Arc::ptr_eq(told, &report);
            *told = Arc::clone(&report);
            is_news
        });
        drop(memory);
        for change in changes {
            if change.to > change.from {
                tracing::warn!("{}", change.sentence());
            } else {
                tracing::info!("{}", change.sentence());
            }
        }
        report
    }

    fn not_ready(&self, facts: &Facts) -> Option<&'static str> {
        let knows_a_design = facts.cores.iter().any(|core| core.mirror.engine.is_some());
        if self.stop.is_cancelled() {
            Some(STOPPING)
        } else if facts.store.is_replaced {
            Some("The store is being replaced.")
        } else if knows_a_design {
            None
        } else {
            Some("No design is known yet.")
        }
    }

    fn facts(&self, memory: &mut Memory, now: Instant, wall: UnixMillis) -> Facts {
        let host = self.host.borrow().clone();
        memory.take_in(&host, &self.config, now);
        let cores = self
            .cores
            .iter()
            .zip(&mut memory.drops)
            .map(|(core, drops)| {
                let link = core.link.status();
                CoreFacts {
                    name: core.name.clone(),
                    silent: link
                        .last_inbound
                        .map(|at| now.saturating_duration_since(at)),
                    drops: drops.count(link.drops, now),
                    mirror: core.mirror.status(),
                    link,
                }
            });
        let mirrors: Vec<_> = self.cores.iter().map(|core| &*core.mirror).collect();
        let store = self.store.borrow().clone();
        Facts {
            cores: cores.collect(),
            idle_rules: self.policy.patterns_without_match(&mirrors),
            flushed: store.last_flush.map(|at| now.saturating_duration_since(at)),
            store,
            audit: self.audit.status(),
            disks: self.disks.borrow().clone(),
            disk_silent: self.disk_silent(now),
            cpu: memory.load(),
            growth: memory.growth.slope(),
            jump: memory.jump,
            pressure: self.gauge.told(),
            lag: self.pulse.lag(),
            stuck: self.pulse.stuck_for(),
            tasks: self.pulse.tasks(),
            certificate_days: self.certificate_days(wall),
            host,
        }
    }

    fn certificate_days(&self, wall: UnixMillis) -> Option<i64> {
        let facts = self.certificates.get()?.facts();
        let left = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let days = (left(facts.not_after.0) - left(wall.0)).div_euclid(86_400_000);
        (wall >= EARLIEST).then_some(days)
    }
}

impl Memory {
    /// Takes in a sample of the machine, once.
    fn take_in(&mut self, host: &Host, config: &HealthConfig, now: Instant) {
        if host.wall == self.sampled {
            return;
        }
        self.sampled = host.wall;
        if let Some(rss) = host.rss {
            self.growth.sample(now, rss);
        }
        if let (Some(wall), Some(uptime)) = (host.wall, host.uptime) {
            let is_set = host.is_clock_set.unwrap_or(true);
            self.jump = self.clock.look(wall, uptime, is_set, config.clock_jump);
        }
        let worked = host.worked.zip(host.uptime);
        let before = std::mem::replace(&mut self.worked, worked);
        self.own_load = worked
            .zip(before)
            .map(|((work, now), (work_before, then))| {
                let work = work.saturating_sub(work_before).saturating_mul(10_000);
                work / now.saturating_sub(then).max(1)
            });
        let before = std::mem::replace(&mut self.ticks, host.ticks);
        if let (Some((busy, all)), Some((busy_before, all_before))) = (host.ticks, before) {
            if self.loads.is_full() {
                self.loads.pop_front();
            }
            let busy = busy.saturating_sub(busy_before).saturating_mul(100);
            let load = busy / all.saturating_sub(all_before).max(1);
            // There is room now.
            let _kept = self.loads.push_back(load);
        }
    }

    /// The least load of the last three samples, once there are three.
    fn load(&self) -> Option<u64> {
        self.loads
            .iter()
            .copied()
            .min()
            .filter(|_| self.loads.is_full())
    }
}

impl Source for Health {
    fn report(&self) -> Arc<Report> {
        self.look()
    }

    fn last(&self) -> Arc<Report> {
        Arc::clone(&self.published.borrow())
    }

    fn detail(&self) -> Value {
        let now = Instant::now();
        let age = |at: Option<Instant>| at.map(|at| millis(now.saturating_duration_since(at)));
        let cores = self.cores.iter().map(|core| {
            let (link, mirror) = (core.link.status(), core.mirror.status());
            json!({
                "core": core.name,
                "link": link.state.as_str(),
                "breaker": link.breaker.as_str(),
                "drops": link.drops,
                "design": mirror.engine.as_ref().map(|engine| clean(&engine.design_name).into_owned()),
                "components": mirror.components,
                "controls": mirror.controls,
                "refused": mirror.refused,
                "quality": mirror.quality,
            })
        });
        let store = self.store.borrow().clone();
        let audit = self.audit.status();
        let (host, disks) = (self.host.borrow().clone(), self.disks.borrow().clone());
        let (lag, told) = (self.pulse.lag(), self.gauge.told());
        let fill = |fill: Option<Fill>| {
            fill.map(|fill| json!({ "percent": fill.percent, "free": fill.free }))
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": cores.collect::<Vec<_>>(),
            "store": {
                "queue": store.queue,
                "errors": store.errors,
                "bytes": store.bytes,
                "fault": store.fault,
                "flushed_ms": age(store.last_flush),
            },
            "audit": {
                "waiting": audit.waiting,
                "lost": audit.lost,
                "written": audit.written,
                "errors": audit.errors,
                "not_forwarded": audit.dropped,
                "bytes": audit.bytes,
                "fault": audit.fault,
                "synced_ms": age(audit.last_sync),
                "clock": if audit.is_clock_good { "synchronised" } else { "not synchronised" },
            },
            "disk": {
                "data": fill(disks.data),
                "temporary": fill(disks.temporary),
                "fault": disks.fault,
                "silent_ms": self.disk_silent(now).map(millis),
            },
            "machine": {
                "rss": host.rss,
                "memory_limit": host.limit,
                "memory_total": host.total,
                "memory_available": host.available,
                "memory_pressure_percent": host.pressure,
                "memory_group": told.group.map(|group| json!({
                    "used": group.used,
                    "most": group.most,
                    "hits": group.hits,
                    "killed": group.killed,
                })),
                "memory": told.strain.as_str(),
                "given_up": {
                    "history": told.given_up.history,
                    "watches": told.given_up.watches,
                    "streams": told.given_up.streams,
                    "refused": self.gauge.refused(),
                },
                "cpu_percent": self.memory.lock().loads.back(),
                "temperature": host.temperature,
                "low_voltage": host.power.map(|power| power.is_low),
                "throttled": host.power.map(|power| power.is_throttled),
                "flash_worn_percent": host.flash,
                "descriptors": host.descriptors.map(|(open, _)| open),
                "descriptors_max": host.descriptors.map(|(_, most)| most),
                "uptime_ms": host.uptime,
                "clock_set": host.is_clock_set,
            },
            "event_loop": {
                "p50_us": lag.p50.as_micros(),
                "p99_us": lag.p99.as_micros(),
                "max_us": lag.max.as_micros(),
                "held_ms": millis(lag.held),
                "stuck_ms": millis(self.pulse.stuck_for()),
                "tasks": self.pulse.tasks(),
            },
            "certificate_days": self.certificate_days(UnixMillis::now()),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
