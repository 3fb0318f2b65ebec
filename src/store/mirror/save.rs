//! The mirror as records: what the store lacks of it, and a mirror made of what the store has.

use std::sync::Arc;

use compact_str::CompactString;
use sled::Batch;
use tokio::time::Instant;

use super::Mirror;
use super::slot::{
    DIRTY, DISABLED, HAS_POSITION, HAS_TEXT, HAS_VALUE, INDETERMINATE, INVISIBLE, METER, Meta,
    NAMED, NEW, TRUNCATED, USED,
};
use super::table::{Component, Table, at};
use crate::model::control::{ControlKind, Direction};
use crate::store::codec::{
    self, CodecError, ComponentRecord, ControlRecord, DesignRecord, MetaRecord, NameRecord,
};
use crate::store::schema::{self, Tree};
use crate::wire::qrc::{EngineState, EngineStatus};

/// Flags that outlive a restart. Their bits are part of the format.
const STORED: u16 =
    HAS_VALUE | HAS_POSITION | HAS_TEXT | TRUNCATED | METER | DISABLED | INVISIBLE | INDETERMINATE;

const _: () = assert!(
    STORED == 0x703E,
    "stored flags keep their bits, or the record gets a new version"
);

/// Records written as one batch, read from the mirror under one lock.
pub(in crate::store) const RECORDS_PER_BATCH: usize = 256;

/// What the store is to be told, by number. The facts themselves are read when they are written.
#[derive(Debug, Default)]
pub(in crate::store) struct Owing {
    /// The numbers mean something in this generation only.
    generation: u64,
    /// Another design ended since [`Mirror::debt`] was asked: nothing else here counts.
    pub(in crate::store) everything: bool,
    engine: bool,
    components: Vec<u16>,
    metas: Vec<u16>,
    names: Vec<u16>,
    pub(in crate::store) controls: Vec<u32>,
}

/// How a mirror stands with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Debt {
    /// Nothing to write, or nothing to write now because a design is half told.
    None,
    /// Some records.
    Records,
    /// Another design: everything.
    Everything,
}

impl Mirror {
    /// How it stands with the store.
    pub(in crate::store) fn debt(&self) -> Debt {
        let table = self.table.read();
        if table.is_replacing {
            Debt::None
        } else if table.owed.everything {
            Debt::Everything
        } else if table.owes() == 0 {
            Debt::None
        } else {
            Debt::Records
        }
    }

    /// How many records the store lacks.
    pub(in crate::store) fn owed(&self) -> usize {
        self.table.read().owes()
    }

    /// Takes over what the store lacks: from now on the mirror counts it as written.
    pub(in crate::store) fn take_owed(&self) -> Owing {
        self.table.write().take_owed()
    }

    /// Everything, for a store that has nothing. From now on the mirror counts it as written.
    pub(in crate::store) fn take_everything(&self) -> Owing {
        let mut table = self.table.write();
        if table.is_replacing {
            return Owing::default();
        }
        table.take_owed();
        let used = |(id, slot): (u32, &super::slot::Slot)| slot.has(USED).then_some(id);
        Owing {
            generation: table.generation,
            everything: true,
            engine: table.engine.is_some(),
            components: table.component_names.ids().map(|(id, _)| id).collect(),
            metas: table.metas.ids().map(|(id, _)| id).collect(),
            names: table.names.ids().map(|(id, _)| id).collect(),
            controls: (0..).zip(&table.slots).filter_map(used).collect(),
        }
    }

    /// Hands over the records of `owing` in batches, names before what needs them. The lock is held while a batch is made, not while
    /// `put` writes it. False when another design came in between: what was handed over is then worth nothing.
    ///
    /// # Errors
    ///
    /// Those of `put`.
    pub(in crate::store) fn records<E>(
        &self,
        owing: &Owing,
        put: &mut dyn FnMut(Tree, Batch, usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut bytes = Vec::new();
        if owing.engine {
            let encode = |table: &Table, (): (), batch: &mut Batch, bytes: &mut Vec<u8>| {
                table.put_design(batch, bytes)
            };
            if !self.batches(owing, Tree::Design, &[()], encode, &mut bytes, put)? {
                return Ok(false);
            }
        }
        Ok(self.batches(
            owing,
            Tree::Components,
            &owing.components,
            Table::put_component,
            &mut bytes,
            put,
        )? && self.batches(
            owing,
            Tree::Metas,
            &owing.metas,
            Table::put_meta,
            &mut bytes,
            put,
        )? && self.batches(
            owing,
            Tree::Names,
            &owing.names,
            Table::put_name,
            &mut bytes,
            put,
        )? && self.batches(
            owing,
            Tree::Values,
            &owing.controls,
            Table::put_control,
            &mut bytes,
            put,
        )?)
    }

    fn batches<T: Copy, E>(
        &self,
        owing: &Owing,
        tree: Tree,
        items: &[T],
        encode: impl Fn(&Table, T, &mut Batch, &mut Vec<u8>) -> Option<()>,
        bytes: &mut Vec<u8>,
        put: &mut dyn FnMut(Tree, Batch, usize) -> Result<(), E>,
    ) -> Result<bool, E> {
        for items in items.chunks(RECORDS_PER_BATCH) {
            let mut batch = Batch::default();
            {
                let table = self.table.read();
                if table.generation != owing.generation {
                    return Ok(false);
                }
                for item in items {
                    // What vanished since it was listed is not there to be written.
                    encode(&table, *item, &mut batch, bytes);
                }
            }
            put(tree, batch, items.len())?;
        }
        Ok(true)
    }
}

impl Table {
    fn owes(&self) -> usize {
        let named = [
            self.component_names.unsaved(),
            self.metas.unsaved(),
            self.names.unsaved(),
        ];
        let named: usize = named.into_iter().sum();
        named + self.owed.controls.len() + usize::from(self.owed.engine)
    }

    pub(super) fn take_owed(&mut self) -> Owing {
        if self.is_replacing {
            return Owing::default();
        }
        let owed = std::mem::take(&mut self.owed);
        for id in &owed.controls {
            if let Some(slot) = self.slots.get_mut(at(*id)) {
                slot.set(DIRTY, false);
            }
        }
        Owing {
            generation: self.generation,
            everything: owed.everything,
            engine: owed.engine,
            components: self.component_names.take_unsaved(),
            metas: self.metas.take_unsaved(),
            names: self.names.take_unsaved(),
            controls: owed.controls,
        }
    }

    fn put_design(&self, batch: &mut Batch, bytes: &mut Vec<u8>) -> Option<()> {
        let engine = self.engine.as_ref()?;
        let record = DesignRecord {
            platform: engine.platform.as_deref(),
            name: &engine.design_name,
            code: &engine.design_code,
            is_redundant: engine.is_redundant,
            is_emulator: engine.is_emulator,
        };
        put(batch, &[], &record, bytes)
    }

    fn put_component(&self, id: u16, batch: &mut Batch, bytes: &mut Vec<u8>) -> Option<()> {
        let component = self.component(id)?;
        let properties = component.properties.iter();
        let record = ComponentRecord {
            name: self.component_name(id)?,
            kind: &component.kind,
            properties: properties
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        };
        put(batch, &schema::key(id), &record, bytes)
    }

    fn put_meta(&self, id: u16, batch: &mut Batch, bytes: &mut Vec<u8>) -> Option<()> {
        let meta = self.metas.get(id)?;
        let strings = meta.strings.as_ref();
        let record = MetaRecord {
            kind: meta.kind.as_str(),
            direction: meta.direction.as_str(),
            range: meta.range,
            strings: strings.map(|(low, high)| (low.as_str(), high.as_str())),
        };
        put(batch, &schema::key(id), &record, bytes)
    }

    fn put_name(&self, id: u16, batch: &mut Batch, bytes: &mut Vec<u8>) -> Option<()> {
        let name = self.names.get(id)?;
        put(batch, &schema::key(id), &NameRecord(name), bytes)
    }

    fn put_control(&self, id: u32, batch: &mut Batch, bytes: &mut Vec<u8>) -> Option<()> {
        let slot = self.slot(id)?;
        let is_meter = slot.has(METER);
        let record = ControlRecord {
            value: (!is_meter && slot.has(HAS_VALUE)).then_some(slot.value),
            position: (!is_meter && slot.has(HAS_POSITION)).then_some(slot.position),
            meta: slot.meta,
            flags: if is_meter { METER } else { slot.flags & STORED },
            text: if is_meter { "" } else { &slot.text },
        };
        put(
            batch,
            &schema::control_key(slot.component, slot.name),
            &record,
            bytes,
        )
    }
}

fn put<T: serde::Serialize>(
    batch: &mut Batch,
    key: &[u8],
    record: &T,
    bytes: &mut Vec<u8>,
) -> Option<()> {
    codec::encode(record, bytes).ok()?;
    batch.insert(key, bytes.as_slice());
    Some(())
}

/// A mirror that is being made of stored records. They have to come in the order of their trees.
#[derive(Debug)]
pub(in crate::store) struct Restoring {
    table: Table,
    /// Records that were left out: of an unknown version, or in need of one that is not there.
    pub(in crate::store) dropped: u64,
}

impl Restoring {
    pub(in crate::store) fn new(now: Instant) -> Self {
        Self {
            table: Table::new(now),
            dropped: 0,
        }
    }

    /// Takes one record.
    pub(in crate::store) fn record(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        let taken = match tree {
            Tree::Design => self.design(value),
            Tree::Components => self.component(key, value),
            Tree::Metas => self.meta(key, value),
            Tree::Names => self.name(key, value),
            Tree::Values => self.control(key, value),
        };
        if !matches!(taken, Ok(true)) {
            self.dropped += 1;
        }
    }

    fn design(&mut self, value: &[u8]) -> Result<bool, CodecError> {
        let record: DesignRecord<'_> = codec::decode(value)?;
        self.table.engine = Some(Arc::new(EngineStatus {
            platform: record.platform.map(str::to_owned),
            state: EngineState::Active,
            design_name: record.name.to_owned(),
            design_code: record.code.to_owned(),
            is_redundant: record.is_redundant,
            is_emulator: record.is_emulator,
            status: None,
        }));
        Ok(true)
    }

    fn component(&mut self, key: &[u8], value: &[u8]) -> Result<bool, CodecError> {
        let record: ComponentRecord<'_> = codec::decode(value)?;
        let id = schema::id(key).ok_or(CodecError::Malformed)?;
        let table = &mut self.table;
        if !table.component_names.restore(id, record.name.into()) {
            return Ok(false);
        }
        let properties = record.properties.iter();
        let properties =
            properties.map(|(name, value)| (CompactString::new(name), CompactString::new(value)));
        let properties = table.side.afford(properties.collect(), &mut table.trimmed);
        table.place_component(
            id,
            Component {
                kind: record.kind.into(),
                properties,
                ..Component::default()
            },
        );
        Ok(true)
    }

    fn meta(&mut self, key: &[u8], value: &[u8]) -> Result<bool, CodecError> {
        let record: MetaRecord<'_> = codec::decode(value)?;
        let id = schema::id(key).ok_or(CodecError::Malformed)?;
        let strings = record.strings;
        let meta = Meta {
            kind: ControlKind::from_wire(record.kind),
            direction: Direction::from_wire(Some(record.direction)),
            range: record.range,
            strings: strings.map(|(low, high)| (low.into(), high.into())),
        };
        Ok(self.table.metas.restore(id, meta))
    }

    fn name(&mut self, key: &[u8], value: &[u8]) -> Result<bool, CodecError> {
        let record: NameRecord<'_> = codec::decode(value)?;
        let id = schema::id(key).ok_or(CodecError::Malformed)?;
        Ok(self.table.names.restore(id, record.0.into()))
    }

    fn control(&mut self, key: &[u8], value: &[u8]) -> Result<bool, CodecError> {
        let record: ControlRecord<'_> = codec::decode(value)?;
        let (owner, name) = schema::control_id(key).ok_or(CodecError::Malformed)?;
        let table = &mut self.table;
        let has_owner = owner == NAMED || table.component_names.get(owner).is_some();
        let Some(meta) = table.metas.get(record.meta).filter(|_| has_owner) else {
            return Ok(false);
        };
        let Some(name_text) = table.names.get(name) else {
            return Ok(false);
        };
        let kind = table
            .component(owner)
            .map_or("", |component| &component.kind);
        let meter = meta.meter_flags(kind, name_text);
        let Some(id) = table.insert(owner, name, record.meta) else {
            return Ok(false);
        };
        let Some(slot) = table.slots.get_mut(at(id)) else {
            return Ok(false);
        };
        slot.value = record.value.unwrap_or_default();
        slot.position = record.position.unwrap_or_default();
        slot.text = CompactString::new(super::table::cut(record.text).0);
        slot.set(NEW, false);
        slot.set((record.flags & STORED) | meter, true);
        slot.set(HAS_VALUE, record.value.is_some());
        slot.set(HAS_POSITION, record.position.is_some());
        Ok(true)
    }

    /// The mirror: everything in it is stale until a Core reports it.
    pub(in crate::store) fn finish(mut self) -> Mirror {
        self.table.component_names.restored();
        self.table.metas.restored();
        self.table.names.restored();
        self.table.settle();
        Mirror::of(self.table)
    }
}

impl Mirror {
    fn of(table: Table) -> Self {
        Self {
            table: parking_lot::RwLock::new(table),
            ..Self::new(Instant::now())
        }
    }
}
