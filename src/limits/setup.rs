//! Capacities of the first start.

use std::time::Duration;

/// Longest file with the claim of a box that is read, bytes: some hundred are written.
pub const CLAIM_FILE_MAX_BYTES: u64 = 4096;

/// Longest body of a step of the setup, bytes: a Core with its secrets, or a key. More is refused.
pub const SETUP_MAX_BYTES: usize = 16 << 10;

/// Steps of the setup at the same moment. One more is told to wait: a search and a check of a Core hold sockets for seconds.
pub const SETUP_STEPS_MAX: usize = 2;

/// Time for which announcements of Cores are listened for: devices send one a second.
pub const FIND_TIME: Duration = Duration::from_secs(4);

/// Devices that a search tells, those that run a design first. Further ones are left out.
pub const FOUND_DEVICES_MAX: usize = 64;

/// Longest announcement that is read, bytes: the longest datagram that there is.
pub const DATAGRAM_MAX_BYTES: usize = 65_535;

/// Longest `site.toml` that is read, bytes: some Cores of some hundred bytes each. A longer one is a fault.
pub const SITE_MAX_BYTES: u64 = 256 << 10;

/// Time in which a Core that is checked has to be mirrored as a whole. After it, the check says how far it came.
pub const CHECK_TIME: Duration = Duration::from_secs(25);

/// Time in which one port of a Core has to answer when it is checked.
pub const CHECK_PORT_TIME: Duration = Duration::from_secs(3);

/// Longest table of contents of a backup, bytes: some hundred files of some hundred bytes each. A longer one is none.
pub const BACKUP_SMALL_MAX_BYTES: u64 = 1 << 20;

/// Files of one backup: those of a box and the segments of its record. An archive with more is refused.
pub const BACKUP_FILES_MAX: usize = 1024;

/// Bytes of each file of a support bundle; of longer ones the end is taken.
pub const SUPPORT_FILE_MAX_BYTES: usize = 1 << 20;
