//! What one message causes, as spans for a collector: the request, the tool that it calls, the commands to a Core, and each frame on
//! its way there and back.
//!
//! They are spans of `tracing` with ids of [`crate::base::trace`], the very ones that callers see. A layer writes each that is over behind
//! the others that wait; `ops::export` sends them. Nothing here waits for anybody: what finds no room is left out and counted.
//! While nothing is traced, no span is built.

mod encode;
mod layer;
mod sampler;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::field::Empty;
use tracing::{Span, info_span};

pub use self::layer::{OnlySpans, SpanLayer};
pub use self::sampler::Share;

use self::sampler::Sampler;
use super::meter::{Cost, Meter};
use crate::base::trace::{Trace, Traces};
use crate::limits::{SPANS_WAITING_MAX_BYTES, SPANS_WAITING_SENT_BYTES};

/// The target of every span that is exported.
pub const TARGET: &str = "rackhand::spans";

/// Begins the span of a request to this method. None unless it is recorded.
#[must_use]
pub fn request(trace: &Trace, method: &'static str, revision: &'static str) -> Span {
    if !trace.is_recorded() {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: None, "request",
        name = method,
        trace = trace.parent.trace(),
        span = trace.parent.span(),
        caused_by = trace.caused_by.map_or(0, NonZeroU64::get),
        rpc.system = "jsonrpc",
        mcp.method.name = method,
        mcp.protocol.version = revision,
        rackhand.request.id = trace.request.as_str(),
        error = Empty,
    )
}

/// Begins the span of a tool that a request calls, or a task that came of it. None unless the request is recorded.
#[must_use]
pub fn tool(trace: &Trace, name: &'static str, role: &'static str) -> Span {
    if !trace.is_recorded() {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: None, "tool",
        name,
        trace = trace.parent.trace(),
        caused_by = trace.parent.span(),
        gen_ai.tool.name = name,
        rackhand.role = role,
        rackhand.request.id = trace.request.as_str(),
        error = Empty,
    )
}

/// Begins the span of a command to a Core: the time in the queue of the link included. None outside a tool that is recorded.
#[must_use]
pub fn command(method: &'static str) -> Span {
    let tool = Span::current();
    if tool.metadata().is_none_or(|meta| meta.target() != TARGET) {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: &tool, "command",
        name = method,
        rpc.method = method,
        error = Empty,
        told = Empty,
    )
}

/// Begins the span of a frame that carries a command to the Core at this address, until its answer comes. None unless the command is
/// recorded.
#[must_use]
pub fn frame(command: &Span, method: &'static str, address: &str) -> Span {
    if command.is_disabled() {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: command, "frame",
        name = "frame",
        rpc.system = "jsonrpc",
        rpc.method = method,
        server.address = address,
        rpc.jsonrpc.error_code = Empty,
        error = Empty,
        told = Empty,
    )
}

/// Notes that what a span stands for failed: the word of the program for it.
pub fn failed(span: &Span, error: &'static str) {
    span.record("error", error);
}

/// Notes the words in which somebody else said what is wrong. They are cut and made fit for a log.
pub fn told(span: &Span, words: &str) {
    span.record("told", words);
}

/// What becomes of spans: how many are built, what waits, what was lost. One for the whole process.
#[derive(Debug, Default)]
pub struct Spans {
    /// Somebody takes them away.
    is_on: AtomicBool,
    sampler: Sampler,
    ids: Traces,
    queue: Mutex<Waiting>,
    /// Something waits.
    wake: Notify,
    built: AtomicU64,
    sent: AtomicU64,
    over_rate: AtomicU64,
    no_room: AtomicU64,
    not_taken: AtomicU64,
    /// Why the collector took nothing at last.
    fault: Mutex<Option<String>>,
    meter: Meter,
}

/// Spans as they are sent, one behind the other.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Their bytes, as OTLP has them.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub spans: u64,
}

/// How the spans fare, since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanStatus {
    /// Whether anything is traced.
    pub is_on: bool,
    /// The part of requests that is traced.
    pub share: Share,
    /// Spans that were built.
    pub built: u64,
    /// Spans that the collector took.
    pub sent: u64,
    /// Spans left out since there were too many in a second.
    pub over_rate: u64,
    /// Spans left out since too much waited already.
    pub no_room: u64,
    /// Spans that the collector did not take.
    pub not_taken: u64,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// What building them cost.
    pub cost: Cost,
}

impl Spans {
    /// Somebody takes spans away from now on. `follows_callers`: what callers say of their traces decides for those.
    pub fn begin(&self, share: Share, follows_callers: bool) {
        self.sampler.set_follows_callers(follows_callers);
        self.sampler.set_share(share);
        self.is_on.store(true, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Nobody takes any more.
    pub fn end(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether somebody takes them away.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Traces another part of all requests.
    pub fn set_share(&self, share: Share) {
        self.sampler.set_share(share);
    }

    /// The message, recorded or not.
    pub fn decide(&self, trace: Trace) -> Trace {
        let is_recorded = self.is_on() && self.sampler.takes(&trace);
        trace.recorded(is_recorded)
    }

    /// Waits until something waits to be sent.
    pub async fn something(&self) {
        while self.queue.lock().spans == 0 {
            self.wake.notified().await;
        }
    }

    /// Waits until so much waits that it is to be sent at once.
    pub async fn much(&self) {
        while self.queue.lock().bytes.len() < SPANS_WAITING_SENT_BYTES {
            self.wake.notified().await;
        }
    }

    /// Takes away everything that waits.
    #[must_use]
    pub fn take(&self) -> Waiting {
        std::mem::take(&mut *self.queue.lock())
    }

    /// So many that were taken away arrived.
    pub fn arrived(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    /// So many that were taken away are lost.
    pub fn lost(&self, spans: u64) {
        self.not_taken.fetch_add(spans, Ordering::Relaxed);
    }

    /// The collector took nothing for this reason, or takes all.
    pub fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock() = fault;
    }

    /// Why the collector takes nothing, if it does not.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// How they fare.
    #[must_use]
    pub fn status(&self) -> SpanStatus {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        SpanStatus {
            is_on: self.is_on(),
            share: self.sampler.share(),
            built: read(&self.built),
            sent: read(&self.sent),
            over_rate: read(&self.over_rate),
            no_room: read(&self.no_room),
            not_taken: read(&self.not_taken),
            waiting_bytes: self.queue.lock().bytes.len(),
            cost: self.meter.cost(),
        }
    }

    /// Puts a span behind the others, if there is room.
    fn push(&self, span: &encode::Encoded<'_>) {
        let mut queue = self.queue.lock();
        let before = queue.bytes.len();
        encode::span(&mut queue.bytes, span);
        let after = queue.bytes.len();
        if after > SPANS_WAITING_MAX_BYTES {
            queue.bytes.truncate(before);
            self.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.spans += 1;
        let is_news = queue.spans == 1
            || before < SPANS_WAITING_SENT_BYTES && after >= SPANS_WAITING_SENT_BYTES;
        drop(queue);
        self.meter.made(after - before);
        if is_news {
            self.wake.notify_one();
        }
    }
}

/// Writes a whole request to a collector around spans that were taken away.
#[must_use]
pub fn envelope(resource: &[u8], spans: &Waiting) -> Vec<u8> {
    let scope = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    encode::request(resource, scope, &spans.bytes)
}

/// Writes what the spans of this process have in common.
pub fn resource<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    encode::resource(attributes)
}

/// The spans of this process.
#[must_use]
pub fn of_process() -> &'static Arc<Spans> {
    static SPANS: std::sync::LazyLock<Arc<Spans>> = std::sync::LazyLock::new(Arc::default);
    &SPANS
}
