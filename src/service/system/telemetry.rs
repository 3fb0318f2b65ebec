//! `system_metrics`, `system_set_telemetry`: the numbers of the box, and how much of itself it tells, with what that costs.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::keys::{answer, arguments};
use super::{Definition, Outcome, SystemService, bad_argument};
use crate::base::glob::Glob;
use crate::guard::Scope;
use crate::limits::{
    ANSWER_MAX_BYTES, LOG_FILTER_MAX_CHARS, NUMBER_PATTERNS_MAX, PAGE_DEFAULT, PAGE_MAX,
    SIGNALLED_FOR, SWITCHED_MAX_MINUTES,
};
use crate::service::{Effect, FaultCode, ToolCall, ToolFault, schema};
use crate::telemetry::meter::Cost;
use crate::telemetry::metrics::{Fact, Facts, Metrics, json};
use crate::telemetry::spans::{Share, Spans};
use crate::telemetry::switches::{Detail, Setting, Switch, Switches};

/// Bytes of an answer beside its samples: the switches, the frame of the message.
const BESIDE_SAMPLES_BYTES: usize = 4 << 10;

pub(super) const METRICS: Definition = Definition {
    name: "system_metrics",
    title: "Numbers of the box",
    description: "The numbers that this box has for monitoring systems (requests, tools, times, links, store, memory), those whose names fit \
        the patterns; and how much the box tells of itself at this moment (log, traces, details of audit trail and numbers), what is usual, \
        when it goes back, and what it costs, as measured since the start.",
    input: schema::input::<Question>,
    output: schema::output::<Numbers>,
    effect: Effect::Read,
    is_destructive: false,
    scope: Scope::Read,
    call: metrics,
};

pub(super) const SET: Definition = Definition {
    name: "system_set_telemetry",
    title: "Set what the box tells of itself",
    description: "Has this box log, trace or keep more or less for a while; then it goes back by itself to what its configuration says. Name \
        what is to change, or `reset` to go back at once. The room is not touched.",
    input: schema::input::<Wish>,
    output: schema::output::<Set>,
    effect: Effect::WriteIdempotent,
    is_destructive: false,
    scope: Scope::Admin,
    call: set,
};

/// What these tools look at and switch.
#[derive(Debug)]
pub(super) struct Telemetry {
    switches: Arc<Switches>,
    metrics: Arc<Metrics>,
    /// What is told beside what is counted. Weak, for it holds this.
    facts: OnceLock<Weak<dyn Facts>>,
}

impl Default for Telemetry {
    /// Of nothing that runs.
    fn default() -> Self {
        let (spans, metrics) = (Arc::<Spans>::default(), Arc::<Metrics>::default());
        let counted = (Arc::clone(metrics.detail()), true);
        let audit = (Arc::<Detail>::default(), false);
        let switches = Switches::new(Share::NONE, spans, audit, counted);
        Self::new(Arc::new(switches), metrics)
    }
}

impl Telemetry {
    pub(super) fn new(switches: Arc<Switches>, metrics: Arc<Metrics>) -> Self {
        Self {
            switches,
            metrics,
            facts: OnceLock::new(),
        }
    }

    pub(super) fn set_facts(&self, facts: Weak<dyn Facts>) {
        let _first = self.facts.set(facts);
    }

    /// Every sample there is, with its name.
    fn samples(&self) -> Vec<(String, Value)> {
        let facts = self.facts.get().and_then(Weak::upgrade);
        let page = match &facts {
            Some(facts) => self.metrics.page(&**facts),
            None => self.metrics.page(&Nothing),
        };
        let Value::Object(names) = json(&page.unwrap_or_default()) else {
            return Vec::new();
        };
        let each = names.into_iter().flat_map(|(name, samples)| {
            let samples = match samples {
                Value::Array(samples) => samples,
                _ => Vec::new(),
            };
            samples
                .into_iter()
                .map(move |sample| (name.clone(), sample))
        });
        each.collect()
    }

    fn rows(&self) -> Vec<Row> {
        let standings = self.switches.standings();
        let rows = standings.into_iter().map(|standing| {
            let switch = standing.now.switch();
            Row {
                switch: switch.as_str(),
                now: standing.now.words(),
                usual: standing.usual.words(),
                ends_in_s: standing.ends.map(|ends| Switches::left(ends).as_secs()),
                cost: self.cost(switch),
                note: self.note(switch),
            }
        });
        rows.collect()
    }

    fn cost(&self, switch: Switch) -> Option<CostRow> {
        match switch {
            // What a line costs is known to whoever reads them.
            Switch::Log => None,
            Switch::Traces => {
                let status = self.switches.spans().status();
                let mut row = CostRow::from(status.cost);
                row.held_bytes = Some(status.waiting_bytes);
                Some(row)
            }
            Switch::AuditDetail | Switch::MetricsDetail => {
                let detail = self.switches.detail(switch);
                detail.map(|detail| detail.meter.cost().into())
            }
        }
    }

    fn note(&self, switch: Switch) -> Option<String> {
        let spans = self.switches.spans();
        match switch {
            Switch::Traces if !spans.is_on() => Some("There is no collector.".to_owned()),
            Switch::Traces => spans
                .fault()
                .map(|fault| format!("The collector does not take them: {fault}.")),
            Switch::Log | Switch::AuditDetail | Switch::MetricsDetail => None,
        }
    }
}

/// Nobody tells anything.
#[derive(Debug)]
struct Nothing;

impl Facts for Nothing {
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Patterns of names, such as `mcp_tool_*` or `rackhand_health`; all names without them. Names are those of `/metrics`.
    #[schemars(length(max = NUMBER_PATTERNS_MAX), inner(length(min = 1, max = 100)))]
    names: Option<Vec<String>>,
    /// Samples per answer, 1 to 500; 50 without it.
    #[schemars(range(min = 1, max = PAGE_MAX))]
    limit: Option<u16>,
    /// `next_cursor` of the answer before, for the samples after it.
    #[schemars(length(max = 24))]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Numbers {
    /// How many samples fit the patterns.
    total: usize,
    /// This page of them, by name.
    samples: Vec<Sample>,
    /// Pass this as `cursor` for the next page. Absent on the last one. Numbers that come or go meanwhile move the pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// How much the box tells of itself.
    switches: Vec<Row>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Sample {
    /// The name, with what its kind puts behind it: `_total`, `_bucket`, `_sum`, `_count`.
    name: String,
    /// What it is the number of.
    #[serde(skip_serializing_if = "Map::is_empty")]
    labels: Map<String, Value>,
    /// The number, in the unit that the name says.
    value: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Row {
    /// `log`, `traces`, `audit_detail` or `metrics_detail`.
    switch: &'static str,
    /// Where it stands: a filter, a part of all requests, `on` or `off`.
    now: String,
    /// Where it stands by the configuration.
    usual: String,
    /// Seconds until it goes back. Absent where it stands as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_in_s: Option<u64>,
    /// What it cost since the start. Absent where nothing is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostRow>,
    /// What keeps it from working.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CostRow {
    /// How often its work was done: spans begun and ended, arguments kept, times counted.
    times: u64,
    /// How often that was timed: one time in sixteen.
    timed: u64,
    /// Mean of what was timed, nanoseconds of one thread; the work never waits. Absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_ns: Option<u64>,
    /// All of it, milliseconds of one thread: the mean, times how often it was done.
    all_ms: f64,
    /// Bytes that came of it, if that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Bytes held at this moment, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_bytes: Option<usize>,
}

impl From<Cost> for CostRow {
    fn from(cost: Cost) -> Self {
        let mean = cost.each.map(|each| each.as_nanos());
        Self {
            times: cost.times,
            timed: cost.timed,
            mean_ns: mean.and_then(|mean| u64::try_from(mean).ok()),
            all_ms: (cost.all.as_secs_f64() * 1e6).round() / 1e3,
            bytes: Some(cost.bytes).filter(|bytes| *bytes > 0),
            held_bytes: None,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Why, in a few words; the log and the audit trail keep it.
    #[schemars(length(min = 1, max = 200))]
    reason: String,
    /// What is logged: `error`, `warn`, `info` or `debug`, or one of them with parts such as `,rackhand::link=debug` behind it.
    #[schemars(length(min = 1, max = LOG_FILTER_MAX_CHARS))]
    log: Option<String>,
    /// The part of requests that is traced, percent.
    #[schemars(range(min = 0, max = 100))]
    traces_percent: Option<f64>,
    /// Whether the audit trail keeps the arguments of calls that read, in memory.
    audit_detail: Option<bool>,
    /// Whether times are counted for each method and tool; otherwise for all together.
    metrics_detail: Option<bool>,
    /// For how long, 1 to 1440; 10 without it.
    #[schemars(range(min = 1, max = SWITCHED_MAX_MINUTES))]
    minutes: Option<u16>,
    /// True to go back first to what the configuration says.
    reset: Option<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Set {
    /// Where everything stands now.
    switches: Vec<Row>,
}

fn metrics(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(future::ready(tell(&service.telemetry, call)))
}

fn tell(telemetry: &Telemetry, call: ToolCall) -> Outcome {
    if !call.caller.reach.is_everything() {
        return Err(ToolFault::new(
            FaultCode::NotVisible,
            "Your key reaches some components only, and these numbers count everything.",
            "Ask with a key that is not bound to components.",
        ));
    }
    let question: Question = arguments(call.arguments)?;
    let mut patterns = Vec::new();
    for (index, text) in question.names.iter().flatten().enumerate() {
        let path = format!("names/{index}");
        let hint = "Write a name, or a part of it with * for the rest.";
        patterns.push(Glob::new(text).map_err(|fault| bad_argument(&path, fault, hint))?);
    }
    let from: usize = match &question.cursor {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            bad_argument(
                "cursor",
                "this is no cursor of this tool",
                "Pass `next_cursor` as it came.",
            )
        })?,
    };
    let limit = question.limit.map_or(PAGE_DEFAULT, usize::from);
    let fits =
        |name: &str| question.names.is_none() || patterns.iter().any(|pattern| pattern.fits(name));
    let found: Vec<_> = telemetry
        .samples()
        .into_iter()
        .filter(|(name, _)| fits(name))
        .collect();
    let total = found.len();
    let mut bytes = BESIDE_SAMPLES_BYTES;
    let page = found.into_iter().skip(from).take(limit);
    let samples: Vec<Sample> = page
        .map_while(|(name, sample)| {
            bytes += name.len() + sample.to_string().len() + 16;
            let labels = sample.get("labels").and_then(Value::as_object);
            (bytes <= ANSWER_MAX_BYTES).then(|| Sample {
                name,
                labels: labels.cloned().unwrap_or_default(),
                value: sample.get("value").and_then(Value::as_f64).unwrap_or(0.0),
            })
        })
        .collect();
    let next = from.saturating_add(samples.len());
    let switches = telemetry.rows();
    let text = format!(
        "{} of {total} samples from number {from} on. {}",
        samples.len(),
        words(&switches)
    );
    let numbers = Numbers {
        total,
        samples,
        next_cursor: (next < total).then(|| next.to_string()),
        switches,
    };
    answer(&numbers, text)
}

fn words(rows: &[Row]) -> String {
    let each: Vec<String> = rows
        .iter()
        .map(|row| match row.ends_in_s {
            Some(secs) => format!("{} is {} for another {secs} s", row.switch, row.now),
            None => format!("{} is {}", row.switch, row.now),
        })
        .collect();
    format!("{}.", each.join(", "))
}

fn set(service: &SystemService, call: ToolCall) -> BoxFuture<'_, Outcome> {
    Box::pin(future::ready(switch(&service.telemetry, call)))
}

fn switch(telemetry: &Telemetry, call: ToolCall) -> Outcome {
    let wish: Wish = arguments(call.arguments)?;
    let settings: Vec<Setting> = [
        wish.log.map(Setting::Log),
        wish.traces_percent
            .map(|percent| Setting::Traces(Share::of_percent(percent))),
        wish.audit_detail.map(Setting::AuditDetail),
        wish.metrics_detail.map(Setting::MetricsDetail),
    ]
    .into_iter()
    .flatten()
    .collect();
    let is_reset = wish.reset == Some(true);
    if settings.is_empty() && !is_reset {
        return Err(bad_argument(
            "arguments",
            "nothing is to be changed",
            "Name at least one of log, traces_percent, audit_detail, metrics_detail, reset.",
        ));
    }
    let time = wish
        .minutes
        .map(|minutes| Duration::from_mins(minutes.into()));
    let ends = Instant::now() + time.unwrap_or(SIGNALLED_FOR);
    let switches = &telemetry.switches;
    switches
        .change(settings, ends, is_reset)
        .map_err(|(which, fault)| {
            let path = match which {
                Switch::Traces => "traces_percent",
                other => other.as_str(),
            };
            bad_argument(path, fault.to_string(), "Leave it out, or mend it.")
        })?;
    let rows = telemetry.rows();
    let (text, reason) = (words(&rows), wish.reason.escape_debug());
    let reason: String = reason.take(400).collect();
    tracing::info!("{} has it so ({reason}): {text}", call.caller.name);
    answer(&Set { switches: rows }, text)
}
