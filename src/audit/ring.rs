//! What is kept of the trail in memory: the newest actions, reads and refusals, each bounded apart, so that none pushes out the others.

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::{Entry, Kind};
use crate::limits::{AUDIT_ACTIONS_KEPT, AUDIT_LOOKS_KEPT};

/// An entry with its place in the order of all entries of this run.
pub(super) type Placed = (u64, Arc<Entry>);

/// The three rings.
#[derive(Debug, Default)]
pub(super) struct Rings {
    actions: VecDeque<Placed>,
    reads: VecDeque<Placed>,
    refusals: VecDeque<Placed>,
}

impl Rings {
    pub(super) fn push(&mut self, order: u64, entry: Arc<Entry>) {
        let (ring, most) = match entry.kind {
            Kind::Read => (&mut self.reads, AUDIT_LOOKS_KEPT),
            Kind::Refused => (&mut self.refusals, AUDIT_LOOKS_KEPT),
            _ => (&mut self.actions, AUDIT_ACTIONS_KEPT),
        };
        if ring.len() >= most {
            ring.pop_front();
        }
        ring.push_back((order, entry));
    }

    /// Puts what was on disk before this run below everything else.
    pub(super) fn restore(&mut self, entries: Vec<Entry>) {
        let room = AUDIT_ACTIONS_KEPT.saturating_sub(self.actions.len());
        // Orders of this run begin above these.
        let numbered = (1_u64..).zip(entries);
        let mut older: Vec<_> = numbered
            .map(|(order, entry)| (order, Arc::new(entry)))
            .collect();
        let rest = older.split_off(older.len().saturating_sub(room));
        for placed in rest.into_iter().rev() {
            self.actions.push_front(placed);
        }
    }

    /// Replaces an action that is still there.
    pub(super) fn replace(&mut self, order: u64, entry: Arc<Entry>) {
        if let Ok(at) = self
            .actions
            .binary_search_by_key(&order, |(order, _)| *order)
            && let Some(place) = self.actions.get_mut(at)
        {
            place.1 = entry;
        }
    }

    /// Forgets all but the newest of each kind. How many.
    pub(super) fn shorten(&mut self, kept: usize) -> usize {
        let mut count = 0;
        for ring in [&mut self.actions, &mut self.reads, &mut self.refusals] {
            let older = ring.len().saturating_sub(kept);
            ring.drain(..older);
            ring.shrink_to_fit();
            count += older;
        }
        count
    }

    /// Everything, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Placed> {
        let mut rest =
            [&self.actions, &self.reads, &self.refusals].map(|ring| ring.iter().rev().peekable());
        std::iter::from_fn(move || {
            let newest = rest
                .iter_mut()
                .filter_map(|ring| ring.peek().map(|(order, _)| *order))
                .max()?;
            rest.iter_mut()
                .find_map(|ring| ring.next_if(|(order, _)| *order == newest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;

    fn entry(kind: Kind) -> Arc<Entry> {
        Arc::new(Entry::new(kind, UnixMillis(0)))
    }

    #[test]
    fn a_flood_of_reads_and_refusals_pushes_out_no_action() {
        let mut rings = Rings::default();
        rings.push(5_000, entry(Kind::Write));
        for order in 5_001..15_000 {
            rings.push(
                order,
                entry(if order % 2 == 0 {
                    Kind::Read
                } else {
                    Kind::Refused
                }),
            );
        }
        let all: Vec<_> = rings.newest_first().map(|(order, _)| *order).collect();
        assert_eq!(all.len(), 2 * AUDIT_LOOKS_KEPT + 1);
        assert!(all.is_sorted_by(|a, b| a > b));
        assert_eq!(all.last(), Some(&5_000));
    }

    #[test]
    fn when_memory_runs_short_the_newest_of_each_kind_stay() {
        let mut rings = Rings::default();
        for order in 0..30 {
            let kinds = [Kind::Write, Kind::Read, Kind::Refused];
            rings.push(order, entry(kinds[usize::try_from(order).unwrap() % 3]));
        }
        assert_eq!((rings.shorten(2), rings.shorten(2)), (24, 0));
        let left: Vec<_> = rings.newest_first().map(|(order, _)| *order).collect();
        assert_eq!(left, [29, 28, 27, 26, 25, 24]);
        rings.push(30, entry(Kind::Write));
        assert_eq!(rings.newest_first().count(), 7);
    }

    #[test]
    fn what_was_on_disk_lies_below_and_pushes_out_nothing() {
        let mut rings = Rings::default();
        for order in 5_000..5_010 {
            rings.push(order, entry(Kind::Login));
        }
        let before = (0..2_000).map(|_| Entry::new(Kind::Write, UnixMillis(0)));
        rings.restore(before.collect());
        let all: Vec<_> = rings.newest_first().map(|(order, _)| *order).collect();
        assert_eq!(
            (all.len(), all[0], all[10]),
            (AUDIT_ACTIONS_KEPT, 5_009, 2_000)
        );
        rings.replace(2_000, entry(Kind::Key));
        assert_eq!(rings.newest_first().nth(10).unwrap().1.kind, Kind::Key);
    }
}
