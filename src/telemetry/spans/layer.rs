//! The layer of `tracing` that turns spans into bytes for the collector.

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use compact_str::CompactString;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::encode::{self, Encoded, Value};
use super::{Spans, TARGET};
use crate::base::clock;
use crate::base::text::for_log;
use crate::limits::SPAN_TEXT_MAX_BYTES;

/// Lets a layer see the spans that are exported, while they are, and nothing else.
#[derive(Debug, Clone)]
pub struct OnlySpans(pub Arc<Spans>);

impl<S> Filter<S> for OnlySpans {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        meta.target() == TARGET && self.0.is_on()
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if meta.target() == TARGET && self.0.is_on() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.0.is_on() {
            LevelFilter::INFO
        } else {
            LevelFilter::OFF
        })
    }
}

/// Collects what is recorded of each span, and hands it on when the span is over.
#[derive(Debug, Clone)]
pub struct SpanLayer(pub Arc<Spans>);

/// A span that is not over yet.
#[derive(Debug)]
struct Open {
    trace: u128,
    span: u64,
    parent: u64,
    is_remote: bool,
    kind: u64,
    name: CompactString,
    /// Nanoseconds since 1970, reckoned from where the trace began here: a clock that is set does not turn a trace over.
    start: u64,
    began: Instant,
    attributes: Vec<u8>,
    is_error: bool,
    told: CompactString,
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.meter.time(|| {
            let Some(span) = context.span(id) else { return };
            let mut open = Open::new(span.name());
            attributes.record(&mut open);
            if open.trace == 0 {
                // Its parent tells; without one that is recorded, neither is this.
                let parent = span.parent();
                let extensions = parent.as_ref().map(|parent| parent.extensions());
                let Some(parent) = extensions.as_ref().and_then(|all| all.get::<Open>()) else {
                    return;
                };
                (open.trace, open.parent) = (parent.trace, parent.span);
                open.start = parent.start + nanos(parent.began);
            }
            if !self.0.sampler.take() {
                self.0.over_rate.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if open.span == 0 {
                open.span = self.0.ids.span();
            }
            self.0.built.fetch_add(1, Ordering::Relaxed);
            span.extensions_mut().insert(open);
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.meter.time(|| {
            if let Some(span) = context.span(&id)
                && let Some(open) = span.extensions().get::<Open>()
            {
                self.0.push(&open.ended());
            }
        });
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Open {
    fn new(metadata_name: &str) -> Self {
        // `Span.SpanKind` of OTLP: internal, server, client.
        let kind = match metadata_name {
            "request" => 2,
            "frame" => 3,
            _ => 1,
        };
        Self {
            trace: 0,
            span: 0,
            parent: 0,
            is_remote: kind == 2,
            kind,
            name: CompactString::default(),
            start: clock::unix_nanos(),
            began: Instant::now(),
            attributes: Vec::new(),
            is_error: false,
            told: CompactString::default(),
        }
    }

    fn ended(&self) -> Encoded<'_> {
        Encoded {
            trace: self.trace,
            span: self.span,
            parent: self.parent,
            is_remote: self.is_remote && self.parent != 0,
            name: &self.name,
            kind: self.kind,
            start: self.start,
            end: self.start + nanos(self.began),
            attributes: &self.attributes,
            is_error: self.is_error,
            told: &self.told,
        }
    }

    fn put(&mut self, field: &Field, value: Value<'_>) {
        encode::attribute(&mut self.attributes, field.name(), value);
    }
}

/// A text as a collector gets it: short, on one line, without keys.
fn bounded(text: &str) -> CompactString {
    // Cut before and after: what is made fit grows.
    let before = text.floor_char_boundary(4 * SPAN_TEXT_MAX_BYTES);
    let mut fit = CompactString::from(for_log(text.get(..before).unwrap_or_default()));
    fit.truncate(fit.floor_char_boundary(SPAN_TEXT_MAX_BYTES));
    fit
}

impl Visit for Open {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "name" => self.name = value.into(),
            "told" => self.told = bounded(value),
            "error" => {
                self.is_error = true;
                encode::attribute(&mut self.attributes, "error.type", Value::Text(value));
            }
            _ => self.put(field, Value::Text(&bounded(value))),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        if field.name() == "trace" {
            self.trace = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "span" => self.span = value,
            "caused_by" => self.parent = value,
            _ => self.put(
                field,
                Value::Number(i64::try_from(value).unwrap_or(i64::MAX)),
            ),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Number(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Flag(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Short(String::new());
        // What refuses to print is left out.
        let _: fmt::Result = write!(text, "{value:?}");
        self.put(field, Value::Text(&bounded(&text.0)));
    }
}

/// Takes as much as can be kept.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > 4 * SPAN_TEXT_MAX_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}
