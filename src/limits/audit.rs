//! Capacities of the audit trail.

/// Actions (writes, logins, changes of keys and configuration) of the audit trail kept in memory. One more pushes the oldest out; it stays
/// on disk.
pub const AUDIT_ACTIONS_KEPT: usize = 1_000;

/// Reads kept in memory, and as many refusals. One more pushes the oldest out; the sum of its minute stays on disk.
pub const AUDIT_LOOKS_KEPT: usize = 1_000;

/// Lines of the audit trail that wait for the disk. Further ones are lost, and a line says how many.
pub const AUDIT_WAITING_MAX: usize = 1_024;

/// Longest arguments of a call in the audit trail, bytes of JSON. Longer ones are cut, and say so.
pub const AUDIT_ARGUMENTS_MAX_BYTES: usize = 1_024;

/// Longest text within them, bytes. A longer one is cut, and says so.
pub const AUDIT_TEXT_MAX_BYTES: usize = 200;

/// Longest details of a line that is no call, bytes of JSON. Longer ones are cut, and say so.
pub const AUDIT_DETAIL_MAX_BYTES: usize = 2_048;

/// Longest line of the audit trail, bytes: arguments, names and hashes at their longest are half of it. A longer one in a file is none of
/// ours.
pub const AUDIT_LINE_MAX_BYTES: usize = 4_096;

/// Size at which a segment of the audit trail is closed, bytes; a sixteenth of what the trail may take, if that is less.
pub const AUDIT_SEGMENT_BYTES: u64 = 1 << 20;

/// Time between a line of the audit trail and its being safe from a power cut, seconds: lines are handed to the system at once, and
/// synced together.
pub const AUDIT_SYNC_SECS: u64 = 2;

/// Callers whose reads and refusals are summed apart in one minute. Further ones are summed together.
pub const AUDIT_CALLERS_SUMMED: usize = 512;

/// Addresses named in the one line a minute about strangers. Further ones are counted.
pub const AUDIT_STRANGERS_NAMED: usize = 8;

/// Pairs of a caller and an address that are remembered, so that not each request is a login. One more forgets the one that was away
/// longest.
pub const AUDIT_LOGINS_KEPT: usize = 1_024;

/// Logins written to disk in one minute. Further ones stay in memory, and the sum of their minute says how many.
pub const AUDIT_LOGINS_PER_MINUTE: u32 = 60;

/// Lines that wait to be forwarded. Further ones are dropped and counted.
pub const AUDIT_FORWARD_QUEUE: usize = 256;

/// Bytes of an export of the audit trail that are read at once.
pub const AUDIT_EXPORT_CHUNK_BYTES: usize = 64 << 10;

/// Exports of the audit trail over HTTP at once. One more is answered 429.
pub const AUDIT_EXPORTS_MAX: usize = 2;
