//! The mirror: what the box knows of one Core, in memory, bounded. The authority for every read.
//!
//! One lock guards it. The link's task writes at most a batch under one hold, readers copy out and let go, nobody waits for a
//! disk, and nobody holds it across an `.await`. [`super::Store`] keeps what it holds beyond a restart.

mod design;
mod read;
mod save;
mod side;
mod slot;
mod stamp;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

pub use read::{SearchHit, SearchKind};
pub(super) use save::{Debt, Restoring};

use super::view::{ControlId, DesignDiff, Notice};
use crate::limits::{DIRTY_WAKES, NOTICES_MAX};
use crate::model::change::ChangeSink;
use crate::model::control::Quality;
use crate::wire::poll::BATCH_MAX;
use crate::wire::qrc::{ComponentFacts, ControlChange, ControlFacts, EngineStatus};
use table::Table;

/// All that is known of one Core. Shared behind an `Arc` by its link, which writes, and everybody else, who reads.
#[derive(Debug)]
pub struct Mirror {
    table: RwLock<Table>,
    notices: broadcast::Sender<Notice>,
    /// How the design differs from the one before, for those who ask later.
    last_diff: RwLock<Option<Arc<DesignDiff>>>,
    /// Wakes the store's writer before its interval is over. Empty for a mirror without a store.
    crowded: OnceLock<Arc<Notify>>,
}

type Batch = heapless::Vec<ControlId, BATCH_MAX>;

impl Mirror {
    /// An empty mirror; ages count from `now`. At most [`crate::limits::CONTROLS_MAX`] controls at up to 100 bytes each come into it.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            table: RwLock::new(Table::new(now)),
            notices: broadcast::Sender::new(NOTICES_MAX),
            last_diff: RwLock::new(None),
            crowded: OnceLock::new(),
        }
    }

    /// Hears of everything that moves. A subscriber that lags by more than [`NOTICES_MAX`] is told so and reads the mirror again.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// How the design known now differs from the one before it; absent until a design was told in this process.
    #[must_use]
    pub fn last_diff(&self) -> Option<Arc<DesignDiff>> {
        self.last_diff.read().clone()
    }

    /// Nobody listening is no fault.
    fn tell(&self, notice: Notice) {
        self.notices.send(notice).ok();
    }

    fn tell_changed(&self, changed: &[ControlId]) {
        if !changed.is_empty() && self.notices.receiver_count() > 0 {
            self.tell(Notice::Changed(changed.into()));
        }
    }

    /// Runs `work` on one batch after another, each under a lock of its own, and tells subscribers what moved.
    fn in_batches<T>(
        &self,
        items: &[T],
        now: Instant,
        mut work: impl FnMut(&mut Table, &[T], u32, &mut Batch),
    ) {
        let mut is_crowded = false;
        for items in items.chunks(BATCH_MAX) {
            let mut changed = Batch::new();
            {
                let mut table = self.table.write();
                table.roll_rates(now);
                let ticks = table.ticks(now);
                work(&mut table, items, ticks, &mut changed);
                is_crowded |= table.owed.controls.len() >= DIRTY_WAKES;
            }
            self.tell_changed(&changed);
        }
        if is_crowded && let Some(crowded) = self.crowded.get() {
            crowded.notify_one();
        }
    }

    /// Whom to wake when more than [`DIRTY_WAKES`] controls wait to be stored. Said once, by the store.
    pub(super) fn wake_when_crowded(&self, crowded: Arc<Notify>) {
        self.crowded.set(crowded).ok();
    }
}

impl ChangeSink for Mirror {
    fn design_began(&self, engine: &EngineStatus, now: Instant) {
        let is_void = self.table.write().began(engine, now);
        if is_void {
            self.tell(Notice::Quality(Quality::Unknown));
        }
    }

    fn component(&self, facts: &ComponentFacts, controls: &[ControlFacts<'_>], now: Instant) {
        let Some(owner) = self.table.write().component_began(facts, controls.len()) else {
            return;
        };
        self.in_batches(controls, now, |table, controls, ticks, changed| {
            for control in controls {
                if let Some(id) = table.control(owner, control, ticks) {
                    // Never full: it has room for a batch.
                    changed.push(ControlId(id)).ok();
                }
            }
        });
    }

    fn named_control(&self, name: &str, _now: Instant) {
        self.table.write().named_control(name);
    }

    fn design_ended(&self, _now: Instant) {
        let diff = self.table.write().ended();
        if let Some(diff) = diff.map(Arc::new) {
            *self.last_diff.write() = Some(Arc::clone(&diff));
            self.tell(Notice::Design { diff });
        }
    }

    fn values(&self, changes: &[ControlChange<'_>], now: Instant) {
        self.in_batches(changes, now, |table, changes, ticks, changed| {
            // Found first and changed after, so that the processor looks for many at once.
            let mut last = u32::MAX;
            let found: heapless::Vec<Option<u32>, BATCH_MAX> = changes
                .iter()
                .map(|change| {
                    let component = change.component.as_deref().filter(|name| !name.is_empty());
                    let id = table.find_after(last, component, &change.name);
                    last = id.unwrap_or(last);
                    id
                })
                .collect();
            for (change, id) in changes.iter().zip(found) {
                if let Some(id) = id
                    && table.apply(id, change, ticks)
                {
                    changed.push(ControlId(id)).ok();
                }
            }
        });
    }

    fn confirmed(&self, now: Instant) {
        let becomes_live = {
            let mut table = self.table.write();
            table.confirmed = Some(now);
            let is_linked = table.linked.is_some();
            is_linked && !std::mem::replace(&mut table.is_all_live, true)
        };
        if becomes_live {
            self.tell(Notice::Quality(Quality::Live));
        }
    }

    fn went_stale(&self, _now: Instant) {
        let was_live = self.table.write().went_stale();
        if was_live {
            self.tell(Notice::Quality(Quality::Stale));
        }
    }
}
