//! A bounded number of places, each given back when dropped: for requests, streams and connections of one kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::places::Capacity;

pub(super) use crate::base::places::{Full, Places as OfCallers};

/// So many places, and so many of them for each caller.
pub(super) fn of_callers(total: usize, per_caller: usize) -> Arc<OfCallers> {
    OfCallers::new(Capacity {
        total,
        per_caller,
        bytes: usize::MAX,
    })
}

/// So many places and no more; a cheap clone.
#[derive(Debug, Clone)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }

    /// Whether there is one left, at this moment.
    pub(super) fn has_room(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.most
    }

    /// How many are taken, at this moment.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place, if there is one left.
    pub(super) fn take(&self) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        // Made first: one too many gives its place back by being dropped.
        let place = Place(Arc::clone(&self.taken));
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_there_are_and_each_comes_back() {
        let places = Places::new(2);
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none() && !places.has_room());
        drop(first);
        assert!(places.has_room());
        let third = places.clone().take().unwrap();
        assert!(places.take().is_none());
        drop((second, third));
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
