//! Every metric: its name, its kind, its help text. Whatever is counted or told at a scrape has its row here, and nothing else is shown.

/// What a metric's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start of the process. Its samples have `_total` behind the name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in ranges. Its samples have `_bucket`, `_sum` and `_count` behind the name.
    Histogram,
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    /// The name without what its kind puts behind it.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// What it tells, in one sentence without its full stop.
    pub help: &'static str,
}

macro_rules! names {
    ($($id:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Name = Name { name: $name, kind: Kind::$kind, help: $help };
        )*
        /// All of them.
        pub const ALL: &[&Name] = &[$(&$id),*];
    };
}

names! {
    REQUESTS = Counter "mcp_requests" "MCP requests answered, by method and status";
    REQUEST_SECONDS = Histogram "mcp_request_duration_seconds" "Time from a request to its answer, by method";
    REQUEST_ERRORS = Counter "mcp_request_errors" "MCP requests answered with an error, by the kind of the error";
    TOOL_CALLS = Counter "mcp_tool_calls" "Calls of tools, by tool and status";
    TOOL_SECONDS = Histogram "mcp_tool_duration_seconds" "Time that a tool took, by tool";
    TOOL_ERRORS = Counter "mcp_tool_errors" "Calls of tools that ended with a fault, by tool and code of the fault";
    CACHE_HITS = Counter "mcp_cache_hits" "Values served from the mirror, confirmed by a live link";
    CACHE_MISSES = Counter "mcp_cache_misses" "Values asked for that the mirror could not confirm: stale, or not known";
    CACHE_ITEMS = Gauge "mcp_cache_size_items" "Controls in the mirror";
    RATE_LIMIT_HITS = Counter "mcp_rate_limit_hits" "Requests refused because their sender asks too often, by role";
    RATE_LIMIT_REMAINING = Gauge "mcp_rate_limit_remaining" "Requests that the last caller of each role had left";
    REFUSED = Counter "mcp_requests_refused" "Requests refused before anything was done for them, by reason";
    CONNECTIONS = Gauge "mcp_connections" "Open connections and streams of clients, by transport";
    SESSIONS = Gauge "mcp_sessions" "Sessions of older protocol revisions";
    HELD_BYTES = Gauge "mcp_held_bytes" "Bytes held for clients, by what they are for";
    CORE_CONNECTIONS = Gauge "qsys_active_connections" "Links to Cores that are live";
    CORE_CONNECTION_ERRORS = Counter "qsys_connection_errors" "Attempts to reach a Core that failed, by system";
    CORE_RECONNECTS = Counter "qsys_reconnects" "Live links that were lost and made anew, by system";
    CORE_GARBAGE = Counter "qsys_garbage_frames" "Frames from a Core that could not be read, by system";
    LINK_STATE = Gauge "qsys_link_state" "1 for the state in which a link is, by system and state";
    BREAKER_STATE = Gauge "qsys_breaker_state" "State of the circuit breaker, by system: 0 closed, 1 half open, 2 open";
    BREAKER_OPENED = Counter "qsys_breaker_opened" "Times that the circuit breaker opened, by system";
    POLL_ROUND_TRIP = Gauge "qsys_poll_round_trip_seconds" "Last round trip of a poll or probe to the Core, by system";
    CHANGES = Counter "qsys_changes" "Changes of controls that the Core reported, by system";
    REFUSED_CONTROLS = Gauge "qsys_controls_not_mirrored" "Components and controls that do not fit the mirror, by system";
    COMPONENTS = Gauge "qsys_components" "Components of the running design, by system";
    STORE_QUEUE = Gauge "rackhand_store_queue_records" "Records that wait to be written to disk";
    STORE_BYTES = Gauge "rackhand_store_bytes" "Bytes of the databases";
    STORE_ERRORS = Counter "rackhand_store_errors" "Rounds of writing that failed";
    STORE_FLUSH_AGE = Gauge "rackhand_store_flush_age_seconds" "Time since everything owed was written";
    AUDIT_WAITING = Gauge "rackhand_audit_waiting_lines" "Lines of the audit trail that are not on disk yet";
    AUDIT_LOST = Counter "rackhand_audit_lost_lines" "Lines of the audit trail that never came to disk";
    AUDIT_BYTES = Gauge "rackhand_audit_bytes" "Bytes of the audit trail on disk";
    SPANS = Counter "rackhand_spans" "Spans of traces that left the box or were dropped, by what became of them";
    SPANS_WAITING = Gauge "rackhand_spans_waiting_bytes" "Bytes of spans that wait for the collector";
    HEALTH = Gauge "rackhand_health" "How well each check is: 0 healthy, 1 degraded, 2 unhealthy";
    HEALTH_CHANGES = Counter "rackhand_health_changes" "Times that a check changed its mind, by check";
    UPTIME = Gauge "process_uptime_seconds" "Time since the process started";
    MEMORY = Gauge "process_memory_usage_bytes" "Memory by type: rss of the process, available on the machine, budget of the process, what its control group uses and may use: group, limit";
    PRESSURE = Gauge "rackhand_memory_pressure" "How short memory is: 0 calm, 1 tight, 2 critical";
    GIVEN_UP = Counter "rackhand_memory_given_up" "What was given up to free memory, by kind: history, watches, streams";
    PRESSURE_REFUSED = Counter "rackhand_memory_refused" "Streams, watches and tasks refused while memory was critical";
    CPU = Gauge "process_cpu_usage_percent" "Processor time of the process since the look before, percent of one core";
    DESCRIPTORS = Gauge "process_open_descriptors" "Open file descriptors";
    LOOP_LAG = Gauge "event_loop_lag_seconds" "How late timers of the runtime fire, by quantile over the last minutes";
    INFO = Gauge "rackhand_info" "1, with the version of the program";
}
