//! How the runtime fares. A task that is due twice a second tells how late everything is that is due; a thread of the system beside the
//! runtime looks whether one of its workers is held by one piece of work, which no task can see: a free worker would run it in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::base::shutdown::Stop;

/// Between two looks at how late the runtime is.
const BEAT: Duration = Duration::from_millis(500);

/// What a timer of the runtime is late by itself.
const GRAIN: Duration = Duration::from_micros(1_100);

/// Between two looks at the workers.
const LOOK: Duration = Duration::from_millis(25);

/// Most that one look adds: a machine that slept or was stopped as a whole did not hold its workers.
const LOOK_COUNTS: Duration = Duration::from_millis(100);

/// Half of the time over which lateness is counted.
const HALF_WINDOW: Duration = Duration::from_secs(150);

/// Four for each doubling of a microsecond.
const BUCKETS: usize = 124;

/// How late things were in the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Half was no later than this.
    pub p50: Duration,
    /// Of a hundred, 99 were no later than this; until a hundred are counted, half: one that is late at the start is no rule.
    pub p99: Duration,
    /// The latest.
    pub max: Duration,
    /// The longest that one piece of work held a worker.
    pub held: Duration,
}

/// How the runtime fares; a cheap clone.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    window: Mutex<Window>,
    /// How long each worker is held by what it does now, ms.
    held: Vec<AtomicU64>,
    /// Whole seconds for which the worker is held that is held the longest.
    seconds: watch::Sender<u64>,
    metrics: RuntimeMetrics,
}

impl Pulse {
    /// Watches the workers of this runtime for as long as a handle lives. [`Pulse::keep`] is to be run on it.
    #[must_use]
    pub fn start(runtime: &Handle) -> Self {
        let metrics = runtime.metrics();
        let workers = metrics.num_workers();
        let shared = Arc::new(Shared {
            window: Mutex::new(Window::new(Instant::now())),
            held: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            seconds: watch::Sender::new(0),
            metrics,
        });
        let weak = Arc::downgrade(&shared);
        let started = thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || look_on(&weak, workers));
        if let Err(error) = started {
            tracing::warn!(%error, "nobody watches the threads of the runtime");
        }
        Self(shared)
    }

    /// Measures how late the runtime is, until `stop`.
    pub async fn keep(self, stop: Stop) -> &'static str {
        loop {
            let due = Instant::now() + BEAT;
            tokio::select! {
                biased;
                () = stop.cancelled() => return "pulse",
                () = sleep_until(due) => {}
            }
            let now = Instant::now();
            let late = now.saturating_duration_since(due + GRAIN);
            self.0.window.lock().push(now, late);
        }
    }

    /// How late things were in the last minutes.
    #[must_use]
    pub fn lag(&self) -> Lag {
        self.0.window.lock().lag()
    }

    /// For how long the worker is held that one piece of work holds the longest; zero while all move.
    #[must_use]
    pub fn stuck_for(&self) -> Duration {
        let held = self.0.held.iter();
        let most = held.map(|held| held.load(Ordering::Relaxed)).max();
        Duration::from_millis(most.unwrap_or(0))
    }

    /// Hears of each whole second of [`Pulse::stuck_for`], and of its end.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.seconds.subscribe()
    }

    /// Tasks of the runtime that are alive.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.0.metrics.num_alive_tasks()
    }
}

/// What was seen of a worker.
#[derive(Debug, Clone, Copy, Default)]
struct Worker {
    parks: u64,
    busy: Duration,
    held: Duration,
}

impl Worker {
    /// It is held while it is not parked (an even count) and comes to the end of no piece of work: a worker with much to do adds to its busy
    /// time after every few pieces.
    fn look(&mut self, parks: u64, busy: Duration, passed: Duration) {
        if parks.is_multiple_of(2) && (parks, busy) == (self.parks, self.busy) {
            self.held += passed;
        } else {
            *self = Self {
                parks,
                busy,
                held: Duration::ZERO,
            };
        }
    }
}

/// The thread beside the runtime.
fn look_on(shared: &Weak<Shared>, workers: usize) {
    let mut seen = vec![Worker::default(); workers];
    let mut looked = Instant::now();
    loop {
        thread::park_timeout(LOOK);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        let passed = now.saturating_duration_since(looked).min(LOOK_COUNTS);
        looked = now;
        let mut longest = Duration::ZERO;
        for (number, worker) in seen.iter_mut().enumerate() {
            let parks = shared.metrics.worker_park_unpark_count(number);
            let busy = shared.metrics.worker_total_busy_duration(number);
            worker.look(parks, busy, passed);
            longest = longest.max(worker.held);
            let millis = u64::try_from(worker.held.as_millis()).unwrap_or(u64::MAX);
            if let Some(slot) = shared.held.get(number) {
                slot.store(millis, Ordering::Relaxed);
            }
        }
        if !longest.is_zero() {
            shared.window.lock().held(longest);
        }
        let seconds = longest.as_secs();
        shared.seconds.send_if_modified(|told| {
            let is_news = *told != seconds;
            *told = seconds;
            is_news
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Half {
    counts: [u16; BUCKETS],
    max: u32,
    held: Duration,
}

const EMPTY: Half = Half {
    counts: [0; BUCKETS],
    max: 0,
    held: Duration::ZERO,
};

/// Two halves, of which the older one is let go as a whole.
#[derive(Debug)]
struct Window {
    since: Instant,
    now: Half,
    before: Half,
}

impl Window {
    const fn new(since: Instant) -> Self {
        Self {
            since,
            now: EMPTY,
            before: EMPTY,
        }
    }

    fn push(&mut self, now: Instant, late: Duration) {
        if now.saturating_duration_since(self.since) >= HALF_WINDOW {
            self.before = std::mem::replace(&mut self.now, EMPTY);
            self.since = now;
        }
        let micros = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
        self.now.max = self.now.max.max(micros);
        if let Some(count) = self.now.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
        }
    }

    fn held(&mut self, held: Duration) {
        self.now.held = self.now.held.max(held);
    }

    fn lag(&self) -> Lag {
        let max = self.now.max.max(self.before.max);
        let pairs = || self.now.counts.iter().zip(&self.before.counts);
        let each = || pairs().map(|(now, before)| u32::from(*now) + u32::from(*before));
        let all: u32 = each().sum();
        let at = |percent: u32| {
            let mut rest = (all * percent).div_ceil(100);
            let found = each().position(|count| {
                rest = rest.saturating_sub(count);
                rest == 0
            });
            let micros = found.map_or(0, end_of).min(max);
            Duration::from_micros(micros.into())
        };
        Lag {
            p50: at(50),
            p99: at(if all < 100 { 50 } else { 99 }),
            max: Duration::from_micros(max.into()),
            held: self.now.held.max(self.before.held),
        }
    }
}

/// Where a time belongs: below 4 µs each has its own, then four for each doubling.
fn bucket(micros: u32) -> usize {
    let place = if micros < 4 {
        micros
    } else {
        let octave = micros.ilog2();
        octave * 4 + ((micros >> (octave - 2)) & 3) - 4
    };
    usize::try_from(place).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest time of a bucket.
fn end_of(bucket: usize) -> u32 {
    let place = u32::try_from(bucket).unwrap_or(0);
    if place < 4 {
        return place;
    }
    let (octave, part) = ((place + 4) / 4, (place + 4) % 4);
    let end = (u64::from(part) + 5) << (octave - 2);
    u32::try_from(end - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    proptest! {
        #[test]
        fn every_time_is_in_its_bucket(micros: u32) {
            let place = bucket(micros);
            prop_assert!(micros <= end_of(place));
            prop_assert!(place == 0 || micros > end_of(place - 1));
        }
    }

    #[test]
    fn the_worst_hundredth_is_told_and_forgotten_after_two_halves() {
        let begin = Instant::now();
        let mut window = Window::new(begin);
        for count in 0..200_u64 {
            let late = if count < 3 { 400_000 } else { 1_000 };
            window.push(begin, Duration::from_micros(late));
        }
        let lag = window.lag();
        assert!(lag.p50 >= Duration::from_millis(1) && lag.p50 < Duration::from_micros(1_300));
        assert_eq!(
            (lag.p99, lag.max),
            (Duration::from_millis(400), Duration::from_millis(400))
        );
        for half in 1..=2 {
            assert_eq!(window.lag().max, Duration::from_millis(400));
            window.push(begin + HALF_WINDOW * half, Duration::ZERO);
        }
        assert_eq!(window.lag().max, Duration::ZERO);
    }

    #[test]
    fn a_worker_that_one_piece_of_work_holds_is_seen_and_its_end_too() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let pulse = Pulse::start(runtime.handle());
        let mut seconds = pulse.watch();
        let (release, waits) = mpsc::channel::<()>();
        let (told, hears) = mpsc::channel();
        let holder = runtime.spawn(async move {
            told.send(()).unwrap();
            waits.recv().ok();
        });
        hears.recv().unwrap();
        runtime.block_on(async {
            seconds.wait_for(|seconds| *seconds >= 1).await.unwrap();
            assert!(pulse.stuck_for() >= Duration::from_secs(1));
            release.send(()).unwrap();
            holder.await.unwrap();
            seconds.wait_for(|seconds| *seconds == 0).await.unwrap();
        });
        assert!(pulse.stuck_for() < Duration::from_secs(1));
        assert!(pulse.lag().held >= Duration::from_secs(1));
    }

    #[test]
    fn a_worker_is_held_only_while_it_is_active_and_ends_nothing() {
        let mut worker = Worker::default();
        let mut look = |parks, busy| {
            worker.look(parks, Duration::from_millis(busy), LOOK);
            worker.held
        };
        assert_eq!(look(2, 5), Duration::ZERO);
        assert_eq!(look(2, 5), LOOK);
        assert_eq!(look(2, 5), LOOK * 2);
        assert_eq!(look(2, 6), Duration::ZERO, "it has much to do");
        assert_eq!(look(3, 6), Duration::ZERO, "it is parked");
        assert_eq!(look(3, 6), Duration::ZERO, "it sleeps on");
        assert_eq!(look(6, 6), Duration::ZERO, "it was parked in between");
        assert_eq!(look(6, 6), LOOK);
    }

    /// The busy time of tokio is all that tells work without end from one endless piece of work.
    #[test]
    fn a_worker_that_is_never_parked_adds_to_its_busy_time() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = Stop::new();
        for _ in 0..4 {
            let stop = stop.clone();
            drop(runtime.spawn(async move {
                while !stop.is_cancelled() {
                    tokio::task::yield_now().await;
                }
            }));
        }
        let metrics = runtime.metrics();
        let read = || {
            (
                metrics.worker_park_unpark_count(0),
                metrics.worker_total_busy_duration(0),
            )
        };
        let mut moves = 0;
        let mut before = read();
        while moves < 10 {
            let now = read();
            if now.0 == before.0 && now.0.is_multiple_of(2) && now.1 > before.1 {
                moves += 1;
            }
            before = now;
            thread::yield_now();
        }
        stop.cancel();
    }

    #[test]
    fn the_thread_ends_with_the_last_handle() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let pulse = Pulse::start(runtime.handle());
        let weak = Arc::downgrade(&pulse.0);
        drop(pulse);
        // The thread holds it for the moment of a look alone.
        while weak.upgrade().is_some() {
            thread::yield_now();
        }
    }
}
