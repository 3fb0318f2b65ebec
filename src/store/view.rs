//! What readers of the mirror get: copies, taken under a short lock, free to keep.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::model::control::{ControlKind, Direction, Quality};
use crate::model::name::ControlRef;
use crate::wire::qrc::EngineStatus;

/// A control's place in the mirror; stable until the design changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControlId(pub u32);

/// Where a control stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Raw value: dB, seconds, Hz, an index, 0 or 1; absent for texts and before the first report.
    pub value: Option<f64>,
    /// What Designer shows, cut at [`crate::limits::TEXT_MAX_BYTES`].
    pub string: CompactString,
    /// Whether `string` was cut: such a text is never compared or written back.
    pub truncated: bool,
    /// The value between 0 and 1.
    pub position: Option<f32>,
    /// How far to trust it.
    pub quality: Quality,
    /// Time since the Core last reported or confirmed it; absent when it never did in this process.
    pub age: Option<Duration>,
    /// Time since it last changed; absent when it did not change in this process.
    pub changed: Option<Duration>,
}

/// A control with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlView {
    /// Its place.
    pub id: ControlId,
    /// Its names.
    pub name: ControlRef,
    /// Its type.
    pub kind: ControlKind,
    /// Whether it takes writes.
    pub direction: Direction,
    /// Lowest and highest value, where the Core gives a range.
    pub range: Option<(f64, f64)>,
    /// The range as Designer shows it, where the Core gives one.
    pub range_strings: Option<(CompactString, CompactString)>,
    /// Entries of a combo box; empty if it is none.
    pub choices: Arc<[CompactString]>,
    /// Whether it moves all the time, so that its last value is not worth keeping.
    pub is_meter: bool,
    /// What runs only at run time: colour, legend, flags. Empty and false where the Core sent none.
    pub look: Look,
    /// Where it stands.
    pub reading: Reading,
}

/// How user interfaces show a control at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Colour as the Core writes it.
    pub color: CompactString,
    /// Text that a script set.
    pub legend: CompactString,
    /// Greyed out.
    pub is_disabled: bool,
    /// Hidden.
    pub is_invisible: bool,
    /// Between on and off.
    pub is_indeterminate: bool,
}

/// A component without its controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentView {
    /// Its Code Name.
    pub name: CompactString,
    /// Its class: `gain`, `mixer`, …
    pub kind: CompactString,
    /// How many controls of it the mirror has.
    pub controls: usize,
    /// What the designer set, name and value.
    pub properties: Arc<[(CompactString, CompactString)]>,
}

/// The mirror as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorStatus {
    /// The design that the facts belong to; absent before the first is known.
    pub engine: Option<Arc<EngineStatus>>,
    /// Components known.
    pub components: usize,
    /// Controls known, named controls included.
    pub controls: usize,
    /// Components and controls refused because the mirror is full or their names are unusable.
    pub refused: u64,
    /// Texts beside the controls (choices, colours, legends, properties) left out because there is no more room for them.
    pub trimmed: u64,
    /// Whether the link is live and everything was confirmed on it.
    pub quality: Quality,
    /// Time since the last complete poll; absent before the first in this process.
    pub confirmed: Option<Duration>,
    /// Counts up with every design that replaced another one, so that cursors and subscribers notice.
    pub generation: u64,
    /// Change reports applied since the process started.
    pub changes: u64,
}

/// Told to subscribers: something moved, or the design did.
#[derive(Debug, Clone)]
pub enum Notice {
    /// These controls changed. Never more than a poll batch.
    Changed(Arc<[ControlId]>),
    /// Another design is known now: ids of before are void.
    Design {
        /// What appeared, vanished or stayed.
        diff: Arc<DesignDiff>,
    },
    /// Readings became stale, or live again.
    Quality(Quality),
}

/// How one design differs from the one before. Lists are bounded; the counts are whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesignDiff {
    /// Controls that were not there before.
    pub appeared: usize,
    /// Controls that are gone.
    pub vanished: usize,
    /// Controls that are there in both.
    pub kept: usize,
    /// Components that were not there before, the first of them.
    pub components_appeared: Vec<CompactString>,
    /// Components that are gone, the first of them.
    pub components_vanished: Vec<CompactString>,
}
