//! What somebody watches: polled fast for as long as a guard lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::FAST_CONTROLS_MAX;
use crate::model::name::ControlRef;

/// Counts, per control, how many watch it.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    counts: Mutex<BTreeMap<ControlRef, u32>>,
    changed: Notify,
}

impl Watched {
    /// Adds watchers, all or none. `None` when there would be more than [`FAST_CONTROLS_MAX`] controls.
    pub(crate) fn add(self: &Arc<Self>, mut controls: Vec<ControlRef>) -> Option<FastWatch> {
        controls.sort_unstable();
        controls.dedup();
        let mut counts = self.counts.lock();
        let fresh = controls
            .iter()
            .filter(|control| !counts.contains_key(control));
        if counts.len() + fresh.count() > FAST_CONTROLS_MAX {
            return None;
        }
        for control in &controls {
            *counts.entry(control.clone()).or_default() += 1;
        }
        drop(counts);
        self.changed.notify_one();
        Some(FastWatch {
            watched: Arc::clone(self),
            controls,
        })
    }

    /// Every watched control.
    pub(crate) fn wanted(&self) -> BTreeSet<ControlRef> {
        self.counts.lock().keys().cloned().collect()
    }

    /// Waits until it is worth asking [`Watched::wanted`] again. For one task.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Keeps some controls polled fast until it is dropped.
#[derive(Debug)]
#[must_use = "the controls are polled fast only while this lives"]
pub struct FastWatch {
    watched: Arc<Watched>,
    controls: Vec<ControlRef>,
}

impl Drop for FastWatch {
    fn drop(&mut self) {
        let mut counts = self.watched.counts.lock();
        for control in &self.controls {
            if let Some(count) = counts.get_mut(control) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(control);
                }
            }
        }
        drop(counts);
        self.watched.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(number: usize) -> ControlRef {
        ControlRef {
            component: Some("Mix".parse().unwrap()),
            control: format!("input.{number}.gain").parse().unwrap(),
        }
    }

    #[test]
    fn a_control_is_watched_until_its_last_guard_is_gone() {
        let watched = Arc::new(Watched::default());
        let first = watched
            .add(vec![control(1), control(1), control(2)])
            .unwrap();
        let second = watched.add(vec![control(2)]).unwrap();
        assert_eq!(watched.wanted().len(), 2);
        drop(first);
        assert_eq!(watched.wanted(), BTreeSet::from([control(2)]));
        drop(second);
        assert!(watched.wanted().is_empty());
    }

    #[test]
    fn more_controls_than_the_limit_are_refused_as_a_whole() {
        let watched = Arc::new(Watched::default());
        let all: Vec<_> = (0..FAST_CONTROLS_MAX).map(control).collect();
        let _guard = watched.add(all).unwrap();
        assert!(watched.add(vec![control(0)]).is_some());
        assert!(watched.add(vec![control(FAST_CONTROLS_MAX)]).is_none());
        assert_eq!(watched.wanted().len(), FAST_CONTROLS_MAX);
    }
}
