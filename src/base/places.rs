//! Places: how many of a thing there are, in all and for each caller, and how many bytes they hold.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) total: usize,
    pub(crate) per_caller: usize,
    /// Bytes held by all of them.
    pub(crate) bytes: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many in all.
    Total,
    /// This caller has too many.
    Caller,
}

/// Counts the places that are taken.
#[derive(Debug)]
pub(crate) struct Places {
    capacity: Capacity,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    bytes: usize,
    by_caller: HashMap<Arc<str>, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    caller: Arc<str>,
    bytes: usize,
}

impl Places {
    /// So many places.
    pub(crate) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            counts: Mutex::default(),
        })
    }

    /// Takes a place that holds so many bytes.
    pub(crate) fn take(self: &Arc<Self>, caller: &Arc<str>, bytes: usize) -> Result<Place, Full> {
        let mut counts = self.counts.lock();
        if counts.total >= self.capacity.total || counts.bytes + bytes > self.capacity.bytes {
            return Err(Full::Total);
        }
        match counts.by_caller.get_mut(caller) {
            Some(own) if *own >= self.capacity.per_caller => return Err(Full::Caller),
            Some(own) => *own += 1,
            None => {
                counts.by_caller.insert(Arc::clone(caller), 1);
            }
        }
        counts.total += 1;
        counts.bytes += bytes;
        Ok(Place {
            places: Arc::clone(self),
            caller: Arc::clone(caller),
            bytes,
        })
    }
}

impl Places {
    /// How many are taken, and their bytes.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let counts = self.counts.lock();
        (counts.total, counts.bytes)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        counts.bytes = counts.bytes.saturating_sub(self.bytes);
        if let Some(own) = counts.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_caller_and_in_all_and_given_back() {
        let places = Places::new(Capacity {
            total: 5,
            per_caller: 2,
            bytes: 100,
        });
        let take = |caller: &str, bytes| places.take(&Arc::from(caller), bytes);
        let greedy = [take("greedy", 1).unwrap(), take("greedy", 1).unwrap()];
        assert_eq!(take("greedy", 1).err(), Some(Full::Caller));
        assert_eq!(take("large", 99).err(), Some(Full::Total));
        let others = [1, 2, 3].map(|number: u8| take(&number.to_string(), 1).unwrap());
        assert_eq!(take("late", 1).err(), Some(Full::Total));
        drop((greedy, others));
        drop(take("greedy", 100).unwrap());
        let counts = places.counts.lock();
        assert_eq!((counts.total, counts.bytes), (0, 0));
        assert!(counts.by_caller.is_empty());
    }
}
