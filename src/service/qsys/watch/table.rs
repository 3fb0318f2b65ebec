//! All watches of all callers: bounded, bound to their owners, and forgotten when nobody asks any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Watch;
use crate::base::shutdown::Stop;
use crate::limits::{
    WATCH_CONTROLS_MAX, WATCH_FAST_IDLE, WATCH_SWEEP, WATCHED_CONTROLS_MAX,
    WATCHED_CONTROLS_PER_CALLER_MAX, WATCHES_FAST_MAX, WATCHES_MAX, WATCHES_PER_CALLER_MAX,
};
use crate::link::FastWatch;
use crate::ops::pressure::Gauge;
use crate::service::qsys::fault;
use crate::service::qsys::sight::Line;
use crate::service::{FaultCode, ToolFault};

/// Own watches named to a caller who has too many.
const OWN_SHOWN: usize = 20;

/// What a watch goes by among its owner's watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::service::qsys) enum Kind {
    /// An id that was made here.
    Watch,
    /// A name that the owner chose: a change group under an older name.
    Group,
}

/// Finds a watch, for its owner alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::service::qsys) struct Key {
    pub(in crate::service::qsys) owner: Arc<str>,
    pub(in crate::service::qsys) kind: Kind,
    pub(in crate::service::qsys) name: CompactString,
}

impl Key {
    /// A new id that nobody can guess.
    pub(in crate::service::qsys) fn random(owner: &Arc<str>) -> Result<Self, ToolFault> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|fault| {
            ToolFault::new(
                FaultCode::Busy,
                format!("The operating system has no randomness to give: {fault}."),
                "Try again in a minute.",
            )
        })?;
        Ok(Self::watch(
            owner,
            &format!("w_{:032x}", u128::from_be_bytes(bytes)),
        ))
    }

    /// A watch by its id.
    pub(in crate::service::qsys) fn watch(owner: &Arc<str>, id: &str) -> Self {
        Self {
            owner: Arc::clone(owner),
            kind: Kind::Watch,
            name: id.into(),
        }
    }

    /// A change group by its name.
    pub(in crate::service::qsys) fn group(owner: &Arc<str>, name: &str) -> Self {
        Self {
            owner: Arc::clone(owner),
            kind: Kind::Group,
            name: name.into(),
        }
    }

    /// The fault when there is no such watch.
    pub(in crate::service::qsys) fn gone(&self) -> ToolFault {
        let (problem, next_step) = match self.kind {
            Kind::Watch => (
                "There is no such watch: it expired, was stopped, or is another caller's.",
                "Start another one with qsys_start_watch, and poll it more often than its time to live.",
            ),
            Kind::Group => (
                "There is no such change group: it was destroyed, not used for too long, or never made.",
                "Make it with create_change_group and add its controls again.",
            ),
        };
        ToolFault::new(FaultCode::NotFound, problem, next_step)
    }
}

#[derive(Debug)]
struct Row {
    /// Absent while a call has it in its hands.
    watch: Option<Watch>,
    /// Controls that were granted.
    controls: usize,
    ttl: Duration,
    asked: Instant,
    /// Has the controls polled fast, and how many.
    fast: Option<(FastWatch, usize)>,
}

impl Row {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) >= self.ttl
    }
}

type Rows = HashMap<Key, Row>;

/// The table. No lock is held while a watch is looked at: the call takes the watch out and puts it back.
#[derive(Debug, Default)]
pub(in crate::service::qsys) struct Watches {
    rows: Mutex<Rows>,
    /// Watches that were ended for want of memory, the newest last, so that their owners are told when they ask.
    ended: Mutex<VecDeque<Key>>,
    /// Refuses new ones while memory is critical.
    gauge: Gauge,
    /// Wakes the sweeper, which sleeps while there is nothing to sweep.
    begun: Notify,
}

impl Watches {
    /// No watches, and none while this gauge refuses.
    pub(in crate::service::qsys) fn new(gauge: Gauge) -> Self {
        Self {
            gauge,
            ..Self::default()
        }
    }

    /// Keeps a watch until nobody asked for `ttl`, or refuses it because there are too many or one of its name.
    pub(in crate::service::qsys) fn add(
        &self,
        key: Key,
        watch: Watch,
        ttl: Duration,
    ) -> Result<(), ToolFault> {
        if self.gauge.refuses() {
            return Err(ToolFault::short_of_memory("begins no more watches"));
        }
        let now = Instant::now();
        let controls = watch.len();
        {
            let mut rows = self.rows.lock();
            drop_expired(&mut rows, now);
            if rows.contains_key(&key) {
                return Err(fault::bad_argument(
                    "groupId",
                    "you have a change group of this name already",
                    "Go on with it, or destroy it first.",
                ));
            }
            admit(&rows, &key)?;
            admit_controls(&rows, &key, controls)?;
            let row = Row {
                watch: Some(watch),
                controls,
                ttl,
                asked: now,
                fast: None,
            };
            rows.insert(key, row);
        }
        self.begun.notify_one();
        Ok(())
    }

    /// Takes a watch in hand; from now on it lives for its whole time again.
    pub(in crate::service::qsys) fn take(&self, key: &Key) -> Result<Taken<'_>, ToolFault> {
        let now = Instant::now();
        let mut rows = self.rows.lock();
        drop_expired(&mut rows, now);
        let row = rows.get_mut(key).ok_or_else(|| self.gone(key))?;
        let watch = row.watch.take().ok_or_else(|| {
            ToolFault::new(
                FaultCode::Busy,
                "Another call asks this watch at this very moment.",
                "Ask again, one call at a time.",
            )
        })?;
        row.asked = now;
        Ok(Taken {
            watches: self,
            key: key.clone(),
            ttl: row.ttl,
            watch: Some(watch),
        })
    }

    /// Why there is no such watch.
    fn gone(&self, key: &Key) -> ToolFault {
        if self.ended.lock().contains(key) {
            ToolFault::short_of_memory("ended this watch; it begins none")
        } else {
            key.gone()
        }
    }

    /// Ends all watches for want of memory. How many.
    pub(in crate::service::qsys) fn end_all(&self) -> usize {
        let rows = std::mem::take(&mut *self.rows.lock());
        let count = rows.len();
        let mut ended = self.ended.lock();
        for key in rows.into_keys() {
            if ended.len() >= WATCHES_MAX {
                ended.pop_front();
            }
            ended.push_back(key);
        }
        count
    }

    /// Ends a watch. False if there was none.
    pub(in crate::service::qsys) fn remove(&self, key: &Key) -> bool {
        self.rows.lock().remove(key).is_some()
    }

    /// Names and numbers of controls of a caller's watches of one kind, by name.
    pub(in crate::service::qsys) fn list(
        &self,
        owner: &str,
        kind: Kind,
    ) -> Vec<(CompactString, usize)> {
        let now = Instant::now();
        let rows = self.rows.lock();
        let mut list: Vec<_> = rows
            .iter()
            .filter(|(key, row)| &*key.owner == owner && key.kind == kind && !row.is_over(now))
            .map(|(key, row)| (key.name.clone(), row.controls))
            .collect();
        list.sort_unstable();
        list
    }

    /// Forgets what nobody asks any more, as long as there is anything. Ends at `stop`.
    pub(in crate::service::qsys) async fn sweep(&self, stop: &Stop) {
        while stop
            .run_until_cancelled(self.begun.notified())
            .await
            .is_some()
        {
            while self.swept() > 0 {
                if stop.run_until_cancelled(sleep(WATCH_SWEEP)).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Forgets what nobody asks any more. How many watches are left.
    fn swept(&self) -> usize {
        let mut rows = self.rows.lock();
        drop_expired(&mut rows, Instant::now());
        rows.len()
    }
}

fn drop_expired(rows: &mut Rows, now: Instant) {
    rows.retain(|_, row| {
        if now.saturating_duration_since(row.asked) >= WATCH_FAST_IDLE {
            row.fast = None;
        }
        !row.is_over(now)
    });
}

fn admit(rows: &Rows, key: &Key) -> Result<(), ToolFault> {
    let own = rows.keys().filter(|known| known.owner == key.owner);
    if own.clone().count() >= WATCHES_PER_CALLER_MAX {
        let mut names: Vec<_> = own.map(|own| own.name.clone()).collect();
        names.sort_unstable();
        names.truncate(OWN_SHOWN);
        return Err(ToolFault::new(
            FaultCode::Busy,
            format!("You have {WATCHES_PER_CALLER_MAX} watches already, which is the most that a caller can have."),
            "Stop one with qsys_stop_watch (a change group with destroy_change_group), or let one expire by not asking it.",
        )
        .with_data(json!({ "limit": WATCHES_PER_CALLER_MAX, "own": names })));
    }
    if rows.len() >= WATCHES_MAX {
        return Err(ToolFault::new(
            FaultCode::Busy,
            format!("All callers together have {WATCHES_MAX} watches already, which is the most that this box keeps."),
            "Read with qsys_get_controls now and then instead, or try again when others have stopped theirs.",
        )
        .with_data(json!({ "limit": WATCHES_MAX })));
    }
    Ok(())
}

/// Whether a watch may have so many controls beside those of all others.
fn admit_controls(rows: &Rows, key: &Key, controls: usize) -> Result<(), ToolFault> {
    let (limit, whose) = if controls > WATCH_CONTROLS_MAX {
        (WATCH_CONTROLS_MAX, "of one watch")
    } else {
        let (own, all) = others(rows, key);
        if own + controls > WATCHED_CONTROLS_PER_CALLER_MAX {
            (WATCHED_CONTROLS_PER_CALLER_MAX, "of all your watches")
        } else if all + controls > WATCHED_CONTROLS_MAX {
            (WATCHED_CONTROLS_MAX, "of the watches of all callers")
        } else {
            return Ok(());
        }
    };
    Err(ToolFault::new(
        FaultCode::Busy,
        format!("With these controls there would be more than {limit}, which is the most {whose}."),
        "Watch fewer controls, or stop a watch that is not needed any more.",
    )
    .with_data(json!({ "limit": limit })))
}

/// Controls of the other watches of a key's owner, and of everybody.
fn others(rows: &Rows, key: &Key) -> (usize, usize) {
    let others = rows.iter().filter(|(other, _)| *other != key);
    others.fold((0, 0), |(own, all), (other, row)| {
        let is_own = other.owner == key.owner;
        let own = own + if is_own { row.controls } else { 0 };
        (own, all + row.controls)
    })
}

/// A watch in the hands of one call. It goes back into the table when this is dropped, unless it was stopped meanwhile.
#[derive(Debug)]
pub(in crate::service::qsys) struct Taken<'a> {
    watches: &'a Watches,
    key: Key,
    ttl: Duration,
    watch: Option<Watch>,
}

impl Taken<'_> {
    /// For how long it lives if nobody asks.
    pub(in crate::service::qsys) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Lets the caller work on the watch.
    pub(in crate::service::qsys) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Watch) -> T,
    ) -> Result<T, ToolFault> {
        self.watch.as_mut().map(work).ok_or_else(|| self.key.gone())
    }

    /// How many further controls this watch may have. They are its own until it is put back.
    pub(in crate::service::qsys) fn room(&self) -> usize {
        let mut rows = self.watches.rows.lock();
        let (own, all) = others(&rows, &self.key);
        let mine = self.watch.as_ref().map_or(0, Watch::len);
        let room = WATCH_CONTROLS_MAX
            .saturating_sub(mine)
            .min(WATCHED_CONTROLS_PER_CALLER_MAX.saturating_sub(own + mine))
            .min(WATCHED_CONTROLS_MAX.saturating_sub(all + mine));
        if let Some(row) = rows.get_mut(&self.key) {
            row.controls = mine + room;
        }
        room
    }

    /// Whether the watch may have so many controls in all. They are its own until it is put back.
    pub(in crate::service::qsys) fn admit(&self, controls: usize) -> Result<(), ToolFault> {
        let mut rows = self.watches.rows.lock();
        admit_controls(&rows, &self.key, controls)?;
        if let Some(row) = rows.get_mut(&self.key) {
            row.controls = controls;
        }
        Ok(())
    }

    /// Has the controls polled fast if they are to be and there is room. Whether they are. `anew` when they are other ones than before.
    pub(in crate::service::qsys) fn keep_fast(&self, link: &Line, anew: bool) -> bool {
        let mut rows = self.watches.rows.lock();
        let Some(row) = rows.get_mut(&self.key) else {
            return false;
        };
        if anew {
            row.fast = None;
        }
        if row.fast.is_some() {
            return true;
        }
        let taken: usize = rows
            .values()
            .filter_map(|row| row.fast.as_ref())
            .map(|(_, count)| count)
            .sum();
        let Some(names) = self.watch.as_ref().and_then(Watch::fast_names) else {
            return false;
        };
        let count = names.len();
        if taken + count > WATCHES_FAST_MAX {
            return false;
        }
        let (Ok(guard), Some(row)) = (link.watch_fast(names), rows.get_mut(&self.key)) else {
            return false;
        };
        row.fast = Some((guard, count));
        true
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut rows = self.watches.rows.lock();
        // One of the same name that was made meanwhile is another one.
        let row = rows.get_mut(&self.key).filter(|row| row.watch.is_none());
        if let (Some(row), Some(watch)) = (row, self.watch.take()) {
            row.controls = watch.len();
            row.watch = Some(watch);
        }
    }
}
