//! Store and audit trail: what must survive.

use std::time::Duration;

use super::{Complaints, Facts, Finding, Level};
use crate::config::HealthConfig;
use crate::limits::STORE_FILE_MAX_BYTES;

/// Time for which something may wait to be written: several rounds of the writer.
const OWED_MAX: Duration = Duration::from_mins(1);

pub(super) fn store(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    let store = &facts.store;
    let mut complaints = Complaints::default();
    if let Some(fault) = &store.fault {
        complaints.degraded(&format!(
            "Nothing is stored at the moment: {fault}. The box serves from memory; a restart would forget what changed since."
        ));
    } else if store.queue > 0 && facts.flushed.is_some_and(|age| age > OWED_MAX) {
        complaints.degraded("What changed has waited for the disk for more than a minute.");
    }
    if let Some(why) = &store.quarantined {
        complaints.degraded(&format!(
            "A damaged store was moved aside: {why}. What still read was kept; this is told until the next start."
        ));
    }
    if store.bytes > 2 * STORE_FILE_MAX_BYTES {
        complaints
            .degraded("The store is twice as large as it should ever be: start the service anew.");
    }
    complaints.finding()
}

pub(super) fn audit(facts: &Facts, _: &HealthConfig, _: Level) -> Finding {
    let audit = &facts.audit;
    let mut complaints = Complaints::default();
    if let Some(fault) = &audit.fault {
        let lines = audit.waiting + audit.lost;
        complaints.degraded(&format!(
            "{lines} lines of the audit trail are not on disk: {fault}."
        ));
    }
    complaints.finding()
}
