//! A running design: values that ramp, meters that move, players that play, snapshots that recall. It knows nothing of clients.
//!
//! Time is given to it; nothing runs in between. Whoever looks calls [`Plant::advance`] first.

mod react;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::control::{Control, Effect, Kind, Write};
use super::design::{Component, Design};
pub(super) use react::SnapshotFault;

/// Length of every piece of music and every message of the simulated media, seconds.
pub(super) const TRACK_SECONDS: f64 = 214.0;

/// Where a control stands in the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    component: usize,
    control: usize,
}

/// A file that plays, on an output of a loop player or in a file player.
#[derive(Debug)]
struct Track {
    component: usize,
    /// Before the names of its controls: empty, or `output.N.`.
    prefix: String,
    file: String,
    /// When its second 0 was or will be.
    zero: Instant,
    starts: Instant,
    repeats: bool,
}

#[derive(Debug)]
pub(super) struct Plant {
    design: Design,
    components: HashMap<String, usize>,
    controls: Vec<HashMap<String, usize>>,
    named: HashMap<String, Key>,
    banks: Vec<Vec<Key>>,
    /// Number of the latest change.
    serial: u64,
    ramping: Vec<Key>,
    meters: Vec<Key>,
    meter_period: Duration,
    meter_zero: Instant,
    meter_tick: u32,
    tracks: Vec<Track>,
    status_changed: bool,
}

impl Plant {
    pub(super) fn new(design: Design, meter_period: Duration, now: Instant) -> Self {
        let mut plant = Self {
            components: HashMap::new(),
            controls: Vec::new(),
            named: HashMap::new(),
            banks: Vec::new(),
            serial: 1,
            ramping: Vec::new(),
            meters: Vec::new(),
            meter_period,
            meter_zero: now,
            meter_tick: 0,
            tracks: Vec::new(),
            status_changed: false,
            design,
        };
        for (index, component) in plant.design.components.iter_mut().enumerate() {
            plant.components.insert(component.name.clone(), index);
            let mut names = HashMap::with_capacity(component.controls.len());
            for (number, control) in component.controls.iter_mut().enumerate() {
                control.serial = 1;
                names.insert(control.name.clone(), number);
                if control.motion.is_some() {
                    plant.meters.push(Key {
                        component: index,
                        control: number,
                    });
                }
            }
            plant.controls.push(names);
        }
        let find = |component: &str, control: &str| plant.find(component, control);
        let named = plant.design.named.iter();
        let named = named
            .filter_map(|named| Some((named.name.clone(), find(&named.component, &named.control)?)))
            .collect();
        let members = |bank: &super::design::Bank| {
            bank.members
                .iter()
                .filter_map(|(component, control)| find(component, control))
                .collect()
        };
        let banks = plant.design.banks.iter().map(members).collect();
        plant.named = named;
        plant.banks = banks;
        plant
    }

    pub(super) fn design(&self) -> &Design {
        &self.design
    }

    /// A component that clients may see.
    pub(super) fn visible(&self, name: &str) -> Option<(usize, &Component)> {
        let index = *self.components.get(name)?;
        let component = self.design.components.get(index)?;
        component.access.is_external().then_some((index, component))
    }

    /// A control by its name; `_` for `.` is accepted, as an old library writes it.
    pub(super) fn key(&self, component: usize, control: &str) -> Option<Key> {
        let names = self.controls.get(component)?;
        let control = names
            .get(control)
            .or_else(|| names.get(&control.replace('_', ".")))?;
        Some(Key {
            component,
            control: *control,
        })
    }

    pub(super) fn named(&self, name: &str) -> Option<Key> {
        self.named.get(name).copied()
    }

    /// Any control, seen or not.
    pub(super) fn find(&self, component: &str, control: &str) -> Option<Key> {
        self.key(*self.components.get(component)?, control)
    }

    pub(super) fn control(&self, key: Key) -> Option<&Control> {
        self.design
            .components
            .get(key.component)?
            .controls
            .get(key.control)
    }

    pub(super) fn component_name(&self, key: Key) -> &str {
        self.design
            .components
            .get(key.component)
            .map_or("", |component| &component.name)
    }

    /// Whether a status changed since the last time this was asked; Cores then send their engine status again.
    pub(super) fn take_status_changed(&mut self) -> bool {
        std::mem::take(&mut self.status_changed)
    }

    /// The worst status of the inventory.
    pub(super) fn worst_status(&self) -> (i64, &str) {
        let mut statuses = self
            .design
            .components
            .iter()
            .flat_map(|component| &component.controls);
        if statuses.any(|control| control.kind == Kind::Status && control.value > 0.5) {
            (1, "Compromised")
        } else {
            (0, "OK")
        }
    }

    pub(super) fn set_meter_period(&mut self, period: Duration, now: Instant) {
        (self.meter_period, self.meter_zero, self.meter_tick) = (period, now, 0);
    }

    /// Writes as a client does: read-only controls stay as they are.
    pub(super) fn write(&mut self, key: Key, write: &Write, now: Instant) -> Effect {
        if self.control(key).is_none_or(|control| control.read_only) {
            return Effect::Nothing;
        }
        self.force(key, write, now)
    }

    /// Writes as the Core itself does: read-only controls too.
    pub(super) fn force(&mut self, key: Key, write: &Write, now: Instant) -> Effect {
        let Some(control) = self.control_mut(key) else {
            return Effect::Nothing;
        };
        let effect = control.write(write, now);
        match effect {
            Effect::Nothing => return effect,
            Effect::Changed => self.changed(key),
            Effect::Ramping => {
                if !self.ramping.contains(&key) {
                    self.ramping.push(key);
                }
            }
            Effect::Fired => {
                // A plain trigger holds nothing, so nothing of it changes.
                let control = self.control(key);
                if control.is_some_and(|control| control.kind == Kind::StateTrigger) {
                    self.changed(key);
                }
            }
        }
        self.react(key, effect, now);
        effect
    }

    /// Brings everything that moves by itself to where it is at `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.ramping) {
            if self
                .control_mut(key)
                .is_some_and(|control| control.advance_ramp(now))
            {
                self.ramping.push(key);
            }
            self.changed(key);
        }
        self.advance_tracks(now);
        let elapsed = now.saturating_duration_since(self.meter_zero).as_nanos();
        let tick = elapsed
            .checked_div(self.meter_period.as_nanos())
            .unwrap_or(0);
        let tick = u32::try_from(tick).unwrap_or(u32::MAX);
        if tick == self.meter_tick {
            return;
        }
        self.meter_tick = tick;
        for key in std::mem::take(&mut self.meters) {
            if let Some(control) = self.control_mut(key)
                && let Some(motion) = control.motion
            {
                let range = Write::number(motion.at(tick), None);
                if control.write(&range, now) == Effect::Changed {
                    self.touch(key);
                }
            }
            self.meters.push(key);
        }
    }

    fn control_mut(&mut self, key: Key) -> Option<&mut Control> {
        self.design
            .components
            .get_mut(key.component)?
            .controls
            .get_mut(key.control)
    }

    fn touch(&mut self, key: Key) {
        self.serial += 1;
        let serial = self.serial;
        if let Some(control) = self.control_mut(key) {
            control.serial = serial;
        }
    }

    /// Marks a control as changed and lets the banks see whether they still match.
    fn changed(&mut self, key: Key) {
        self.touch(key);
        if self
            .control(key)
            .is_some_and(|control| control.kind == Kind::Status)
        {
            self.status_changed = true;
        }
        let banks: Vec<_> = self
            .banks
            .iter()
            .enumerate()
            .filter(|(_, members)| members.contains(&key))
            .map(|(bank, _)| bank)
            .collect();
        for bank in banks {
            self.compare(bank);
        }
    }

    /// Sets a control of a component if it is there, without what follows from it.
    fn put(&mut self, component: usize, control: &str, value: f64, now: Instant) {
        self.put_write(component, control, &Write::number(value, None), now);
    }

    fn put_text(&mut self, component: usize, control: &str, text: &str, now: Instant) {
        self.put_write(component, control, &Write::text(text), now);
    }

    fn put_write(&mut self, component: usize, control: &str, write: &Write, now: Instant) {
        if let Some(key) = self.key(component, control)
            && let Some(target) = self.control_mut(key)
            && matches!(target.write(write, now), Effect::Changed | Effect::Fired)
        {
            self.changed(key);
        }
    }

    fn value(&self, component: usize, control: &str) -> f64 {
        self.key(component, control)
            .and_then(|key| self.control(key))
            .map_or(0.0, |control| control.value)
    }
}
