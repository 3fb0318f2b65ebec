//! How well the box is, from what its parts say of themselves.

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::audit::Audit;
use crate::base::shutdown::Stop;
use crate::http::{HealthSource, Level, Verdict};
use crate::link::{Link, LinkState};
use crate::safety::Policy;
use crate::service::qsys::{System, clean};
use crate::store::{Mirror, StoreStatus};
use std::sync::Arc;

/// Patterns named in one complaint.
const PATTERNS_SHOWN: usize = 10;

/// Watches links, mirrors and the store.
#[derive(Debug)]
pub(super) struct Health {
    cores: Vec<Watched>,
    policy: Arc<Policy>,
    store: watch::Receiver<StoreStatus>,
    audit: Audit,
    stop: Stop,
}

#[derive(Debug)]
struct Watched {
    name: String,
    link: Link,
    mirror: Arc<Mirror>,
}

impl Health {
    pub(super) fn new(
        cores: &[System],
        policy: Arc<Policy>,
        store: watch::Receiver<StoreStatus>,
        audit: Audit,
        stop: Stop,
    ) -> Self {
        let cores = cores.iter().map(|core| Watched {
            name: core.name.to_string(),
            link: core.link.clone(),
            mirror: Arc::clone(&core.mirror),
        });
        Self {
            cores: cores.collect(),
            policy,
            store,
            audit,
            stop,
        }
    }

    /// Everything that is not as it should be, in words.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for core in &self.cores {
            let status = core.link.status();
            if status.state != LinkState::Live {
                complaints.push(format!(
                    "The link to {} is {}: {}",
                    core.name,
                    status.state.as_str(),
                    status.last_fault
                ));
            }
            let refused = core.mirror.status().refused;
            if refused > 0 {
                complaints.push(format!(
                    "Components and controls of {} that are not mirrored: {refused}",
                    core.name
                ));
            }
            if !status.unlisted_components.is_empty() {
                let names = status.unlisted_components.join(", ");
                complaints.push(format!(
                    "The Core {} does not tell the controls of some components: {names}",
                    core.name
                ));
            }
            if !status.oversize_components.is_empty() {
                let names = status.oversize_components.join(", ");
                complaints.push(format!(
                    "Components of {} that are too large to mirror: {names}",
                    core.name
                ));
            }
        }
        let mirrors: Vec<_> = self.cores.iter().map(|core| &*core.mirror).collect();
        let idle = self.policy.patterns_without_match(&mirrors);
        if !idle.is_empty() {
            let named: Vec<_> = idle.iter().take(PATTERNS_SHOWN).cloned().collect();
            let more = if idle.len() > named.len() {
                ", ..."
            } else {
                ""
            };
            complaints.push(format!(
                "Safety rules that fit no control of the running design, so that they hold nothing: {}{more}.",
                named.join(", ")
            ));
        }
        let store = self.store.borrow();
        complaints.extend(
            store
                .fault
                .iter()
                .map(|fault| format!("Nothing is stored at the moment: {fault}")),
        );
        complaints.extend(
            store
                .quarantined
                .iter()
                .map(|why| format!("A damaged store was moved aside: {why}")),
        );
        let audit = self.audit.status();
        complaints.extend(audit.fault.iter().map(|fault| {
            let lines = audit.waiting + audit.lost;
            format!("{lines} lines of the audit trail are not on disk: {fault}.")
        }));
        complaints
    }
}

impl HealthSource for Health {
    fn verdict(&self) -> Verdict {
        let complaints = self.complaints();
        let knows_a_design = self
            .cores
            .iter()
            .any(|core| core.mirror.status().engine.is_some());
        Verdict {
            level: if complaints.is_empty() {
                Level::Ok
            } else {
                Level::Degraded
            },
            is_ready: knows_a_design && !self.stop.is_cancelled(),
            summary: if complaints.is_empty() {
                "All is well.".to_owned()
            } else {
                clean(&complaints.join(" ")).into_owned()
            },
        }
    }

    fn detail(&self) -> Value {
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
        let store = self.store.borrow();
        let flushed = store.last_flush.map(|at| at.elapsed().as_millis());
        let flushed = flushed.and_then(|millis| u64::try_from(millis).ok());
        let audit = self.audit.status();
        let synced = audit.last_sync.map(|at| at.elapsed().as_millis());
        let synced = synced.and_then(|millis| u64::try_from(millis).ok());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": cores.collect::<Vec<_>>(),
            "store": {
                "queue": store.queue,
                "errors": store.errors,
                "bytes": store.bytes,
                "fault": store.fault,
                "flushed_ms": flushed,
            },
            "audit": {
                "waiting": audit.waiting,
                "lost": audit.lost,
                "written": audit.written,
                "errors": audit.errors,
                "not_forwarded": audit.dropped,
                "bytes": audit.bytes,
                "fault": audit.fault,
                "synced_ms": synced,
                "clock": if audit.is_clock_good { "synchronised" } else { "not synchronised" },
            },
        })
    }
}
