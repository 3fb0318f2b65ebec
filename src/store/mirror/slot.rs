//! One control's place in memory, and the table of what controls share.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::control::{ControlKind, Direction};

/// The component number of named controls, which have no component.
pub(super) const NAMED: u16 = u16::MAX;

/// One control. 50,000 of these are most of what the mirror costs, so names and descriptions are numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) value: f64,
    pub(super) text: CompactString,
    pub(super) position: f32,
    /// When it last changed, in [`super::table::Table`]'s ticks.
    pub(super) changed: u32,
    pub(super) component: u16,
    pub(super) name: u16,
    pub(super) meta: u16,
    pub(super) flags: u16,
}

const _: () = assert!(size_of::<Slot>() <= 48, "a slot has at most 48 bytes");

/// The place holds a control.
pub(super) const USED: u16 = 1;
/// `value` means something.
pub(super) const HAS_VALUE: u16 = 1 << 1;
/// `position` means something.
pub(super) const HAS_POSITION: u16 = 1 << 2;
/// `text` means something.
pub(super) const HAS_TEXT: u16 = 1 << 3;
/// `text` was cut.
pub(super) const TRUNCATED: u16 = 1 << 4;
/// It moves all the time: never stored.
pub(super) const METER: u16 = 1 << 5;
/// It is a read-only number: if it moves all the time, it is a meter.
pub(super) const MAY_BE_METER: u16 = 1 << 6;
/// It waits in the list of what the store lacks.
pub(super) const DIRTY: u16 = 1 << 7;
/// The Core reported it on the present link.
pub(super) const REPORTED: u16 = 1 << 8;
/// The design that is being told has it.
pub(super) const SEEN: u16 = 1 << 9;
/// No design before the one that is being told had it.
pub(super) const NEW: u16 = 1 << 10;
/// `changed` means something.
pub(super) const CHANGED: u16 = 1 << 11;
/// User interfaces show it greyed out.
pub(super) const DISABLED: u16 = 1 << 12;
/// User interfaces hide it.
pub(super) const INVISIBLE: u16 = 1 << 13;
/// Between on and off.
pub(super) const INDETERMINATE: u16 = 1 << 14;
/// The side table has an entry for it.
pub(super) const HAS_EXTRA: u16 = 1 << 15;

/// Anything was ever reported of it.
pub(super) const KNOWN: u16 = HAS_VALUE | HAS_POSITION | HAS_TEXT;
/// What a new design makes void.
pub(super) const STATE: u16 =
    KNOWN | TRUNCATED | CHANGED | REPORTED | DISABLED | INVISIBLE | INDETERMINATE;

impl Slot {
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn set(&mut self, flags: u16, on: bool) {
        if on {
            self.flags |= flags;
        } else {
            self.flags &= !flags;
        }
    }
}

/// What many controls have in common.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) kind: ControlKind,
    pub(super) direction: Direction,
    pub(super) range: Option<(f64, f64)>,
    pub(super) strings: Option<(CompactString, CompactString)>,
}

impl Meta {
    fn bits(&self) -> Option<(u64, u64)> {
        self.range
            .map(|(low, high)| (low.to_bits(), high.to_bits()))
    }

    /// What is known of a control whose component never described it.
    pub(super) fn undescribed() -> Self {
        Self {
            kind: ControlKind::Other(CompactString::const_new("")),
            direction: Direction::ReadWrite,
            range: None,
            strings: None,
        }
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.direction == other.direction
            && self.bits() == other.bits()
            && self.strings == other.strings
    }
}

impl Eq for Meta {}

impl Hash for Meta {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.kind, self.direction, self.bits(), &self.strings).hash(state);
    }
}

/// Things kept once and known by number. Numbers stay until [`Interner::keep`] frees them.
#[derive(Debug)]
pub(super) struct Interner<T> {
    items: Vec<Option<T>>,
    index: HashTable<u16>,
    hasher: DefaultHashBuilder,
    free: Vec<u16>,
    capacity: usize,
    unsaved: Vec<u16>,
}

impl<T: Eq + Hash> Interner<T> {
    /// At most `capacity` things, and never more than 65,535: the last number means "none".
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            items: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            free: Vec::new(),
            capacity: capacity.min(usize::from(u16::MAX)),
            unsaved: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// One above the highest number in use.
    pub(super) fn bound(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get(&self, id: u16) -> Option<&T> {
        self.items.get(usize::from(id))?.as_ref()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (u16, &T)> {
        (0..=u16::MAX)
            .zip(&self.items)
            .filter_map(|(id, item)| Some((id, item.as_ref()?)))
    }

    pub(super) fn find<Q: Hash + Eq + ?Sized>(&self, wanted: &Q) -> Option<u16>
    where
        T: Borrow<Q>,
    {
        let same = |id: &u16| self.get(*id).is_some_and(|item| item.borrow() == wanted);
        self.index.find(self.hasher.hash_one(wanted), same).copied()
    }

    /// The number of `item`, which is kept if it was not yet. Nothing when the table is full.
    pub(super) fn intern(&mut self, item: T) -> Option<u16> {
        if let Some(id) = self.find(&item) {
            return Some(id);
        }
        if self.len() >= self.capacity {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => u16::try_from(self.items.len()).ok()?,
        };
        self.place(id, item);
        self.unsaved.push(id);
        Some(id)
    }

    /// Puts a stored item back at its number; false when that or the item is taken.
    pub(super) fn restore(&mut self, id: u16, item: T) -> bool {
        let fits = usize::from(id) < self.capacity && self.find(&item).is_none();
        let fits = fits && self.get(id).is_none();
        if fits {
            self.place(id, item);
        }
        fits
    }

    /// Call once after the last [`Interner::restore`]: the gaps between restored numbers become free.
    pub(super) fn restored(&mut self) {
        self.free = (0..=u16::MAX)
            .zip(&self.items)
            .filter_map(|(id, item)| item.is_none().then_some(id))
            .collect();
    }

    fn place(&mut self, id: u16, item: T) {
        let at = usize::from(id);
        if self.items.len() <= at {
            self.items.resize_with(at + 1, || None);
        }
        let hash = self.hasher.hash_one(&item);
        if let Some(place) = self.items.get_mut(at) {
            *place = Some(item);
        }
        let (items, hasher) = (&self.items, &self.hasher);
        self.index.insert_unique(hash, id, |id| {
            let item = items.get(usize::from(*id)).and_then(Option::as_ref);
            item.map_or(0, |item| hasher.hash_one(item))
        });
    }

    /// Frees every number for which `wanted` is false.
    pub(super) fn keep(&mut self, wanted: impl Fn(u16) -> bool) {
        let items = &mut self.items;
        self.index.retain(|id| wanted(*id));
        for (id, item) in (0..=u16::MAX).zip(items.iter_mut()) {
            if item.is_some() && !wanted(id) {
                *item = None;
                self.free.push(id);
            }
        }
        self.unsaved.retain(|id| wanted(*id));
    }

    /// Numbers that the store has not seen yet; the list is emptied.
    pub(super) fn take_unsaved(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.unsaved)
    }

    /// How many numbers the store has not seen yet.
    pub(super) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    pub(super) fn mark_unsaved(&mut self, id: u16) {
        if !self.unsaved.contains(&id) {
            self.unsaved.push(id);
        }
    }
}
