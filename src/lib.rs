//! **rackhand**: the flight recorder and the safety rail between AI clients and a live Q-SYS system.
//!
//! A service for a small computer in the rack next to a Q-SYS Core. It keeps one link to the Core alive for ever, mirrors the
//! state of every component in bounded memory and on disk, and serves MCP on the LAN, so that an AV technician's AI client can
//! look, explain, ask, change and put back. User documentation is in [`docs`].
//!
//! # How data flows
//!
//! ```text
//!  Core <== WebSocket / TCP ==> link ──ChangeSink──> mirror ──> store (sled, write-behind)
//!                                ^                     │  └──> subscribers
//!                             commands                 └view──> tools, health, status page
//!                                └──── safety <── tools <── guard <── HTTP
//! ```
//!
//! Facts go up, commands go down, nothing goes round. A command never edits the mirror: it returns when the Core has answered, and
//! the mirror moves when the Core reports.
//!
//! # Layers
//!
//! Lowest first; a layer looks down, never up (`tests/layers.rs` holds it):
//!
//! | Layer | What it knows |
//! |---|---|
//! | [`base`], [`limits`], [`wire`] | delays, clocks, files, secrets; every capacity; the frames of QRC |
//! | [`model`] | names, kinds of controls, the one way up for changes |
//! | [`config`], [`telemetry`], [`tls`] | the checked configuration; the log; the certificate that clients see |
//! | [`link`] | one connection to a Core, its breaker, its change groups |
//! | [`store`] | the mirror everybody reads, and the databases only its writer touches |
//! | [`audit`] | who did what: the trail in memory and, hash-chained, on disk |
//! | `safety` | who may write what |
//! | [`ops`] | how the box fares and looks after itself: what it measures of itself and of the machine, the verdicts, what feeds the watchdog |
//! | [`guard`] | who may come in |
//! | [`service`] | tools: the trait, and `service::qsys` with the tools for a Core |
//! | `mcp` | the protocol, free of Q-SYS |
//! | `http`, `stdio` | sockets, routes, limits of requests; lines on standard input and output, also as a bridge to a box |
//! | `app` | composition: builds every part, joins every task |
//! | `sim` | the simulated Core, which only the demo, `rackhand simcore` and tests reach; sees `base`, `limits` and `wire` |
//!
//! # Tasks
//!
//! | Task | Alone owns | Hears | Ends when |
//! |---|---|---|---|
//! | supervisor (`app`) | the join set, phase deadlines | signals, any task's end | all parts are joined |
//! | link, one per Core | socket, session, breaker | commands (bounded), stop | stop |
//! | store writer | both databases | dirty controls, stop | stop and the last batch is flushed |
//! | audit keeper | the segments of the audit trail | lines to write, stop | stop and the last line is synced |
//! | machine sampler, disk probe | one blocking thread each, at times | the time, stop | stop |
//! | pulse | how late the runtime is | the time, stop | stop |
//! | health | where each check stands | changes of links, store, disks, threads; the time; stop | stop |
//! | sweeper of watches | nothing | the first watch, stop | stop |
//! | HTTP acceptor, one per port | listener, its connections | stop | drained, or deadline |
//! | keeper of the certificate | what clients see of it | files, names and addresses that change, stop | stop |
//! | one per connection | its socket | requests, stop | client gone, idle limit, drain |
//! | MCP keeper | nothing | subscriptions (it looks for changes while there are any), panics of calls, stop | stop |
//! | one per MCP call that speaks before its answer | the call | its client's taking it back, stop | the call's end |
//! | watchdog, on a thread | what every loop answered | its own pauses, stop | stop |
//! | one per MCP task | its call of a tool | answers, cancellation, stop | the call's end, or its time is over |
//!
//! Whoever spawns, joins. A task that ends unasked ends the process with a failing code: a half-alive appliance is worse than a
//! restart.

pub mod app;
pub mod audit;
pub mod base;
pub mod config;
/// Documentation for those who install and use rackhand; the running service shows it at `/help`.
pub mod docs {
    #![doc = include_str!("docs/first-steps.md")]
    #![doc = include_str!("docs/setup.md")]
    #![doc = include_str!("docs/access.md")]
    #![doc = include_str!("docs/keys.md")]
    #![doc = include_str!("docs/tools.md")]
    #![doc = include_str!("docs/older-names.md")]
    #![doc = include_str!("docs/safety.md")]
    #![doc = include_str!("docs/limits.md")]
    #![doc = include_str!("docs/metrics.md")]
    #![doc = include_str!("docs/traces.md")]
    #![doc = include_str!("docs/service.md")]
    #![doc = include_str!("docs/audit.md")]
    #![doc = include_str!("docs/health.md")]
    #![doc = include_str!("docs/image.md")]
    #![doc = include_str!("docs/boards.md")]
    #![doc = include_str!("docs/link.md")]
    #![doc = include_str!("docs/tls.md")]
    #![doc = include_str!("docs/mcp.md")]
    #![doc = include_str!("docs/stdio.md")]
    #![doc = include_str!("docs/simulated-core.md")]

    /// All pages as one text.
    pub const TEXT: &str = concat!(
        include_str!("docs/first-steps.md"),
        "\n\n",
        include_str!("docs/setup.md"),
        "\n\n",
        include_str!("docs/access.md"),
        "\n\n",
        include_str!("docs/keys.md"),
        "\n\n",
        include_str!("docs/tools.md"),
        "\n\n",
        include_str!("docs/older-names.md"),
        "\n\n",
        include_str!("docs/safety.md"),
        "\n\n",
        include_str!("docs/limits.md"),
        "\n\n",
        include_str!("docs/metrics.md"),
        "\n\n",
        include_str!("docs/traces.md"),
        "\n\n",
        include_str!("docs/service.md"),
        "\n\n",
        include_str!("docs/audit.md"),
        "\n\n",
        include_str!("docs/health.md"),
        "\n\n",
        include_str!("docs/image.md"),
        "\n\n",
        include_str!("docs/boards.md"),
        "\n\n",
        include_str!("docs/link.md"),
        "\n\n",
        include_str!("docs/tls.md"),
        "\n\n",
        include_str!("docs/mcp.md"),
        "\n\n",
        include_str!("docs/stdio.md"),
        "\n\n",
        include_str!("docs/simulated-core.md"),
    );
}
pub mod guard;
pub mod http;
pub mod limits;
pub mod link;
pub mod mcp;
pub mod model;
pub mod ops;
pub mod safety;
pub mod service;
pub mod sim;
pub mod stdio;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod wire;
