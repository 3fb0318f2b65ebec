//! What all capacities together can cost in memory.

use super::{
    ANSWER_MAX_BYTES, ANSWERED_MAX_BYTES, ATTENDED_BYTES_MAX, ATTENDED_MAX, AUDIT_ACTIONS_KEPT,
    AUDIT_ARGUMENTS_MAX_BYTES, AUDIT_CALLERS_SUMMED, AUDIT_EXPORT_CHUNK_BYTES, AUDIT_EXPORTS_MAX,
    AUDIT_FORWARD_QUEUE, AUDIT_LOGINS_KEPT, AUDIT_LOOKS_KEPT, AUDIT_WAITING_MAX, BODIES_MAX_BYTES,
    COMMANDS_IN_FLIGHT_MAX, COMPONENT_CONTROLS_MAX, COMPONENTS_MAX, CONNECTION_BUFFER_BYTES,
    CONNECTIONS_MAX, CONTROLS_MAX, CORE_FRAME_MAX_BYTES, HANDSHAKES_MAX, HEALTH_CHANGES_KEPT,
    HEALTH_REASON_MAX_BYTES, HTTP2_ANSWERS_MAX_BYTES, HTTP2_CONNECTIONS_MAX, HTTP2_STREAMS_MAX,
    HTTP2_WINDOW_BYTES, INEXACT_NAMES_MAX, KEPT_BYTES_MAX, LINES_BYTES_MAX, LOG_LINE_KEPT_BYTES,
    LOG_LINES_KEPT, LOGIN_FAILURES_MAX, NAME_MAX_BYTES, PROPERTIES_ALL_MAX,
    PROVIDER_KEYS_MAX_BYTES, RATED_MAX, REACH_TEXT_MAX_BYTES, READ_MAX, SESSIONS_MAX,
    SIDE_BYTES_MAX, SPANS_WAITING_MAX_BYTES, STATES_REMEMBERED_MAX, STREAMS_MAX,
    STREAMS_PER_CALLER_MAX, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX, TASKS_BYTES_MAX, TASKS_MAX,
    TEXT_MAX_BYTES, TICKETS_MAX, TLS_SESSIONS_MAX, TOKENS_CHECKED_MAX, WAITS_MAX,
    WATCHED_CONTROLS_MAX, WATCHES_FAST_MAX, WATCHES_MAX, WEBSOCKET_BUFFER_BYTES,
    WEBSOCKET_MESSAGE_MAX_BYTES, WEBSOCKETS_MAX,
};
use crate::wire::qrc::{ComponentFacts, ControlFacts, Property};

/// Memory of one line of the audit trail with its arguments, bytes.
const AUDIT_ENTRY_BYTES: usize = 512 + AUDIT_ARGUMENTS_MAX_BYTES;

/// Memory of one read or refusal in the audit trail, bytes.
const AUDIT_LOOK_BYTES: usize = 448;

/// Memory of one slot of the mirror with its place in the index, bytes; measured at 50,000 controls, names included, short texts inline.
const SLOT_BYTES: usize = 100;

/// Memory of sled beyond what it stores, bytes: 8 MiB of cache, and buffers that the writer's flushes keep this low.
const DATABASE_BYTES: usize = 24 << 20;

/// Memory of one control of a watch, bytes: both names at their longest, and what was last told of it.
const WATCHED_CONTROL_BYTES: usize = 2 * NAME_MAX_BYTES + 160;

/// Memory of an MCP session that is not used, bytes; 318 to 330 were measured.
const SESSION_BYTES: usize = 384;

/// Memory of an event stream or WebSocket that is not used, bytes, its task and its feed included; 4,180 were measured, 4,350 with a session.
const STREAM_BYTES: usize = 4_608;

/// Memory of a connection beside what is read ahead and its answer, bytes: its task, the state of the HTTP layer, its seat; measured.
const CONNECTION_BYTES: usize = 8 << 10;

/// Memory of one TLS session that can be taken up again, bytes.
const TLS_SESSION_BYTES: usize = 2 << 10;

/// Memory of one control as the Core lists it, until it is in the mirror, bytes. Its texts are those of the frame.
const LISTED_CONTROL_BYTES: usize = size_of::<ControlFacts<'_>>();

/// Memory of one component as the Core lists it, until its controls are known, bytes: names beside the entry.
const LISTED_COMPONENT_BYTES: usize = size_of::<ComponentFacts>() + 3 * 48;

/// Memory of one of its properties, bytes: names and a value beside the entry.
const LISTED_PROPERTY_BYTES: usize = size_of::<Property>() + 3 * 48;

/// Memory of all counters of all metrics, bytes: every tool and method with its ranges of times.
const METRICS_BYTES: usize = 512 << 10;

/// Memory of the name of a watch that was ended for want of memory, bytes.
const ENDED_WATCH_BYTES: usize = 128;

/// Memory of all keys, bytes: as long as their file may be.
const KEYS_BYTES: usize = 256 << 10;

/// Memory of TLS on a connection that is not used, bytes; measured.
const TLS_BYTES: usize = 4_200;

/// Memory of a TLS record that is not whole yet, bytes: the longest that there can be (RFC 8446, section 5.2).
const TLS_RECORD_BYTES: usize = 18 << 10;

/// Memory of a TLS handshake whose messages are not whole yet, bytes: the longest that rustls takes.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// Memory of a connection with HTTP/2 beside its requests, bytes: tables of header fields, frames on their way.
const HTTP2_BYTES: usize = 64 << 10;

/// Memory of one request over HTTP/2 beside its body and answer, bytes: its task, its stream, its head.
const HTTP2_REQUEST_BYTES: usize = 8 << 10;

/// Memory of one subscription beside its name, bytes: a mark, a place, and its entry in the table of what is looked at.
const SUBSCRIPTION_BYTES: usize = 160;

/// Memory of one task beside what it was given and what it came to, bytes: its entry, its questions, and a call that waits.
const TASK_ENTRY_BYTES: usize = 4 << 10;

/// Memory of one remembered state of a call, bytes.
const STATE_BYTES: usize = 32;

/// Memory for the ends of bearer tokens that were let in, bytes: a step of ten seconds each, over the longest life of a token.
const TOKEN_ENDS_BYTES: usize = 128 << 10;

/// Memory of one address or person whose requests or failed logins are counted, bytes, in a table that is a quarter full, as one in
/// which much comes and goes can be.
const RATED_BYTES: usize = 164;

/// Memory of a compiled pattern of components for each of its bytes, bytes.
const REACH_BYTES_PER_BYTE: usize = 64;

/// Memory of one bearer token that was checked, bytes: its hash, its claims as far as they matter, the longest name.
const TOKEN_CHECKED_BYTES: usize = 640;

/// Memory of one ticket, bytes: its hash, its end, and whom it lets in.
const TICKET_BYTES: usize = 256;

/// Memory of the program itself with TLS and the runtime, bytes.
const PROGRAM_BYTES: usize = 12 << 20;

/// What these limits can cost at the same moment for one system, bytes: every text of the mirror at its longest, a frame of the
/// largest size as it is read, every connection in use, every body and answer at its bound.
pub const WORST_CASE_BYTES: usize = PROGRAM_BYTES
    + CONTROLS_MAX * (SLOT_BYTES + TEXT_MAX_BYTES)
    + SIDE_BYTES_MAX
    + 2 * CORE_FRAME_MAX_BYTES
    + DATABASE_BYTES
    + COMMANDS_IN_FLIGHT_MAX * ANSWERED_MAX_BYTES
    + COMPONENT_CONTROLS_MAX * LISTED_CONTROL_BYTES
    + 2 * COMPONENTS_MAX * LISTED_COMPONENT_BYTES
    + PROPERTIES_ALL_MAX * LISTED_PROPERTY_BYTES
    + CONNECTIONS_MAX
        * (CONNECTION_BUFFER_BYTES + CONNECTION_BYTES + TLS_BYTES + TLS_RECORD_BYTES)
    // An answer stays until its client has taken it, when its request does not count any more.
    + CONNECTIONS_MAX * ANSWER_MAX_BYTES
    + TLS_SESSIONS_MAX * TLS_SESSION_BYTES
    + METRICS_BYTES
    + HANDSHAKES_MAX * HANDSHAKE_BYTES
    + HTTP2_CONNECTIONS_MAX * (HTTP2_BYTES + HTTP2_WINDOW_BYTES)
    + HTTP2_CONNECTIONS_MAX * HTTP2_STREAMS_MAX * HTTP2_REQUEST_BYTES
    + HTTP2_ANSWERS_MAX_BYTES
    + BODIES_MAX_BYTES
    + (WATCHED_CONTROLS_MAX + WATCHES_FAST_MAX + 2 * INEXACT_NAMES_MAX) * WATCHED_CONTROL_BYTES
    + WAITS_MAX * READ_MAX * WATCHED_CONTROL_BYTES
    + WATCHES_MAX * ENDED_WATCH_BYTES
    + SESSIONS_MAX * SESSION_BYTES
    + STREAMS_MAX * (STREAM_BYTES + TLS_BYTES)
    // Nothing is expected on a stream, so only one who means harm leaves records half sent.
    + STREAMS_PER_CALLER_MAX * TLS_RECORD_BYTES
    + WEBSOCKETS_MAX * (WEBSOCKET_MESSAGE_MAX_BYTES + WEBSOCKET_BUFFER_BYTES)
    + ATTENDED_MAX * ANSWER_MAX_BYTES
    + ATTENDED_BYTES_MAX
    + LINES_BYTES_MAX
    + KEPT_BYTES_MAX
    + SUBSCRIPTION_BYTES_MAX
    + SUBSCRIPTIONS_MAX * SUBSCRIPTION_BYTES
    + TASKS_MAX * TASK_ENTRY_BYTES
    + TASKS_BYTES_MAX
    + STATES_REMEMBERED_MAX * STATE_BYTES
    + (AUDIT_ACTIONS_KEPT + AUDIT_WAITING_MAX + AUDIT_FORWARD_QUEUE) * AUDIT_ENTRY_BYTES
    + 2 * AUDIT_LOOKS_KEPT * AUDIT_LOOK_BYTES
    // Reads keep their arguments where somebody switched that on.
    + AUDIT_LOOKS_KEPT * AUDIT_ARGUMENTS_MAX_BYTES
    + (AUDIT_CALLERS_SUMMED + AUDIT_LOGINS_KEPT) * AUDIT_LOOK_BYTES
    + AUDIT_EXPORTS_MAX * 2 * AUDIT_EXPORT_CHUNK_BYTES
    + TOKEN_ENDS_BYTES
    + 2 * TOKENS_CHECKED_MAX * TOKEN_CHECKED_BYTES
    + 2 * PROVIDER_KEYS_MAX_BYTES
    + (3 * RATED_MAX + LOGIN_FAILURES_MAX) * RATED_BYTES
    // Twice: a new reading of the keys stands beside the one before until nobody uses that any more.
    + 2 * REACH_TEXT_MAX_BYTES * REACH_BYTES_PER_BYTE
    + 2 * KEYS_BYTES
    + TICKETS_MAX * TICKET_BYTES
    + LOG_LINES_KEPT * LOG_LINE_KEPT_BYTES
    // Those that wait, those on their way, and the request around them as it is written.
    + 4 * SPANS_WAITING_MAX_BYTES
    // Each check has a reason of its own, too, and a report is read while the next one is made.
    + 3 * HEALTH_CHANGES_KEPT * HEALTH_REASON_MAX_BYTES;

/// Memory that the process may take in the worst case with one system, bytes: what the service unit grants. Usual operation takes a tenth.
pub const MEMORY_BUDGET_BYTES: usize = 448 << 20;

const _: () = assert!(
    WORST_CASE_BYTES <= MEMORY_BUDGET_BYTES,
    "the limits add up to more than the memory budget"
);
