//! How the mirror is read: copies, taken under a short lock. What takes long is worked out after the lock is gone.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use super::Mirror;
use super::slot::{
    CHANGED, DISABLED, HAS_POSITION, HAS_VALUE, INDETERMINATE, INVISIBLE, KNOWN, METER, Meta,
    REPORTED, Slot, TRUNCATED, USED,
};
use super::table::Table;
use crate::model::control::Quality;
use crate::model::name::{ControlName, ControlRef};
use crate::store::view::{ComponentView, ControlId, ControlView, Look, MirrorStatus, Reading};

/// Names looked at under one hold of the lock by what has to see all of them.
const NAMES_PER_HOLD: usize = 1_024;

/// Words of a query that count; the rest is ignored.
const TERMS_MAX: usize = 8;

/// How alike two names have to be to be taken for a slip of the finger, from 0 to 1.
const ALIKE: f64 = 0.7;

/// What [`Mirror::search`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchKind {
    /// Components, by name and type.
    Component,
    /// Controls, by their component's name and type and their own name.
    Control,
}

/// One find of [`Mirror::search`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// The component; absent for a named control.
    pub component: Option<CompactString>,
    /// The control; absent when the component itself was found.
    pub control: Option<CompactString>,
    /// Where it is in the mirror; absent when the component itself was found.
    pub id: Option<ControlId>,
    /// The component's type, or the control's.
    pub kind: CompactString,
}

impl Mirror {
    /// Where a control is, if the design has it.
    #[must_use]
    pub fn find(&self, wanted: &ControlRef) -> Option<ControlId> {
        let component = wanted
            .component
            .as_ref()
            .map(crate::model::name::ComponentName::as_str);
        let table = self.table.read();
        table
            .find(component, wanted.control.as_str())
            .map(ControlId)
    }

    /// All that is known of a control. Nothing when the id is of a design that is gone.
    #[must_use]
    pub fn control(&self, id: ControlId) -> Option<ControlView> {
        self.table.read().view(id.0, Instant::now())
    }

    /// Where a control stands. Nothing when the id is of a design that is gone.
    #[must_use]
    pub fn reading(&self, id: ControlId) -> Option<Reading> {
        let table = self.table.read();
        table
            .slot(id.0)
            .map(|slot| table.reading(slot, Instant::now()))
    }

    /// A component, if the design has it.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<ComponentView> {
        let table = self.table.read();
        let id = table.component_names.find(name)?;
        table.component_view(id)
    }

    /// The components that `filter` lets pass, ordered by name, at most `limit` from the one numbered `skip` on; and how
    /// many there are in all. `filter` runs under the lock and has to be quick.
    pub fn components(
        &self,
        filter: &mut dyn FnMut(&ComponentView) -> bool,
        skip: usize,
        limit: usize,
    ) -> (Vec<ComponentView>, usize) {
        let table = self.table.read();
        let mut found: Vec<ComponentView> = table
            .component_names
            .ids()
            .filter_map(|(id, _)| table.component_view(id))
            .filter(|view| filter(view))
            .collect();
        drop(table);
        let total = found.len();
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        (found.into_iter().skip(skip).take(limit).collect(), total)
    }

    /// The controls of a component in the Core's order. Nothing when the design has no such component.
    #[must_use]
    pub fn component_controls(&self, name: &str) -> Option<Vec<ControlView>> {
        let now = Instant::now();
        let table = self.table.read();
        let id = table.component_names.find(name)?;
        let controls = &table.component(id)?.controls;
        Some(
            controls
                .iter()
                .filter_map(|id| table.view(*id, now))
                .collect(),
        )
    }

    /// The named controls that the configuration lists and the design has, in the configuration's order.
    #[must_use]
    pub fn named_controls(&self) -> Vec<ControlView> {
        let now = Instant::now();
        let table = self.table.read();
        let named = table.named.iter();
        named.filter_map(|id| table.view(*id, now)).collect()
    }

    /// The `n` component names most like `wanted`, best first; fewer when few are alike.
    #[must_use]
    pub fn nearest_components(&self, wanted: &str, n: usize) -> Vec<String> {
        let names = {
            let table = self.table.read();
            let names = table.component_names.ids();
            names.map(|(_, name)| name.clone()).collect()
        };
        nearest(names, wanted, n)
    }

    /// The `n` control names of a component, or without one the named controls, most like `wanted`; best first, fewer when
    /// few are alike.
    #[must_use]
    pub fn nearest_controls(&self, component: Option<&str>, wanted: &str, n: usize) -> Vec<String> {
        let names = {
            let table = self.table.read();
            let ids = match component {
                None => table.named.as_slice(),
                Some(name) => {
                    let id = table.component_names.find(name);
                    let component = id.and_then(|id| table.component(id));
                    component.map_or(&[][..], |component| &component.controls)
                }
            };
            let slots = ids.iter().filter_map(|id| table.slot(*id));
            slots.map(|slot| table.name(slot.name).into()).collect()
        };
        nearest(names, wanted, n)
    }

    /// What has every word of `query` in its names or type, whatever the case; best first, at most `limit`. Without such a find,
    /// components whose names are nearly `query`. No `kinds` means all of them.
    #[must_use]
    pub fn search(&self, query: &str, kinds: &[SearchKind], limit: usize) -> Vec<SearchHit> {
        let query = query.to_lowercase();
        let terms: Vec<&str> = query.split_whitespace().take(TERMS_MAX).collect();
        let wants = |kind| kinds.is_empty() || kinds.contains(&kind);
        if terms.is_empty() {
            return Vec::new();
        }
        let names = self.name_matches(&terms);
        let table = self.table.read();
        let everything = full(terms.len());
        let mut owners = vec![Match::default(); table.component_names.bound()];
        let mut hits: Vec<(Reverse<u32>, Find)> = Vec::new();
        for (id, name) in table.component_names.ids() {
            let mut matched = Match::of(name, &terms);
            if let Some(component) = table.component(id) {
                matched.add_kind(&component.kind, &terms);
            }
            if wants(SearchKind::Component) && matched.mask == everything {
                // A component before its own controls.
                hits.push((Reverse(matched.score + 1), Find::Component(id)));
            }
            if let Some(owner) = owners.get_mut(usize::from(id)) {
                *owner = matched;
            }
        }
        if wants(SearchKind::Control) {
            for (id, slot) in (0_u32..).zip(&table.slots) {
                let name = names.get(usize::from(slot.name)).copied();
                let name = name.unwrap_or_default();
                let owner = owners.get(usize::from(slot.component)).copied();
                let owner = owner.unwrap_or_default();
                if slot.has(USED) && name.mask != 0 && name.mask | owner.mask == everything {
                    hits.push((Reverse(name.score.max(owner.score / 2)), Find::Control(id)));
                }
            }
        }
        hits.sort_unstable();
        let hits = hits.into_iter().take(limit);
        let found: Vec<SearchHit> = hits.filter_map(|(_, find)| table.hit(find)).collect();
        drop(table);
        if found.is_empty() && wants(SearchKind::Component) {
            return self.nearly(&query, limit);
        }
        found
    }

    /// How each control name of the mirror matches, by its number.
    fn name_matches(&self, terms: &[&str]) -> Vec<Match> {
        let mut matches = Vec::new();
        loop {
            let table = self.table.read();
            let end = table.names.bound().min(matches.len() + NAMES_PER_HOLD);
            if matches.len() >= end {
                return matches;
            }
            for id in matches.len()..end {
                let name = u16::try_from(id).ok().and_then(|id| table.names.get(id));
                matches.push(name.map_or_else(Match::default, |name| Match::of(name, terms)));
            }
        }
    }

    fn nearly(&self, query: &str, limit: usize) -> Vec<SearchHit> {
        let names = self.nearest_components(query, limit);
        let views = names.iter().filter_map(|name| self.component(name));
        let hit = |view: ComponentView| SearchHit {
            component: Some(view.name),
            control: None,
            id: None,
            kind: view.kind,
        };
        views.map(hit).collect()
    }

    /// The mirror as a whole.
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        let now = Instant::now();
        let table = self.table.read();
        MirrorStatus {
            engine: table.engine.clone(),
            components: table.component_names.len(),
            controls: table.controls(),
            refused: table.refused,
            trimmed: table.trimmed,
            quality: table.overall(),
            confirmed: table.confirmed.map(|at| now.saturating_duration_since(at)),
            generation: table.generation,
            changes: table.changes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Find {
    Component(u16),
    Control(u32),
}

/// Which words of a query a name has, one bit each, and how well they fit.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    mask: u8,
    score: u32,
}

fn full(terms: usize) -> u8 {
    (0..terms).fold(0, |mask, term| mask | 1 << term)
}

impl Match {
    fn of(name: &str, terms: &[&str]) -> Self {
        let name = name.to_lowercase();
        let mut found = Self::default();
        for (bit, term) in terms.iter().enumerate() {
            let Some(at) = name.find(term) else { continue };
            found.mask |= 1 << bit;
            found.score += if name == *term {
                100
            } else if at == 0 {
                60
            } else {
                40
            };
        }
        found
    }

    fn add_kind(&mut self, kind: &str, terms: &[&str]) {
        let kind = kind.to_lowercase();
        for (bit, term) in terms.iter().enumerate() {
            if kind.contains(term) {
                self.mask |= 1 << bit;
                self.score += 20;
            }
        }
    }
}

fn nearest(names: Vec<CompactString>, wanted: &str, n: usize) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, CompactString)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &wanted), name))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
    let names = scored.into_iter().take(n);
    names.map(|(_, name)| name.into_string()).collect()
}

impl Table {
    fn hit(&self, find: Find) -> Option<SearchHit> {
        Some(match find {
            Find::Component(id) => SearchHit {
                component: self.component_name(id).map(CompactString::new),
                control: None,
                id: None,
                kind: self.component(id)?.kind.clone(),
            },
            Find::Control(id) => {
                let slot = self.slot(id)?;
                let meta = self.metas.get(slot.meta);
                SearchHit {
                    component: self.component_name(slot.component).map(CompactString::new),
                    control: Some(self.name(slot.name).into()),
                    id: Some(ControlId(id)),
                    kind: meta.map_or("", |meta| meta.kind.as_str()).into(),
                }
            }
        })
    }

    fn overall(&self) -> Quality {
        if self.linked.is_some() && self.is_all_live {
            Quality::Live
        } else if self.is_replacing || !self.slots.iter().any(|slot| slot.has(KNOWN)) {
            Quality::Unknown
        } else {
            Quality::Stale
        }
    }

    fn component_view(&self, id: u16) -> Option<ComponentView> {
        let name = self.component_names.get(id)?.clone();
        let component = self.component(id)?;
        Some(ComponentView {
            name,
            kind: component.kind.clone(),
            controls: component.controls.len(),
            properties: Arc::clone(&component.properties),
        })
    }

    pub(super) fn view(&self, id: u32, now: Instant) -> Option<ControlView> {
        let slot = self.slot(id)?;
        let component = self.component_name(slot.component);
        let undescribed = Meta::undescribed();
        let meta = self.metas.get(slot.meta).unwrap_or(&undescribed);
        let extra = self.side.get(id).cloned().unwrap_or_default();
        let control: ControlName = self.name(slot.name).parse().ok()?;
        Some(ControlView {
            id: ControlId(id),
            name: ControlRef {
                component: component.and_then(|name| name.parse().ok()),
                control,
            },
            kind: meta.kind.clone(),
            direction: meta.direction,
            range: meta.range,
            range_strings: meta.strings.clone(),
            choices: extra.choices,
            is_meter: slot.has(METER),
            look: Look {
                color: extra.color,
                legend: extra.legend,
                is_disabled: slot.has(DISABLED),
                is_invisible: slot.has(INVISIBLE),
                is_indeterminate: slot.has(INDETERMINATE),
            },
            reading: self.reading(slot, now),
        })
    }

    pub(super) fn reading(&self, slot: &Slot, now: Instant) -> Reading {
        let changed = slot.has(CHANGED).then(|| self.tick_instant(slot.changed));
        let reported = self.linked.filter(|_| slot.has(REPORTED));
        let heard = changed.max(reported).max(self.confirmed);
        let since = |at: Instant| -> Duration { now.saturating_duration_since(at) };
        Reading {
            value: slot.has(HAS_VALUE).then_some(slot.value),
            string: slot.text.clone(),
            truncated: slot.has(TRUNCATED),
            position: slot.has(HAS_POSITION).then_some(slot.position),
            quality: self.quality(slot),
            age: heard.filter(|_| slot.has(KNOWN)).map(since),
            changed: changed.map(since),
        }
    }
}
