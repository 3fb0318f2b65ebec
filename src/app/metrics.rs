//! What the parts of the box tell at a scrape: links, mirrors, store, audit trail.

use std::sync::Arc;

use tokio::sync::watch;

use super::health::{Health, Seen};

use crate::audit::Audit;
use crate::limits::MEMORY_BUDGET_BYTES;
use crate::link::{BreakerState, LinkState, LinkStatus};
use crate::ops::health::Level;
use crate::ops::pressure::{Gauge, Strain};
use crate::service::qsys::System;
use crate::store::StoreStatus;
use crate::store::view::MirrorStatus;
use crate::telemetry::metrics::names::{self, Name};
use crate::telemetry::metrics::{Fact, Facts, Number as _};
use crate::telemetry::spans::Spans;

/// Looks at everything when somebody asks.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) systems: Vec<System>,
    pub(super) store: watch::Receiver<StoreStatus>,
    pub(super) audit: Audit,
    pub(super) health: Arc<Health>,
    pub(super) spans: Arc<Spans>,
    pub(super) gauge: Gauge,
}

impl Facts for Numbers {
    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::new(
            &names::INFO,
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        )];
        self.of_links(&mut facts);
        self.of_mirrors(&mut facts);
        self.of_disk(&mut facts);
        self.of_box(&mut facts);
        self.of_spans(&mut facts);
        facts
    }
}

impl Numbers {
    fn of_box(&self, facts: &mut Vec<Fact>) {
        let Seen {
            report,
            host,
            lag,
            own_load,
        } = self.health.seen();
        for check in &report.standings {
            let level = match check.level {
                Level::Healthy => 0.0,
                Level::Degraded => 1.0,
                Level::Unhealthy => 2.0,
            };
            let labels = [("check", check.name)];
            facts.push(Fact::new(&names::HEALTH, &labels, level));
            facts.push(Fact::new(&names::HEALTH_CHANGES, &labels, check.changes));
        }
        let told = self.gauge.told();
        let uptime = report.began.elapsed().as_secs_f64();
        facts.push(Fact::new(&names::UPTIME, &[], uptime));
        for (kind, bytes) in [
            ("rss", host.rss),
            ("available", host.available),
            ("budget", u64::try_from(MEMORY_BUDGET_BYTES).ok()),
            ("group", told.group.map(|group| group.used)),
            ("limit", told.group.map(|group| group.most)),
        ] {
            let labels = [("type", kind)];
            facts.extend(bytes.map(|bytes| Fact::new(&names::MEMORY, &labels, bytes)));
        }
        let strain = match told.strain {
            Strain::Calm => 0.0,
            Strain::Tight => 1.0,
            Strain::Critical => 2.0,
        };
        facts.push(Fact::new(&names::PRESSURE, &[], strain));
        for (kind, count) in [
            ("history", told.given_up.history),
            ("streams", told.given_up.streams),
            ("watches", told.given_up.watches),
        ] {
            facts.push(Fact::new(&names::GIVEN_UP, &[("kind", kind)], count));
        }
        facts.push(Fact::new(
            &names::PRESSURE_REFUSED,
            &[],
            self.gauge.refused(),
        ));
        let load = own_load.map(|load| load.number() / 100.0);
        facts.extend(load.map(|load| Fact::new(&names::CPU, &[], load)));
        let open = host.descriptors.map(|(open, _)| open);
        facts.extend(open.map(|open| Fact::new(&names::DESCRIPTORS, &[], open)));
        for (quantile, late) in [("0.5", lag.p50), ("0.99", lag.p99), ("1", lag.max)] {
            let labels = [("quantile", quantile)];
            facts.push(Fact::new(&names::LOOP_LAG, &labels, late.as_secs_f64()));
        }
    }

    fn of_spans(&self, facts: &mut Vec<Fact>) {
        let spans = self.spans.status();
        for (fate, count) in [
            ("sent", spans.sent),
            ("over_rate", spans.over_rate),
            ("no_room", spans.no_room),
            ("not_taken", spans.not_taken),
        ] {
            facts.push(Fact::new(&names::SPANS, &[("fate", fate)], count));
        }
        facts.push(Fact::new(&names::SPANS_WAITING, &[], spans.waiting_bytes));
    }

    fn of_links(&self, facts: &mut Vec<Fact>) {
        let links: Vec<(&str, LinkStatus)> = self
            .systems
            .iter()
            .map(|system| (system.name.as_str(), system.link.status()))
            .collect();
        let live = links
            .iter()
            .filter(|(_, link)| link.state == LinkState::Live);
        facts.push(Fact::new(&names::CORE_CONNECTIONS, &[], live.count()));
        for (system, link) in &links {
            let labels = [("system", *system), ("state", link.state.as_str())];
            facts.push(Fact::new(&names::LINK_STATE, &labels, 1.0));
        }
        let mut each = |name: &'static Name, number: fn(&LinkStatus) -> Option<f64>| {
            for (system, link) in &links {
                let number = number(link);
                facts.extend(number.map(|value| Fact::new(name, &[("system", system)], value)));
            }
        };
        each(&names::CORE_CONNECTION_ERRORS, |link| {
            Some(link.failures.number())
        });
        each(&names::CORE_RECONNECTS, |link| {
            // One that is lost and did not come back yet is none.
            let is_away = link.state != LinkState::Live;
            Some(link.drops.saturating_sub(u64::from(is_away)).number())
        });
        each(&names::CORE_GARBAGE, |link| {
            Some(link.garbage_frames.number())
        });
        each(&names::BREAKER_STATE, |link| {
            Some(match link.breaker {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen => 1.0,
                BreakerState::Open => 2.0,
            })
        });
        each(&names::BREAKER_OPENED, |link| {
            Some(link.breaker_opened.number())
        });
        each(&names::POLL_ROUND_TRIP, |link| {
            link.round_trip.map(|trip| trip.as_secs_f64())
        });
    }

    fn of_mirrors(&self, facts: &mut Vec<Fact>) {
        let served = self.systems.iter().map(|system| system.served().counted());
        let (hits, misses) = served.fold((0, 0), |(hits, misses), (more, others)| {
            (hits + more, misses + others)
        });
        let mirrors: Vec<(&str, MirrorStatus)> = self
            .systems
            .iter()
            .map(|system| (system.name.as_str(), system.mirror.status()))
            .collect();
        let controls: usize = mirrors.iter().map(|(_, mirror)| mirror.controls).sum();
        facts.push(Fact::new(&names::CACHE_HITS, &[], hits));
        facts.push(Fact::new(&names::CACHE_MISSES, &[], misses));
        facts.push(Fact::new(&names::CACHE_ITEMS, &[], controls));
        let mut each = |name: &'static Name, number: fn(&MirrorStatus) -> f64| {
            for (system, mirror) in &mirrors {
                facts.push(Fact::new(name, &[("system", system)], number(mirror)));
            }
        };
        each(&names::COMPONENTS, |mirror| mirror.components.number());
        each(&names::CHANGES, |mirror| mirror.changes.number());
        each(&names::REFUSED_CONTROLS, |mirror| mirror.refused.number());
    }

    fn of_disk(&self, facts: &mut Vec<Fact>) {
        let store = self.store.borrow().clone();
        facts.push(Fact::new(&names::STORE_QUEUE, &[], store.queue));
        facts.push(Fact::new(&names::STORE_BYTES, &[], store.bytes));
        facts.push(Fact::new(&names::STORE_ERRORS, &[], store.errors));
        let flushed = store.last_flush.map(|at| at.elapsed().as_secs_f64());
        facts.extend(flushed.map(|age| Fact::new(&names::STORE_FLUSH_AGE, &[], age)));
        let audit = self.audit.status();
        facts.push(Fact::new(&names::AUDIT_WAITING, &[], audit.waiting));
        facts.push(Fact::new(&names::AUDIT_LOST, &[], audit.lost));
        facts.push(Fact::new(&names::AUDIT_BYTES, &[], audit.bytes));
    }
}
