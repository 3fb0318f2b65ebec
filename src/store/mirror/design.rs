//! One design takes the place of another: what the mirror does from the first word of it to the last.

use std::sync::Arc;

use compact_str::CompactString;
use tokio::time::Instant;

use super::slot::{
    DIRTY, HAS_EXTRA, MAY_BE_METER, METER, Meta, NAMED, NEW, REPORTED, SEEN, STATE, USED,
};
use super::table::{Component, Report, Room, Table, at, cut};
use crate::limits::DIFF_NAMES_MAX;
use crate::model::control::{ControlKind, Direction};
use crate::model::name::{ComponentName, ControlName};
use crate::store::view::DesignDiff;
use crate::wire::qrc::{ComponentFacts, ControlFacts, EngineStatus};

/// Words between dots in the names of controls that are meters wherever they are read-only numbers: `input.1.meter`, `rms.2`.
const METER_WORDS: [&str; 3] = ["meter", "peak", "rms"];

impl Meta {
    fn of(facts: &ControlFacts<'_>) -> Self {
        let text = |text: Option<&str>| CompactString::new(cut(text.unwrap_or_default()).0);
        let has_strings = facts.string_min.is_some() || facts.string_max.is_some();
        Self {
            kind: ControlKind::from_wire(cut(facts.kind.as_deref().unwrap_or_default()).0),
            direction: Direction::from_wire(facts.direction.as_deref()),
            range: facts.value_min.zip(facts.value_max),
            strings: has_strings.then(|| {
                (
                    text(facts.string_min.as_deref()),
                    text(facts.string_max.as_deref()),
                )
            }),
        }
    }

    /// Whether a control of this kind is a meter, and whether it is one if it never rests.
    pub(super) fn meter_flags(&self, component_kind: &str, name: &str) -> u16 {
        if self.kind != ControlKind::Float || self.direction != Direction::ReadOnly {
            return 0;
        }
        let is_named_so = name.split('.').any(|word| METER_WORDS.contains(&word));
        if is_named_so || component_kind.contains("meter") {
            METER | MAY_BE_METER
        } else {
            MAY_BE_METER
        }
    }
}

impl Table {
    /// A design begins. Another code than the last one's makes all that was known void. True when it does.
    pub(super) fn began(&mut self, engine: &EngineStatus, now: Instant) -> bool {
        let before = self.engine.as_ref();
        let is_other = before.is_some_and(|known| known.design_code != engine.design_code);
        self.owed.engine |= before.is_none_or(|known| {
            (&known.design_code, &known.design_name, known.is_redundant)
                != (
                    &engine.design_code,
                    &engine.design_name,
                    engine.is_redundant,
                )
        });
        self.engine = Some(Arc::new(engine.clone()));
        self.linked = Some(now);
        self.is_telling = true;
        self.room = Room::ToMake;
        self.refused = 0;
        if is_other {
            self.void();
        }
        for slot in &mut self.slots {
            slot.set(SEEN, false);
        }
        for component in &mut self.components {
            component.is_seen = false;
        }
        is_other
    }

    fn void(&mut self) {
        self.is_replacing = true;
        self.is_all_live = false;
        self.generation += 1;
        self.owed.controls.clear();
        for id in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(id) else {
                continue;
            };
            if slot.has(HAS_EXTRA)
                && let Ok(id) = u32::try_from(id)
            {
                self.side.clear(id);
            }
            slot.text = CompactString::const_new("");
            slot.set(STATE | METER | MAY_BE_METER | DIRTY | HAS_EXTRA, false);
        }
        self.side.sweep();
    }

    /// A component of the design being told. Nothing when it has to be refused; that is then counted.
    pub(super) fn component_began(
        &mut self,
        facts: &ComponentFacts,
        controls: usize,
    ) -> Option<u16> {
        let id = match self.component_names.find(facts.name.as_str()) {
            Some(id) => Some(id),
            None => self.add_component(&facts.name, controls),
        };
        let Some(id) = id else {
            self.refused += 1 + u64::try_from(controls).unwrap_or(0);
            return None;
        };
        let kind = CompactString::new(cut(&facts.kind).0);
        let component = self.components.get_mut(usize::from(id))?;
        component.is_seen = true;
        let old = std::mem::take(&mut component.properties);
        self.side.release(&old);
        let properties = self.side.properties(facts, &mut self.trimmed);
        if component.kind != kind || old != properties {
            self.component_names.mark_unsaved(id);
        }
        component.kind = kind;
        component.properties = properties;
        Some(id)
    }

    fn add_component(&mut self, name: &str, controls: usize) -> Option<u16> {
        name.parse::<ComponentName>().ok()?;
        let id = match self.component_names.intern(name.into()) {
            Some(id) => id,
            None if self.make_room() => self.component_names.intern(name.into())?,
            None => return None,
        };
        self.place_component(
            id,
            Component {
                is_new: true,
                controls: Vec::with_capacity(controls),
                ..Component::default()
            },
        );
        Some(id)
    }

    pub(super) fn place_component(&mut self, id: u16, component: Component) {
        let place = usize::from(id);
        if self.components.len() <= place {
            self.components.resize_with(place + 1, Component::default);
        }
        if let Some(slot) = self.components.get_mut(place) {
            *slot = component;
        }
    }

    /// One control of a component. The id is given when its state was known before and is another one now.
    pub(super) fn control(
        &mut self,
        owner: u16,
        facts: &ControlFacts<'_>,
        now: u32,
    ) -> Option<u32> {
        let meta = Meta::of(facts);
        let id = self.told(owner, &facts.name, &meta)?;
        let was_known = self
            .slot(id)
            .is_some_and(|slot| slot.has(super::slot::KNOWN));
        let report = Report {
            string: facts.string.as_deref(),
            value: facts.value.as_ref(),
            position: facts.position,
        };
        let says_something =
            report.string.is_some() || report.value.is_some() || report.position.is_some();
        (says_something && self.report(id, report, now) && was_known).then_some(id)
    }

    /// Finds or makes the place of a control that the design has. Nothing when it has to be refused; that is then counted.
    pub(super) fn told(&mut self, owner: u16, name: &str, meta: &Meta) -> Option<u32> {
        let place = match self.try_told(owner, name, meta) {
            // What cannot be a name finds no place in an empty mirror either.
            None if name.parse::<ControlName>().is_ok() && self.make_room() => {
                self.try_told(owner, name, meta)
            }
            place => place,
        };
        if place.is_none() {
            self.refused += 1;
        }
        place
    }

    fn try_told(&mut self, owner: u16, name: &str, meta: &Meta) -> Option<u32> {
        let component = self.component_name(owner);
        let known = self.find(component, name);
        if known.is_none() {
            name.parse::<ControlName>().ok()?;
        }
        let kind = self
            .component(owner)
            .map_or("", |component| &component.kind);
        let meter = meta.meter_flags(kind, name);
        let meta = match self.metas.find(meta) {
            Some(id) => id,
            None => self.metas.intern(meta.clone())?,
        };
        let id = if let Some(id) = known {
            id
        } else {
            let name = match self.names.find(name) {
                Some(id) => id,
                None => self.names.intern(name.into())?,
            };
            let id = self.insert(owner, name, meta)?;
            self.mark_dirty(id);
            id
        };
        let slot = self.slots.get_mut(at(id))?;
        let is_described_anew = slot.meta != meta;
        if is_described_anew {
            slot.meta = meta;
            slot.set(METER | MAY_BE_METER, false);
        }
        slot.set(SEEN | meter, true);
        if is_described_anew {
            self.mark_dirty(id);
        }
        Some(id)
    }

    /// Drops what an earlier design left and this one has not named so far. False when there is nothing to drop.
    fn make_room(&mut self) -> bool {
        if !self.is_replacing || std::mem::replace(&mut self.room, Room::Made) == Room::Made {
            return false;
        }
        let before = (self.controls(), self.component_names.len());
        let (vanished, components) = self.drop_unseen();
        self.evicted += vanished;
        self.evicted_components.extend(components);
        before != (self.controls(), self.component_names.len())
    }

    /// Takes out every control and component that the design being told has not named, and frees their names. How many
    /// controls of an earlier design that were, and which components.
    fn drop_unseen(&mut self) -> (usize, Vec<CompactString>) {
        let mut vanished = 0;
        for id in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            let Some(slot) = self.slot(id).filter(|slot| !slot.has(SEEN)) else {
                continue;
            };
            vanished += usize::from(!slot.has(NEW));
            self.remove(id);
        }
        let slots = &self.slots;
        let is_there = |id: &u32| slots.get(at(*id)).is_some_and(|slot| slot.has(USED));
        self.named.retain(is_there);
        let mut gone = Vec::new();
        for (id, name) in self.component_names.ids() {
            let Some(component) = self.components.get_mut(usize::from(id)) else {
                continue;
            };
            component.controls.retain(is_there);
            if !component.is_seen {
                self.side.release(&component.properties);
                if !component.is_new {
                    gone.push(name.clone());
                }
                *component = Component::default();
            }
        }
        let components = &self.components;
        self.component_names.keep(|id| {
            components
                .get(usize::from(id))
                .is_some_and(|component| component.is_seen)
        });
        self.owed.controls.retain(is_there);
        self.free_names();
        (vanished, gone)
    }

    fn free_names(&mut self) {
        let mut names = vec![false; self.names.bound()];
        let mut metas = vec![false; self.metas.bound()];
        for slot in self.slots.iter().filter(|slot| slot.has(USED)) {
            for (wanted, id) in [(&mut names, slot.name), (&mut metas, slot.meta)] {
                if let Some(wanted) = wanted.get_mut(usize::from(id)) {
                    *wanted = true;
                }
            }
        }
        let is_in = |list: &[bool], id: u16| list.get(usize::from(id)).copied().unwrap_or(false);
        self.names.keep(|id| is_in(&names, id));
        self.metas.keep(|id| is_in(&metas, id));
        self.side.sweep();
    }

    /// The design has been told. How it differs from the one before, if it does.
    pub(super) fn ended(&mut self) -> Option<DesignDiff> {
        if !std::mem::take(&mut self.is_telling) {
            return None;
        }
        let is_other = std::mem::take(&mut self.is_replacing);
        let (vanished, mut gone) = self.drop_unseen();
        gone.append(&mut self.evicted_components);
        let vanished = vanished + std::mem::take(&mut self.evicted);
        let mut diff = DesignDiff {
            vanished,
            components_vanished: gone,
            ..DesignDiff::default()
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.has(USED)) {
            if slot.has(NEW) {
                diff.appeared += 1;
                slot.set(NEW, false);
            } else {
                diff.kept += 1;
            }
        }
        for (id, name) in self.component_names.ids() {
            if let Some(component) = self.components.get_mut(usize::from(id))
                && std::mem::take(&mut component.is_new)
            {
                diff.components_appeared.push(name.clone());
            }
        }
        let is_news = is_other
            || diff.appeared + diff.vanished > 0
            || !diff.components_appeared.is_empty()
            || !diff.components_vanished.is_empty();
        diff.components_appeared.truncate(DIFF_NAMES_MAX);
        diff.components_vanished.truncate(DIFF_NAMES_MAX);
        if !is_news {
            return None;
        }
        self.generation += 1;
        self.owed.everything = true;
        self.settle();
        Some(diff)
    }

    /// The link is lost. True when readings counted as live until now.
    pub(super) fn went_stale(&mut self) -> bool {
        self.is_telling = false;
        for slot in &mut self.slots {
            slot.set(REPORTED, false);
        }
        self.linked.take().is_some() | std::mem::take(&mut self.is_all_live)
    }

    /// A named control of the design. Its value comes later.
    pub(super) fn named_control(&mut self, name: &str) {
        let meta = Meta::undescribed();
        self.told(NAMED, name, &meta);
    }
}
