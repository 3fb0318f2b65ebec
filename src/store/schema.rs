//! What the databases hold: trees, keys, and the number of the format.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `meta` | `generation`, `format` | the folder's name, written last; [`FORMAT`] |
//! | `a/<core>` | empty | [`super::codec::DesignRecord`] |
//! | `c/<core>` | component number | [`super::codec::ComponentRecord`] |
//! | `m/<core>` | description number | [`super::codec::MetaRecord`] |
//! | `n/<core>` | name number | [`super::codec::NameRecord`] |
//! | `v/<core>` | component number, name number | [`super::codec::ControlRecord`] |
//! | `counters` (in `record`) | the counter's name | [`super::codec::CounterRecord`] |
//!
//! Numbers are 16 bits, big end first. In the order of the alphabet no record needs one that comes after it.

/// The format that this program writes. A store with a higher number was written by a later version and is not touched.
pub(super) const FORMAT: u16 = 1;

/// The tree that tells a whole store from half of one.
pub(super) const META: &str = "meta";
/// The key under which the folder's name stands, as the last thing written into a new store.
pub(super) const GENERATION: &[u8] = b"generation";
/// The key of the format's number.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Probed at every start: whether the store takes a write.
pub(super) const PROBE: &[u8] = b"probe";
/// The tree of counters.
pub(super) const COUNTERS: &str = "counters";

/// The trees of one Core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// The design.
    Design,
    /// Components.
    Components,
    /// Descriptions that controls share.
    Metas,
    /// Names of controls.
    Names,
    /// Controls and where they stand.
    Values,
}

impl Tree {
    const ALL: [Self; 5] = [
        Self::Design,
        Self::Components,
        Self::Metas,
        Self::Names,
        Self::Values,
    ];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Design => "a/",
            Self::Components => "c/",
            Self::Metas => "m/",
            Self::Names => "n/",
            Self::Values => "v/",
        }
    }

    /// The tree's name for this Core.
    pub(super) fn of(self, core: &str) -> String {
        format!("{}{core}", self.prefix())
    }

    /// Which tree of which Core has this name; nothing for trees that belong to no Core.
    pub(super) fn named(name: &str) -> Option<(Self, &str)> {
        Self::ALL
            .into_iter()
            .find_map(|tree| Some((tree, name.strip_prefix(tree.prefix())?)))
    }
}

/// The key of a numbered thing.
pub(super) fn key(id: u16) -> [u8; 2] {
    id.to_be_bytes()
}

/// The number that a key stands for.
pub(super) fn id(key: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(key.try_into().ok()?))
}

/// The key of a control.
pub(super) fn control_key(component: u16, name: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (key(component), key(name));
    [a, b, c, d]
}

/// The component and name that a control's key stands for.
pub(super) fn control_id(key: &[u8]) -> Option<(u16, u16)> {
    let (component, name) = key.split_at_checked(2)?;
    Some((id(component)?, id(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_and_keys_read_back_and_sort_as_they_are_needed() {
        let mut names: Vec<String> = Tree::ALL.iter().map(|tree| tree.of("hall/a")).collect();
        assert!(names.is_sorted());
        for (tree, name) in Tree::ALL.into_iter().zip(names.drain(..)) {
            assert_eq!(Tree::named(&name), Some((tree, "hall/a")));
        }
        assert_eq!(Tree::named(META), None);
        assert_eq!(Tree::named(COUNTERS), None);
        assert_eq!(control_id(&control_key(0xFFFF, 258)), Some((0xFFFF, 258)));
        assert_eq!(control_id(&[1, 2, 3]), None);
    }
}
