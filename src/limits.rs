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

/// Commands of callers on the wire at once, out of [`IN_FLIGHT_MAX`]. More wait in the queue of [`COMMANDS_MAX`], so that polls and
/// keep-alives always find a place in the table.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 16;

/// `Component.GetControls` on the wire at once: a client that sent them all in parallel overloaded a Core. More wait.
pub const GET_CONTROLS_IN_FLIGHT_MAX: usize = 3;

/// Registrations in change groups on the wire at once. More wait.
pub const ADDS_IN_FLIGHT_MAX: usize = 3;

/// Controls added to change groups between two polls: the next poll reports all of them in one frame. More wait for that poll.
pub const ADDED_PER_POLL_MAX: usize = 2_000;

/// Controls of one slow change group: a poll that reports all of them at 400 bytes each stays within [`CORE_FRAME_MAX_BYTES`]. More
/// go into the next of the three slow groups.
pub const GROUP_CONTROLS_MAX: usize = 22_000;

/// Controls that may be watched fast at once, over all watchers. One more watch is refused as busy.
pub const FAST_CONTROLS_MAX: usize = 512;

/// Longest text, bytes, of a control that is mirrored at all. A longer one is a script's source or log: it is not subscribed.
pub const SUBSCRIBED_TEXT_MAX_BYTES: usize = 16 << 10;

/// Components of one design whose answers broke [`CORE_FRAME_MAX_BYTES`] that are remembered by name. Each costs a connection; with
/// more the design cannot be learnt, and the link says so.
pub const OVERSIZE_COMPONENTS_MAX: usize = 64;

/// Frames in a row that could not be read before the connection is given up.
pub const GARBAGE_IN_ROW_MAX: u8 = 3;

/// Cores of one system: a redundant pair has two. More are a fault of the configuration.
pub const CORES_PER_SYSTEM_MAX: usize = 2;

/// Controls read by one call of a tool.
pub const READ_MAX: usize = 100;

/// Controls written by one call of a tool.
pub const WRITE_MAX: usize = 20;

/// Q-SYS systems of one box. More are a fault of the configuration.
pub const CORES_MAX: usize = 8;

/// Named controls in the configuration of one system. More are a fault of the configuration.
pub const NAMED_CONTROLS_MAX: usize = 4_096;

/// Patterns of protected controls. More are a fault of the configuration.
pub const PROTECTED_PATTERNS_MAX: usize = 256;

/// Ceilings for values. More are a fault of the configuration.
pub const CEILINGS_MAX: usize = 256;

/// Memory that the process may take in the worst case, bytes; the unit file's `MemoryHigh` matches it.
pub const MEMORY_BUDGET_BYTES: usize = 96 << 20;
