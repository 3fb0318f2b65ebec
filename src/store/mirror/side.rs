//! What few controls have: choices, a colour, a legend. One budget of bytes holds all of it.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};

use super::slot::{HAS_EXTRA, Slot};
use super::table::cut;
use crate::limits::SIDE_BYTES_MAX;
use crate::wire::jsonrpc::Text;
use crate::wire::qrc::{ComponentFacts, ControlChange, Scalar};

/// What one entry costs besides the texts that do not fit into it.
const ENTRY_BYTES: usize = 2 * (size_of::<u32>() + size_of::<Extra>());

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Extra {
    pub(super) choices: Arc<[CompactString]>,
    pub(super) color: CompactString,
    pub(super) legend: CompactString,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.choices.is_empty() && self.color.is_empty() && self.legend.is_empty()
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + heap(&self.color) + heap(&self.legend)
    }
}

#[derive(Debug, Default)]
pub(super) struct Side {
    extras: HashMap<u32, Extra>,
    /// Every list of choices once: a hundred selectors of one kind have the same entries.
    lists: HashSet<Arc<[CompactString]>>,
    bytes: usize,
}

fn heap(text: &CompactString) -> usize {
    if text.is_heap_allocated() {
        text.capacity()
    } else {
        0
    }
}

fn list_bytes(list: &[CompactString]) -> usize {
    list.iter().map(heap).sum::<usize>() + size_of_val(list) + 2 * size_of::<usize>() * 2
}

fn short(text: &str) -> CompactString {
    CompactString::new(cut(text).0)
}

impl Side {
    pub(super) fn get(&self, id: u32) -> Option<&Extra> {
        self.extras.get(&id)
    }

    pub(super) fn clear(&mut self, id: u32) {
        if let Some(extra) = self.extras.remove(&id) {
            self.bytes = self.bytes.saturating_sub(extra.bytes());
        }
    }

    /// Takes over what a change says of choices, colour and legend. True when that differs from what was known.
    pub(super) fn take(
        &mut self,
        id: u32,
        slot: &mut Slot,
        change: &ControlChange<'_>,
        trimmed: &mut u64,
    ) -> bool {
        let color = change.color.as_deref();
        let legend = change.legend.as_deref();
        let choices = change.choices.as_deref();
        let has_news = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        let says_something =
            has_news(color) || has_news(legend) || choices.is_some_and(|list| !list.is_empty());
        // Nearly all changes end here.
        if !says_something && !slot.has(HAS_EXTRA) {
            return false;
        }
        let was = self.extras.get(&id).cloned().unwrap_or_default();
        let holds = |said: Option<&str>, known: &CompactString| {
            said.is_none_or(|said| cut(said).0 == known.as_str())
        };
        if holds(color, &was.color)
            && holds(legend, &was.legend)
            && choices.is_none_or(|choices| same(choices, &was.choices))
        {
            return false;
        }
        let mut extra = was.clone();
        if let Some(color) = color {
            extra.color = short(color);
        }
        if let Some(legend) = legend {
            extra.legend = short(legend);
        }
        if let Some(choices) = choices
            && !same(choices, &was.choices)
        {
            extra.choices = self.list(choices).unwrap_or_else(|| {
                *trimmed += 1;
                Arc::default()
            });
        }
        self.clear(id);
        if !extra.is_empty() && self.has_room(extra.bytes()) {
            self.bytes += extra.bytes();
            self.extras.insert(id, extra);
            slot.set(HAS_EXTRA, true);
        } else {
            *trimmed += u64::from(!extra.is_empty());
            slot.set(HAS_EXTRA, false);
        }
        true
    }

    /// The properties of a component as they are kept.
    pub(super) fn properties(
        &mut self,
        facts: &ComponentFacts,
        trimmed: &mut u64,
    ) -> Arc<[(CompactString, CompactString)]> {
        let mut kept = Vec::with_capacity(facts.properties.len());
        for property in &facts.properties {
            let value = match &property.value {
                Some(Scalar::Text(text)) => short(text),
                Some(Scalar::Number(number)) => compact_str::format_compact!("{number}"),
                Some(Scalar::Bool(on)) => compact_str::format_compact!("{on}"),
                None => CompactString::const_new(""),
            };
            kept.push((short(&property.name), value));
        }
        self.afford(kept.into(), trimmed)
    }

    /// Accounts for properties; empty ones instead when they do not fit.
    pub(super) fn afford(
        &mut self,
        properties: Arc<[(CompactString, CompactString)]>,
        trimmed: &mut u64,
    ) -> Arc<[(CompactString, CompactString)]> {
        let bytes = property_bytes(&properties);
        if self.has_room(bytes) {
            self.bytes += bytes;
            properties
        } else {
            *trimmed += 1;
            Arc::default()
        }
    }

    /// Gives back the room of properties that are dropped.
    pub(super) fn release(&mut self, properties: &[(CompactString, CompactString)]) {
        self.bytes = self.bytes.saturating_sub(property_bytes(properties));
    }

    fn list(&mut self, choices: &[Text<'_>]) -> Option<Arc<[CompactString]>> {
        if choices.is_empty() {
            return Some(Arc::default());
        }
        let least = choices.len().saturating_mul(size_of::<CompactString>());
        if least > SIDE_BYTES_MAX {
            return None;
        }
        let list: Vec<CompactString> = choices.iter().map(|choice| short(choice)).collect();
        if let Some(known) = self.lists.get(list.as_slice()) {
            return Some(Arc::clone(known));
        }
        let bytes = list_bytes(&list);
        if !self.has_room(bytes) {
            self.sweep();
        }
        if !self.has_room(bytes) {
            return None;
        }
        self.bytes += bytes;
        let list: Arc<[CompactString]> = list.into();
        self.lists.insert(Arc::clone(&list));
        Some(list)
    }

    /// Forgets the lists that no control has any more.
    pub(super) fn sweep(&mut self) {
        let mut freed = 0;
        self.lists.retain(|list| {
            let wanted = Arc::strong_count(list) > 1;
            freed += if wanted { 0 } else { list_bytes(list) };
            wanted
        });
        self.bytes = self.bytes.saturating_sub(freed);
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= SIDE_BYTES_MAX
    }
}

fn property_bytes(properties: &[(CompactString, CompactString)]) -> usize {
    let heaps = properties
        .iter()
        .map(|(name, value)| heap(name) + heap(value));
    heaps.sum::<usize>() + size_of_val(properties)
}

fn same(choices: &[Text<'_>], known: &[CompactString]) -> bool {
    choices.len() == known.len()
        && choices
            .iter()
            .zip(known)
            .all(|(choice, known)| cut(choice).0 == known.as_str())
}
