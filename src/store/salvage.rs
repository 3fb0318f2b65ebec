//! What still reads of a damaged tree.

use std::collections::BTreeMap;

use sled::{IVec, Tree};

use super::open::catching;

/// What still reads of a damaged tree: on from the front, and behind each damage on from the next key that reads.
///
/// Forwards only: `sled` walks backwards from a constant key of a megabyte, which the program would carry for this alone.
pub(super) fn salvage(tree: &Tree) -> BTreeMap<IVec, IVec> {
    let mut found = BTreeMap::new();
    let mut is_whole = catching(|| take(tree.iter(), &mut found));
    let mut damage = 0;
    while !matches!(is_whole, Ok(true)) {
        let reached = found.last_key_value().map_or(0, |(key, _)| number(key));
        let Some(next) = behind(tree, reached.max(damage)) else {
            break;
        };
        damage = next;
        is_whole = catching(|| take(tree.range(key(next)..), &mut found));
    }
    found
}

/// The next key from which the tree reads, behind one before which it does not: looked for from component to component, then within
/// the one that the damage ends in.
fn behind(tree: &Tree, damage: u32) -> Option<u32> {
    let reads = |from: u32| {
        let first = catching(|| tree.range(key(from)..).next());
        matches!(first, Ok(None | Some(Ok(_))))
    };
    let components = (damage >> 16) + 1..=u32::from(u16::MAX);
    let mut good = components
        .map(|component| component << 16)
        .find(|from| reads(*from))?;
    let mut bad = damage.max(good - (1 << 16));
    while good - bad > 1 {
        let middle = bad.midpoint(good);
        if reads(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// True when nothing went wrong to the end.
fn take(
    records: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
    into: &mut BTreeMap<IVec, IVec>,
) -> bool {
    for record in records {
        match record {
            Ok((key, value)) => into.insert(key, value),
            Err(_) => return false,
        };
    }
    true
}

/// The first four bytes of a key, which are two numbers in most trees, as one.
fn number(key: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    for (byte, of_key) in bytes.iter_mut().zip(key) {
        *byte = *of_key;
    }
    u32::from_be_bytes(bytes)
}

/// The key of a number; that of a component alone where no name follows, which stands before all of its names.
fn key(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    bytes.strip_suffix(&[0, 0]).unwrap_or(&bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use sled::Batch;

    use super::*;
    use crate::store::database::Database;
    use crate::store::schema::control_key;

    const TREE: &str = "v/hall";
    const COMPONENTS: u16 = 40;
    const NAMES: u16 = 250;
    const RECORDS: usize = 10_000;

    /// A store of that many records, in leaves of some twenty.
    fn fill(dir: &Path) {
        let mut database = Database::open(dir).unwrap();
        for component in 0..COMPONENTS {
            let mut batch = Batch::default();
            for name in 0..NAMES {
                batch.insert(&control_key(component, name), [7; 40].as_slice());
            }
            database.write(TREE, batch, usize::from(NAMES)).unwrap();
        }
        database.sync().unwrap();
    }

    /// How many records come back after a damage at `part` of `parts` of the file.
    fn found(original: &Path, part: u64, parts: u64) -> usize {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(original).unwrap().flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
            }
        }
        let database = Database::open(dir.path()).unwrap();
        let tree = database.tree(TREE).unwrap();
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).open(dir.path().join("db")).unwrap();
        let place = file.metadata().unwrap().len() / parts * part;
        file.write_all_at(&[0x55; 64], place).unwrap();
        salvage(&tree).len()
    }

    #[test]
    fn a_damage_costs_the_leaf_that_it_hits_and_nothing_before_or_behind_it() {
        let original = tempfile::tempdir().unwrap();
        fill(original.path());
        let lost: Vec<usize> = (0..30)
            .map(|part| RECORDS - found(original.path(), part, 30))
            .filter(|lost| *lost > 0)
            .collect();
        let leaves = lost.iter().filter(|lost| **lost < 100).count();
        // Where the log grew new pages, and once in a while a page of the index, is a matter of luck.
        assert!(leaves > 0 && leaves * 2 > lost.len(), "{lost:?}");
    }

    #[test]
    fn a_number_and_its_key_are_one_and_a_component_comes_before_its_names() {
        for (number_of, key_of) in [(0x0102_0000, vec![1, 2]), (0x0102_0304, vec![1, 2, 3, 4])] {
            assert_eq!(key(number_of), key_of);
            assert_eq!(number(&key_of), number_of);
        }
        assert_eq!(number(b"quarantines"), u32::from_be_bytes(*b"quar"));
        assert!(key(1 << 16) < key((1 << 16) + 1));
    }
}
