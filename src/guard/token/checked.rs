//! Tokens whose signature was found right, so that a client that shows one with each request pays for looking at it once.
//!
//! Kept is what a token says, and only that: whether its time has come or is over, and what the key behind it is worth, is judged anew at
//! each use. Bad tokens are not kept: each costs its sender the same, and counts as a failed login. So nobody pushes out the tokens of
//! others without being let in, and whoever does takes no more from them than the time of one look each.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::guard::key::{self, KeyHash};
use crate::limits::TOKENS_CHECKED_MAX;

/// What tokens say that were signed with the keys now in use, by the hash of each: the tokens themselves are not kept.
#[derive(Debug)]
pub(super) struct Checked<T>(Mutex<Under<T>>);

#[derive(Debug)]
struct Under<T> {
    /// Counts changes of the keys: what was signed under an earlier count is forgotten.
    keys: u32,
    said: HashMap<KeyHash, Arc<T>>,
}

impl<T> Checked<T> {
    /// What a token says, if its signature was found right under this count of the keys.
    pub(super) fn find(&self, token: &str, keys: u32) -> Option<Arc<T>> {
        // Before the lock: it is all the time that this takes.
        let hash = key::hash(token);
        let under = self.0.lock();
        (under.keys == keys)
            .then(|| under.said.get(&hash).map(Arc::clone))
            .flatten()
    }

    /// Forgets all of them: each is checked once again. How many.
    pub(super) fn clear(&self) -> usize {
        let said = std::mem::take(&mut self.0.lock().said);
        said.len()
    }

    /// Keeps what a token says whose signature was found right under this count of the keys.
    pub(super) fn keep(&self, token: &str, keys: u32, said: &Arc<T>) {
        let hash = key::hash(token);
        let mut under = self.0.lock();
        if under.keys != keys || under.said.len() >= TOKENS_CHECKED_MAX {
            under.keys = keys;
            under.said.clear();
        }
        under.said.insert(hash, Arc::clone(said));
    }
}

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self(Mutex::new(Under {
            keys: 0,
            said: HashMap::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_is_found_until_the_keys_change_or_the_place_is_needed() {
        let checked = Checked::default();
        checked.keep("a", 0, &Arc::new(1));
        assert_eq!(checked.find("a", 0).as_deref(), Some(&1));
        assert_eq!((checked.find("b", 0), checked.find("a", 1)), (None, None));
        checked.keep("b", 1, &Arc::new(2));
        assert_eq!(checked.find("b", 1).as_deref(), Some(&2));
        assert_eq!((checked.find("a", 1), checked.find("a", 0)), (None, None));
        for number in 0..3 * TOKENS_CHECKED_MAX {
            checked.keep(&number.to_string(), 1, &Arc::new(number));
            assert!(checked.0.lock().said.len() <= TOKENS_CHECKED_MAX);
            assert_eq!(
                checked.find(&number.to_string(), 1).as_deref(),
                Some(&number)
            );
        }
    }
}
