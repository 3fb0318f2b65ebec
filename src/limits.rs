//! Every capacity in one place: unit, reason, and what happens when it is reached.
//!
//! [`WORST_CASE_BYTES`] adds up what these limits can cost in memory, and a constant assertion holds it under [`MEMORY_BUDGET_BYTES`].

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
