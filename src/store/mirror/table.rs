//! The mirror's tables and what a report does to them. Nothing here locks, waits or tells anybody.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use tokio::time::Instant;

use super::side::Side;
use super::slot::{
    CHANGED, DIRTY, DISABLED, HAS_POSITION, HAS_TEXT, HAS_VALUE, INDETERMINATE, INVISIBLE,
    Interner, KNOWN, MAY_BE_METER, METER, Meta, NAMED, NEW, REPORTED, Slot, TRUNCATED, USED,
};
use crate::limits::{
    COMPONENTS_MAX, CONTROLS_MAX, DESCRIPTIONS_MAX, METER_CHANGES_MAX, METER_WINDOW, NAMES_MAX,
    TEXT_MAX_BYTES,
};
use crate::model::control::Quality;
use crate::wire::qrc::{ControlChange, EngineStatus, Scalar};

/// Resolution of "changed … ago": 2^6 ms, so that 32 bits last for eight years.
const TICK_BITS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Component {
    pub(super) kind: CompactString,
    pub(super) controls: Vec<u32>,
    pub(super) properties: Arc<[(CompactString, CompactString)]>,
    pub(super) is_seen: bool,
    pub(super) is_new: bool,
}

/// What a frame says of one control's state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) string: Option<&'a str>,
    pub(super) value: Option<&'a Scalar<'a>>,
    pub(super) position: Option<f64>,
}

/// What the store lacks.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Each control at most once.
    pub(super) controls: Vec<u32>,
    pub(super) engine: bool,
    /// Numbers mean other things than before: everything has to be stored anew.
    pub(super) everything: bool,
}

/// Whether what the design being told has not named was dropped already: looking for room takes long and finds none twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    ToMake,
    Made,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pub(super) names: Interner<CompactString>,
    pub(super) metas: Interner<Meta>,
    pub(super) component_names: Interner<CompactString>,
    pub(super) components: Vec<Component>,
    pub(super) named: Vec<u32>,
    pub(super) side: Side,
    /// Changes of each control in the present window, where it may be a meter.
    rates: Vec<u8>,
    rates_since: Instant,
    pub(super) owed: Owed,
    epoch: Instant,
    pub(super) engine: Option<Arc<EngineStatus>>,
    /// A design is being told.
    pub(super) is_telling: bool,
    /// The design being told replaces another one, whose state is void.
    pub(super) is_replacing: bool,
    pub(super) room: Room,
    /// When the present link began to tell, while there is one.
    pub(super) linked: Option<Instant>,
    pub(super) confirmed: Option<Instant>,
    /// Everything known was reported or confirmed on the present link.
    pub(super) is_all_live: bool,
    pub(super) refused: u64,
    pub(super) trimmed: u64,
    pub(super) generation: u64,
    pub(super) changes: u64,
    /// Components and controls dropped before the design's end to make room for its own.
    pub(super) evicted: usize,
    pub(super) evicted_components: Vec<CompactString>,
}

pub(super) fn at(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// The longest beginning of `text` that fits the mirror, and whether that is less than all of it.
pub(super) fn cut(text: &str) -> (&str, bool) {
    if text.len() <= TEXT_MAX_BYTES {
        return (text, false);
    }
    let end = text.floor_char_boundary(TEXT_MAX_BYTES);
    (text.get(..end).unwrap_or_default(), true)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "positions are single precision on the wire already"
)]
fn narrow(position: f64) -> f32 {
    position as f32
}

impl Table {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            names: Interner::new(NAMES_MAX),
            metas: Interner::new(DESCRIPTIONS_MAX),
            component_names: Interner::new(COMPONENTS_MAX),
            components: Vec::new(),
            named: Vec::new(),
            side: Side::default(),
            rates: Vec::new(),
            rates_since: now,
            owed: Owed::default(),
            epoch: now,
            engine: None,
            is_telling: false,
            is_replacing: false,
            room: Room::ToMake,
            linked: None,
            confirmed: None,
            is_all_live: false,
            refused: 0,
            trimmed: 0,
            generation: 0,
            changes: 0,
            evicted: 0,
            evicted_components: Vec::new(),
        }
    }

    pub(super) fn ticks(&self, now: Instant) -> u32 {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        u32::try_from(millis >> TICK_BITS).unwrap_or(u32::MAX)
    }

    pub(super) fn tick_instant(&self, ticks: u32) -> Instant {
        self.epoch + Duration::from_millis(u64::from(ticks) << TICK_BITS)
    }

    pub(super) fn controls(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The slot, if it holds a control.
    pub(super) fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(at(id)).filter(|slot| slot.has(USED))
    }

    pub(super) fn component_name(&self, id: u16) -> Option<&str> {
        self.component_names.get(id).map(CompactString::as_str)
    }

    pub(super) fn component(&self, id: u16) -> Option<&Component> {
        self.component_names.get(id)?;
        self.components.get(usize::from(id))
    }

    pub(super) fn name(&self, id: u16) -> &str {
        self.names.get(id).map_or("", CompactString::as_str)
    }

    /// Finds a control by its names with one look into the index, without building a key.
    pub(super) fn find(&self, component: Option<&str>, control: &str) -> Option<u32> {
        let hash = hash(&self.hasher, component, control);
        let same = |id: &u32| {
            self.slots.get(at(*id)).is_some_and(|slot| {
                self.name(slot.name) == control && self.component_name(slot.component) == component
            })
        };
        self.index.find(hash, same).copied()
    }

    /// Makes a place for a control that is not there yet. Nothing when the mirror is full.
    pub(super) fn insert(&mut self, component: u16, name: u16, meta: u16) -> Option<u32> {
        if self.controls() >= CONTROLS_MAX {
            return None;
        }
        let slot = Slot {
            component,
            name,
            meta,
            flags: USED | NEW,
            ..Slot::default()
        };
        let id = if let Some(id) = self.free.pop() {
            *self.slots.get_mut(at(id))? = slot;
            id
        } else {
            let id = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(slot);
            self.rates.push(0);
            id
        };
        let controls = if component == NAMED {
            &mut self.named
        } else {
            &mut self.components.get_mut(usize::from(component))?.controls
        };
        controls.push(id);
        let (slots, names, owners, hasher) = (
            &self.slots,
            &self.names,
            &self.component_names,
            &self.hasher,
        );
        let rehash = |id: &u32| {
            let slot = slots.get(at(*id));
            let owner = slot.and_then(|slot| owners.get(slot.component));
            let name = slot.and_then(|slot| names.get(slot.name));
            hash(
                hasher,
                owner.map(CompactString::as_str),
                name.map_or("", CompactString::as_str),
            )
        };
        self.index.insert_unique(rehash(&id), id, rehash);
        Some(id)
    }

    /// Takes a control out of the index and the tables; its component's list is the caller's to mend.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(slot) = self.slot(id) else { return };
        let hash = hash(
            &self.hasher,
            self.component_name(slot.component),
            self.name(slot.name),
        );
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.side.clear(id);
        if let Some(slot) = self.slots.get_mut(at(id)) {
            *slot = Slot::default();
        }
        self.free.push(id);
    }

    /// Finds a control that probably comes right after `last`: polls report in the order in which they were registered.
    pub(super) fn find_after(
        &self,
        last: u32,
        component: Option<&str>,
        control: &str,
    ) -> Option<u32> {
        let next = last.wrapping_add(1);
        let is_next = self.slots.get(at(next)).is_some_and(|slot| {
            slot.has(USED)
                && self.name(slot.name) == control
                && self.component_name(slot.component) == component
        });
        if is_next {
            Some(next)
        } else {
            self.find(component, control)
        }
    }

    /// Applies one change of a poll to the control that it is about. True when that is news for subscribers.
    pub(super) fn apply(&mut self, id: u32, change: &ControlChange<'_>, now: u32) -> bool {
        self.changes += 1;
        let report = Report {
            string: change.string.as_deref(),
            value: change.value.as_ref(),
            position: change.position,
        };
        let moved = self.report(id, report, now);
        let looks_different = self.look(id, change);
        moved || looks_different
    }

    /// Takes over what was reported of a control's state. True when that differs from what was known.
    pub(super) fn report(&mut self, id: u32, report: Report<'_>, now: u32) -> bool {
        let Some(slot) = self.slots.get_mut(at(id)) else {
            return false;
        };
        let was_known = slot.has(KNOWN);
        let moved = slot.take(report);
        slot.set(REPORTED, true);
        if moved {
            slot.changed = now;
            slot.set(CHANGED, was_known);
            self.moved(id);
        }
        moved
    }

    /// Keeps the books of a control whose state changed: what the store lacks, and who is a meter.
    fn moved(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(at(id)) else {
            return;
        };
        if slot.has(METER) {
            return;
        }
        if slot.has(MAY_BE_METER) {
            let Some(rate) = self.rates.get_mut(at(id)) else {
                return;
            };
            *rate = rate.saturating_add(1);
            if *rate > METER_CHANGES_MAX {
                slot.set(METER, true);
            }
        }
        self.mark_dirty(id);
    }

    pub(super) fn mark_dirty(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(at(id))
            && !slot.has(DIRTY)
        {
            slot.set(DIRTY, true);
            self.owed.controls.push(id);
        }
    }

    /// Begins another window of counting changes when the last one is over.
    pub(super) fn roll_rates(&mut self, now: Instant) {
        if now.saturating_duration_since(self.rates_since) >= METER_WINDOW {
            self.rates.fill(0);
            self.rates_since = now;
        }
    }

    fn look(&mut self, id: u32, change: &ControlChange<'_>) -> bool {
        let Some(slot) = self.slots.get_mut(at(id)) else {
            return false;
        };
        let before = slot.flags;
        for (flag, on) in [
            (DISABLED, change.disabled),
            (INVISIBLE, change.invisible),
            (INDETERMINATE, change.indeterminate),
        ] {
            if let Some(on) = on {
                slot.set(flag, on);
            }
        }
        let differs = before != slot.flags;
        self.side.take(id, slot, change, &mut self.trimmed) || differs
    }

    /// How far a control's state can be trusted.
    pub(super) fn quality(&self, slot: &Slot) -> Quality {
        if !slot.has(KNOWN) {
            Quality::Unknown
        } else if self.linked.is_some() && (self.is_all_live || slot.has(REPORTED)) {
            Quality::Live
        } else {
            Quality::Stale
        }
    }

    /// Frees the room that growing left over: a design of 50,000 controls stays for months.
    pub(super) fn settle(&mut self) {
        for component in &mut self.components {
            component.controls.shrink_to_fit();
        }
        self.named.shrink_to_fit();
    }
}

fn hash(hasher: &DefaultHashBuilder, component: Option<&str>, control: &str) -> u64 {
    let mut state = hasher.build_hasher();
    if let Some(component) = component {
        state.write(component.as_bytes());
    }
    // No name contains this byte, so that "a" + "bc" and "ab" + "c" differ.
    state.write_u8(u8::from(component.is_some()) | 0xFE);
    state.write(control.as_bytes());
    state.finish()
}

impl Slot {
    fn take(&mut self, report: Report<'_>) -> bool {
        let mut moved = false;
        let mut string = report.string;
        match report.value {
            Some(Scalar::Text(text)) => {
                moved |= self.has(HAS_VALUE);
                self.set(HAS_VALUE, false);
                string = string.or(Some(text));
            }
            Some(number) => {
                let value = number.as_number().unwrap_or_default();
                moved |= !self.has(HAS_VALUE) || self.value.to_bits() != value.to_bits();
                self.value = value;
                self.set(HAS_VALUE, true);
            }
            None => {}
        }
        if let Some(position) = report.position.map(narrow) {
            moved |= !self.has(HAS_POSITION) || self.position.to_bits() != position.to_bits();
            self.position = position;
            self.set(HAS_POSITION, true);
        }
        if let Some(string) = string {
            moved |= self.take_text(string);
        }
        moved
    }

    fn take_text(&mut self, string: &str) -> bool {
        let (text, truncated) = cut(string);
        let moved = !self.has(HAS_TEXT) || self.has(TRUNCATED) != truncated || self.text != text;
        if moved {
            // A text that fits the slot itself goes there; a longer one reuses the memory of the last one, so that
            // a control that counts seconds in words costs no allocation a second.
            if self.text.is_heap_allocated()
                && text.len() <= self.text.capacity()
                && text.len() > size_of::<CompactString>()
            {
                self.text.clear();
                self.text.push_str(text);
            } else {
                self.text = CompactString::new(text);
            }
            self.set(HAS_TEXT, true);
            self.set(TRUNCATED, truncated);
        }
        moved
    }
}
