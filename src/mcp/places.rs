//! Places that clients take, and what they are told where there is none.

use super::error::Fault;
use crate::base::places::Full;
pub(super) use crate::base::places::{Capacity, Place, Places};

impl Full {
    /// The fault that is told.
    pub(super) fn fault(self, what: &str, is_modern: bool) -> Fault {
        match self {
            Self::Caller => {
                let message = format!("This API key has too many {what}.");
                Fault::busy(429, &message, is_modern)
            }
            Self::Total => {
                let message = format!("There are too many {what}. Try again in a second.");
                Fault::busy(503, &message, is_modern)
            }
        }
    }
}
