//! Berths: places of event streams and of connections on which everything travels. When memory runs short, those who were idle longest are
//! asked to leave, and nobody gets one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Server;
use super::error::Fault;
use super::places::{Capacity, Place, Places};
use crate::limits::{PRESSURE_STREAMS, STREAMS_MAX, STREAMS_PER_CALLER_MAX};
use crate::ops::pressure::Gauge;

/// All berths.
#[derive(Debug)]
pub(super) struct Berths {
    places: Arc<Places>,
    gauge: Gauge,
    begin: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    guests: HashMap<u64, Arc<Guest>>,
}

/// A berth, given back when dropped.
#[derive(Debug)]
pub(super) struct Berth {
    berths: Arc<Berths>,
    number: u64,
    guest: Arc<Guest>,
    _place: Place,
}

#[derive(Debug)]
struct Guest {
    /// Milliseconds from the beginning until something was said last.
    used: AtomicU64,
    is_to_leave: AtomicBool,
    reader: AtomicWaker,
}

impl Berths {
    /// Berths of which none is taken, where nobody gets one while this gauge refuses.
    pub(super) fn new(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(Capacity {
                total: STREAMS_MAX,
                per_caller: STREAMS_PER_CALLER_MAX,
                bytes: usize::MAX,
            }),
            gauge,
            begin: Instant::now(),
            taken: Mutex::default(),
        })
    }

    /// A berth for what lasts.
    pub(super) fn take(
        self: &Arc<Self>,
        caller: &Arc<str>,
        is_modern: bool,
    ) -> Result<Berth, Fault> {
        if self.gauge.refuses() {
            return Err(Fault::short_of_memory(is_modern));
        }
        let place = self.take_to_the_end(caller, is_modern)?;
        let guest = Arc::new(Guest {
            used: AtomicU64::new(self.now()),
            is_to_leave: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        let mut taken = self.taken.lock();
        taken.last += 1;
        let number = taken.last;
        taken.guests.insert(number, Arc::clone(&guest));
        drop(taken);
        Ok(Berth {
            berths: Arc::clone(self),
            number,
            guest,
            _place: place,
        })
    }

    /// A place among the same for what ends by itself: nobody is asked to leave it, and it is to be had however short memory is.
    pub(super) fn take_to_the_end(
        &self,
        caller: &Arc<str>,
        is_modern: bool,
    ) -> Result<Place, Fault> {
        let place = self.places.take(caller, 0);
        place.map_err(|full| full.fault("event streams open", is_modern))
    }

    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        self.places.taken().0
    }

    /// Asks half of those who were not asked yet to leave, within [`PRESSURE_STREAMS`], the longest idle first. How many were asked.
    pub(super) fn thin_out(&self) -> usize {
        let mut guests: Vec<_> = {
            let taken = self.taken.lock();
            let stay = taken
                .guests
                .values()
                .filter(|guest| !guest.is_to_leave.load(Ordering::Relaxed));
            stay.map(|guest| (guest.used.load(Ordering::Relaxed), Arc::clone(guest)))
                .collect()
        };
        guests.sort_unstable_by_key(|(used, _)| *used);
        let (least, most) = (*PRESSURE_STREAMS.start(), *PRESSURE_STREAMS.end());
        guests.truncate(guests.len().div_ceil(2).clamp(least, most));
        for (_, guest) in &guests {
            guest.is_to_leave.store(true, Ordering::Release);
            guest.reader.wake();
        }
        guests.len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Berth {
    /// Something was said.
    pub(super) fn used(&self) {
        self.guest.used.store(self.berths.now(), Ordering::Relaxed);
    }

    /// Ready when its holder is asked to leave.
    pub(super) fn poll_leave(&self, context: &mut Context<'_>) -> Poll<()> {
        self.guest.reader.register(context.waker());
        if self.guest.is_to_leave.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let left = self.berths.taken.lock().guests.remove(&self.number);
        drop(left);
    }
}

impl Server {
    /// The same server, which opens nothing that lasts while this gauge refuses.
    #[must_use]
    pub fn with_gauge(mut self, gauge: Gauge) -> Self {
        self.streams = Berths::new(gauge.clone());
        self.gauge = gauge;
        self
    }

    /// Forgets streams that are over and could still be read again. How many.
    #[must_use]
    pub fn forget_streams(&self) -> usize {
        self.shelf.clear()
    }

    /// Asks a part of those on event streams and connections on which nothing is under way to leave, the longest idle first. How many.
    #[must_use]
    pub fn thin_out_streams(&self) -> usize {
        self.streams.thin_out()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::sleep;

    use super::*;
    use crate::ops::pressure::{Strain, Told};

    fn is_to_leave(berth: &Berth) -> bool {
        poll_fn(|context| berth.poll_leave(context))
            .now_or_never()
            .is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_longest_is_asked_first_and_nobody_twice() {
        let berths = Berths::new(Gauge::default());
        let caller: Arc<str> = Arc::from("a");
        let mut taken = Vec::new();
        for _ in 0..64 {
            taken.push(berths.take(&caller, true).unwrap());
            sleep(Duration::from_millis(10)).await;
        }
        taken[0].used();
        assert_eq!(berths.thin_out(), 32);
        let asked: Vec<_> = taken.iter().map(is_to_leave).collect();
        assert!(
            !asked[0] && asked[1..33].iter().all(|asked| *asked) && !asked[33..].contains(&true)
        );
        assert_eq!(
            (berths.thin_out(), berths.thin_out(), berths.thin_out()),
            (16, 16, 0)
        );
        drop(taken);
        assert_eq!((berths.count(), berths.taken.lock().guests.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn while_memory_is_critical_nobody_gets_one_and_what_ends_by_itself_still_does() {
        let gauge = Gauge::default();
        let berths = Berths::new(gauge.clone());
        let caller: Arc<str> = Arc::from("a");
        let told = |strain| Told {
            strain,
            ..Told::default()
        };
        gauge.tell(told(Strain::Critical));
        assert_eq!(berths.take(&caller, true).unwrap_err().status, 503);
        let _call = berths.take_to_the_end(&caller, true).unwrap();
        assert_eq!(berths.thin_out(), 0);
        gauge.tell(told(Strain::Tight));
        berths.take(&caller, true).unwrap();
        assert_eq!(gauge.refused(), 1);
    }
}
