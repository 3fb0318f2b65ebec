//! Capacities of what watches the box itself.

use std::time::Duration;

/// Time for which a worker of the runtime may be busy with one thing before the watchdog is no longer fed: no call and no batch takes
/// a tenth of it.
pub const WORKER_STUCK_AFTER: Duration = Duration::from_secs(5);

/// Time for which a disk may keep a batch before the watchdog is no longer fed: a worn card can take half a minute to answer, and a new
/// start does not help it.
pub const DISK_DEAD_AFTER: Duration = Duration::from_mins(2);

/// Rest between two looks of the watchdog where the service manager asks for none.
pub const WATCHDOG_PAUSE: Duration = Duration::from_secs(5);

/// Seconds that open connections are given to end when the process stops, unless the configuration says otherwise. Then they are cut.
pub const DRAIN_TIMEOUT_SECS: u64 = 20;

/// Seconds that calls on standard input and output are given to end with their host, which does not wait for long.
pub const PIPE_DRAIN_SECS: u64 = 5;

/// Seconds from which on, and until which, clients whose streams end with the process are asked to come back, spread evenly: a box that
/// is started anew serves again within the first of them.
pub const RECONNECT_MIN_SECS: u64 = 1;
/// See [`RECONNECT_MIN_SECS`].
pub const RECONNECT_MAX_SECS: u64 = 5;

/// Rest between two lines of the log that tell how far stopping has come.
pub const DRAIN_TOLD_EVERY: Duration = Duration::from_secs(5);

/// Networks that may read the numbers without a key. More are a fault of the configuration.
pub const SCRAPER_NETWORKS_MAX: usize = 16;

/// Sockets that the service manager may hand over; further ones stay closed.
pub const INHERITED_MAX: usize = 8;
