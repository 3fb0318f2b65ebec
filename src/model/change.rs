//! The one way up: what a link learns from a Core, told in order to whoever keeps it.

use tokio::time::Instant;

use crate::wire::qrc::{ComponentFacts, ControlChange, ControlFacts, EngineStatus};

/// Hears what a link learns. The mirror is one; tests have their own.
///
/// All calls of one link come from its one task, in the order of the Core's frames, and none may block or wait.
///
/// A design arrives as `design_began`, then `component` once each and `named_control` for each configured name, then
/// `design_ended`. Whatever was known and not named in between is gone from then on. `values` may come at any time after
/// `design_began`.
pub trait ChangeSink: Send + Sync {
    /// The Core runs this design, and its components are about to be told. A code other than the last one voids what was known.
    fn design_began(&self, engine: &EngineStatus, now: Instant);

    /// One component of the design, with its controls, their ranges and their present values.
    fn component(&self, facts: &ComponentFacts, controls: &[ControlFacts<'_>], now: Instant);

    /// A named control exists; its value comes with the next `values`.
    fn named_control(&self, name: &str, now: Instant);

    /// The design has been told completely.
    fn design_ended(&self, now: Instant);

    /// The Core reported these states. At most [`crate::wire::poll::BATCH_MAX`] a call.
    fn values(&self, changes: &[ControlChange<'_>], now: Instant);

    /// A poll of everything was answered: what it did not report still holds.
    fn confirmed(&self, now: Instant);

    /// The link is lost: nothing told so far counts as live any more.
    fn went_stale(&self, now: Instant);
}
