//! Every capacity in one place: unit, reason, and what happens when it is reached.
//!
//! [`WORST_CASE_BYTES`] adds up what they can cost in memory for one system, and a constant assertion holds it under
//! [`MEMORY_BUDGET_BYTES`]. Limits that belong to one line of code stand beside it.

mod access;
mod audit;
mod health;
mod memory;
mod ops;
mod setup;

use std::time::Duration;

pub use access::*;
pub use audit::*;
pub use health::*;
pub use memory::{MEMORY_BUDGET_BYTES, WORST_CASE_BYTES};
pub use ops::*;
pub use setup::*;

// Names and frames of a Core

/// Longest name of a component or control, bytes. Names of real designs stay below 100 characters; a longer one is refused by
/// tools, and a component or control that carries one is left out of the mirror and counted.
pub const NAME_MAX_BYTES: usize = 255;

/// Largest frame taken from a Core, bytes. One mixer of a real design has 693 controls, and a script component's answer carries its
/// whole script. A larger frame ends the connection, and the component that caused it is not asked again in this design.
pub const CORE_FRAME_MAX_BYTES: usize = 16 << 20;

/// Longest text, bytes, of a control that is mirrored at all. A longer one is a script's source or log: it is not subscribed.
pub const SUBSCRIBED_TEXT_MAX_BYTES: usize = 16 << 10;

/// Controls of one component that are taken; real ones have up to 693. Further ones are left out, and the link says so.
pub const COMPONENT_CONTROLS_MAX: usize = 8_192;

/// Properties of one component that are taken. Further ones are left out.
pub const PROPERTIES_MAX: usize = 256;

/// Properties of all components of a design that are taken. Further ones are left out.
pub const PROPERTIES_ALL_MAX: usize = 16_384;

/// Choices of one control that are taken. Further ones are left out.
pub const CHOICES_MAX: usize = 1_024;

/// States in one answer of the Core about controls that were asked for: several times [`READ_MAX`]. Further ones are left out.
pub const ANSWERED_MAX: usize = 1_024;

/// Longest answer of the Core to a command of a caller, bytes: a hundred controls with the longest texts that are subscribed take 1.6 MB. A
/// longer one is as good as one that cannot be read.
pub const ANSWERED_MAX_BYTES: usize = 2 << 20;

/// Frames in a row that could not be read before the connection is given up.
pub const GARBAGE_IN_ROW_MAX: u8 = 3;

/// Components of one design whose answers broke [`CORE_FRAME_MAX_BYTES`] that are remembered by name. Each costs a connection; with
/// more the design cannot be learnt, and the link says so.
pub const OVERSIZE_COMPONENTS_MAX: usize = 64;

/// Components named as ones that the Core refuses to tell about. Further ones are left out too, and only logged.
pub const UNLISTED_COMPONENTS_MAX: usize = 64;

// The link

/// Q-SYS systems of one box. More are a fault of the configuration.
pub const CORES_MAX: usize = 8;

/// Cores of one system: a redundant pair has two. More are a fault of the configuration.
pub const CORES_PER_SYSTEM_MAX: usize = 2;

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

// The mirror and the store

/// Controls in the mirror. A real 24f design has 4,259. More are refused and counted, and health is degraded.
pub const CONTROLS_MAX: usize = 65_536;

/// Components in the mirror. More are refused and counted, and health is degraded.
pub const COMPONENTS_MAX: usize = 4_096;

/// Distinct control names in the mirror; the store's keys give them 16 bits. A control with one more is refused and counted.
pub const NAMES_MAX: usize = 65_535;

/// Distinct descriptions of controls (type, direction, range) in the mirror. Controls of one kind share theirs, so a real design has
/// a few hundred. A control that needs one more is refused and counted.
pub const DESCRIPTIONS_MAX: usize = 16_384;

/// Longest text kept of a control's value, bytes. A longer one is cut at a character, flagged, and never compared or written back.
pub const TEXT_MAX_BYTES: usize = 256;

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

/// Time between two rounds of the store's writer: what a crash can lose, and what several changes of one control share.
pub const STORE_INTERVAL: Duration = Duration::from_secs(5);

/// Largest file of the store's state, bytes. sled's file only grows; a larger one is written anew from memory.
pub const STORE_FILE_MAX_BYTES: u64 = 64 << 20;

// The configuration

/// Named controls in the configuration of one system. More are a fault of the configuration.
pub const NAMED_CONTROLS_MAX: usize = 4_096;

/// Parts of a pattern over names: letters, stars, classes, braces and commas. Room for the longest names of a component and a control; a longer
/// pattern is refused where it is written.
pub const PATTERN_PARTS_MAX: usize = 2 * NAME_MAX_BYTES + 1;

/// Patterns of protected controls. More are a fault of the configuration.
pub const PROTECTED_PATTERNS_MAX: usize = 256;

/// Ceilings for values. More are a fault of the configuration.
pub const CEILINGS_MAX: usize = 256;

// Tools

/// Controls read by one call of a tool.
pub const READ_MAX: usize = 100;

/// Controls written by one call of a tool.
pub const WRITE_MAX: usize = 20;

/// Rows of a list that a tool answers with unless asked otherwise.
pub const PAGE_DEFAULT: usize = 50;

/// Rows of a list that a tool can be asked for at once. More is refused.
pub const PAGE_MAX: usize = 500;

/// Largest answer of a tool, bytes: about 12,000 tokens, so that a model is never flooded. Rows beyond it are left out, and the
/// answer says how to get at them.
pub const ANSWER_MAX_BYTES: usize = 48 << 10;

/// Problems named in one answer about wrong arguments. The first ones help; hundreds would only fill the model's context.
pub const PROBLEMS_MAX: usize = 10;

/// Longest text that a tool writes to a control or compares with one, characters: no panel shows more. A longer one is refused.
pub const WRITE_TEXT_MAX_CHARS: usize = 1_000;

/// Longest reason given for a write, bytes. A longer one is refused.
pub const REASON_MAX_BYTES: usize = 300;

/// Longest ramp of a write, seconds. A longer one is refused: nobody would still be watching when it ends.
pub const RAMP_MAX_SECS: f64 = 60.0;

/// Calls that may wait for a change at the same time, over all clients and Cores. One more is refused as busy.
pub const WAITS_MAX: usize = 64;

/// Of these, calls of one caller. One more is refused as busy.
pub const WAITS_PER_CALLER_MAX: usize = 32;

/// Longest wait for a change, seconds. Proxies and clients give up on a silent answer soon after.
pub const WAIT_MAX_SECS: u32 = 60;

/// Watches of all callers, change groups under older names included. One more is refused as busy.
pub const WATCHES_MAX: usize = 1_024;

/// Watches of one caller. One more is refused as busy, with the names of those there are.
pub const WATCHES_PER_CALLER_MAX: usize = 256;

/// Controls of one watch: a mixer of a real design has 693. A watch over more is refused.
pub const WATCH_CONTROLS_MAX: usize = 1_000;

/// Controls of all watches, each counted once per watch. A watch that would pass it is refused as busy.
pub const WATCHED_CONTROLS_MAX: usize = 8_192;

/// Controls of all watches of one caller, counted likewise. A watch that would pass it is refused as busy.
pub const WATCHED_CONTROLS_PER_CALLER_MAX: usize = 4_096;

/// Most controls of a watch that is polled fast. A larger one goes at the usual pace, and its answers say so.
pub const WATCH_FAST_MAX: usize = 64;

/// Controls that watches keep polled fast, counted once per watch, out of [`FAST_CONTROLS_MAX`]: the rest is left for calls that end
/// by themselves. A watch beyond it goes at the usual pace, and its answers say so.
pub const WATCHES_FAST_MAX: usize = 384;

/// Shortest and longest time, seconds, that a watch lives without being asked. Others are refused.
pub const WATCH_TTL_SECS: std::ops::RangeInclusive<u32> = 10..=600;

/// For how long a change group under an older name lives without being used: its slowest pace was an hour. Then it is forgotten.
pub const GROUP_UNUSED_MAX: Duration = Duration::from_mins(65);

/// Time after which the controls of a watch that nobody asked are not polled fast any more. The next question has them polled fast
/// again.
pub const WATCH_FAST_IDLE: Duration = Duration::from_mins(1);

/// Time between two looks for watches that nobody asked for too long, while there are watches.
pub const WATCH_SWEEP: Duration = Duration::from_secs(5);

/// Meters read by one call of a tool.
pub const METERS_READ_MAX: usize = 32;

/// Longest time over which a call reads meters, seconds.
pub const METERS_WINDOW_MAX_SECS: u32 = 30;

/// Names in subscribed URIs that are not spelt as the Core spells them, or that nothing has, for which the find is remembered. One more
/// forgets all of them: each is looked for again.
pub const INEXACT_NAMES_MAX: usize = 1_024;

/// Calls of tools that change something, under way at the same moment; they outlive their client. One more is refused as busy.
pub const WRITES_RUNNING_MAX: usize = 64;

/// Of these, calls of one caller. One more is refused as busy.
pub const WRITES_PER_CALLER_MAX: usize = 32;

/// Longest time that a change waits for the changes of other callers to the same Core. Then it is refused as busy, unsent.
pub const WRITE_TURN_WAIT: Duration = Duration::from_secs(10);

/// Longest time for one call of a tool, seconds. A read is then answered busy, a write with an unknown outcome.
pub const CALL_TIMEOUT_SECS: u64 = 300;

/// Entries on one page of a list: tools, prompts, resources, templates.
pub const LIST_PAGE: usize = 50;

/// Values that complete an argument, in one answer: the most that MCP allows. More are counted and left out.
pub const COMPLETIONS_MAX: usize = 100;

/// For how long a client may keep a list, milliseconds. It changes with the program, the key or the design, and who subscribed is
/// told sooner.
pub const LIST_CACHE_MS: u32 = 300_000;

/// For how long a client may keep a resource that changes with the program alone, milliseconds. Any other is read anew each time.
pub const STATIC_CACHE_MS: u32 = 3_600_000;

/// For how long a client may keep what `server/discover` said, milliseconds.
pub const DISCOVER_CACHE_MS: u32 = 300_000;

// Clients

/// Bytes read ahead on one connection, and the longest head that fits. More stays in the kernel until what was read is taken.
pub const CONNECTION_BUFFER_BYTES: usize = 16 << 10;

/// Connections at the same moment on which requests are asked and answered; streams that last are counted by [`STREAMS_MAX`]. One more
/// is answered 503 with `Retry-After` and closed.
pub const CONNECTIONS_MAX: usize = 1_024;

/// Such connections of one address at the same moment. One more is answered 429 with `Retry-After` and closed.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// TLS handshakes under way. One more ends the one of the fullest address that has been under way for longest: a client needs a few
/// round trips, whoever dawdles makes room.
pub const HANDSHAKES_MAX: usize = 64;

/// TLS handshakes of one address under way. One more ends that one of them which has been under way for longest.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;

/// Seconds for a TLS handshake. Then the connection is closed.
pub const HANDSHAKE_TIMEOUT_SECS: u64 = 10;

/// TLS sessions that clients can take up again. One more forgets the oldest; its client makes a whole handshake.
pub const TLS_SESSIONS_MAX: usize = 256;

/// Names and addresses in the box's own certificate. Further ones are left out.
pub const CERTIFICATE_NAMES_MAX: usize = 64;

/// Connections with HTTP/2 at the same moment. Further ones are offered HTTP/1.1 alone.
pub const HTTP2_CONNECTIONS_MAX: usize = 32;

/// Requests under way on one connection with HTTP/2, event streams included. One more is refused by the HTTP layer, and its client
/// sends it again when another has ended.
pub const HTTP2_STREAMS_MAX: usize = 32;

/// Bytes of a request that a client with HTTP/2 may send ahead of their being read. More wait at the client.
pub const HTTP2_STREAM_WINDOW_BYTES: usize = 64 << 10;

/// The same for all requests of a connection.
pub const HTTP2_WINDOW_BYTES: usize = 128 << 10;

/// Bytes of answers that wait on one stream of HTTP/2 for its client to take them.
pub const HTTP2_SEND_BYTES: usize = 64 << 10;

/// Bytes of answers over HTTP/2 that are made or wait for their clients to take them, each counted at its bound until it is made. A
/// request that would pass it is answered 503 with `Retry-After`, before anything is done.
pub const HTTP2_ANSWERS_MAX_BYTES: usize = 12 << 20;

/// Requests on one connection with HTTP/2 that were taken back before they were looked at. One more ends the connection (rapid reset,
/// CVE-2023-44487).
pub const HTTP2_PENDING_RESETS_MAX: usize = 20;

/// Faulty streams on one connection with HTTP/2. One more ends the connection.
pub const HTTP2_FAULTY_STREAMS_MAX: usize = 64;

/// Seconds of silence after which a client with HTTP/2 is asked whether it is there, and for its answer. Then the connection is cut.
pub const HTTP2_PING_SECS: u64 = 20;

/// Requests that are being answered at the same moment. One more is answered 503 with `Retry-After`.
pub const REQUESTS_MAX: usize = 256;

/// Of these, requests of one caller: more than the calls that [`ATTENDED_PER_CALLER_MAX`] allows. One more is answered 429 with
/// `Retry-After`.
pub const REQUESTS_PER_CALLER_MAX: usize = 160;

/// Bytes of the head of a request. A longer head is answered 431 by the HTTP layer and the connection ends.
pub const HEAD_MAX_BYTES: usize = 16 << 10;

/// Header fields of a request. More are answered 431 by the HTTP layer and the connection ends.
pub const HEADERS_MAX: usize = 64;

/// Seconds until the head of a request must be there, counted from the end of the request before. Clients in use close idle
/// connections after 4 to 5 s by themselves, so 30 s closes none under their hands, and a slow head holds a connection no longer.
pub const HEAD_TIMEOUT_SECS: u64 = 30;

/// Longest body of a request, bytes. The largest honest call of a tool is below 16 KiB. A longer body is answered 413.
pub const BODY_MAX_BYTES: usize = 1 << 20;

/// Bytes of request bodies held at the same moment, over all connections. A body that would pass it is answered 503.
pub const BODIES_MAX_BYTES: usize = 8 << 20;

/// Seconds until the body of a request must be there. Then the answer is 408.
pub const BODY_TIMEOUT_SECS: u64 = 10;

/// Deepest nesting of JSON in a request: the bound of `serde_json`, at which decoding stops. Deeper arguments are refused.
pub const JSON_DEPTH_MAX: usize = 128;

/// Messages in one body of the revision that has batches. More are refused.
pub const BATCH_MAX: usize = 32;

/// MCP sessions of older revisions, in total: clients abandon theirs, so there are many. One more ends the one that was idle longest.
pub const SESSIONS_MAX: usize = 10_240;

/// MCP sessions of older revisions for one caller. One more ends the caller's own that was idle longest.
pub const SESSIONS_PER_CALLER_MAX: usize = SESSIONS_MAX / 2;

/// Seconds after which an idle MCP session ends. Its client is answered 404 and opens a new one by itself.
pub const SESSION_IDLE_SECS: u64 = 3_600;

/// Requests of one session under way that the client can take back. One more is answered 429 with `Retry-After`.
pub const RUNNING_PER_SESSION_MAX: usize = 64;

/// Questions to the client of one session without an answer. One more is not put.
pub const ASKS_PER_SESSION_MAX: usize = 16;

/// Seconds that a person has for the answer to a question. Then the call goes on as if nobody were there.
pub const ASK_TIMEOUT_SECS: u64 = 240;

/// Calls under way that may speak before their answer; those of sessions outlive their connection. One more is answered 503 with
/// `Retry-After`.
pub const ATTENDED_MAX: usize = 256;

/// Of these, calls of one caller. One more is answered 429 with `Retry-After`.
pub const ATTENDED_PER_CALLER_MAX: usize = 128;

/// Bytes of their bodies. A body that would pass it is answered 503 with `Retry-After`.
pub const ATTENDED_BYTES_MAX: usize = 4 << 20;

/// Messages that wait for the reader of one call. Progress and log lines beyond it are left out.
pub const LINE_MESSAGES_MAX: usize = 32;

/// Bytes that wait for the reader of one call. Progress and log lines beyond it are left out.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Milliseconds after which a call without an answer gets a stream that its client can take up again should the connection break.
pub const STREAM_OPENS_AFTER_MS: u64 = 1_000;

/// Milliseconds after which such a client is asked to come back.
pub const STREAM_RETRY_MS: u64 = 1_000;

/// Streams of one session that are kept to be taken up again. One more pushes the oldest out that is over; if none is, it cannot be
/// taken up again.
pub const KEPT_STREAMS_PER_SESSION_MAX: usize = 16;

/// What one such stream counts beside what was said on it, bytes.
pub const KEPT_STREAM_BYTES: usize = 512;

/// Bytes kept of the streams of one session. More pushes the oldest streams out that are over; what still finds no room is heard once
/// or not at all.
pub const KEPT_BYTES_PER_SESSION_MAX: usize = 256 << 10;

/// Bytes kept of the streams of all sessions. More pushes the oldest streams out that are over.
pub const KEPT_BYTES_MAX: usize = 4 << 20;

/// Messages that wait for the reader of one connection on which everything travels (WebSocket, HTTP+SSE, stdio), answers included. From
/// half of it on, no more is read from the client; notices and refusals beyond it are left out, or end the connection.
pub const CONNECTION_LINE_MESSAGES_MAX: usize = 128;

/// Bytes that wait there, answers to calls aside, which hold places among [`ATTENDED_MAX`].
pub const CONNECTION_LINE_BYTES_MAX: usize = 64 << 10;

/// Progress notices of one call in a second, and at once. More are left out: what counts is the newest.
pub const PROGRESS_PER_SECOND: u32 = 10;

/// Log lines of one call in a second, and at once. More are left out.
pub const LOG_LINES_PER_SECOND: u32 = 20;

/// Event streams and WebSockets at the same moment. One more is answered 503 with `Retry-After`.
pub const STREAMS_MAX: usize = 10_240;

/// Event streams and WebSockets of one caller at the same moment. One more is answered 429 with `Retry-After`.
pub const STREAMS_PER_CALLER_MAX: usize = 1_024;

/// Of these, WebSockets: each can hold a message of [`WEBSOCKET_MESSAGE_MAX_BYTES`] that is not whole yet. One more is answered 503
/// with `Retry-After`.
pub const WEBSOCKETS_MAX: usize = 128;

/// Bytes of messages that wait for their readers, over all calls and connections, answers aside. Progress and log lines beyond it are
/// left out, refusals beyond it end the connection.
pub const LINES_BYTES_MAX: usize = 4 << 20;

/// Subscription streams that share one connection. One more is refused.
pub const FEEDS_PER_CONNECTION_MAX: usize = 64;

/// Subscriptions to resources and tasks on one stream. More are not acknowledged, or refused.
pub const SUBSCRIPTIONS_PER_STREAM_MAX: usize = 256;

/// Subscriptions of one caller, over all streams. More are not acknowledged, or refused.
pub const SUBSCRIPTIONS_PER_CALLER_MAX: usize = 2_048;

/// Subscriptions of all callers: each resource among them is looked at every [`RESOURCE_LOOK_INTERVAL`]. More are not acknowledged, or
/// refused.
pub const SUBSCRIPTIONS_MAX: usize = 8_192;

/// Bytes of their names. More are not acknowledged, or refused.
pub const SUBSCRIPTION_BYTES_MAX: usize = 1 << 20;

/// Longest URI that can be subscribed to, bytes: two names of a Core, each byte escaped. A longer one is none of a resource here.
pub const URI_MAX_BYTES: usize = 2_048;

/// Time between two looks at what somebody subscribed to. What changes more often is told once.
pub const RESOURCE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Seconds between two comment lines on an idle event stream, so that no box between takes it for dead.
pub const STREAM_KEEP_ALIVE_SECS: u64 = 20;

/// Seconds that a write to a client may stand still. Then the client, which does not read, is cut.
pub const WRITE_STALL_SECS: u64 = 30;

/// Seconds that what was sent to a client may go without a sign that it arrived. Then the connection is dead: a stream's keep-alive finds
/// a client that lost its power.
pub const UNACKNOWLEDGED_SECS: u64 = 60;

/// Seconds that a stream which has to end is given for its last answers. Then it is closed without them.
pub const LAST_WORDS_SECS: u64 = 1;

/// Bytes that a client may send on a connection that has become a stream, where nothing is expected. With more it is cut.
pub const STRAY_BYTES_MAX: usize = 1_024;

/// Longest message on a WebSocket, bytes; the largest honest call of a tool is below 16 KiB. A longer one ends the WebSocket.
pub const WEBSOCKET_MESSAGE_MAX_BYTES: usize = 64 << 10;

/// Bytes read ahead on a WebSocket.
pub const WEBSOCKET_BUFFER_BYTES: usize = 4 << 10;

/// Longest message that is sent on a WebSocket, bytes: far more than any answer here. A longer one ends the WebSocket.
pub const WEBSOCKET_OUT_MAX_BYTES: usize = 2 << 20;

/// Seconds between two pings on a WebSocket. One on which nothing came for two of them is dead.
pub const WEBSOCKET_PING_SECS: u64 = 20;

/// Seconds for which a client may carry the state of a call that asked something. After that it begins anew.
pub const REQUEST_STATE_SECS: u64 = 300;

/// Longest state of a call that a client carries, bytes of JSON. A longer one is a fault of the program.
pub const REQUEST_STATE_MAX_BYTES: usize = 4 << 10;

/// States of calls that change something which are remembered as used. With more, those made before the forgotten ones are refused
/// as too old.
pub const STATES_REMEMBERED_MAX: usize = 1_024;

/// Questions that a call asks at once. More are a fault of the program.
pub const QUESTIONS_MAX: usize = 8;

/// Seconds after which one call of a session puts no further question. It then fails: its client waits for it all the time.
pub const ASKING_MAX_SECS: u64 = 900;

/// Rounds in which one call asks something. After that it fails: whoever answers does not understand the question.
pub const ROUNDS_MAX: u8 = 8;

/// Tasks that are kept, running or over. One more is refused as busy.
pub const TASKS_MAX: usize = 256;

/// Of these, tasks of one caller. One more is refused as busy.
pub const TASKS_PER_CALLER_MAX: usize = 64;

/// Memory for what tasks were given and what they came to, bytes. A task or an answer that would pass it is refused as busy, and a
/// result that does fails its task.
pub const TASKS_BYTES_MAX: usize = 3 << 20;

/// Longest arguments, answers and result of a task, bytes each. Longer ones are refused, and a longer result fails its task.
pub const TASK_BYTES_MAX: usize = 64 << 10;

/// Seconds for which a task is kept from its beginning on, as its client is told. Then it is forgotten.
pub const TASK_TTL_SECS: u64 = 1_800;

/// Longest time for a task, seconds. Its result is kept at least as long again.
pub const TASK_RUN_SECS: u64 = 900;

/// Seconds that a task waits for an answer. Then it ends without.
pub const TASK_INPUT_SECS: u64 = 600;

/// Milliseconds between two looks at a task, as its client is asked to keep.
pub const TASK_POLL_MS: u64 = 1_000;

// Standard input and output. The bridge runs beside its one client, not on the box, and does not count to the box's memory.

/// Longest message on one line, bytes: the longest body that a box takes. A longer line is thrown away as it comes, and answered with
/// an error.
pub const LINE_MAX_BYTES: usize = BODY_MAX_BYTES;

/// Requests that a bridge carries at the same moment, event streams included. One more is answered with an error.
pub const BRIDGE_REQUESTS_MAX: usize = 32;

/// Longest message that a bridge takes from its box, bytes: several times the longest that a box sends. A longer one is answered with
/// an error in its place.
pub const BRIDGE_MESSAGE_MAX_BYTES: usize = 2 << 20;

/// Messages that wait for a client to read them. With more, a bridge stops reading from its box.
pub const BRIDGE_QUEUE_MAX: usize = 16;

/// Subscriptions that a bridge renews when its box has forgotten the session. Further ones end with the session.
pub const BRIDGE_SUBSCRIPTIONS_MAX: usize = 256;
