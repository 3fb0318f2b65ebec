//! Every capacity in one place: unit, reason, and what happens when it is reached.
//!
//! [`WORST_CASE_BYTES`] adds up what these limits can cost in memory, and a constant assertion holds it under [`MEMORY_BUDGET_BYTES`].

use std::time::Duration;

/// Longest name of a component or control, bytes. Names of real designs stay below 100 characters; a longer one is refused by
/// tools, and a component or control that carries one is left out of the mirror and counted.
pub const NAME_MAX_BYTES: usize = 255;

/// Largest frame taken from a Core, bytes. One mixer of a real design has 693 controls, and a script component's answer carries its
/// whole script. A larger frame ends the connection, and the component that caused it is not asked again in this design.
pub const CORE_FRAME_MAX_BYTES: usize = 16 << 20;

/// Controls in the mirror. A real 24f design has 4,259. More are refused and counted, and health is degraded.
pub const CONTROLS_MAX: usize = 65_536;

/// Components in the mirror. More are refused and counted, and health is degraded.
pub const COMPONENTS_MAX: usize = 4_096;

/// Longest text kept of a control's value, bytes. A longer one is cut at a character, flagged, and never compared or written back.
pub const TEXT_MAX_BYTES: usize = 256;

/// Commands waiting for the link's task. One more is refused as busy: people wait for these.
pub const COMMANDS_MAX: usize = 64;

/// Requests on the wire whose answers are awaited, over all kinds. Enumeration and polls take theirs from the same table.
pub const IN_FLIGHT_MAX: usize = 32;

/// Controls read by one call of a tool.
pub const READ_MAX: usize = 100;

/// Controls written by one call of a tool.
pub const WRITE_MAX: usize = 20;

/// Memory that the process may take in the worst case, bytes; the unit file's `MemoryHigh` matches it.
pub const MEMORY_BUDGET_BYTES: usize = 96 << 20;

/// Longest ramp of a write, seconds. A longer one is refused: nobody would still be watching when it ends.
pub const RAMP_MAX_SECS: f64 = 60.0;
/// Distinct control names in the mirror; the store's keys give them 16 bits. A control with one more is refused and counted.
pub const NAMES_MAX: usize = 65_535;

/// Distinct descriptions of controls (type, direction, range) in the mirror. Controls of one kind share theirs, so a real design has
/// a few hundred. A control that needs one more is refused and counted.
pub const DESCRIPTIONS_MAX: usize = 16_384;

/// Memory for what few controls have (choices, colour, legend) and for properties of components, bytes for one mirror. What does not
/// fit is left out and counted.
pub const SIDE_BYTES_MAX: usize = 4 << 20;

/// Notices that a subscriber of the mirror may lag behind. One that lags more is told so, and reads the mirror again.
pub const NOTICES_MAX: usize = 256;

/// Components that the difference between two designs lists by name; the rest is only counted.
pub const DIFF_NAMES_MAX: usize = 32;

/// Changes within [`METER_WINDOW`] that make a meter of a read-only number. Everything is polled about once a second, so a needle that
/// never rests shows ten changes or fewer in that time. A meter is never stored.
pub const METER_CHANGES_MAX: u8 = 7;

/// Time over which changes of read-only numbers are counted.
pub const METER_WINDOW: Duration = Duration::from_secs(10);

/// Controls waiting to be stored that wake the writer before its interval is over.
pub const DIRTY_WAKES: usize = 8_192;

/// Largest answer of a tool, bytes: about 12,000 tokens, so that a model is never flooded. Rows beyond it are left out, and the
/// answer says how to get at them.
pub const ANSWER_MAX_BYTES: usize = 48 << 10;

/// Rows of a list that a tool answers with unless asked otherwise.
pub const PAGE_DEFAULT: usize = 50;

/// Rows of a list that a tool can be asked for at once. More is refused.
pub const PAGE_MAX: usize = 500;

/// Longest text that a tool writes to a control, bytes. A longer one is refused.
pub const WRITE_TEXT_MAX_BYTES: usize = 4_096;

/// Calls that may wait for a change at the same time, over all clients and Cores. One more is refused as busy.
pub const WAITS_MAX: usize = 64;

/// Longest wait for a change, seconds. Proxies and clients give up on a silent answer soon after.
pub const WAIT_MAX_SECS: u32 = 60;

/// Longest reason given for a write, bytes. A longer one is refused.
pub const REASON_MAX_BYTES: usize = 300;
