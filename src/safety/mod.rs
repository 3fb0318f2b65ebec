//! Who may write what: the one place where every write to a Core is judged, whatever tool or alias asked for it.
//!
//! Everything here is pure, but for a note of which patterns fit the design that was looked at last. The caller brings the control as the mirror knows it and, where [`Policy::needs_present`] says so, a
//! fresh reading; the answer is yes, or a [`Refusal`] that says what to do instead. Nothing here sends anything.

mod config;
mod form;
mod pattern;
mod policy;
mod reach;
mod refusal;
#[cfg(test)]
mod tests;

pub use config::{Ceiling, ConfigFault, SafetyConfig};
pub use policy::{Expect, Policy, Present, Proposal, Write};
pub use reach::Beside;
pub(crate) use reach::is_snapshot_trigger;
pub use refusal::Refusal;
pub(crate) use refusal::number;
