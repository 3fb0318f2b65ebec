//! What one caller sees of a system: the only way by which tools come to a mirror or a link.
//!
//! [`Systems`] keeps the systems of the box to itself and hands out a [`Core`] for a reach. Its mirror and its link have the methods of
//! those below, and leave out whatever lies beyond the reach: it is as if it were not there. A method that is to be used here has to be
//! written here, and decide.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use tokio::sync::{Mutex, broadcast, watch};

use crate::guard::Reach;
use crate::link::{CommandError, FastWatch, Link, LinkState, LinkStatus};
use crate::model::control::Quality;
use crate::model::name::{ComponentName, ControlName, ControlRef};
use crate::store::mirror::{Mirror, SearchHit, SearchKind};
use crate::store::view::{
    ComponentView, ControlId, ControlView, DesignDiff, MirrorStatus, Notice, Reading,
};
use crate::wire::qrc::{ControlChange, ControlSet, EngineStatus, Method, SetItem};

/// One Q-SYS system of the box, whole.
#[derive(Debug, Clone)]
pub struct System {
    /// Its name in the configuration, which the `core` argument takes.
    pub name: CompactString,
    /// The way to it.
    pub link: Link,
    /// What is known of it.
    pub mirror: Arc<Mirror>,
    /// Held from the reading that a write is judged by until the write is answered.
    writing: Arc<Mutex<()>>,
    served: Arc<Served>,
}

/// Values that callers have read since the process started.
#[derive(Debug, Default)]
pub struct Served {
    confirmed: AtomicU64,
    unconfirmed: AtomicU64,
}

impl Served {
    fn count(&self, quality: Option<Quality>) {
        let counter = match quality {
            Some(Quality::Live) => &self.confirmed,
            _ => &self.unconfirmed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Those confirmed by a live link, and those that were not: stale, or never seen.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.confirmed), of(&self.unconfirmed))
    }
}

impl System {
    /// A system that is reached by `link` and mirrored in `mirror`.
    #[must_use]
    pub fn new(name: CompactString, link: Link, mirror: Arc<Mirror>) -> Self {
        Self {
            name,
            link,
            mirror,
            writing: Arc::default(),
            served: Arc::default(),
        }
    }

    /// What was read of it.
    #[must_use]
    pub const fn served(&self) -> &Arc<Served> {
        &self.served
    }

    fn seen_within(&self, reach: &Reach) -> Core {
        Core {
            name: self.name.clone(),
            link: Line {
                link: self.link.clone(),
                reach: reach.clone(),
            },
            mirror: Sight {
                mirror: Arc::clone(&self.mirror),
                served: Arc::clone(&self.served),
                reach: reach.clone(),
            },
            writing: Arc::clone(&self.writing),
        }
    }
}

/// Every system of the box, the first of which answers when none is named.
#[derive(Debug)]
pub(super) struct Systems(Vec<System>);

impl Systems {
    pub(super) const fn new(systems: Vec<System>) -> Self {
        Self(systems)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|system| system.name.as_str()).collect()
    }

    /// The system of this name, or the first.
    pub(super) fn core(&self, name: Option<&str>, reach: &Reach) -> Option<Core> {
        let number = match name {
            Some(name) => self.0.iter().position(|system| system.name == name)?,
            None => 0,
        };
        self.at(number, reach)
    }

    /// The system of this number.
    pub(super) fn at(&self, number: usize, reach: &Reach) -> Option<Core> {
        self.0.get(number).map(|system| system.seen_within(reach))
    }

    /// The number of the system of this name.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|system| system.name == name)
    }

    pub(super) fn all(&self, reach: &Reach) -> Vec<Core> {
        let all = self.0.iter();
        all.map(|system| system.seen_within(reach)).collect()
    }

    /// The mirrors as they are, for rules of the whole box.
    pub(super) fn mirrors(&self) -> Vec<&Mirror> {
        self.0.iter().map(|system| &*system.mirror).collect()
    }
}

/// One Q-SYS system as its caller sees it.
#[derive(Debug, Clone)]
pub(super) struct Core {
    /// Its name in the configuration.
    pub(super) name: CompactString,
    /// The way to it.
    pub(super) link: Line,
    /// What is known of it.
    pub(super) mirror: Sight,
    /// Held from the reading that a write is judged by until the write is answered.
    pub(super) writing: Arc<Mutex<()>>,
}

impl Core {
    /// What the caller may know of.
    pub(super) const fn reach(&self) -> &Reach {
        &self.mirror.reach
    }
}

/// A mirror without what lies beyond a reach.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    mirror: Arc<Mirror>,
    served: Arc<Served>,
    reach: Reach,
}

impl Sight {
    pub(super) fn find(&self, wanted: &ControlRef) -> Option<ControlId> {
        self.reach
            .covers_control(wanted)
            .then(|| self.mirror.find(wanted))
            .flatten()
    }

    pub(super) fn control(&self, id: ControlId) -> Option<ControlView> {
        let view = self.mirror.control(id);
        view.filter(|view| self.reach.covers_control(&view.name))
    }

    pub(super) fn reading(&self, id: ControlId) -> Option<Reading> {
        let reading = if self.reach.is_everything() {
            self.mirror.reading(id)
        } else {
            self.control(id).map(|view| view.reading)
        };
        self.served
            .count(reading.as_ref().map(|reading| reading.quality));
        reading
    }

    pub(super) fn component(&self, name: &str) -> Option<ComponentView> {
        self.covered(name)?;
        self.mirror.component(name)
    }

    pub(super) fn components(
        &self,
        filter: &mut dyn FnMut(&ComponentView) -> bool,
        skip: usize,
        limit: usize,
    ) -> (Vec<ComponentView>, usize) {
        let mut within = |view: &ComponentView| self.reach.covers(&view.name) && filter(view);
        self.mirror.components(&mut within, skip, limit)
    }

    pub(super) fn component_controls(&self, name: &str) -> Option<Vec<ControlView>> {
        self.covered(name)?;
        self.mirror.component_controls(name)
    }

    pub(super) fn named_controls(&self) -> Vec<ControlView> {
        let mut named = self.mirror.named_controls();
        named.retain(|control| self.reach.covers_control(&control.name));
        named
    }

    pub(super) fn nearest_components(&self, wanted: &str, n: usize) -> Vec<String> {
        let mut names = self.mirror.nearest_components(wanted, self.sought(n));
        names.retain(|name| self.reach.covers(name));
        names.truncate(n);
        names
    }

    pub(super) fn nearest_controls(
        &self,
        component: Option<&str>,
        wanted: &str,
        n: usize,
    ) -> Vec<String> {
        if component.is_some_and(|component| !self.reach.covers(component)) {
            return Vec::new();
        }
        let sought = self.sought(n);
        let mut names = self.mirror.nearest_controls(component, wanted, sought);
        names.retain(|name| component.is_some() || self.reach.covers(name));
        names.truncate(n);
        names
    }

    pub(super) fn search(&self, query: &str, kinds: &[SearchKind], limit: usize) -> Vec<SearchHit> {
        let mut hits = self.mirror.search(query, kinds, self.sought(limit));
        if self.reach.is_everything() {
            return hits;
        }
        hits.retain(|hit| match (&hit.component, &hit.control) {
            (Some(component), _) => self.reach.covers(component),
            (None, Some(named)) => self.reach.covers(named),
            (None, None) => false,
        });
        hits.truncate(limit);
        if hits.is_empty() && (kinds.is_empty() || kinds.contains(&SearchKind::Component)) {
            // What is only alike is offered as if the finds beyond the reach were not there.
            let names = self.nearest_components(query, limit);
            let views = names.iter().filter_map(|name| self.component(name));
            hits.extend(views.map(|view| SearchHit {
                component: Some(view.name),
                control: None,
                id: None,
                kind: view.kind,
            }));
        }
        hits
    }

    /// The mirror as a whole; components and controls are counted within reach.
    pub(super) fn status(&self) -> MirrorStatus {
        let status = self.mirror.status();
        if self.reach.is_everything() {
            return status;
        }
        let mut controls = self.named_controls().len();
        let mut count = |view: &ComponentView| {
            let is_within = self.reach.covers(&view.name);
            if is_within {
                controls += view.controls;
            }
            is_within
        };
        let (_, components) = self.mirror.components(&mut count, 0, 0);
        MirrorStatus {
            components,
            controls,
            refused: 0,
            ..status
        }
    }

    /// The design that the facts belong to.
    pub(super) fn engine(&self) -> Option<Arc<EngineStatus>> {
        self.mirror.status().engine
    }

    /// How the design differs from the one before. Within a reach the counts are those of the names that are left.
    pub(super) fn last_diff(&self) -> Option<Arc<DesignDiff>> {
        let diff = self.mirror.last_diff()?;
        if self.reach.is_everything() {
            return Some(diff);
        }
        let within = |names: &[CompactString]| {
            let names = names.iter().filter(|name| self.reach.covers(name));
            names.cloned().collect()
        };
        Some(Arc::new(DesignDiff {
            components_appeared: within(&diff.components_appeared),
            components_vanished: within(&diff.components_vanished),
            ..DesignDiff::default()
        }))
    }

    pub(super) fn generation(&self) -> u64 {
        self.mirror.generation()
    }

    pub(super) fn control_ids(&self, component: &str) -> Option<Vec<ControlId>> {
        self.covered(component)?;
        self.mirror.control_ids(component)
    }

    /// Ids come from the other methods, so that they are within reach.
    pub(super) fn stamp(&self, ids: &[ControlId]) -> u64 {
        self.mirror.stamp(ids)
    }

    /// Wakes whoever waits; it names no more than places in the mirror.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.mirror.subscribe()
    }

    fn covered(&self, component: &str) -> Option<()> {
        self.reach.covers(component).then_some(())
    }

    /// How many names to look at so that `n` within reach are among them.
    const fn sought(&self, n: usize) -> usize {
        if self.reach.is_everything() {
            n
        } else {
            usize::MAX
        }
    }
}

/// A link that carries nothing beyond a reach. Callers look names up in the mirror first, so that these refusals are a second wall.
#[derive(Debug, Clone)]
pub(super) struct Line {
    link: Link,
    reach: Reach,
}

impl Line {
    /// Where the link stands, without the names of components beyond the reach.
    pub(super) fn status(&self) -> LinkStatus {
        let mut status = self.link.status();
        if !self.reach.is_everything() {
            self.narrow(&mut status);
        }
        status
    }

    fn narrow(&self, status: &mut LinkStatus) {
        status
            .oversize_components
            .retain(|name| self.reach.covers(name));
        // Words of the program or of the Core, which may name anything.
        status.unlisted_components.clear();
        status.last_fault.clear();
        for peer in &mut status.peers {
            self.narrow(peer);
        }
    }

    pub(super) fn state(&self) -> LinkState {
        self.link.state()
    }

    /// For what is told of nobody: whether the link is up, and how often it was lost.
    pub(super) fn watch_status(&self) -> watch::Receiver<LinkStatus> {
        self.link.watch_status()
    }

    pub(super) async fn read_component(
        &self,
        component: &ComponentName,
        controls: &[ControlName],
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        self.covered(component.as_str(), Method::ComponentGet)?;
        self.link.read_component(component, controls).await
    }

    pub(super) async fn read_named(
        &self,
        names: &[ControlName],
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        for name in names {
            self.covered(name.as_str(), Method::ControlGet)?;
        }
        self.link.read_named(names).await
    }

    pub(super) async fn set_component(
        &self,
        component: &ComponentName,
        controls: Vec<SetItem>,
    ) -> Result<Vec<ControlChange<'static>>, CommandError> {
        self.covered(component.as_str(), Method::ComponentSet)?;
        self.link.set_component(component, controls).await
    }

    pub(super) async fn set_named(
        &self,
        set: ControlSet,
    ) -> Result<Option<ControlChange<'static>>, CommandError> {
        self.covered(&set.name, Method::ControlSet)?;
        self.link.set_named(set).await
    }

    /// A snapshot moves controls of any component, so that a reach that is bounded does not cover it.
    pub(super) async fn load_snapshot(
        &self,
        bank: &str,
        number: u32,
        ramp_secs: Option<f64>,
    ) -> Result<(), CommandError> {
        if !self.reach.is_everything() {
            return Err(beyond(Method::SnapshotLoad));
        }
        self.link.load_snapshot(bank, number, ramp_secs).await
    }

    pub(super) fn watch_fast(
        &self,
        mut controls: Vec<ControlRef>,
    ) -> Result<FastWatch, CommandError> {
        controls.retain(|control| self.reach.covers_control(control));
        self.link.watch_fast(controls)
    }

    fn covered(&self, name: &str, method: Method) -> Result<(), CommandError> {
        if self.reach.covers(name) {
            Ok(())
        } else {
            Err(beyond(method))
        }
    }
}

fn beyond(method: Method) -> CommandError {
    CommandError::Refused {
        method,
        code: crate::wire::qrc::code::UNKNOWN_COMPONENT,
        message: String::new(),
    }
}
