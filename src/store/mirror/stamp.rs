//! Numbers that tell whether anything is another way than before, without copying it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Mirror;
use super::slot::{KNOWN, METER, Slot, TRUNCATED};
use super::table::Table;
use crate::model::control::Quality;
use crate::store::view::ControlId;

impl Mirror {
    /// Counts up with every design that replaced another one; see [`crate::store::view::MirrorStatus::generation`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.table.read().generation
    }

    /// Where the controls of a component are, in the Core's order. Nothing when the design has no such component.
    #[must_use]
    pub fn control_ids(&self, component: &str) -> Option<Vec<ControlId>> {
        let table = self.table.read();
        let id = table.component_names.find(component)?;
        let controls = &table.component(id)?.controls;
        Some(controls.iter().map(|id| ControlId(*id)).collect())
    }

    /// A number that is another one when any of these controls stands elsewhere, is trusted otherwise, or has other choices. Ages,
    /// colours and legends do not count. Ids of a design that is gone count as nothing.
    #[must_use]
    pub fn stamp(&self, ids: &[ControlId]) -> u64 {
        let mut hasher = DefaultHasher::new();
        let table = self.table.read();
        for id in ids {
            match table.slot(id.0) {
                Some(slot) => table.hash_slot(id.0, slot, &mut hasher),
                None => hasher.write_u8(0),
            }
        }
        hasher.finish()
    }
}

impl Table {
    fn hash_slot(&self, id: u32, slot: &Slot, hasher: &mut DefaultHasher) {
        // The others keep the books, or say how user interfaces show it.
        let flags = slot.flags & (KNOWN | TRUNCATED | METER);
        (flags, slot.meta, slot.name, slot.component).hash(hasher);
        (slot.value.to_bits(), slot.position.to_bits()).hash(hasher);
        slot.text.as_str().hash(hasher);
        let quality: u8 = match self.quality(slot) {
            Quality::Live => 1,
            Quality::Stale => 2,
            Quality::Unknown => 3,
        };
        hasher.write_u8(quality);
        if let Some(extra) = self.side.get(id) {
            for choice in extra.choices.iter() {
                choice.as_str().hash(hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::model::change::ChangeSink;
    use crate::store::mirror::Mirror;
    use crate::store::mirror::tests::{change, engine, id, tell};

    fn hall(now: Instant) -> Mirror {
        let mirror = Mirror::new(now);
        mirror.design_began(&engine("a"), now);
        let controls = [
            ("gain", "Float", "Read/Write", -6.0),
            ("mute", "Boolean", "Read/Write", 0.0),
        ];
        tell(&mirror, "Gain", "gain", &controls, now);
        mirror.design_ended(now);
        mirror.confirmed(now);
        mirror
    }

    #[test]
    fn a_stamp_follows_value_and_trust_and_nothing_else() {
        let now = Instant::now();
        let mirror = hall(now);
        let ids = mirror.control_ids("Gain").unwrap();
        let gain = [id(&mirror, Some("Gain"), "gain").unwrap()];
        let stamps = || [mirror.stamp(&ids), mirror.stamp(&gain)];
        let first = stamps();
        let later = now + Duration::from_secs(9);
        mirror.confirmed(later);
        change(&mirror, Some("Gain"), "gain", -6.0, later);
        assert_eq!(stamps(), first, "nothing but its age is another one");
        change(&mirror, Some("Gain"), "mute", 1.0, later);
        let muted = stamps();
        assert!(muted[0] != first[0] && muted[1] == first[1]);
        mirror.went_stale(later);
        let stale = stamps();
        assert!(stale[0] != muted[0] && stale[1] != muted[1]);
        change(&mirror, Some("Gain"), "mute", 0.0, later);
        mirror.design_began(&engine("a"), later);
        mirror.confirmed(later);
        assert_eq!(stamps(), first, "as it was");
    }

    #[test]
    fn a_generation_rises_with_every_design_and_with_nothing_else() {
        let now = Instant::now();
        let mirror = Mirror::new(now);
        assert_eq!(mirror.generation(), 0);
        let mirror = hall(now);
        let first = mirror.generation();
        assert!(first > 0);
        mirror.went_stale(now);
        mirror.design_began(&engine("a"), now);
        assert_eq!(mirror.generation(), first);
        mirror.design_began(&engine("b"), now);
        assert!(mirror.generation() > first);
        assert_eq!(mirror.control_ids("None"), None);
    }
}
