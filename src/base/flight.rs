//! Since when a piece of blocking work is under way: a disk that does not answer cannot say so itself.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Work of one kind, of which at most one piece runs at a time. A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct Flight(Arc<Mutex<Option<Instant>>>);

/// Work under way, until it is dropped: inside the work, so that it counts for as long as its thread is held.
#[derive(Debug)]
#[must_use = "the work counts as over when this is dropped"]
pub struct UnderWay(Flight);

impl Flight {
    /// Work begins now.
    pub fn begin(&self) -> UnderWay {
        *self.0.lock() = Some(Instant::now());
        UnderWay(self.clone())
    }

    /// For how long work has been under way; nothing while there is none.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let since = *self.0.lock();
        since.map(|since| now.saturating_duration_since(since))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_from_its_beginning_to_the_end_of_its_thread() {
        let flight = Flight::default();
        let now = Instant::now();
        assert_eq!(flight.age(now), None);
        let (held, release) = std::sync::mpsc::channel::<()>();
        let work = flight.begin();
        let thread = std::thread::spawn(move || {
            let _work = work;
            release.recv().ok();
        });
        let later = Instant::now() + Duration::from_secs(7);
        assert!(flight.age(later).unwrap() >= Duration::from_secs(7));
        drop(held);
        thread.join().unwrap();
        assert_eq!(flight.age(later), None);
    }
}
