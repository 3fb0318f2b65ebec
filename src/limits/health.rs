//! Capacities of what watches over the box.

/// Longest file of `/proc` or `/sys` that is read, bytes. What is behind that is not looked at.
pub const HOST_FILE_MAX_BYTES: u64 = 64 << 10;

/// Changes of health that are remembered. One more pushes the oldest out; it stays in the log.
pub const HEALTH_CHANGES_KEPT: usize = 32;

/// Longest reason of a check, bytes. A longer one is cut.
pub const HEALTH_REASON_MAX_BYTES: usize = 1_024;

/// Components that one check names. Further ones are left out.
pub const HEALTH_NAMES_SHOWN: usize = 10;

/// Lines of the log kept for the status page. One more pushes the oldest out.
pub const LOG_LINES_KEPT: usize = 100;

/// Longest of them, bytes. A longer one is cut there, not in the log itself.
pub const LOG_LINE_KEPT_BYTES: usize = 512;

/// Samples of memory kept to find a leak: one in ten minutes, for six hours.
pub const MEMORY_SAMPLES_KEPT: usize = 37;
