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

/// Longest body of a request, bytes. The largest honest call of a tool is below 16 KiB. A longer body is answered 413.
pub const BODY_MAX_BYTES: usize = 1 << 20;

/// Bytes of request bodies held at the same moment, over all connections. A body that would pass it is answered 503.
pub const BODIES_MAX_BYTES: usize = 8 << 20;

/// Deepest nesting of JSON in a request: the bound of `serde_json`, at which decoding stops. Deeper arguments are refused.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of the head of a request. A longer head is answered 431 by the HTTP layer and the connection ends.
pub const HEAD_MAX_BYTES: usize = 16 << 10;

/// Bytes read ahead on one connection. More stays in the kernel until what was read is taken.
pub const CONNECTION_BUFFER_BYTES: usize = 32 << 10;

/// Header fields of a request. More are answered 431 by the HTTP layer and the connection ends.
pub const HEADERS_MAX: usize = 64;

/// Connections at the same moment. One more is answered 503 with `Retry-After` and closed.
pub const CONNECTIONS_MAX: usize = 1_024;

/// Connections of one address at the same moment. One more is answered 429 with `Retry-After` and closed.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// Requests that are being answered at the same moment. One more is answered 503 with `Retry-After`.
pub const REQUESTS_MAX: usize = 512;

/// Seconds until the head of a request must be there, counted from the end of the request before. Clients in use close idle
/// connections after 4 to 5 s by themselves, so 30 s closes none under their hands, and a slow head holds a connection no longer.
pub const HEAD_TIMEOUT_SECS: u64 = 30;

/// Seconds until the body of a request must be there. Then the answer is 408.
pub const BODY_TIMEOUT_SECS: u64 = 10;

/// Seconds that open connections are given to end when the process stops. Then they are cut.
pub const DRAIN_TIMEOUT_SECS: u64 = 5;

/// MCP sessions of older revisions, in total. One more ends the one that was idle longest.
pub const SESSIONS_MAX: usize = 4_096;

/// MCP sessions of older revisions for one caller. One more ends the caller's own that was idle longest.
pub const SESSIONS_PER_CALLER_MAX: usize = 1_024;

/// Seconds after which an idle MCP session ends. Its client is answered 404 and opens a new one by itself.
pub const SESSION_IDLE_SECS: u64 = 3_600;

/// Event streams at the same moment. One more is answered 503 with `Retry-After`.
pub const STREAMS_MAX: usize = 512;

/// Event streams of one caller at the same moment. One more is answered 429 with `Retry-After`.
pub const STREAMS_PER_CALLER_MAX: usize = 128;

/// Seconds between two comment lines on an idle event stream, so that no box between takes it for dead.
pub const STREAM_KEEP_ALIVE_SECS: u64 = 20;

/// Tools on one page of a list.
pub const TOOLS_PAGE: usize = 50;

/// Problems named in one answer about wrong arguments. The first ones help; hundreds would only fill the model's context.
pub const PROBLEMS_MAX: usize = 10;

/// Longest operator-chosen key or key sent by a client, bytes. A longer one is refused unread.
pub const KEY_MAX_BYTES: usize = 256;

/// Keys in the key file. One more is refused when it is made.
pub const KEYS_MAX: usize = 256;

/// Addresses (one IPv4 address, or one IPv6 /64) whose failed logins are remembered. One more forgets the one seen longest ago.
pub const LOGIN_FAILURES_MAX: usize = 1_024;

/// Calls of tools that change something, under way at the same moment; they outlive their client. One more is refused as busy.
pub const WRITES_RUNNING_MAX: usize = 64;

/// Longest time for one call of a tool, seconds. A read is then answered busy, a write with an unknown outcome.
pub const CALL_TIMEOUT_SECS: u64 = 300;

/// For how long a client may keep the list of tools, milliseconds. It changes with the program or the key only.
pub const LIST_CACHE_MS: u32 = 300_000;

/// For how long a client may keep what `server/discover` said, milliseconds.
pub const DISCOVER_CACHE_MS: u32 = 300_000;

/// Messages in one body of the revision that has batches. More are refused.
pub const BATCH_MAX: usize = 32;
