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

/// Longest last words of a service that ended with a fault, bytes. What is longer is cut.
pub const LAST_FAILURE_MAX_BYTES: usize = 4 << 10;

/// Age at which such words are of another matter, and not shown any more.
pub const LAST_FAILURE_AGE_MAX: Duration = Duration::from_hours(1);

/// Time for which a page stands in for a service that does not stay up, before it is tried again: longer than the interval in which the
/// service manager counts starts, so that it may be started again.
pub const RESCUE_TIME: Duration = Duration::from_mins(15);

/// Networks that may read the numbers without a key. More are a fault of the configuration.
pub const SCRAPER_NETWORKS_MAX: usize = 16;

/// Sockets that the service manager may hand over; further ones stay closed.
pub const INHERITED_MAX: usize = 8;

// Traces

/// Spans that may be built in a second, and at once after a rest. More are left out and counted: a peer that asks for everything to be
/// traced costs no more than this.
pub const SPANS_PER_SECOND_MAX: u32 = 500;
/// See [`SPANS_PER_SECOND_MAX`].
pub const SPANS_AT_ONCE_MAX: u32 = 1_000;

/// Of these, spans kept for what is traced already. With fewer left, no further request is.
pub const SPANS_RESERVED: u32 = 50;

/// Bytes of spans that wait for the collector; as many again are on their way to it. What finds no room is left out and counted.
pub const SPANS_WAITING_MAX_BYTES: usize = 256 << 10;

/// Bytes of waiting spans that are sent at once, before [`SPANS_SENT_EVERY`] is over.
pub const SPANS_WAITING_SENT_BYTES: usize = 64 << 10;

/// Time from the first span that waits until all that wait then are sent.
pub const SPANS_SENT_EVERY: Duration = Duration::from_secs(2);

/// Longest text in a span, bytes: names, words of a Core. What is longer is cut.
pub const SPAN_TEXT_MAX_BYTES: usize = 120;

/// How often spans are offered to a collector that cannot be reached or is busy. Then they are dropped and counted.
pub const SPANS_OFFERED_TIMES: u32 = 3;

/// Longest rest before they are offered again, whatever the collector asks for.
pub const SPANS_REST_MAX: Duration = Duration::from_secs(30);

/// Attributes that the configuration gives to all spans. More are a fault.
pub const RESOURCE_ATTRIBUTES_MAX: usize = 32;

/// Headers for the collector. More are a fault.
pub const COLLECTOR_HEADERS_MAX: usize = 16;

/// Shortest and longest time between two looks at memory.
pub const PRESSURE_LOOK_MIN: Duration = Duration::from_millis(250);
/// See [`PRESSURE_LOOK_MIN`].
pub const PRESSURE_LOOK_MAX: Duration = Duration::from_secs(5);

/// In between, the next look comes before memory could have become critical if it were taken at this pace, bytes a second: five times what a
/// flood of clients takes.
pub const PRESSURE_PACE_BYTES: u64 = 64 << 20;

/// Time between two things that are given up while memory is critical: until then what the one before gave back shows.
pub const PRESSURE_STEP_PAUSE: Duration = Duration::from_millis(200);

/// The same while memory is tight, when history alone is given up.
pub const PRESSURE_TIGHT_PAUSE: Duration = Duration::from_secs(15);

/// Time for which memory must be enough before it counts as enough.
pub const PRESSURE_EASES_AFTER: Duration = Duration::from_secs(10);

/// Time for which memory must not grow, with nothing left to give up, before what is in use counts as settled: it is held by the process
/// although it is free, and new streams take it before they take more.
pub const PRESSURE_SETTLES_AFTER: Duration = Duration::from_secs(30);

/// Fewest and most streams that are asked to leave at once while memory is critical; half of the idle ones in between. Each takes some memory
/// to say farewell.
pub const PRESSURE_STREAMS: std::ops::RangeInclusive<usize> = 16..=1_024;

/// Time without a request after which a connection is closed when memory is critical.
pub const PRESSURE_IDLE_CONNECTION: Duration = Duration::from_secs(1);

/// Entries of each kind in the audit trail that stay in memory when it runs short.
pub const AUDIT_KEPT_WHEN_SHORT: usize = 100;

/// Seconds from which on, and until which, clients whose streams ended for want of memory are asked to come back, spread evenly.
pub const RECONNECT_SHORT_MIN_SECS: u16 = 30;
/// See [`RECONNECT_SHORT_MIN_SECS`].
pub const RECONNECT_SHORT_MAX_SECS: u16 = 90;

/// Time for which a signal has everything logged and traced, and an admin without a word about it.
pub const SIGNALLED_FOR: Duration = Duration::from_mins(10);

/// Longest time for which something is switched by hand, minutes: a day. A box must not stay at its loudest for years.
pub const SWITCHED_MAX_MINUTES: u16 = 1_440;

/// Longest filter of the log that is taken from a client, characters.
pub const LOG_FILTER_MAX_CHARS: usize = 200;

/// Patterns of names in one question for numbers. More are refused.
pub const NUMBER_PATTERNS_MAX: usize = 16;
