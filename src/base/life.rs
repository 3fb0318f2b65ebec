//! What a loop that never ends hears from outside: that it should stop, and whether it still turns.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::shutdown::Stop;

/// What one loop is given.
#[derive(Debug, Clone)]
pub struct Life {
    /// Cancelled when the loop should end.
    pub stop: Stop,
    /// Polled wherever the loop waits.
    pub beat: Beat,
}

impl From<Stop> for Life {
    /// A loop that nobody asks.
    fn from(stop: Stop) -> Self {
        Self {
            stop,
            beat: Beat::default(),
        }
    }
}

/// The end of a loop that answers; by itself it is never asked.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    asked: Notify,
    is_owed: AtomicBool,
}

impl Beat {
    /// Answers for as long as it is polled, so that a loop that waits answers, and one that is stuck does not.
    pub async fn answer(&self) -> Infallible {
        loop {
            self.0.asked.notified().await;
            self.0.is_owed.store(false, Ordering::Release);
        }
    }
}

/// The end that asks, for all loops of the process.
#[derive(Debug, Default)]
pub struct Beats(Vec<(&'static str, Beat)>);

impl Beats {
    /// What the loop with this name is given. A loop that has not begun to turn answers as soon as it does.
    pub fn life(&mut self, name: &'static str, stop: &Stop) -> Life {
        let beat = Beat::default();
        self.0.push((name, beat.clone()));
        Life {
            stop: stop.clone(),
            beat,
        }
    }

    /// The loops that have not answered since they were last asked.
    pub fn silent(&self) -> impl Iterator<Item = &'static str> {
        let owed = |beat: &Beat| beat.0.is_owed.load(Ordering::Acquire);
        self.0
            .iter()
            .filter(move |(_, beat)| owed(beat))
            .map(|(name, _)| *name)
    }

    /// Asks every loop.
    pub fn ask(&self) {
        for (_, beat) in &self.0 {
            beat.0.is_owed.store(true, Ordering::Release);
            beat.0.asked.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_answers_and_one_that_is_busy_does_when_it_waits_again() {
        let mut beats = Beats::default();
        let stop = Stop::new();
        let idle = beats.life("idle", &stop);
        let busy = beats.life("busy", &stop);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { match idle.beat.answer().await {} });
        tasks.spawn(async move {
            sleep(Duration::from_mins(1)).await;
            match busy.beat.answer().await {}
        });
        beats.ask();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(beats.silent().collect::<Vec<_>>(), ["busy"]);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(beats.silent().count(), 0);
    }
}
