//! Who hears what happens to keys, so that it is on record. The guard knows no files.

use std::fmt;
use std::sync::Arc;

/// Hears of changes of keys.
pub trait Witness: fmt::Debug + Send + Sync {
    /// The keys were read again. Names of those that are new, that have other rights than before, and that are gone.
    fn keys_changed(&self, added: &[Arc<str>], changed: &[Arc<str>], gone: &[Arc<str>]);
}
