//! The log, on standard error: sentences for people, with time and colour on a terminal, bare under journald, which stamps them itself;
//! or one JSON object a line for programs. Whatever is logged, a line stays one line, steers no terminal and shows no key.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::field::{MakeExt as _, RecordFields};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use super::spans::{self, OnlySpans, SpanLayer};
use crate::base::clock::UnixMillis;
use crate::base::text::{for_log, plain_json};
use crate::config::LogFormat;
use crate::limits::{LOG_LINE_KEPT_BYTES, LOG_LINES_KEPT};

/// What steers the filter of the running log, and the filter with which it began.
static FILTER: OnceLock<(reload::Handle<Targets, Registry>, String)> = OnceLock::new();

/// Starts logging at a level or filter such as `info,rackhand::link=debug`, and has spans written for a collector once there is one.
///
/// # Errors
///
/// The filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let (targets, handle) = reload::Layer::new(filter.parse::<Targets>()?);
    // Spans are for collectors; a line of the log says by itself what it is about.
    let events =
        filter_fn(|meta: &Metadata<'_>| meta.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let log = fmt::layer()
        .with_writer(io::stderr.and(Tail))
        .with_ansi(io::stderr().is_terminal())
        .fmt_fields(Fields);
    let log: Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(log.event_format(JsonLine)),
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            Box::new(log.without_time().with_target(false))
        }
        LogFormat::Text => Box::new(log.with_target(false)),
    };
    let spans = spans::of_process();
    let traces = SpanLayer(Arc::clone(spans)).with_filter(OnlySpans(Arc::clone(spans)));
    let all = tracing_subscriber::registry()
        .with(log.with_filter(targets.and(events)))
        .with(traces);
    // A second call, in a test, keeps the first subscriber.
    if all.try_init().is_ok() {
        let _first = FILTER.set((handle, filter.to_owned()));
    }
    Ok(())
}

/// The filter with which logging began.
#[must_use]
pub fn usual_filter() -> &'static str {
    FILTER.get().map_or("info", |(_, usual)| usual)
}

/// Has the running log follow another level or filter.
///
/// # Errors
///
/// The filter cannot be read.
pub fn set_filter(filter: &str) -> Result<(), ParseError> {
    let targets: Targets = filter.parse()?;
    if let Some((handle, _)) = FILTER.get() {
        // It is gone only with the subscriber, which is never.
        let _there = handle.reload(targets);
    }
    Ok(())
}

/// Whether a level or filter can be read.
///
/// # Errors
///
/// It cannot.
pub fn check_filter(filter: &str) -> Result<(), ParseError> {
    filter.parse::<Targets>().map(drop)
}

/// The last lines of the log, for the status page.
static LINES: Mutex<VecDeque<Box<str>>> = Mutex::new(VecDeque::new());

/// The last lines of the log, oldest first.
#[must_use]
pub fn tail() -> String {
    let mut text = String::new();
    for line in LINES.lock().iter() {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Keeps the last lines beside the log. What it is given is fit for a log already, but for the colours of a terminal.
#[derive(Debug, Clone, Copy)]
struct Tail;

impl io::Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let whole = String::from_utf8_lossy(bytes);
        let mut line = String::new();
        let mut parts = whole.trim_end().split('\u{1b}');
        line.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // `[2m` and the like end with a letter.
            let plain = part.split_once(|c: char| c.is_ascii_alphabetic());
            line.push_str(plain.map_or("", |(_, plain)| plain));
        }
        line.truncate(line.floor_char_boundary(LOG_LINE_KEPT_BYTES));
        let line = for_log(&line).into_owned().into_boxed_str();
        let mut lines = LINES.lock();
        if lines.len() >= LOG_LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Tail {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// Fields as text: the message bare, others with their names, each fit for a log.
#[derive(Debug, Clone, Copy)]
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(
        &self,
        writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        debug_fn(|writer, field, value| {
            let text = format!("{value:?}");
            let text = for_log(&text);
            match field.name() {
                "message" => writer.write_str(&text),
                name => write!(writer, "{name}={text}"),
            }
        })
        .delimited(" ")
        .format_fields(writer, fields)
    }
}

/// An event as one JSON object.
#[derive(Debug, Clone, Copy)]
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = Line(Map::new());
        line.put("time", UnixMillis::now().to_iso_millis().into());
        line.put("level", event.metadata().level().as_str().into());
        line.put("target", event.metadata().target().into());
        event.record(&mut line);
        writeln!(writer, "{}", plain_json(Value::Object(line.0).to_string()))
    }
}

struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), for_log(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // What refuses to print is left out.
        let _ = write!(text, "{value:?}");
        self.put(field.name(), for_log(&text).into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    const KEY: &str = "rh_0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFG";

    fn log_something_hostile() {
        let hostile = "Lobby\nERROR forged\r\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}\u{9b}31m";
        tracing::info!(name = hostile, shown = %hostile, debug = ?hostile, key = KEY, count = 3, "said: {hostile} {KEY}");
    }

    fn is_fit(text: &str) -> bool {
        let mut letters = text.trim_end_matches('\n').chars();
        !letters.any(|letter| letter.is_control() || crate::base::text::is_hidden(letter))
    }

    #[test]
    fn what_is_logged_stays_on_its_line_and_steers_nothing_and_no_key_is_shown() {
        let page = Page::default();
        let text = tracing_subscriber::fmt()
            .with_writer(page.clone())
            .with_ansi(false)
            .fmt_fields(Fields)
            .finish();
        tracing::subscriber::with_default(text, log_something_hostile);
        let written = String::from_utf8(page.0.lock().clone()).unwrap();
        assert!(is_fit(&written) && written.ends_with('\n'), "{written:?}");
        assert!(
            written.contains("count=3") && written.contains("said: Lobby\\n"),
            "{written}"
        );
        assert!(!written.contains("0123456789"), "{written}");
    }

    #[test]
    fn a_line_of_json_is_one_object_with_typed_fields() {
        let page = Page::default();
        let json = tracing_subscriber::fmt()
            .with_writer(page.clone())
            .event_format(JsonLine)
            .fmt_fields(Fields)
            .finish();
        tracing::subscriber::with_default(json, log_something_hostile);
        let written = String::from_utf8(page.0.lock().clone()).unwrap();
        assert!(is_fit(&written), "{written:?}");
        let line: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            (&line["level"], &line["count"]),
            (&"INFO".into(), &3.into())
        );
        assert!(
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("said: Lobby\\nERROR")
        );
        assert_eq!(line["key"], "***");
    }
}
